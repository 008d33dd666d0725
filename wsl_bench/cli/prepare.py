"""`wslbench prepare`: decode a dataset's images once, and say what is in its splits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from wsl_bench.cli.console import errors
from wsl_bench.cli.console import out as console
from wsl_bench.cli.data_root import with_data_root
from wsl_bench.errors import UsageError


def prepare(
    dataset: Annotated[str, typer.Argument(help="A dataset, NAME\\[param=value], or a directory with labels.csv.")],
    data_root: Annotated[
        Path | None, typer.Option(help="Where the files of a named dataset lie; see `datasets NAME`.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the square input, pixels. Default: the dataset's.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="rsna.view=PA, ... Repeatable.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes that decode. Default: one a core.")] = None,
    skip_corrupt: Annotated[bool, typer.Option(help="Leave out images that cannot be read, and list them.")] = False,
    manifest: Annotated[
        Path | None, typer.Option(help="Write the split manifest to this file (CSV; its sha256 is printed).")
    ] = None,
) -> None:
    """Decode a dataset's images, in parallel, for every later run; show its splits and their manifest's sha256.

    Interrupted, the same command continues. Runs decode what is missing by themselves; this only does it before.
    Images are kept in this system's folder for caches, or in that of the variable WSLBENCH_CACHE.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: expected at least 1.")
    found = _prepared(dataset, data_root, image_size, list(settings or []), jobs, skip_corrupt)
    if manifest is not None:
        from wsl_bench.store.atomic import atomic_write

        atomic_write(manifest, found.prepared.manifest.csv().encode())
    for image, reason in found.prepared.skipped.items():
        errors.print(f"[yellow]skipped:[/] {escape(f'{image}: {reason}')}", soft_wrap=True)
    _show(found)


def _prepared(
    selector: str, root: Path | None, size: int | None, settings: list[str], jobs: int | None, skip_corrupt: bool
) -> Any:
    import tempfile

    from wsl_bench import spec as specs
    from wsl_bench.cli.progress import Preparing
    from wsl_bench.selection import check_settings, choose_dataset

    settings += [f"recipe.image_size={size}"] if size is not None else []
    fields = {"datasets": (selector,), "set": specs.parse_settings(settings), "skip_corrupt": skip_corrupt}
    spec = specs.with_fields(specs.RunSpec(), fields)
    spec = spec if root is None else with_data_root(spec, root)
    check_settings(spec, [])
    # What a run needs besides the images is made anew by each.
    with tempfile.TemporaryDirectory() as scratch, Preparing(console) as preparing:
        return choose_dataset(spec, selector, Path(scratch), preparing.update, preparing.say, jobs or 0)


def _show(found: Any) -> None:
    prepared = found.prepared
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("split", "images", "groups", "positives", "negatives", "located", "boxes"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, counts in prepared.counts().items():
        numbers = [counts.images, counts.groups, counts.positives, counts.negatives, counts.located]
        boxes = "not read" if counts.boxes is None else f"{counts.boxes:,}"
        table.add_row(split, *(f"{number:,}" for number in numbers), boxes)
    console.print(table)
    size = prepared.image_size
    how = {"dataset": "the dataset's own", "group hash": "by a hash of the group"}[prepared.manifest.source]
    console.print(f"\nsplit: {how}; manifest sha256 {prepared.hashes['manifest']}", soft_wrap=True)
    kept = f"in {prepared.pixels}" if prepared.pixels.is_file() else "drawn anew by each run"
    console.print(f"images: {size} x {size} pixels, {escape(kept)}", soft_wrap=True)
    for remark in prepared.remarks:
        console.print(f"[yellow]{escape(remark)}[/]", soft_wrap=True)
    if prepared.duplicates:
        first, other = prepared.duplicates[0]
        console.print(
            f"[yellow]{len(prepared.duplicates)} images have the pixels of one in another split, such as "
            f"{escape(first)} and {escape(other)}[/]", soft_wrap=True,
        )  # fmt: skip
