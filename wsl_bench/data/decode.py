"""Decode the images of a dataset, once: what a folder of decoded images holds already is not read again.

An image counts as held if its file looks as it did (size and times), or, where only the times differ, has the same
sha256. What is decoded is on the device every few hundred images, so an interrupted call loses no more than that.
"""

from __future__ import annotations

import hashlib
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wsl_bench.data.decoded import DecodedImages, Entry, Source
from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.rows import Pixels
from wsl_bench.data.samples import Dataset, Sample
from wsl_bench.errors import DataError, UsageError
from wsl_bench.processes import in_order

_FLUSHED = 256  # images between two flushes to the device
_FEW, _FEW_DRAWN = 200, 5000  # files, and images drawn, that are done sooner than workers have started
Outcome = tuple[Entry, Pixels] | DataError


@dataclass(frozen=True)
class How:
    """How images are decoded. Only `skip_corrupt` reaches results: by which images there are.

    Attributes:
        n_workers: processes; 1 decodes in this one.
        registered: name and parameters by which workers find the dataset; None: only this process has it.
        skip_corrupt: leave out images that cannot be read, instead of refusing.
        progress: called with (images done, images in all).
        say: called with what the user should know: the room that is needed, files that have changed.
    """

    n_workers: int = 1
    registered: tuple[str, Mapping[str, Any]] | None = None
    skip_corrupt: bool = False
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)
    say: Callable[[str], None] = field(default=lambda text: None)


def decode(
    dataset: Dataset, samples: Sequence[Sample], size: int, images: DecodedImages, how: How
) -> tuple[dict[str, Entry], dict[str, str]]:
    """See to it that every sample's image lies in `images`.

    Args:
        size: side of the square input, pixels.

    Returns:
        The entry of each image, and what was left out as corrupt, with the reason; by image id.

    Raises:
        DataError: a corrupt image. UsageError: no room, images missing where none can be added, or a worker that was
            ended.
    """
    held = _held(dataset, samples, images, how)
    todo = [sample for sample in samples if sample.image_id not in held]
    kept = bool(todo) and dataset.source(todo[0]) is not None
    if images.read_only is None:
        _check_room(len(todo), size, images.pixels, how.say if kept else None)
    skipped: dict[str, str] = {}
    waiting: list[tuple[Entry, Pixels]] = []
    try:
        for done, (sample, outcome) in enumerate(zip(todo, _outcomes(dataset, todo, size, how), strict=True)):
            if isinstance(outcome, DataError):
                if not how.skip_corrupt:
                    raise outcome
                skipped[sample.image_id] = str(outcome)
            elif images.read_only is not None:
                raise UsageError(
                    f"{images.pixels.parent}: expected all {len(samples):,} images decoded, as none can be added there "
                    f"({images.read_only}); found {sample.image_id!r} missing or changed. Name a folder of your own "
                    "with WSLBENCH_CACHE."
                )
            else:
                waiting.append(outcome)
            if len(waiting) == _FLUSHED:
                images.add(waiting)
                waiting = []
            how.progress(len(held) + done + 1, len(samples))
    finally:  # an interrupted call keeps what it has
        if waiting:
            images.add(waiting)
    found = {s.image_id: images.entries[s.image_id] for s in samples if s.image_id not in skipped}
    return found, skipped


def _held(dataset: Dataset, samples: Sequence[Sample], images: DecodedImages, how: How) -> set[str]:
    """Images that need no decoding; says how many files have changed since they were decoded."""
    held, changed, refreshed = set[str](), 0, []
    for sample in samples:
        entry = images.entries.get(sample.image_id)
        path = dataset.source(sample)
        if entry is None or entry.source is None or path is None:
            continue
        if (entry.height, entry.width) != (sample.height, sample.width):
            continue  # the table says another size now, which is checked on decoding
        try:
            if entry.source.is_now(path, path.stat()):
                held.add(sample.image_id)
            elif (now := _source(path)).sha256 == entry.source.sha256:
                held.add(sample.image_id)
                refreshed.append(replace(entry, source=now))
            else:
                changed += 1
        except OSError:  # not there any more: decoding says so
            continue
    if refreshed:
        images.note(refreshed)
    if changed and images.read_only is None:
        how.say(f"{changed} of {len(samples)} image files have changed since they were decoded; decoded again.")
    return held


