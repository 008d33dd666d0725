"""Prepare a dataset: its manifest, its images decoded, its ground truth read and checked, all of it hashed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from wsl_bench.data.decode import How, decode
from wsl_bench.data.decoded import INDEX, PIXELS, DecodedImages
from wsl_bench.data.prepared import Item, write_prepared
from wsl_bench.data.samples import SPLITS, Dataset, Sample, Split, Truth
from wsl_bench.data.splits import Manifest, check_classes, make_manifest
from wsl_bench.data.views import truth_sha256
from wsl_bench.errors import DataError, UsageError
from wsl_bench.metrics.truth import boxes_from_mask
from wsl_bench.source import source_sha256
from wsl_bench.store.atomic import make_folder
from wsl_bench.versions import versions

NO_TRUTH = Truth(np.zeros((0, 4)))


@dataclass(frozen=True)
class Counts:
    """What is in one split; boxes are None where they are not read (train)."""

    images: int
    groups: int
    positives: int
    negatives: int
    located: int
    boxes: int | None


@dataclass(frozen=True)
class PreparedDataset:
    """A decoded dataset on disk.

    Attributes:
        folder: where its tables lie.
        pixels: the file of its images.
        manifest: every sample and its split.
        image_size: side of the square input.
        hashes: sha256 by part: manifest, train, val, test (weak), val_truth, test_truth.
        n_boxes: ground-truth boxes of val and test.
        skipped: images left out as corrupt, with the reason.
        duplicates: (image, image in an earlier split) pairs whose stored pixels are equal.
        remarks: what the dataset says of itself.
    """

    folder: Path
    pixels: Path
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

    def counts(self) -> dict[Split, Counts]:
        """Images, groups, labels and boxes by split."""
        found = {}
        for split in SPLITS:
            samples = self.manifest.of(split)
            positives = sum(s.label for s in samples)
            found[split] = Counts(
                len(samples), len({s.group for s in samples}), positives, len(samples) - positives,
                self.n_located(split), None if split == "train" else self.n_boxes[split],
            )  # fmt: skip
        return found


def prepare(
    name: str, dataset: Dataset, image_size: int, root: Path, *, cache: Path | None = None, how: How | None = None
) -> PreparedDataset:
    """Prepare `dataset` in a folder below `root`, named by its content.

    Args:
        name: what errors call the dataset.
        image_size: side of the square input, pixels.
        cache: folder of images of this dataset and size that were decoded before, and to which others are added
            where it takes any; None, or a dataset whose images are no files: they are decoded into the prepared
            folder itself.
        how: by how many processes, and the like.

    Raises:
        DataError: a corrupt image or a split that breaks the protocol. UsageError: no room for the images, or none
            can be added where some are missing.
    """
    manifest = make_manifest(name, dataset.samples())
    # By split: so the images of one split lie together in a file made in one go.
    samples = [sample for split in SPLITS for sample in manifest.of(split)]
    own = cache is None or dataset.source(samples[0]) is None
    how = how or How()
    with _decoded(root, None if own else cache, image_size, how.say) as images:
        items, skipped = _items(dataset, samples, image_size, images, how)
        parts = {split: [item for item in items if item.sample.split == split] for split in SPLITS}
        kept = {item.sample.image_id: item.sample for item in items}
        manifest = replace(manifest, samples=tuple(kept[s.image_id] for s in manifest.samples if s.image_id in kept))
        check_classes(name, manifest.samples)  # once more, for what was skipped
        hashes = _hashes(manifest, parts)
        _refuse_same_images(name, parts)
        folder = root / _folder_name(hashes, image_size, None if own else images.pixels, items)
        if not (folder / "hashes.json").is_file():
            make_folder(folder)
            if own:
                images.pixels.replace(folder / PIXELS)
            write_prepared(folder, parts, image_size, PIXELS if own else str(images.pixels), hashes)
    n_boxes = {split: sum(len(item.truth.boxes) for item in parts[split]) for split in SPLITS}
    pixels = folder / PIXELS if own else images.pixels
    return PreparedDataset(
        folder, pixels, manifest, image_size, hashes, n_boxes, skipped, _duplicates(parts), dataset.remarks()
    )


@contextlib.contextmanager
def _decoded(root: Path, cache: Path | None, size: int, say: Callable[[str], None]) -> Iterator[DecodedImages]:
    """Decoded images to add to: those of the cache, to which nobody else adds meanwhile, or new ones for a while."""
    if cache is not None:
        with _locked(cache, say) as refused:
            yield DecodedImages(cache.absolute(), size, read_only=refused)
        return
    make_folder(root)
    folder = Path(tempfile.mkdtemp(prefix=".decoding-", dir=root))
    try:
        yield DecodedImages(folder, size)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(cache: Path, say: Callable[[str], None]) -> Iterator[str | None]:
    """See to it that nobody else adds to a folder; where there are images, and none can be added, why."""
    lock, refused = FileLock(cache / ".lock"), None
    try:
        make_folder(cache)
        try:
            lock.acquire(timeout=1)
        except Timeout:
            say("another process is decoding these images; waiting for it.")
            lock.acquire()
    except OSError as error:
        # There to be read: somebody else's, shared on a cluster, or a medium that takes no files.
        if not all(os.access(cache / name, os.R_OK) for name in (INDEX, PIXELS)):
            raise UsageError(
                f"{cache}: decoded images cannot be kept there ({error.strerror}). Name a folder of your own with "
                "WSLBENCH_CACHE."
            ) from None
        refused = error.strerror or str(error)
    try:
        yield refused
    finally:
        lock.release()


def _items(
    dataset: Dataset, samples: Sequence[Sample], size: int, images: DecodedImages, how: How
) -> tuple[list[Item], dict[str, str]]:
    """Every sample with its decoded image and its ground truth, and what was left out as corrupt."""
    entries, skipped = decode(dataset, samples, size, images, how)
    items = []
    for sample in samples:
        entry = entries.get(sample.image_id)
        if entry is None:
            continue
        try:
            # A training's images need no ground truth, so theirs is not even read.
            truth = _read_truth(dataset, sample) if sample.located and sample.split != "train" else NO_TRUTH
        except DataError as error:
            if not how.skip_corrupt:
                raise
            skipped[sample.image_id] = str(error)
            continue
        known = replace(sample, metadata=sample.metadata | entry.details) if entry.details else sample
        items.append(Item(known, entry, truth))
    return items, skipped


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


def _hashes(manifest: Manifest, parts: Mapping[Split, Sequence[Item]]) -> dict[str, str]:
    hashes = {"manifest": manifest.sha256()}
    for split, items in parts.items():
        hashes[split] = _weak_sha256(items)
        if split != "train":
            ids, located = [i.sample.image_id for i in items], [i.sample.located for i in items]
            hashes[f"{split}_truth"] = truth_sha256(ids, located, [i.truth for i in items])
    return hashes


def _weak_sha256(items: Sequence[Item]) -> str:
    digest = hashlib.sha256()
    for item in items:
        s = item.sample
        digest.update(f"{s.image_id}\0{s.group}\0{s.label}\0{s.height}\0{s.width}\0".encode())
        digest.update(bytes.fromhex(item.entry.pixels_sha256))
    return digest.hexdigest()


def _refuse_same_images(name: str, parts: Mapping[Split, Sequence[Item]]) -> None:
    # By pixels alone: the ids of two splits always differ, and so do their hashes.
    val, test = (sorted(item.entry.pixels_sha256 for item in parts[split]) for split in SPLITS[1:])
    if val == test:
        raise DataError(
            name, expected="validation images other than the test images",
            found="the same images in both splits under other ids",
            fix="Give the test split images of its own.",
        )  # fmt: skip


def _folder_name(hashes: Mapping[str, str], size: int, pixels: Path | None, items: Sequence[Item]) -> str:
    """By the content, by what makes squares of stored pixels, and by where in a shared file they lie."""
    made_by = [source_sha256("data"), versions()["pillow"]]
    content: list[object] = [hashes, size, made_by]
    if pixels is not None:
        content += [str(pixels), [item.entry.row for item in items]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _duplicates(parts: Mapping[Split, Sequence[Item]]) -> list[tuple[str, str]]:
    """Images that lie in two splits under two names: the group column did not know."""
    found, seen = [], dict[str, str]()
    for split in SPLITS:
        ids = [(item.sample.image_id, item.entry.pixels_sha256) for item in parts[split]]
        found += [(name, seen[pixels]) for name, pixels in ids if pixels in seen]
        seen |= {pixels: name for name, pixels in ids}
    return found
