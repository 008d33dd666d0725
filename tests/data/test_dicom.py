"""DICOM radiographs: what is stored becomes the grey that a reader would see."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SHARED_DATA, run_python
from dicom_files import NAME, jpeg, jpeg_2000, radiograph, rle, save
from PIL import Image

from wsl_bench.data.dicom import read_dicom, read_fields
from wsl_bench.errors import DataError

DRAW = np.random.default_rng(0)
EIGHT = DRAW.integers(0, 256, (24, 20), dtype=np.uint8)
TWELVE = DRAW.integers(100, 4000, (24, 20)).astype(np.uint16)
SIGNED = DRAW.integers(-1000, 2000, (24, 20)).astype(np.int16)


@pytest.mark.parametrize("code", [radiograph, rle, jpeg_2000], ids=["plain", "rle", "jpeg 2000"])
def test_eight_bits_come_back_as_they_are(code: Callable[..., Any], tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_dicom(save(code(EIGHT), tmp_path / "a.dcm")), EIGHT)
    inverted = save(code(EIGHT, PhotometricInterpretation="MONOCHROME1"), tmp_path / "b.dcm")
    np.testing.assert_array_equal(read_dicom(inverted), 255 - EIGHT)


def test_baseline_jpeg_is_what_another_decoder_makes_of_it(tmp_path: Path) -> None:
    smooth = np.asarray(np.add.outer(np.arange(40) * 3, np.arange(48) * 2), np.uint8)
    coded = io.BytesIO()
    Image.fromarray(smooth).save(coded, "JPEG", quality=95)
    expected = np.asarray(Image.open(coded))
    found = read_dicom(save(jpeg(smooth), tmp_path / "a.dcm"))
    assert np.abs(found.astype(int) - expected).max() <= 1  # decoders may round a cosine either way


@pytest.mark.parametrize("code", [radiograph, rle, jpeg_2000], ids=["plain", "rle", "jpeg 2000"])
def test_more_bits_without_a_window_fill_the_range(code: Callable[..., Any], tmp_path: Path) -> None:
    low, high = int(TWELVE.min()), int(TWELVE.max())
    expected = np.rint((TWELVE.astype(float) - low) / (high - low) * 255)
    np.testing.assert_array_equal(read_dicom(save(code(TWELVE, bits=12), tmp_path / "a.dcm")), expected)


def test_a_window_is_applied_after_the_rescale(tmp_path: Path) -> None:
    fields = {"RescaleSlope": 2, "RescaleIntercept": -500, "WindowCenter": 1000, "WindowWidth": 801}
    found = read_dicom(save(radiograph(SIGNED, **fields), tmp_path / "a.dcm"))
    # PS3.3 C.11.2.1.2.1, by hand: 600 and less is black, more than 1400 white.
    value = SIGNED.astype(float) * 2 - 500
    expected = np.clip(((value - 999.5) / 800 + 0.5) * 255, 0, 255)
    np.testing.assert_allclose(found, expected, atol=0.51)
    assert (found[value <= 599.5] == 0).all()
    assert (found[value > 1399.5] == 255).all()
    turned = read_dicom(save(radiograph(SIGNED, PhotometricInterpretation="MONOCHROME1", **fields), tmp_path / "b.dcm"))
    np.testing.assert_array_equal(turned, 255 - found)


def test_the_first_of_several_windows_counts(tmp_path: Path) -> None:
    one = {"WindowCenter": 2000, "WindowWidth": 1000}
    several = {"WindowCenter": [2000, 500], "WindowWidth": [1000, 100]}
    found = [
        read_dicom(save(radiograph(TWELVE, bits=12, **w), tmp_path / f"{i}.dcm")) for i, w in enumerate((one, several))
    ]
    np.testing.assert_array_equal(*found)
    assert 0 < found[0].mean() < 255


def test_eight_bits_with_a_rescale_are_rescaled(tmp_path: Path) -> None:
    found = read_dicom(save(radiograph(EIGHT, RescaleSlope=-1, RescaleIntercept=255), tmp_path / "a.dcm"))
    low, high = 255 - int(EIGHT.max()), 255 - int(EIGHT.min())
    np.testing.assert_array_equal(found, np.rint((255.0 - EIGHT - low) / (high - low) * 255))


def test_a_constant_image_is_black_and_no_error(tmp_path: Path) -> None:
    found = read_dicom(save(radiograph(np.full((5, 6), 700, np.uint16), bits=12), tmp_path / "a.dcm"))
    assert found.dtype == np.uint8
    assert not found.any()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: radiograph(np.zeros((3, 4, 5), np.uint8), NumberOfFrames=3), "found 3 frames"),
        (lambda: radiograph(EIGHT, PhotometricInterpretation="RGB"), "photometric interpretation RGB"),
        (lambda: radiograph(EIGHT, PhotometricInterpretation=None), "photometric interpretation none"),
        (lambda: radiograph(EIGHT, PixelData=None), "a header alone"),
        (lambda: radiograph(EIGHT, Rows=None), "expected pixels that can be decoded"),
        (lambda: radiograph(EIGHT, BitsStored=None), "expected pixels that can be decoded"),
        (lambda: radiograph(EIGHT, PixelData=EIGHT.tobytes()[:-50]), "expected pixels that can be decoded"),
        (lambda: radiograph(TWELVE, WindowCenter=5, WindowWidth=0), "expected pixels that can be decoded"),
    ],
    ids=["frames", "colour", "no kind", "no pixels", "no rows", "no bits", "cut", "no window width"],
)
def test_what_cannot_be_read_is_refused_by_name(make: Callable[[], Any], said: str, tmp_path: Path) -> None:
    path = save(make(), tmp_path / "case.dcm")
    with pytest.raises(DataError) as caught:
        read_dicom(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert NAME not in str(caught.value)


def _refusal(read: Callable[[Path], object], path: Path) -> str | None:
    try:
        read(path)
    except DataError as error:
        return str(error)
    return None


def test_damaged_files_give_a_clear_error_and_no_name(tmp_path: Path) -> None:
    whole, rng = save(jpeg(EIGHT), tmp_path / "whole.dcm").read_bytes(), np.random.default_rng(1)
    path = tmp_path / "damaged.dcm"
    for number in range(60):
        content = bytearray(whole)
        if number % 2:
            del content[int(rng.integers(len(content))) :]
        else:
            content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        for read in (read_dicom, read_fields):
            said = _refusal(read, path)
            assert said is None or str(path) in said  # a flipped bit may well leave a readable file
            assert NAME not in (said or "")
    for content in (b"", b"not a DICOM file", NAME.encode() * 50):
        path.write_bytes(content)
        with pytest.raises(DataError):
            read_dicom(path)
    with pytest.raises(DataError, match="no such file"):
        read_dicom(tmp_path / "gone.dcm")


def test_only_the_named_fields_are_read(tmp_path: Path) -> None:
    path = save(radiograph(EIGHT), tmp_path / "a.dcm")
    assert read_fields(path) == {"view": "PA", "sex": "F", "age": "051Y", "height": "24", "width": "20"}
    bare = save(radiograph(EIGHT, ViewPosition=None, PatientSex=None, PatientAge=""), tmp_path / "b.dcm")
    assert read_fields(bare) == {"view": "", "sex": "", "age": "", "height": "24", "width": "20"}


def test_without_pydicom_the_extra_is_named(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['pydicom'] = None\n"
        "from pathlib import Path\n"
        "from wsl_bench.data.dicom import read_dicom\n"
        "from wsl_bench.errors import UsageError\n"
        "try:\n    read_dicom(Path('a.dcm'))\nexcept UsageError as error:\n    print(error)\n"
    )
    done = run_python("-c", script, cwd=tmp_path)
    assert "wsl-bench[dicom]" in done.stdout, done.stderr


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="needs the shared fixtures")
def test_a_real_radiograph(tmp_path: Path) -> None:
    (path,) = (SHARED_DATA / "fixtures" / "dicom").glob("*.dcm")
    found = read_dicom(path)
    assert found.shape == (1024, 1024)
    coded = path.read_bytes()
    picture = Image.open(io.BytesIO(coded[coded.index(b"\xff\xd8\xff") :]))  # the JPEG in it, by another decoder
    assert np.abs(found.astype(int) - np.asarray(picture)).max() <= 2
    assert read_fields(path)["view"] == "PA"
