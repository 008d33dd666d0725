"""`wslbench methods`, `datasets`, `check` and `doctor`: what is there and whether it works."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wsl_bench.cli.console import errors
from wsl_bench.cli.console import out as console

Kind = Literal["method", "dataset"]


def methods(
    name: Annotated[str | None, typer.Argument(help="A method, to see its paper, parameters and choices.")] = None,
) -> None:
    """List the methods, or show one."""
    _list("method") if name is None else _show_method(name)


def datasets(
    name: Annotated[str | None, typer.Argument(help="A dataset, to see its parameters and licence.")] = None,
) -> None:
    """List the datasets, or show one."""
    _list("dataset") if name is None else _show_dataset(name)


def check(name: Annotated[str, typer.Argument(help="A method, built in or plugged in.")]) -> None:
    """Check that a method keeps the contract every method keeps."""
    from wsl_bench.contract import check_method

    for line in check_method(name):
        console.print(f"[green]ok[/]  {escape(line)}")


def doctor() -> None:
    """Show what is installed, which device would be used, and what is unavailable."""
    from wsl_bench.registry import KINDS, discover
    from wsl_bench.training.device import auto_precision, resolve_device
    from wsl_bench.versions import versions

    device = resolve_device("auto")
    console.print(f"device: {device}, precision: {auto_precision(device)}")
    for package, version in versions().items():
        console.print(f"{package}: {version}")
    for kind in KINDS:
        registry = discover(kind)
        console.print(f"{kind}s: {', '.join(registry.available)}")
        for broken in registry.unavailable:
            console.print(f"[yellow]unavailable[/] {kind} {broken.name}: {escape(broken.reason)}", soft_wrap=True)


def _list(kind: Kind) -> None:
    from wsl_bench.registry import discover

    registry = discover(kind)
    table = Table(box=None, pad_edge=False, show_header=True)
    table.add_column(kind, no_wrap=True)
    if kind == "method":
        table.add_column("groups", no_wrap=True)
    table.add_column("what it is")
    for entry in registry.available.values():
        groups = [",".join(entry.groups)] if kind == "method" else []
        table.add_row(entry.name, *groups, escape(entry.summary))
    # Piped into another program, a line stays a line.
    (console if console.is_terminal else Console(width=400, highlight=False)).print(table)
    for broken in registry.unavailable:
        errors.print(f"[yellow]unavailable:[/] {broken.name} ({broken.file}): {escape(broken.reason)}", soft_wrap=True)


def _show_method(name: str) -> None:
    from wsl_bench.registry import discover

    entry = discover("method").get(name)
    console.print(f"[bold]{entry.name}[/]  {escape(entry.summary)}")
    cls = entry.cls
    for title, text in (
        ("paper", str(getattr(cls, "paper", ""))),
        ("groups", ", ".join(entry.groups)),
        ("explains", str(getattr(cls, "trained_as", ""))),
        ("varies", entry.of or ""),
        ("file", entry.file),
    ):
        if text:
            console.print(f"{title}: {escape(text)}", soft_wrap=True)
    _print_params(entry.cls, entry.defaults, entry.name)
    silent: dict[str, str] = getattr(cls, "silent", {})
    if silent:
        console.print("\nwhere the paper is silent, and what is done here:")
        for point, choice in silent.items():
            console.print(f"  {escape(point)}: {escape(choice)}")


def _show_dataset(name: str) -> None:
    from wsl_bench.registry import discover

    entry = discover("dataset").get(name)
    console.print(f"[bold]{entry.name}[/]  {escape(entry.summary)}")
    for title in ("url", "licence", "citation", "unpack", "expect"):
        if getattr(entry.cls, title, ""):
            console.print(f"{title}: {escape(getattr(entry.cls, title))}", soft_wrap=True)
    if not getattr(entry.cls, "verified", True):
        console.print("[yellow]unverified[/]: built from the published tables and the documented layout; this loader "
                      "has not been run on the publisher's own files yet", soft_wrap=True)  # fmt: skip
    _print_params(entry.cls, entry.defaults, entry.name)


def _print_params(cls: type, defaults: dict[str, object], name: str) -> None:
    from wsl_bench.params import describe

    infos = describe(cls, defaults)
    if not infos:
        return
    console.print(f"\nparameters (--set {name}.NAME=VALUE):")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "type", "default", "meaning"):
        table.add_column(column)
    for info in infos:
        table.add_row(info.name, escape(info.type), escape(str(info.default)), escape(info.help))
    console.print(table)
