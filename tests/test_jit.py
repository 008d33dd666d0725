"""Compiling works where nothing can be cached, and reading metrics does not import the compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest

from wsl_bench.jit import compiled


def test_without_any_directory_for_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    real = numba.njit

    def njit(*args: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(*args, **options)

    monkeypatch.setattr(numba, "njit", njit)

    def double(x: int) -> int:
        return 2 * x

    assert compiled(double)(21) == 42


def test_a_second_process_does_not_compile_again(tmp_path: Path) -> None:
    script = """
import sys
import numpy as np
from wsl_bench.metrics import _box_kernels, _pixel_kernels
from wsl_bench.metrics.box import box_curves
from wsl_bench.metrics.pixel import pixel_histograms
scores = np.random.default_rng(0).random((9, 9)).astype(np.float32)
box_curves(scores, np.array([[1, 1, 4, 4.0]]))
box_curves(scores, np.zeros((0, 4)))
pixel_histograms(scores, scores > 0.5)
kernels = [_box_kernels.sweep, _box_kernels.count_components, _box_kernels.settle_hits, _pixel_kernels.histograms]
print(sum(sum(k.stats.cache_misses.values()) for k in kernels), sum(sum(k.stats.cache_hits.values()) for k in kernels))
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    counts = [
        subprocess.run([sys.executable, "-c", script], check=True, env=environment, capture_output=True, text=True)
        for _ in range(2)
    ]
    assert [done.stdout.split() for done in counts] == [["4", "0"], ["0", "4"]]


def test_reading_a_tally_imports_neither_numba_nor_torch() -> None:
    script = """
import sys
import wsl_bench.metrics.tally, wsl_bench.metrics.classification
wsl_bench.metrics.tally.TallyBuilder().build().true_positives
sys.exit(any(name in sys.modules for name in ("numba", "torch", "scipy")))
"""
    subprocess.run([sys.executable, "-c", script], check=True)
