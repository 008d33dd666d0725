"""Twins: drawn radiographs in place of a dataset's images, in its publisher's layout, from its real label table.

They let a whole study be rehearsed and measured, files and all, where the images themselves are not at hand. A box of
the table becomes a lesion of that place and size on a phantom patient; an image without a box is a healthy patient.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from wsl_bench.data.tables import Row, rows_of, text_lines
from wsl_bench.errors import DataError, UsageError
from wsl_bench.processes import in_order
from wsl_bench.store.atomic import atomic_write, make_folder

NOTICE = "TWIN.txt"
_MOST_BYTES = 2**28  # of a table; the largest published one has 8 MB
_SEED = 7_000_000  # of the patients: none of them is one of the embedded phantom's


@dataclass(frozen=True)
class TwinImage:
    """One image to draw.

    Attributes:
        file: where; written as DICOM with baseline JPEG.
        number: of the patient drawn.
        boxes: x, y, width, height, as fractions of the image side; none for a healthy patient.
        fields: of the DICOM header, by their DICOM names.
    """

    file: Path
    number: int
    boxes: tuple[tuple[float, ...], ...]
    fields: Mapping[str, Any] = field(default_factory=dict)


def read_published(path: Path, columns: Sequence[str]) -> list[Row]:
    """Rows of a published table, plain or as the one file of a .zip or in a .gz.

    Raises:
        DataError: see `read_rows`.
    """
    try:
        with _unpacked(path) as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes, unpacked")
        return rows_of(path, text_lines(io.StringIO(content.decode("utf-8-sig"), newline="")), columns)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(path, expected="a CSV table", found="no such file", fix="Correct the path.") from None
    except Exception as error:  # zipfile, gzip and zlib raise many types on damaged files
        raise DataError(
            path, expected="a CSV table, plain, .zip or .gz", found=str(error), fix="Download it again."
        ) from None


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise ValueError(f"{len(names)} files in the archive, where one is expected")
            with archive.open(names[0]) as file:
                yield file
    else:
        with cast(IO[bytes], gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as file:
            yield file


def open_output(output: Path, size: int, tables: Sequence[Path | None]) -> None:
    """Make the folder of a twin, or go on in one of the same size and tables; its notice says what it is.

    Raises:
        UsageError: a file, or a folder with something else in it.
    """
    notice = (
        f"Drawn radiographs of {size} x {size} pixels in the layout of a published dataset (wslbench twin). Labels and "
        "boxes are the published ones; no pixel is of a patient.\n"
    )
    for table in filter(None, tables):
        notice += f"Drawn from {table.name}, sha256 {hashlib.sha256(table.read_bytes()).hexdigest()}.\n"
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: expected a folder, found a file.")
    if output.is_dir() and any(output.iterdir()):
        found = (output / NOTICE).read_text(encoding="utf-8") if (output / NOTICE).is_file() else "other files"
        if found != notice:
            raise UsageError(f"--output {output}: expected a new or empty folder or this twin begun, found: {found}")
    make_folder(output.absolute())
    atomic_write(output / NOTICE, notice.encode())


def write_images(images: Sequence[TwinImage], size: int, n_workers: int, progress: Callable[[int, int], None]) -> None:
    """Draw and write the images that are not there yet.

    Args:
        size: side of the images, pixels.
        progress: called with (images there, images in all).

    Raises:
        UsageError: pydicom is missing, or a worker was ended.
    """
    if importlib.util.find_spec("pydicom") is None:
        raise UsageError("DICOM files need pydicom. Install wsl-bench with its extra: wsl-bench[dicom]")
    todo = [image for image in images if not image.file.is_file()]
    for folder in sorted({image.file.parent for image in todo}):
        make_folder(folder)
    done = len(images) - len(todo)
    try:
        for _ in in_order(partial(_write_chunk, size=size), todo, n_workers):
            done += 1
            progress(done, len(images))
    except BrokenProcessPool:
        raise UsageError("a process that draws images was ended; the same command continues.") from None


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table as its publisher would."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    atomic_write(path, out.getvalue().encode())


def _write_chunk(images: Sequence[TwinImage], size: int) -> list[None]:
    from wsl_bench.data.radiograph import scene

    for image in images:
        pixels = scene.render_at(_SEED, image.number, size, np.array(image.boxes, np.float64).reshape(-1, 4))
        atomic_write(image.file, as_dicom(pixels, image.fields))
    return [None] * len(images)


def as_dicom(pixels: npt.NDArray[np.uint8], fields: Mapping[str, Any]) -> bytes:
    """A secondary-capture file of one 8-bit frame in baseline JPEG, as those of the RSNA challenge."""
    from PIL import Image
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage, generate_uid

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    uid = generate_uid(entropy_srcs=[str(fields.get("PatientID", "")), "twin"])
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid
    data.Modality, data.ConversionType, data.BodyPartExamined = "CR", "WSD", "CHEST"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    for name, value in fields.items():
        setattr(data, name, value)
    coded = io.BytesIO()
    Image.fromarray(pixels).save(coded, "JPEG", quality=90)
    data.PixelData = encapsulate([coded.getvalue()])
    data["PixelData"].is_undefined_length = True
    out = io.BytesIO()
    data.save_as(out, enforce_file_format=True)
    return out.getvalue()
