"""Compiling works where nothing can be cached, and reading metrics does not import the compiler."""

from __future__ import annotations

import subprocess
import sys
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


def test_reading_a_tally_imports_neither_numba_nor_torch() -> None:
    script = """
import sys
import wsl_bench.metrics.tally, wsl_bench.metrics.classification
wsl_bench.metrics.tally.TallyBuilder().build().true_positives
sys.exit(any(name in sys.modules for name in ("numba", "torch", "scipy")))
"""
    subprocess.run([sys.executable, "-c", script], check=True)
