"""A batch of 32 inputs of 224 px: rows of the memory map beside decoding the 1024 x 1024 files each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsl_bench.data import twin
from wsl_bench.data.dicom import read_dicom
from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.images import read_grey
from wsl_bench.data.radiograph import scene
from wsl_bench.data.rows import ImageRows

SIDE, SIZE, N, BATCH = 1024, 224, 32, 32
FRAME = Letterbox.fit(SIDE, SIDE, SIZE)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """32 radiographs as PNG and as DICOM with baseline JPEG, as the two publishers have them."""
    root, found = tmp_path_factory.mktemp("radiographs"), dict[str, list[Path]](png=[], dicom=[])
    for i in range(N):
        pixels = scene.render(0, i, SIDE)
        png, dicom = root / f"{i}.png", root / f"{i}.dcm"
        Image.fromarray(pixels).save(png)
        dicom.write_bytes(twin.as_dicom(pixels, {"PatientID": str(i)}))
        found["png"].append(png)
        found["dicom"].append(dicom)
    return found


def memory_map(rows: ImageRows, files: dict[str, list[Path]], order: Any) -> Any:
    return rows[order]


def decode_png(rows: ImageRows, files: dict[str, list[Path]], order: Any) -> Any:
    return np.stack([FRAME.apply(read_grey(files["png"][i % N])) for i in order])


def decode_dicom(rows: ImageRows, files: dict[str, list[Path]], order: Any) -> Any:
    return np.stack([FRAME.apply(read_dicom(files["dicom"][i % N])) for i in order])


@pytest.mark.parametrize("way", [memory_map, decode_png, decode_dicom], ids=lambda way: way.__name__)
def test_reading_a_batch(benchmark: Any, files: dict[str, list[Path]], tmp_path: Path, way: Callable[..., Any]) -> None:
    squares = np.stack([FRAME.apply(read_grey(file)) for file in files["png"]])
    path = tmp_path / "pixels.u8"
    path.write_bytes(np.tile(squares, (64, 1, 1)).tobytes())  # 2,048 images, 103 MB
    rows = ImageRows(np.memmap(path, np.uint8, "r", shape=(64 * N, SIZE, SIZE)), np.arange(64 * N))
    order = np.random.default_rng(0).permutation(64 * N)[:BATCH]
    benchmark.group = f"reading a batch of {BATCH} at {SIZE} px"
    found = benchmark(way, rows, files, order)
    if way is not decode_dicom:  # JPEG loses
        np.testing.assert_array_equal(found, squares[order % N])
