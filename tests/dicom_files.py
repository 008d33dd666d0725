"""DICOM files as radiographs come in, written for tests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless, generate_uid

NAME = "Doe^Jane^Secret"


def radiograph(stored: npt.NDArray[Any], *, bits: int | None = None, **fields: Any) -> Dataset:
    """A DICOM data set with these stored values; fields of None are left out."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid(entropy_srcs=["test"])
    data.PatientName, data.PatientID = NAME, "0001"
    data.PatientSex, data.PatientAge, data.ViewPosition = "F", "051Y", "PA"
    data.Modality, data.PhotometricInterpretation, data.SamplesPerPixel = "CR", "MONOCHROME2", 1
    data.Rows, data.Columns = stored.shape[-2:]
    data.BitsAllocated = 8 * stored.dtype.itemsize
    data.BitsStored = bits or data.BitsAllocated
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(stored.dtype.kind == "i")
    data.PixelData = stored.tobytes()
    for name, value in fields.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    return data


def save(data: Dataset, path: Path) -> Path:
    """Write it as a file of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def rle(stored: npt.NDArray[Any], **fields: Any) -> Dataset:
    """Run-length coded."""
    data = radiograph(stored, **fields)
    data.compress(RLELossless, encoding_plugin="pydicom")
    return data


def jpeg_2000(stored: npt.NDArray[Any], **fields: Any) -> Dataset:
    """JPEG 2000, lossless, coded by Pillow."""
    coded = io.BytesIO()
    Image.fromarray(stored).save(coded, "JPEG2000", no_jp2=True, irreversible=False)
    return _encapsulated(radiograph(stored, **fields), JPEG2000Lossless, coded)


def jpeg(stored: npt.NDArray[np.uint8], quality: int = 95, **fields: Any) -> Dataset:
    """Baseline JPEG, as the files of the RSNA challenge."""
    coded = io.BytesIO()
    Image.fromarray(stored).save(coded, "JPEG", quality=quality)
    return _encapsulated(radiograph(stored, **fields), JPEGBaseline8Bit, coded)


def _encapsulated(data: Dataset, syntax: str, coded: io.BytesIO) -> Dataset:
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate([coded.getvalue()])
    data["PixelData"].is_undefined_length = True
    return data
