"""Image files: by name, and as 8-bit grey pixels."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsl_bench.errors import DataError

# What Pillow decodes itself. Others it hands to programs: an EPS, whatever its suffix, to Ghostscript.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "PPM", "WEBP", "JPEG2000")
MOST_PIXELS = 89_478_485  # Pillow's bound: a file of some bytes may declare more, and is no image then but a trap
_ORIENTATION = 0x0112  # EXIF tag


def by_stem(folder: Path, files: Iterable[Path]) -> dict[str, Path]:
    """Files by their names without the suffix, which name images.

    Raises:
        DataError: two files differ in their suffix alone.
    """
    found: dict[str, Path] = {}
    for file in files:
        if file.stem in found:
            raise DataError(
                folder, expected="one file an image", found=f"{found[file.stem].name} and {file.name}",
                fix="Remove or rename one of them.",
            )  # fmt: skip
        found[file.stem] = file
    return found


@contextlib.contextmanager
def opened(path: Path, formats: tuple[str, ...] = FORMATS) -> Iterator[Image.Image]:
    """An image file, not yet decoded, of one of these formats and of no more than MOST_PIXELS.

    Raises:
        ValueError: more pixels. Pillow raises many other types on damaged files.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below
        image = Image.open(path, formats=formats)
    with image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels, more than {MOST_PIXELS}; scale it down")
        yield image


def read_grey(path: Path) -> npt.NDArray[np.uint8]:
    """8-bit grey pixels (H, W) of an image file.

    Raises:
        DataError: the file is missing or not a readable image.
    """
    try:
        with opened(path) as image:
            if image.mode in ("I", "F") or image.mode.startswith("I;16"):
                raise ValueError(f"more than 8 bits a pixel (mode {image.mode}); convert it with a window you choose")
            if image.getexif().get(_ORIENTATION, 1) != 1:  # are the boxes those of the file or of the screen?
                raise ValueError("an EXIF rotation; save the image upright, so that boxes and pixels agree")
            return np.asarray(image.convert("L"))
    except Exception as error:  # Pillow raises many types on damaged files
        found = "no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise DataError(
            path, expected="a readable 8-bit image", found=found,
            fix="Replace the file, or leave it out (`run` and `score` do with --skip-corrupt).",
        ) from None  # fmt: skip
