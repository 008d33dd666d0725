"""`wslbench status`: where a run stands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from wsl_bench.cli.console import out as console
from wsl_bench.cli.folder import is_claimed


def status(run: Annotated[Path, typer.Argument(help="Folder of a run, at work or not.")]) -> None:
    """Show what of a run is done, failed, at work and missing, and what each failure said."""
    from wsl_bench.status import run_status

    alive = is_claimed(run)
    found = run_status(run, alive=alive)
    console.print(_table(found))
    for one in found.at_work:
        epochs = f", epoch {one['epoch']} of {one['epochs']}" if one.get("epochs") else ""
        console.print(f"at work: {escape(one['label'])}{epochs}, for {one['seconds']:.0f} s", soft_wrap=True)
    for failure in found.failures:
        c = failure.content
        name = f"{c['dataset']} / {_method(c['method'], c['method_params'])} / seed {c['seed']}"
        console.print(f"[red]failed:[/] {escape(name)}: {escape(str(c['error']))}", soft_wrap=True)
    for line in found.damaged:
        console.print(f"[yellow]damaged:[/] {escape(line)}", soft_wrap=True)
    for slug, n in found.tried_again.items():
        console.print(f"[yellow]tried again:[/] {escape(slug)}: done on attempt {n}, a worker had died", soft_wrap=True)
    console.print(_outlook(found, alive), soft_wrap=True)


def _table(found: Any) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("dataset", "method"):
        table.add_column(name, overflow="fold")
    for name in ("done", "failed", "running", "missing"):
        table.add_column(name, justify="right")
    for (dataset, method, params), row in found.rows.items():
        counts = [str(count) if count else "" for count in (row.done, row.failed, row.running, row.missing)]
        table.add_row(escape(dataset), escape(_method(method, params)), *counts)
    return table


def _method(name: str, params: str) -> str:
    return f"{name}[{params}]" if params else name


def _outlook(found: Any, alive: bool) -> str:
    total = found.total()
    n = total.done + total.failed + total.running + total.missing
    said = f"{total.done} of {n} cells done"
    if alive:
        return f"{said}; a run is at work."
    if total.missing:
        said += f", {total.missing} missing: the same command continues"
    if total.failed:
        said += f", {total.failed} failed: --retry-failed tries them again"
    return f"{said}."
