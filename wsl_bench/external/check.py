"""Whether a set of maps fits a dataset: everything that is wrong is found first and told at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from wsl_bench.data.geometry import Letterbox
from wsl_bench.errors import DataError
from wsl_bench.external.read import MapSource, UnreadableMap


def check_maps(source: MapSource, wanted: Mapping[str, Letterbox], known: Iterable[str], hint: str = "") -> str:
    """Read every wanted map once and refuse the set if anything is wrong with it.

    A map covers its whole image. It has the image's size, or another of the same aspect, rounded to whole cells;
    it is brought to the image's size bilinearly.

    Args:
        wanted: the images that need a map, and their sizes.
        known: every image of the dataset; maps of others are refused, for they point at misspelt names.
        hint: a sentence to end an error with.

    Returns:
        sha256 over the names, shapes and values of the wanted maps.

    Raises:
        DataError: maps missing, unknown, unreadable, misshapen, out of range or not finite, by name.
    """
    missing = [name for name in wanted if name not in source.readers]
    extra = sorted(set(source.readers) - set(known))
    wrong: dict[str, str] = {}
    digest = hashlib.sha256()
    for name, frame in wanted.items():
        if name not in source.readers:
            continue
        try:
            scores = source.read(name)
            _check_shape(scores.shape, frame)
        except UnreadableMap as error:
            wrong[name] = str(error)
            continue
        digest.update(f"{name}\0{scores.shape}\0".encode() + scores.tobytes())
    found = []
    if missing:
        found.append(f"no map for {len(missing)} images: {', '.join(missing)}")
    if extra:
        found.append(f"{len(extra)} maps of images that the dataset does not have: {', '.join(extra)}")
    found += [f"{name}: {reason}" for name, reason in wrong.items()]
    if found:
        raise DataError(
            source.where, expected=f"one map in [0, 1] for each of {len(wanted)} images",
            found="\n- ".join(["", *found]).lstrip(" "), fix=f"\nCorrect this; nothing was scored.{hint}",
        )  # fmt: skip
    return digest.hexdigest()


def _check_shape(shape: tuple[int, ...], frame: Letterbox) -> None:
    (h, w), (height, width) = shape, (frame.height, frame.width)
    # One axis given, the other must be what the aspect asks for, rounded up or down.
    if abs(h * width / height - w) > 0.5 and abs(w * height / width - h) > 0.5:
        raise UnreadableMap(f"expected the shape {(height, width)} of its image, or its aspect, found {shape}")