def _check_room(n: int, size: int, file: Path, say: Callable[[str], None] | None) -> None:
    """Say what the images will take, and refuse what does not fit."""
    place = next(folder for folder in file.parents if folder.is_dir())
    need, free = n * size**2, shutil.disk_usage(place).free
    if say is not None:
        say(f"{n:,} images to decode to {size} x {size} pixels: {need / 1e9:.2f} GB in {file.parent}, "
            f"{free / 1e9:.1f} GB free.")  # fmt: skip
    if free < need:
        raise UsageError(
            f"{file.parent}: expected {need / 1e9:.2f} GB of room for {n:,} decoded images, found {free / 1e9:.2f} "
            "GB. Make room, choose another place with WSLBENCH_CACHE, or a smaller --image-size."
        )


def _outcomes(dataset: Dataset, samples: Sequence[Sample], size: int, how: How) -> Iterator[Outcome]:
    """What becomes of each sample, in order."""
    few = _FEW if samples and dataset.source(samples[0]) is not None else _FEW_DRAWN
    if how.n_workers == 1 or how.registered is None or len(samples) < few:
        return (_outcome(dataset, sample, size) for sample in samples)
    return _by_workers(samples, size, how.n_workers, how.registered)


def _by_workers(
    samples: Sequence[Sample], size: int, n_workers: int, registered: tuple[str, Mapping[str, Any]]
) -> Iterator[Outcome]:
    try:
        yield from in_order(
            partial(_decode_chunk, size=size), samples, n_workers, start=partial(_open_dataset, *registered)
        )
    except BrokenProcessPool:
        raise UsageError(
            "a process that decodes images was ended, by the system if memory was short. What was decoded is kept; "
            "the same command continues."
        ) from None


_opened: Dataset | Exception  # of a worker


def _open_dataset(name: str, values: Mapping[str, Any]) -> None:
    from wsl_bench import params, registry

    global _opened
    try:
        _opened = params.build(registry.discover("dataset").get(name).cls, name, values)
    except Exception as error:  # told by the first chunk: in here it would look as if the worker had been ended
        _opened = error


def _decode_chunk(samples: Sequence[Sample], size: int) -> list[Outcome]:
    if isinstance(_opened, Exception):
        raise _opened
    return [_outcome(_opened, sample, size) for sample in samples]


def _outcome(dataset: Dataset, sample: Sample, size: int) -> Outcome:
    try:
        return _decode_one(dataset, sample, size)
    except DataError as error:
        return error


def _decode_one(dataset: Dataset, sample: Sample, size: int) -> tuple[Entry, Pixels]:
    path = dataset.source(sample)
    try:
        source = None if path is None else _source(path)
    except OSError:  # `image` says what is wrong with the file
        source = None
    pixels = np.ascontiguousarray(dataset.image(sample))
    shape = (sample.height, sample.width)
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise DataError(
            f"image {sample.image_id!r}", expected=f"uint8 pixels of height x width {shape}",
            found=f"{pixels.dtype} of shape {pixels.shape}", fix="Correct the size that the dataset gives.",
        )  # fmt: skip
    square = Letterbox.fit(*shape, size).apply(pixels)
    sha256 = hashlib.sha256(pixels.tobytes()).hexdigest()
    return Entry(sample.image_id, *shape, sha256, zlib.crc32(square.tobytes()), dataset.details(sample), source), square


def _source(path: Path) -> Source:
    status = path.stat()
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(str(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ctime_ns, sha256)
