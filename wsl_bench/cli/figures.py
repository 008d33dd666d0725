"""`wslbench figures`: a run's figures and the paper's table, from its records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from wsl_bench.cli.console import out as console
from wsl_bench.cli.console import tell
from wsl_bench.errors import UsageError


def figures(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    output: Annotated[Path, typer.Option(help="Folder for the figures.")],
    format: Annotated[str, typer.Option(help="Some of png, svg, pdf.")] = "png,svg,pdf",
    only: Annotated[
        str | None,
        typer.Option(
            help="Some of density, comparison, spread, thresholds, intervals, training, lesion_size, table1; or one "
            "figure of a family: density_iou."
        ),
    ] = None,
    rule: Annotated[str, typer.Option(help="Threshold rule of the rows: val or a number of the run.")] = "val",
) -> None:
    """Draw a run's figures for a paper, each with a caption, and its Table 1 in Markdown and LaTeX."""
    from wsl_bench.report.figures import chosen_figures, chosen_formats, write_figures
    from wsl_bench.report.source import open_source

    names, formats = chosen_figures(only), chosen_formats(format)
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: expected a folder, found a file.")
    source = open_source(run, rule)
    tell(note for note in source.board.notes if note.startswith("Set aside"))
    written = write_figures(source, output, names, formats)
    for path in written.files:
        console.print(escape(str(path)), soft_wrap=True)
    tell(f"not drawn: {line}" for line in written.skipped)
    # What was asked for by name and is not there is an error; so is what a run should have and lacks.
    missing = written.broken + (written.skipped if only is not None else [])
    if missing:
        raise UsageError("not all figures were drawn. " + " ".join(missing))
