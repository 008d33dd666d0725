"""Helpers that several test folders share."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

# Before torch is imported: the tests' networks are far too small for several threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
Square = tuple[int, int, int, int]


# Files that take minutes go first, so that no worker is left with one of them at the end (with pytest-xdist and
# `--dist loadfile --no-loadscope-reorder`, as pyproject.toml has it).
LONG = ("test_readme.py", "test_pages.py", "test_local.py", "test_run.py", "test_bad_plugins.py", "test_disk.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, each in its own order."""
    rank = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONG)))


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Decoded images of the tests' files, and of the commands they run, stay out of the developer's own cache."""
    os.environ["WSLBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _denormals_stay() -> Iterator[None]:
    """What a training run in this process has set must not reach the next test's arithmetic."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


def tiny_folder(path: Path, n: int = 120, size: tuple[int, int] = (40, 32), seed: int = 0) -> Path:
    """Write a dataset directory in which every second image shows a bright square, its ground truth.

    Args:
        n: images; two fifths are train, two fifths val, one fifth test, so 120 give 24 located in val.
        size: width and height in pixels.
    """
    draw = np.random.default_rng(seed)
    (path / "images").mkdir(parents=True)
    labels, boxes = [], []
    for i in range(n):
        image_id, label = f"case{i:03d}", i % 2
        pixels, square = _picture(draw, size, label)
        Image.fromarray(pixels).save(path / "images" / f"{image_id}.png")
        split = "train" if i < 0.4 * n else "val" if i < 0.8 * n else "test"
        labels.append([image_id, f"images/{image_id}.png", size[0], size[1], label, f"patient{i:03d}", label, split])
        if square is not None:
            boxes.append([image_id, *square])
    columns = ["image_id", "file", "width", "height", "label", "group_id", "has_boxes", "split"]
    write_csv(path / "labels.csv", columns, labels)
    write_csv(path / "boxes.csv", ["image_id", "x", "y", "w", "h"], boxes)
    return path


def _picture(
    draw: np.random.Generator, size: tuple[int, int], label: int
) -> tuple[npt.NDArray[np.uint8], Square | None]:
    width, height = size
    pixels = draw.integers(20, 90, (height, width), dtype=np.uint8)
    if not label:
        return pixels, None
    side = min(size) // 3
    x, y = int(draw.integers(0, width - side)), int(draw.integers(0, height - side))
    pixels[y : y + side, x : x + side] = draw.integers(190, 250, (side, side), dtype=np.uint8)
    return pixels, (x, y, side, side)


def write_csv(path: Path, columns: list[str], rows: list[list[object]]) -> None:
    """Write a CSV table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def run_python(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` in a folder, with this checkout importable and more environment."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd, env=environment(env or {}), capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child process: this checkout on the path, no plug-ins of the developer's own."""
    path = os.pathsep.join(filter(None, [str(ROOT), extra.get("PYTHONPATH", os.environ.get("PYTHONPATH"))]))
    own = {k: v for k, v in os.environ.items() if k != "WSLBENCH_PLUGINS"}
    return own | {"COLUMNS": "200", "NO_COLOR": "1"} | dict(extra) | {"PYTHONPATH": path}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch on one thread, as in a worker: on more, its own layers stand in for the compiled ones."""
    import torch  # here, because most tests do without

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
