"""`wslbench leaderboard`: tables and figures again, from the records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from wsl_bench.cli.console import errors
from wsl_bench.cli.console import out as console
from wsl_bench.errors import UsageError

FORMATS = ("table", "csv", "markdown")


def leaderboard(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    format: Annotated[str, typer.Option(help="table, csv or markdown.")] = "table",
    oracle: Annotated[
        bool, typer.Option(help="Show also what thresholds chosen on test would give (oracle_*; never ranked).")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
) -> None:
    """Make a run's tables and figures again from its records, and show the leaderboard."""
    from wsl_bench.leaderboard.build import build_leaderboard, render, with_oracle
    from wsl_bench.leaderboard.terminal import print_leaderboard
    from wsl_bench.store.atomic import atomic_write
    from wsl_bench.study import write_results

    if format not in FORMATS:
        raise UsageError(f"--format {format}: expected one of {', '.join(FORMATS)}.")
    if output is not None and format == "table":
        raise UsageError("--format table goes to the terminal; use csv or markdown with --output.")
    if output is not None and output.is_dir():
        raise UsageError(f"--output {output}: expected a file, found a folder.")
    try:
        board = write_results(run)
    except PermissionError as error:  # somebody else's run, a read-only archive
        board = build_leaderboard(run)
        errors.print(f"[yellow]not written:[/] {escape(f'{error.filename}: {error.strerror}')}", soft_wrap=True)
    if oracle:
        board = with_oracle(board)
    if format == "table":
        print_leaderboard(board, console)
    elif output is None:
        typer.echo(render(board, format), nl=False)
    else:
        atomic_write(output, render(board, format).encode())
