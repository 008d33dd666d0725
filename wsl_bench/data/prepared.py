"""The files of a prepared dataset: small tables of each split, and where its images lie.

Workers read them; nothing is pickled. The weak part and the ground truth of each split lie in files of their own, so
that a training opens no file with ground truth in it.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl_bench.data.decoded import Entry, map_pixels
from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.rows import ImageRows
from wsl_bench.data.samples import Sample, Split, Truth
from wsl_bench.data.views import TruthView, WeakView, truth_sha256
from wsl_bench.errors import StoreError
from wsl_bench.store.atomic import atomic_write, write_arrays


@dataclass(frozen=True)
class Item:
    """One image of a prepared split.

    Attributes:
        sample: with its split.
        entry: where its decoded image lies.
        truth: its ground truth; empty in train and where there is none.
    """

    sample: Sample
    entry: Entry
    truth: Truth


def load_weak(folder: Path, split: Split) -> WeakView:
    """The weak view of one split, from a prepared folder; its images stay on disk until they are asked for.

    Raises:
        StoreError: the file or an image is damaged or gone.
    """
    with _arrays(folder / f"{split}.npz") as arrays:
        size, images = int(arrays["size"]), _images(folder, arrays)
        frames = tuple(Letterbox.fit(int(h), int(w), size) for h, w in arrays["shapes"])
        names, groups, labels = arrays["image_ids"], arrays["groups"], arrays["labels"].astype(np.int64)
        if not names.shape == groups.shape == labels.shape == (len(frames),) or not set(labels.tolist()) <= {0, 1}:
            raise ValueError("ids, groups, labels and shapes that do not fit each other")
        if len(images) != len(frames):
            raise ValueError(f"{len(images)} images for {len(frames)} ids")
        texts = tuple(map(str, names)), tuple(map(str, groups))
        return WeakView(*texts, labels, images, frames, str(arrays["sha256"]))


def load_truth(folder: Path, split: Split) -> TruthView:
    """The ground truth of val or test, from a prepared folder.

    Raises:
        StoreError: the file is damaged.
    """
    if split == "train":
        raise ValueError("the ground truth of the training images is never read")
    with _arrays(folder / f"{split}-truth.npz") as arrays:
        located = arrays["located"].astype(np.bool_)
        boxes = np.split(arrays["boxes"], np.cumsum(arrays["boxes_per_image"])[:-1])
        bits = np.split(arrays["mask_bits"], np.cumsum(arrays["mask_bytes"])[:-1])
        truths = []
        for box, packed, (h, w) in zip(boxes, bits, arrays["shapes"], strict=True):
            mask = np.unpackbits(packed, count=int(h) * int(w)).reshape(h, w).astype(bool) if packed.size else None
            truths.append(Truth(box, mask))
        names = tuple(map(str, arrays["image_ids"]))
        if truth_sha256(names, located.tolist(), truths) != str(arrays["sha256"]):
            raise ValueError("another content than its sha256 was taken of")
        return TruthView(names, located, tuple(truths), str(arrays["sha256"]))


def _images(folder: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> ImageRows:
    """The images of a split, each checked against its checksum.

    Raises:
        StoreError: one is not what was written.
    """
    file, size, rows = folder / str(arrays["pixels"]), int(arrays["size"]), arrays["rows"].astype(np.int64)
    try:
        whole = map_pixels(file, size)
        if rows.min() < 0:
            raise ValueError("a row before the first")
        for name, row, checksum in zip(arrays["image_ids"], rows, arrays["crc32"], strict=True):
            if zlib.crc32(whole[row]) != checksum:
                raise ValueError(f"other pixels of {str(name)!r} than were written")
    except (OSError, ValueError, IndexError) as error:
        raise StoreError(
            f"{file}: expected the decoded images of {folder}, found {error}. Remove {file} when no run "
            "is at work; the same command decodes them again."
        ) from None
    return ImageRows(whole, rows)


@contextlib.contextmanager
def _arrays(path: Path) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """The arrays of a prepared file; whatever goes wrong in reading them is told as damage of the file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except StoreError:
        raise
    except Exception as error:  # numpy and zipfile raise many types
        raise StoreError(
            f"{path}: expected the arrays of a prepared split, found {type(error).__name__}: {error}. "
            f"Remove the folder {path.parent}; the same command prepares it again."
        ) from None


def write_prepared(
    folder: Path, parts: Mapping[Split, Sequence[Item]], size: int, pixels: str, hashes: Mapping[str, str]
) -> None:
    """Write the tables of a prepared dataset; `hashes.json` last, which says that it is whole.

    Args:
        size: side of the square images.
        pixels: path of the file of squares, absolute or in the folder.
        hashes: sha256 by part (see `PreparedDataset`).
    """
    for split, items in parts.items():
        samples = [item.sample for item in items]
        ids = np.array([s.image_id for s in samples])
        shapes = np.array([[s.height, s.width] for s in samples], np.int64)
        write_arrays(
            folder / f"{split}.npz",
            {
                "image_ids": ids,
                "groups": np.array([s.group for s in samples]),
                "labels": np.array([s.label for s in samples], np.int64),
                "pixels": np.array(pixels),
                "rows": np.array([item.entry.row for item in items], np.int64),
                "crc32": np.array([item.entry.crc32 for item in items], np.uint32),
                "size": np.array(size),
                "shapes": shapes,
                "sha256": np.array(hashes[split]),
            },
        )
        if split != "train":
            write_arrays(folder / f"{split}-truth.npz", _truth_arrays(items, ids, shapes, hashes))
    atomic_write(folder / "hashes.json", json.dumps(hashes, sort_keys=True).encode())


def _truth_arrays(
    items: Sequence[Item],
    ids: npt.NDArray[np.str_],
    shapes: npt.NDArray[np.int64],
    hashes: Mapping[str, str],
) -> dict[str, npt.NDArray[np.generic]]:
    split = str(items[0].sample.split)
    packed = [np.zeros(0, np.uint8) if item.truth.mask is None else np.packbits(item.truth.mask) for item in items]
    return {
        "image_ids": ids,
        "located": np.array([item.sample.located for item in items]),
        "shapes": shapes,
        "boxes": np.concatenate([np.reshape(item.truth.boxes, (-1, 4)) for item in items]),
        "boxes_per_image": np.array([len(item.truth.boxes) for item in items]),
        "mask_bits": np.concatenate(packed),
        "mask_bytes": np.array([len(bits) for bits in packed]),
        "sha256": np.array(hashes[f"{split}_truth"]),
    }
