"""Decode a dataset once: letterboxed images, labels and ground truth, hashed, kept as plain arrays.

Workers read the arrays; nothing is pickled. The weak part and the ground truth of each split lie
in files of their own, so that a training opens no file with ground truth in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.samples import SPLITS, Dataset, Sample, Split, Truth
from wsl_bench.data.splits import Manifest, check_classes, make_manifest
from wsl_bench.data.views import TruthView, WeakView, truth_sha256
from wsl_bench.errors import DataError, StoreError
from wsl_bench.metrics.truth import boxes_from_mask
from wsl_bench.source import source_sha256
from wsl_bench.store.atomic import atomic_write, write_arrays
from wsl_bench.versions import versions

NO_TRUTH = Truth(np.zeros((0, 4)))


@dataclass(frozen=True)
class PreparedDataset:
    """A decoded dataset on disk.

    Attributes:
        folder: where the arrays lie.
        manifest: every sample and its split.
        image_size: side of the square input.
        hashes: sha256 by part: manifest, train, val, test (weak), val_truth, test_truth.
        n_boxes: ground-truth boxes of val and test.
        skipped: images left out as corrupt, with the reason.
        duplicates: (image, image in an earlier split) pairs whose stored pixels are equal.
        remarks: what the dataset says of itself.
    """

    folder: Path
    manifest: Manifest
    image_size: int
    hashes: dict[str, str]
    n_boxes: dict[Split, int]
    skipped: dict[str, str]
    duplicates: list[tuple[str, str]]
    remarks: list[str]

    def n_located(self, split: Split) -> int:
        """Located images of a split."""
        return sum(s.located for s in self.manifest.of(split))


def prepare(
    name: str,
    dataset: Dataset,
    image_size: int,
    root: Path,
    *,
    skip_corrupt: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PreparedDataset:
    """Decode `dataset` into a folder below `root`, named by its content.

    Args:
        name: what errors call the dataset.
        image_size: side of the square input, pixels.
        skip_corrupt: leave out images that cannot be read, and list them, instead of refusing.
        progress: called with (images done, images in all).

    Raises:
        DataError: a corrupt image or a split that breaks the protocol.
    """
    manifest = make_manifest(name, dataset.samples())
    decoded, skipped = _decode(dataset, manifest.samples, image_size, skip_corrupt, progress)
    manifest = replace(manifest, samples=tuple(item.sample for item in decoded))
    check_classes(name, manifest.samples)  # once more, for what was skipped
    by_id = {item.sample.image_id: item for item in decoded}
    parts = {split: [by_id[s.image_id] for s in manifest.of(split)] for split in SPLITS}
    hashes = {"manifest": manifest.sha256()}
    for split, items in parts.items():
        hashes[split] = _weak_sha256(items)
        if split == "train":
            continue
        hashes[f"{split}_truth"] = truth_sha256(
            [i.sample.image_id for i in items], [i.sample.located for i in items], [i.truth for i in items]
        )
    # By pixels alone: the ids of two splits always differ, and so do their hashes.
    if sorted(i.pixels_sha256 for i in parts["val"]) == sorted(i.pixels_sha256 for i in parts["test"]):
        raise DataError(
            name, expected="validation images other than the test images",
            found="the same images in both splits under other ids",
            fix="Give the test split images of its own.",
        )  # fmt: skip
    # The hashes are of stored pixels; how these become squares is this package's and Pillow's doing.
    made_by = [source_sha256("data"), versions()["pillow"]]
    whole = hashlib.sha256(json.dumps([hashes, image_size, made_by], sort_keys=True).encode()).hexdigest()
    folder = root / whole[:16]
    if not (folder / "hashes.json").is_file():
        _write(folder, parts, hashes)
    n_boxes = {split: sum(len(i.truth.boxes) for i in items) for split, items in parts.items()}
    return PreparedDataset(
        folder, manifest, image_size, hashes, n_boxes, skipped, _duplicates(parts), dataset.remarks()
    )


def load_weak(folder: Path, split: Split) -> WeakView:
    """The weak view of one split, from a prepared folder.

    Raises:
        StoreError: the file is damaged.
    """
    with _arrays(folder / f"{split}.npz") as arrays:
        size, images = int(arrays["size"]), arrays["images"]
        frames = tuple(Letterbox.fit(int(h), int(w), size) for h, w in arrays["shapes"])
        names, groups, labels = arrays["image_ids"], arrays["groups"], arrays["labels"].astype(np.int64)
        if not names.shape == groups.shape == labels.shape == (len(frames),) or not set(labels.tolist()) <= {0, 1}:
            raise ValueError("ids, groups, labels and shapes that do not fit each other")
        if images.shape != (len(frames), size, size) or images.dtype != np.uint8:
            raise ValueError(f"images of {images.dtype} {images.shape}")
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


@contextlib.contextmanager
def _arrays(path: Path) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """The arrays of a prepared file; whatever goes wrong in reading them is told as damage of the file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except Exception as error:  # numpy and zipfile raise many types
        raise StoreError(
            f"{path}: expected the arrays of a prepared split, found {type(error).__name__}: {error}. "
            f"Remove the folder {path.parent}; the same command prepares it again."
        ) from None


