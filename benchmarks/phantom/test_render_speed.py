"""Drawing phantom radiographs on one core. Compiling (or loading the kernels) is warmed up, not timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wsl_bench.data.radiograph import scene

IMAGES = 100


def draw(size: int) -> None:
    for index in range(IMAGES):
        scene.render(0, index, size)


@pytest.mark.parametrize("size", [64, 128, 224])
def test_render(benchmark: Callable[..., Any], size: int) -> None:
    scene.render(0, 0, size)
    benchmark.extra_info["images"] = IMAGES  # type: ignore[attr-defined]
    benchmark(draw, size)


def test_truth(benchmark: Callable[..., Any]) -> None:
    scene.lesions(0, 2)
    benchmark(lambda: [scene.lesions(0, index) for index in range(IMAGES)])
