"""What is shown of a dataset's test images beside the maps of a run's records: pixels and ground truth, for the eye.

Numbers never come from here: ground truth is brought to the square input, so that it lies over the maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsl_bench.data.views import TruthView, WeakView
from wsl_bench.errors import StoreError
from wsl_bench.store.atomic import write_arrays
from wsl_bench.store.run_file import file_name

FOLDER = "display"


@dataclass(frozen=True)
class Display:
    """The shown test images of one dataset, n of S x S pixels, in the order of the records' display maps.

    Attributes:
        image_ids: (n,) text.
        labels: (n,) 0 or 1.
        images: (n, S, S) uint8, as the network saw them: letterboxed.
        truth: (n, S, S) bool, the ground truth in the same square; empty where there is none.
        inside: (n, 4) top, left, height, width of the image in the square.
    """

    image_ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    images: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.bool_]
    inside: npt.NDArray[np.int64]


def write_display(out: Path, name: str, weak: WeakView, truth: TruthView, chosen: list[int]) -> None:
    """Write what is shown of a dataset into the folder of a run.

    Args:
        name: of the dataset in tables.
        weak, truth: of the test split. chosen: places in it of the images to show.
    """
    masks = np.zeros((len(chosen), *weak.images.shape[1:]), np.bool_)
    for mask, i in zip(masks, chosen, strict=True):
        if truth.located[i]:
            frame = weak.frames[i]
            mask[:] = frame.apply(truth.truths[i].pixels(frame.height, frame.width).astype(np.uint8) * 255) >= 128
    frames = [weak.frames[i] for i in chosen]
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "image_ids": np.array([weak.image_ids[i] for i in chosen]),
        "labels": weak.labels[chosen],
        "images": weak.images[np.array(chosen)],
        "truth": np.packbits(masks, axis=None),
        "inside": np.array([[f.top, f.left, f.inner_height, f.inner_width] for f in frames], np.int64),
    }
    write_arrays(display_file(out, name), arrays)


def load_display(out: Path, name: str) -> Display:
    """What is shown of a dataset.

    Raises:
        StoreError: it is not there or damaged.
    """
    path = display_file(out, name)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            images, labels = np.asarray(arrays["images"], np.uint8), arrays["labels"].astype(np.int64)
            n, height, width = images.shape
            truth = np.unpackbits(arrays["truth"], count=n * height * width).reshape(images.shape).astype(np.bool_)
            names, inside = tuple(map(str, arrays["image_ids"])), arrays["inside"].astype(np.int64)
            if not len(names) == len(labels) == n or inside.shape != (n, 4) or height != width:
                raise ValueError("parts that do not fit each other")
            return Display(names, labels, images, truth, inside)
    except Exception as error:  # numpy and zipfile raise many types
        raise StoreError(
            f"{path}: expected the images that a report shows, found {type(error).__name__}: {error}. Give the "
            "command of the run again: finished cells are kept, and this is written anew."
        ) from None


def display_file(out: Path, name: str) -> Path:
    """Where it lies."""
    return out / FOLDER / f"{file_name(name)}.npz"
