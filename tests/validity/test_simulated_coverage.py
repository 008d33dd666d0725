"""The table of simulated coverage in docs/validity.md: complete, as promised, and what a smaller simulation finds."""

from __future__ import annotations

import importlib.util
import math
import sys
from itertools import product
from types import ModuleType

import pytest
from conftest import ROOT

SCRIPT = ROOT / "benchmarks" / "statistics" / "intervals.py"


@pytest.fixture(scope="module")
def intervals() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulated_intervals", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def printed(intervals: ModuleType) -> dict[tuple[int, float, int], list[float]]:
    """Rows of the page's table: the setting, then per cent."""
    head = intervals.table({}).splitlines()[0]
    lines = (ROOT / "docs" / "validity.md").read_text().splitlines()
    rows = {}
    for line in lines[lines.index(head) + 2 :]:
        if not line.startswith("|"):
            break
        cells = [float(cell) for cell in line.strip("| ").split("|")]
        rows[int(cells[0]), cells[1], int(cells[2])] = cells[3:]
    return rows


def test_the_printed_table_is_whole_and_keeps_its_promise(intervals: ModuleType) -> None:
    rows = printed(intervals)
    assert list(rows) == list(product(intervals.SEEDS, intervals.SHARES, intervals.PATIENTS))
    for (n_seeds, _, _), (method, percentile, bca, naive, family_wise, pair, unpaired) in rows.items():
        if n_seeds >= 5:
            assert 93 <= method <= 97
            assert family_wise <= 5 + 2 * 100 * math.sqrt(0.05 * 0.95 / 2000)
        assert min(percentile, bca) >= 92
        assert naive < 60  # images taken for patients
        assert pair < 6.5
        assert unpaired > 10  # an unpaired test of images


@pytest.mark.parametrize("setting", [(5, 0.3, 60), (10, 0.7, 60)])
def test_a_smaller_simulation_finds_the_same(intervals: ModuleType, setting: tuple[int, float, int]) -> None:
    """400 studies from another seed: four standard errors of the difference of two shares."""
    found = list(intervals.shares(intervals.Setting(*setting), 400, seed=1).values())
    for ours, per_cent in zip(found, printed(intervals)[setting], strict=True):
        share = max(0.01, min(0.99, per_cent / 100))
        error = math.sqrt(share * (1 - share) * (1 / 400 + 1 / 2000))
        assert abs(ours - per_cent / 100) < 4 * error + 1 / 400