@dataclass(frozen=True)
class _Decoded:
    sample: Sample
    image: npt.NDArray[np.uint8]
    pixels_sha256: bytes
    truth: Truth


def _decode(
    dataset: Dataset,
    samples: Sequence[Sample],
    image_size: int,
    skip_corrupt: bool,
    progress: Callable[[int, int], None],
) -> tuple[list[_Decoded], dict[str, str]]:
    decoded: list[_Decoded] = []
    skipped: dict[str, str] = {}
    for done, sample in enumerate(samples):
        try:
            decoded.append(_decode_one(dataset, sample, image_size))
        except DataError as error:
            if not skip_corrupt:
                raise
            skipped[sample.image_id] = str(error)
        progress(done + 1, len(samples))
    return decoded, skipped


def _decode_one(dataset: Dataset, sample: Sample, image_size: int) -> _Decoded:
    # A training's images need no ground truth, so theirs is not even read.
    wants_truth = sample.located and sample.split != "train"
    pixels = np.ascontiguousarray(dataset.image(sample))
    shape = (sample.height, sample.width)
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise DataError(
            f"image {sample.image_id!r}", expected=f"uint8 pixels of height x width {shape}",
            found=f"{pixels.dtype} of shape {pixels.shape}", fix="Correct the size in the label table.",
        )  # fmt: skip
    truth = _read_truth(dataset, sample) if wants_truth else NO_TRUTH
    square = Letterbox.fit(*shape, image_size).apply(pixels)
    details = dataset.details(sample)
    sample = replace(sample, metadata=sample.metadata | details) if details else sample
    return _Decoded(sample, square, hashlib.sha256(pixels.tobytes()).digest(), truth)


def _read_truth(dataset: Dataset, sample: Sample) -> Truth:
    """Ground truth of a located image; a mask without boxes gets the boxes of its components."""
    truth = dataset.truth(sample)
    shape = (sample.height, sample.width)
    where = f"ground truth of image {sample.image_id!r}"
    if truth.mask is not None and truth.mask.shape != shape:
        raise DataError(
            where, expected=f"a mask of height x width {shape}", found=f"{truth.mask.shape}",
            fix="Masks have the size of their image.",
        )  # fmt: skip
    if truth.mask is not None and not len(truth.boxes):
        truth = Truth(boxes_from_mask(truth.mask), truth.mask)
    if not len(truth.boxes):
        raise DataError(
            where, expected="at least one box or a mask that is not empty", found="none",
            fix="Set has_boxes to 0 for images without ground truth.",
        )  # fmt: skip
    if not truth.pixels(*shape).any():
        raise DataError(
            where, expected="at least one pixel whose centre is inside", found="none: outside or too thin",
            fix="Correct the boxes, or set has_boxes to 0.",
        )  # fmt: skip
    return truth


def _duplicates(parts: dict[Split, list[_Decoded]]) -> list[tuple[str, str]]:
    """Images that lie in two splits under two names: the group column did not know."""
    found, seen = [], dict[bytes, str]()
    for split in SPLITS:
        found += [(i.sample.image_id, seen[i.pixels_sha256]) for i in parts[split] if i.pixels_sha256 in seen]
        seen |= {i.pixels_sha256: i.sample.image_id for i in parts[split]}
    return found


def _weak_sha256(items: Sequence[_Decoded]) -> str:
    digest = hashlib.sha256()
    for item in items:
        s = item.sample
        digest.update(f"{s.image_id}\0{s.group}\0{s.label}\0{s.height}\0{s.width}\0".encode())
        digest.update(item.pixels_sha256)
    return digest.hexdigest()


def _write(folder: Path, parts: dict[Split, list[_Decoded]], hashes: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
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
                "images": np.stack([item.image for item in items]),
                "size": np.array(items[0].image.shape[0]),
                "shapes": shapes,
                "sha256": np.array(hashes[split]),
            },
        )
        if split != "train":
            write_arrays(folder / f"{split}-truth.npz", _truth_arrays(items, ids, shapes, hashes))
    atomic_write(folder / "hashes.json", json.dumps(hashes, sort_keys=True).encode())


def _truth_arrays(
    items: Sequence[_Decoded],
    ids: npt.NDArray[np.str_],
    shapes: npt.NDArray[np.int64],
    hashes: dict[str, str],
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
