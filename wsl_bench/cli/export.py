"""`wslbench export`: a run's leaderboard in the forms that other platforms read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from wsl_bench.cli.console import out as console
from wsl_bench.errors import UsageError

FORMATS = ("model-index", "codabench")


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    format: Annotated[str, typer.Option(help="model-index (a Hugging Face model card) or codabench (a bundle).")],
    output: Annotated[Path, typer.Option(help="File to write, such as README.md or bundle.zip.")],
    method: Annotated[
        list[str] | None, typer.Option(help="model-index: only this method, NAME\\[param=value]. Repeatable.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="codabench: which dataset, where the run has several.")] = None,
    docker_image: Annotated[
        str | None, typer.Option(help="codabench: image with wsl_bench installed. Default: wsl-bench:VERSION.")
    ] = None,
) -> None:
    """Write the leaderboard as a model card's `model-index`, or a competition that scores maps by the same protocol."""
    from wsl_bench import __version__
    from wsl_bench.leaderboard.build import build_leaderboard
    from wsl_bench.leaderboard.codabench import bundle
    from wsl_bench.leaderboard.model_index import model_card
    from wsl_bench.store.atomic import atomic_write
    from wsl_bench.store.run_file import manifest_hashes

    _check(format, output, method, dataset, docker_image)
    board = build_leaderboard(run)
    if format == "codabench":
        atomic_write(output, bundle(run, board, dataset, docker_image or f"wsl-bench:{__version__}"))
        console.print(
            f"{escape(str(output))}: holds the test split's ground truth; for organizers only.", soft_wrap=True
        )
        return
    text = model_card(board.rows, board.notes, manifest_hashes(run), method or ())
    atomic_write(output, text.encode())
    console.print(f"{escape(str(output))} written.", soft_wrap=True)


def _check(format: str, output: Path, method: list[str] | None, dataset: str | None, docker_image: str | None) -> None:
    """Refuse what cannot be meant, before any work."""
    if format not in FORMATS:
        raise UsageError(f"--format {format}: expected one of {', '.join(FORMATS)}.")
    if output.is_dir():
        raise UsageError(f"--output {output}: expected a file, found a folder.")
    for name, value, of in (
        ("--method", method, "model-index"), ("--dataset", dataset, "codabench"),
        ("--docker-image", docker_image, "codabench"),
    ):  # fmt: skip
        if value and format != of:
            raise UsageError(f"{name}: expected --format {of}, found {format}.")
