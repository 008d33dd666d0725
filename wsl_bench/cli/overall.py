"""`wslbench overall`: a run's methods over all of its datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from wsl_bench.cli.console import out as console
from wsl_bench.cli.console import tell
from wsl_bench.errors import UsageError


def overall(
    runs: Annotated[list[Path], typer.Argument(help="A run of several datasets, or several runs.")],
    threshold: Annotated[str, typer.Option(help="Threshold rule of the rows: val or a number of the run.")] = "val",
    output: Annotated[Path | None, typer.Option(help="Folder of the outcome. Default: the run, if it is one.")] = None,
) -> None:
    """Average ranks over datasets with their critical difference, how often methods beat each other; and figures."""
    from wsl_bench.leaderboard.overall import overall_notes, together
    from wsl_bench.leaderboard.terminal import print_overall
    from wsl_bench.results import write_overall_results

    if output is None and len(runs) > 1:
        raise UsageError("--output: expected a folder for the tables and figures of several runs.")
    folder = output if output is not None else runs[0]
    board = together(runs)
    result, written = write_overall_results(board, folder, threshold)
    print_overall(result, console)
    for note in overall_notes(result):
        console.print(f"[dim]{escape(note)}[/]")
    tell(note for note in board.notes if note.startswith(("Set aside", "The runs were made")))
    console.print(f"\nWritten to {escape(str(folder))}: {', '.join(written)}", soft_wrap=True)
