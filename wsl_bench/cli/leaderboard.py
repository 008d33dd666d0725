"""`wslbench leaderboard`: tables and figures again, from the records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from wsl_bench.cli.console import errors
from wsl_bench.cli.console import out as console
from wsl_bench.errors import UsageError

FORMATS = ("table", "csv", "markdown", "latex", "json")
OF_STRATA = FORMATS[:3]


def leaderboard(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    format: Annotated[str, typer.Option(help="table, csv, markdown, latex or json.")] = "table",
    oracle: Annotated[
        bool, typer.Option(help="Show also what thresholds chosen on test would give (oracle_*; never ranked).")
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(help="Split by lesion_size, lesion_count, or a column of labels.csv (for your own images)."),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Label table with image_id and the column of --by.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
) -> None:
    """Make a run's tables and figures again from its records, and show the leaderboard."""
    from wsl_bench.leaderboard.build import build_leaderboard, render, with_oracle
    from wsl_bench.leaderboard.terminal import print_leaderboard
    from wsl_bench.results import write_results
    from wsl_bench.store.atomic import atomic_write

    if format not in FORMATS:
        raise UsageError(f"--format {format}: expected one of {', '.join(FORMATS)}.")
    if output is not None and format == "table":
        raise UsageError("--format table goes to the terminal; use another with --output.")
    if output is not None and output.is_dir():
        raise UsageError(f"--output {output}: expected a file, found a folder.")
    if by is not None and oracle:
        raise UsageError("--by and --oracle: expected one of them; strata have no oracle columns.")
    if by is not None and format not in OF_STRATA:
        raise UsageError(f"--by and --format {format}: expected one of {', '.join(OF_STRATA)} for strata.")
    if oracle and format == "latex":
        raise UsageError("--oracle and --format latex: expected another format; these tables hold what may be claimed.")
    if labels is not None and by is None:
        raise UsageError("--labels: expected --by with the column to split by.")
    try:
        board = write_results(run)
    except PermissionError as error:  # somebody else's run, a read-only archive
        board = build_leaderboard(run)
        errors.print(f"[yellow]not written:[/] {escape(f'{error.filename}: {error.strerror}')}", soft_wrap=True)
    if by is not None:
        _show_strata(board, run, by, labels, format, output)
        return
    if oracle:
        board = with_oracle(board)
    if format == "table":
        print_leaderboard(board, console)
    elif output is None:
        typer.echo(render(board, format).encode(), nl=False)  # data: UTF-8, whatever the terminal has
    else:
        atomic_write(output, render(board, format).encode())


def _show_strata(board: Any, run: Path, by: str, labels: Path | None, format: str, output: Path | None) -> None:
    from wsl_bench.leaderboard.export import strata_markdown, to_csv
    from wsl_bench.leaderboard.strata import BUILT_IN, read_labels, stratified
    from wsl_bench.leaderboard.terminal import print_strata
    from wsl_bench.store.atomic import atomic_write

    if labels is None and by not in BUILT_IN:
        labels = _own_labels(run)
    rows = stratified(board.measured, by, None if labels is None else read_labels(labels))
    if not rows:
        raise UsageError(f"{run}: no cell has finished, so there is nothing to split.")
    if format == "table":
        print_strata(rows, console)
        return
    text = to_csv(rows, list(rows[0])) if format == "csv" else strata_markdown(rows)
    if output is None:
        typer.echo(text.encode(), nl=False)
    else:
        atomic_write(output, text.encode())


def _own_labels(run: Path) -> Path | None:
    """labels.csv of the one dataset of a run, if it is a directory that is still there; else what the run has kept."""
    from wsl_bench.store.run_file import read_run
    from wsl_bench.study import DETAILS

    planned = list(read_run(run)["planned"].values())
    if len(planned) != 1:
        return None
    paths = [Path(planned[0]["selector"]) / "labels.csv", *(run / DETAILS).glob("*.csv")]
    return next((path for path in paths if path.is_file()), None)
