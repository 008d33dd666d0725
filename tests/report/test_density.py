"""Densities: all mass in [0, 1], close to the truth where the truth is known, legible files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from wsl_bench.report.density import axis_top, density

AT = np.linspace(0, 1, 2001)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(50),
        np.ones(50),
        np.full(50, 0.5),
        np.random.default_rng(0).random(500),
        np.random.default_rng(1).beta(0.3, 4, 500),
        np.array([0.0, 1.0] * 20),
        np.array([0.25]),
    ],
)
def test_the_mass_is_one_inside_the_unit_interval(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    curve = density(values, AT)
    assert np.trapezoid(curve, AT) == pytest.approx(1, abs=2e-3)
    assert (curve >= 0).all()


def test_it_follows_a_known_density_up_to_the_border() -> None:
    values = np.random.default_rng(2).beta(1, 3, 20_000)  # highest at 0, where a plain kernel loses half
    curve = density(values, AT)
    truth = stats.beta(1, 3).pdf(AT)
    assert np.abs(curve - truth).max() < 0.25
    plain = stats.gaussian_kde(values)(AT)
    assert abs(plain[0] - truth[0]) > 4 * abs(curve[0] - truth[0])


def test_figures_of_a_made_up_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "leaderboard"))
    from made_up_run import random_maps, write_cell, write_run

    from wsl_bench.results import write_results

    write_run(tmp_path, ("val", "0.5"))
    for method in ("one", "two"):
        write_cell(tmp_path, method, 0, random_maps(30, len(method)))
    write_results(tmp_path)
    for metric in ("iop", "fpr", "fnr"):
        with Image.open(tmp_path / "figures" / f"density_{metric}.png") as image:
            assert image.width > 900
            grey = np.asarray(image.convert("L"))
            assert (grey < 128).mean() > 0.005  # something is drawn


def test_spikes_are_cut_and_named_and_all_else_is_shown() -> None:
    top, cut = axis_top({"spike": 33.0, "high": 21.0, "a": 7.3, "b": 6.5, "c": 2.6, "d": 2.0, "e": 1.8})
    assert top == pytest.approx(1.1 * 7.3)
    assert cut == {"spike": 33.0, "high": 21.0}
    assert axis_top({"one": 40.0}) == (pytest.approx(44.0), {})
    assert axis_top({"one": 40.0, "two": 2.0})[1] == {"one": 40.0}
