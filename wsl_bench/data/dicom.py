"""DICOM radiographs as 8-bit grey pixels (extra `wsl-bench[dicom]`).

pydicom reads headers and pixels: uncompressed and RLE by itself, JPEG, JPEG-LS and JPEG 2000 through pylibjpeg. The
order of steps is that of the standard (PS3.3 C.11.1, C.11.2): stored values, modality (rescale or table), window,
then polarity. Nothing that identifies a person is read into anything that is written: of the header only what
`FIELDS` names.
"""

from __future__ import annotations

import contextlib
import math
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl_bench.data.images import MOST_PIXELS
from wsl_bench.errors import DataError, UsageError

# Header fields a dataset may carry along, by the names they get.
FIELDS: Mapping[str, str] = {"view": "ViewPosition", "sex": "PatientSex", "age": "PatientAge"}
_FIX = "Replace the file, or leave it out (`run` does with --skip-corrupt)."
_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


def read_dicom(path: Path) -> npt.NDArray[np.uint8]:
    """8-bit grey pixels (H, W) of a single-frame radiograph, bright where little is let through.

    After the modality step, values are mapped onto 0 to 255 by the file's own first window, or, where it has none, by
    the range that 8 stored bits have, or else by the smallest and largest value of the image. MONOCHROME1 is
    inverted.

    Raises:
        DataError: not a DICOM file, cut off, several frames, colour, or a compression that cannot be read here.
        UsageError: pydicom is not installed.
    """
    header = _read(path, pixels=True)
    with _decoding(path, "pixels that can be decoded"):
        _refuse_other_kinds(path, header)
        return _grey(header)


def read_fields(path: Path) -> dict[str, str]:
    """Height, width and what the header says of `FIELDS`; empty text where it says nothing.

    Raises:
        DataError: not a DICOM file. UsageError: pydicom is not installed.
    """
    header = _read(path, pixels=False)
    with _decoding(path, "a DICOM file"):  # values are decoded when they are asked for
        found = {name: str(header.get(tag, "") or "").strip() for name, tag in FIELDS.items()}
        return found | {"height": str(header.get("Rows", 0)), "width": str(header.get("Columns", 0))}


def _read(path: Path, *, pixels: bool) -> Any:
    try:
        import pydicom
    except ImportError:
        raise UsageError(
            "DICOM files need pydicom, which is not installed. Install wsl-bench with its extra: wsl-bench[dicom]"
        ) from None
    tags = None if pixels else [*FIELDS.values(), "Rows", "Columns"]
    with _decoding(path, "a DICOM file"):
        syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID")
        if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:
            raise ValueError("a deflated data set, which may unpack to more than there is memory for")
        return pydicom.dcmread(path, stop_before_pixels=not pixels, specific_tags=tags)


@contextlib.contextmanager
def _decoding(path: Path, expected: str) -> Iterator[None]:
    """Without warnings, which quote values, of names too; any error is one of the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(path, expected=expected, found="no such file", fix=_FIX) from None
    except Exception as error:  # pydicom and its decoders raise many types, some on what is but missing here
        found = f"{type(error).__name__}: {_plain(error)}"
        raise DataError(path, expected=expected, found=found, fix=_FIX) from None


def _refuse_other_kinds(path: Path, header: Any) -> None:
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if frames != 1:
        raise DataError(
            path,
            expected="a single-frame radiograph",
            found=f"{frames} frames",
            fix="Save the frame to use on its own.",
        )
    kind = header.get("PhotometricInterpretation", "none")
    if kind not in _MONOCHROME or int(header.get("SamplesPerPixel", 1)) != 1:
        raise DataError(
            path, expected=f"grey pixels ({' or '.join(_MONOCHROME)})", found=f"photometric interpretation {kind}",
            fix="Only grey radiographs are read.",
        )  # fmt: skip
    if "PixelData" not in header:
        raise DataError(path, expected="pixel data", found="a header alone", fix=_FIX)


def _grey(header: Any) -> npt.NDArray[np.uint8]:
    size = int(header.Rows), int(header.Columns)
    if math.prod(size) > MOST_PIXELS:
        raise ValueError(f"{size[0]} x {size[1]} pixels, more than {MOST_PIXELS}")
    _refuse_another_size_inside(header, size)
    stored = header.pixel_array
    if stored.ndim != 2:
        raise ValueError(f"an array of shape {stored.shape}")
    grey = _to_eight_bits(header, stored)
    return 255 - grey if header.PhotometricInterpretation == "MONOCHROME1" else grey


def _refuse_another_size_inside(header: Any, size: tuple[int, int]) -> None:
    """ValueError if a JPEG or JPEG 2000 stream says another size than the header: decoders make what it says."""
    from pydicom.encaps import get_frame
    from pydicom.uid import RLELossless

    syntax = header.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated or syntax == RLELossless:
        return
    found = _coded_size(get_frame(header.PixelData, 0, number_of_frames=1))
    if found != size:
        raise ValueError(f"a stream of {found} pixels, where the header says {size}")


def _coded_size(stream: bytes) -> tuple[int, int]:
    """Height and width that a JPEG, JPEG-LS or JPEG 2000 stream says of itself."""
    if (at := stream.find(b"\xff\x4f\xff\x51")) >= 0 and not stream.startswith(b"\xff\xd8"):
        right, below, left, above = struct.unpack(">4I", stream[at + 8 : at + 24])
        return below - above, right - left
    at = 2
    while stream[at] == 0xFF:
        kind = stream[at + 1]
        if kind == 0xF7 or (0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC)):  # the header of a frame
            height, width = struct.unpack(">2H", stream[at + 5 : at + 9])
            return height, width
        at += 1 if kind == 0xFF else 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    raise ValueError("no size in the stream")


def _to_eight_bits(header: Any, stored: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_modality_lut, apply_windowing

    values = apply_modality_lut(stored, header)
    if "WindowCenter" in header and "WindowWidth" in header:
        with np.errstate(over="ignore"):  # what far below and far above the window become
            low, high = sorted(apply_windowing(np.array([-1e12, 1e12]), header, index=0))
        values = np.asarray(apply_windowing(values, header, index=0), np.float64)
    elif int(header.BitsStored) == 8 and not int(header.PixelRepresentation) and values is stored:
        return np.asarray(stored, np.uint8)
    else:
        values = np.asarray(values, np.float64)
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(stored.shape, np.uint8)
    return np.asarray(np.rint((np.clip(values, low, high) - low) / (high - low) * 255), np.uint8)


def _plain(error: Exception) -> str:
    """The first line of an error; long dumps of a header, which may name a person, stay out."""
    return str(error).splitlines()[0][:200] if str(error) else "no message"
