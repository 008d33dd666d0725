"""`wslbench leaderboard`: the table again, from the records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsl_bench.cli.console import out as console
from wsl_bench.errors import UsageError

FORMATS = ("table", "csv", "markdown")


def leaderboard(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    format: Annotated[str, typer.Option(help="table, csv or markdown.")] = "table",
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
) -> None:
    """Make a run's leaderboard again from its records."""
    from wsl_bench.leaderboard.build import build_leaderboard, render
    from wsl_bench.leaderboard.terminal import print_leaderboard
    from wsl_bench.store.atomic import atomic_write

    if format not in FORMATS:
        raise UsageError(f"--format {format}: expected one of {', '.join(FORMATS)}.")
    if not (run / "run.json").is_file():
        raise UsageError(f"{run}: expected the folder of a run (with run.json), found none.")
    if format == "table":
        if output is not None:
            raise UsageError("--format table goes to the terminal; use csv or markdown with --output.")
        print_leaderboard(build_leaderboard(run), console)
        return
    text = render(run, format)
    if output is None:
        typer.echo(text, nl=False)
    else:
        atomic_write(output, text.encode())
