"""`wslbench localize`: maps of a trained cell on new images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from wsl_bench.cli.console import errors
from wsl_bench.cli.console import out as console
from wsl_bench.errors import UsageError

NAME = "localize.json"


def localize(
    checkpoint: Annotated[
        Path, typer.Argument(help="A cell's record, RUN/records/CELL.json, or its checkpoint below RUN/trainings/.")
    ],
    images: Annotated[Path, typer.Argument(help="An image or a folder of images.")],
    out: Annotated[Path, typer.Option(help="New or empty folder for the maps.")],
    method: Annotated[
        str | None, typer.Option(help="Which of the methods that explain the checkpoint, should there be several.")
    ] = None,
    format: Annotated[str, typer.Option(help="npy (float32) or png (16-bit grey).")] = "npy",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Write score maps in [0, 1], each of its image's size and named like it, and the operating point."""
    from wsl_bench.localize import find_cell, image_files
    from wsl_bench.localize import localize as run
    from wsl_bench.plan import THREADS, made_by_other_code
    from wsl_bench.registry import discover
    from wsl_bench.training.device import resolve_device, set_up_process

    if format not in ("npy", "png"):
        raise UsageError(f"--format {format}: expected npy or png.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out}: expected a new or empty folder.")
    record, files = find_cell(checkpoint, method), image_files(images)
    if made_by_other_code(record.content["key_parts"]):
        errors.print("[yellow]The cell was made by another version of the code.[/]", soft_wrap=True)
    discover("network")  # imports every plug-in: before the process is set up, not after
    set_up_process(THREADS)  # as in the worker that scored the test images
    batches = run(record, files, resolve_device(device))
    probability: dict[str, float | None] = {}
    for batch in batches:
        out.mkdir(parents=True, exist_ok=True)  # only now that there is something to write
        for name, scores in zip(batch.names, batch.maps, strict=True):
            _write(out / f"{name}.{format}", scores)
        values = [None] * len(batch.names) if batch.probability is None else batch.probability.tolist()
        probability |= dict(zip(batch.names, values, strict=True))
    described = _described(record) | {"probability": probability}
    (out / NAME).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    console.print(f"{len(probability)} maps and {NAME} written to {escape(str(out))}", soft_wrap=True)


def _write(path: Path, scores: Any) -> None:
    import numpy as np
    from PIL import Image

    if path.suffix == ".npy":
        np.save(path, scores)
    else:
        Image.fromarray(np.rint(scores * 65535).astype(np.uint16)).save(path)


def _described(record: Any) -> dict[str, Any]:
    """What made the maps, and how to read them."""
    content = record.content
    point = content["operating_point"]
    return {
        "method": content["method"],
        "method_params": content["method_params"],
        "trained_on": content["dataset"],
        "seed": content["seed"],
        "checkpoint": content["checkpoint"],
        "threshold": point["threshold"],
        "map_scale": point["map_scale"],
        "decision_threshold": point["decision_threshold"],
    }
