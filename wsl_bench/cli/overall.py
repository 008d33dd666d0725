"""`wslbench overall`: a run's methods over all of its datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from wsl_bench.cli.console import out as console


def overall(
    runs: Annotated[list[Path], typer.Argument(help="A run of several datasets, or several runs.")],
    threshold: Annotated[str, typer.Option(help="Threshold rule of the rows: val or a number of the run.")] = "val",
    output: Annotated[Path | None, typer.Option(help="Folder for tables and figures. Default: the first run.")] = None,
) -> None:
    """Average ranks over datasets with their critical difference, how often methods beat each other; and figures."""
    from wsl_bench.leaderboard.overall import overall_notes, together
    from wsl_bench.leaderboard.terminal import print_overall
    from wsl_bench.study import write_overall_results

    folder = output if output is not None else runs[0]
    result = write_overall_results(together(runs), folder, threshold)
    print_overall(result, console)
    for note in overall_notes(result):
        console.print(f"[dim]{escape(note)}[/]")
    written = "overall.csv, wins.csv, figures/critical_difference.png, figures/profiles.png"
    console.print(f"\nWritten to {escape(str(folder))}: {written}", soft_wrap=True)
