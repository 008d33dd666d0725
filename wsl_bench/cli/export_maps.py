"""`wslbench export-maps`: a finished cell's maps and operating point, for other programs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from wsl_bench.cli.console import errors
from wsl_bench.cli.console import out as console
from wsl_bench.cli.data_root import with_data_root
from wsl_bench.errors import UsageError

SPLITS, FORMATS = ("val", "test"), ("npz", "safetensors")


def export_maps(
    cell: Annotated[Path, typer.Argument(help="A cell's record, RUN/records/CELL.json.")],
    output: Annotated[Path, typer.Option(help="New or empty folder for the maps.")],
    split: Annotated[str | None, typer.Option(help="val or test. Default: both.")] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Where the dataset's files are now, if not where the run has read them.")
    ] = None,
    format: Annotated[str, typer.Option(help="npz (a file an image) or safetensors (one file).")] = "npz",
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. Default: the cell's own.")] = None,
) -> None:
    """Write score maps in [0, 1] at the ground truth's size and the frozen operating point of a finished cell.

    `wslbench score` on the folder, at the threshold that is printed, gives the cell's own figures.
    """
    from wsl_bench.export_maps import find_record, write_maps
    from wsl_bench.plan import THREADS, made_by_other_code
    from wsl_bench.registry import discover
    from wsl_bench.training.device import resolve_device, set_up_process

    if split is not None and split not in SPLITS:
        raise UsageError(f"--split {split}: expected val or test; the ground truth of training images is not read.")
    if format not in FORMATS:
        raise UsageError(f"--format {format}: expected one of {', '.join(FORMATS)}.")
    if device not in (None, "auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: expected auto, cpu or cuda.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"--output {output}: expected a new or empty folder.")
    record = find_record(cell)
    if made_by_other_code(record.content["key_parts"]):
        errors.print("[yellow]The cell was made by another version of the code.[/]", soft_wrap=True)
    discover("network")  # imports every plug-in: before the process is set up, not after
    set_up_process(THREADS)  # as in the worker that filled the record
    where = resolve_device(device or record.content["device"])
    splits = SPLITS if split is None else (split,)
    described = _with_data(record, data_root, lambda data: write_maps(record, data, splits, output, format, where))  # type: ignore[arg-type]
    _tell(record, described, output, format)


def _with_data(record: Any, data_root: Path | None, write: Any) -> dict[str, Any]:
    """The cell's data: as the run has them, or prepared again for the time of the writing."""
    import tempfile

    from wsl_bench.cli.progress import Preparing
    from wsl_bench.export_maps import data_spec, kept_data, prepared_again
    from wsl_bench.spec import with_fields

    kept = kept_data(record) if data_root is None else None
    if kept is not None:
        return dict(write(kept))
    spec, selector = data_spec(record)
    if data_root is not None:
        own_folder = Path(selector).is_absolute()  # a directory with labels.csv, no named dataset
        spec = with_fields(spec, {"datasets": (str(data_root),)}) if own_folder else with_data_root(spec, data_root)
    with tempfile.TemporaryDirectory() as scratch:
        with Preparing(console) as preparing:
            folder = prepared_again(record, spec, Path(scratch), preparing.update, preparing.say)
        return dict(write(folder))


def _tell(record: Any, described: dict[str, Any], output: Path, format: str) -> None:
    """What was written, and the command that measures it again."""
    from wsl_bench.export_maps import ARCHIVE, NAME, dataset_options

    n_maps = sum(len(split["image_ids"]) for split in described["splits"].values())
    console.print(f"{n_maps} maps and {NAME} written to {escape(str(output))}", soft_wrap=True)
    threshold = described["threshold"]
    if threshold is None:
        console.print("No threshold was fitted on validation: read them at a fixed one.", soft_wrap=True)
    elif "test" in described["splits"]:
        maps = output / ARCHIVE if format == "safetensors" else output
        words = ["wslbench", "score", str(maps), *dataset_options(record), "--threshold", f"{threshold:g}",
                 "--out", f"{output.name}-scored"]  # fmt: skip
        console.print(f"measure them again: {escape(shlex.join(words))}", soft_wrap=True)
