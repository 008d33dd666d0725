"""Two rows against each other: figures by plain loops, errors, the command and its figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from made_up_run import SHAPE, images, random_maps, write_cell, write_run
from PIL import Image

from wsl_bench.cli import main
from wsl_bench.errors import UsageError
from wsl_bench.leaderboard.build import build_leaderboard
from wsl_bench.leaderboard.compare import _p_fixed, compare
from wsl_bench.report.paired import write_paired
from wsl_bench.stats.ranking import paired_difference

SEEDS = {"ours": (0, 1, 2), "theirs": (5, 6)}


def maps_of(method: str, seed: int) -> npt.NDArray[np.float32]:
    maps = random_maps(30, seed)
    if method == "ours":  # brighter on the lesions
        for scores, mask in zip(maps, images("test").masks, strict=True):
            scores[mask] = np.minimum(scores[mask] + np.float32(0.4), 1)
    return maps


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compared")
    write_run(root)
    for method, seeds in SEEDS.items():
        for seed in seeds:
            probability = np.random.default_rng(seed).random(30) if method == "ours" else None
            write_cell(root, method, seed, maps_of(method, seed), probability=probability)
    write_cell(root, "prior", 0, np.ones((30, *SHAPE), np.float32), sanity=True, val_auc=None, polarity=None)
    return root


def table(method: str, metric: str) -> npt.NDArray[np.float64]:
    """(S, n) of a method at its threshold, 0.4, by loops over the located test images."""
    test = images("test")
    rows = []
    for seed in SEEDS[method]:
        row = []
        for scores, mask, located in zip(maps_of(method, seed), test.masks, test.located, strict=True):
            if not located:
                continue
            predicted = scores >= np.float32(0.4)
            both = (predicted & mask).sum()
            row.append(both / (predicted | mask).sum() if metric == "iou" else both / predicted.sum())
        rows.append(row)
    return np.array(rows)


def groups() -> npt.NDArray[np.str_]:
    test = images("test")
    return np.array(test.groups)[np.array(test.located)]


@pytest.mark.parametrize("metric", ["iou", "iop"])
def test_the_figures_are_those_of_loops(run: Path, metric: str) -> None:
    found = compare(build_leaderboard(run), "ours", "theirs", metric)
    ours, theirs = table("ours", metric), table("theirs", metric)
    differences = ours.mean(0) - theirs.mean(0)
    np.testing.assert_allclose(found.parts, differences, atol=1e-12)
    assert found.means == pytest.approx((ours.mean(), theirs.mean()), abs=1e-12)
    assert found.seeds == (3, 2)
    assert found.n_groups == len(set(groups().tolist()))
    expected = paired_difference(ours, theirs, groups())
    assert found.method.p == pytest.approx(expected.p)
    assert found.smallest > found.method.error
    # Patients drawn one by one, by a generator of their own: the same interval but for chance.
    rng, patients = np.random.default_rng(7), [differences[groups() == name] for name in sorted(set(groups().tolist()))]
    drawn = [
        np.concatenate([patients[i] for i in rng.integers(0, len(patients), len(patients))]).mean() for _ in range(4000)
    ]
    expected_bounds = tuple(np.quantile(drawn, [0.025, 0.975]))
    for bounds in (found.percentile, found.bca):
        assert bounds == pytest.approx(expected_bounds, abs=0.2 * float(np.std(drawn)))


def pooled_precision(method: str) -> npt.NDArray[np.float64]:
    """(S,) pooled pixel average precision of the located test images, at all thresholds k / 1000, by the definition."""
    test, out = images("test"), []
    at = np.flatnonzero(test.located)
    for seed in SEEDS[method]:
        scores = np.concatenate([maps_of(method, seed)[i].ravel() for i in at])
        truth = np.concatenate([test.masks[i].ravel() for i in at])
        total, last = 0.0, 0.0
        for k in range(1000, -1, -1):
            predicted = scores >= np.float32(k / 1000)
            if predicted.any():
                recall = (predicted & truth).sum() / truth.sum()
                total += (predicted & truth).sum() / predicted.sum() * (recall - last)
                last = recall
        out.append(total)
    return np.array(out)


def test_a_curve_metric_is_compared_too(run: Path, tmp_path: Path) -> None:
    found = compare(build_leaderboard(run), "ours", "theirs", "pxap")
    expected = pooled_precision("ours").mean(), pooled_precision("theirs").mean()
    assert found.means == pytest.approx(expected, abs=1e-9)
    assert found.method.difference == pytest.approx(expected[0] - expected[1], abs=1e-9)
    assert not found.by_image
    assert found.parts.shape == (found.n_groups,)
    assert found.percentile[0] < found.method.difference < found.percentile[1]
    assert found.bca == pytest.approx(found.percentile, abs=0.5 * (found.percentile[1] - found.percentile[0]))
    write_paired(found, tmp_path / "pxap.png")
    with Image.open(tmp_path / "pxap.png") as picture:
        assert picture.width > 800


def test_p_is_corrected_for_all_pairs_of_ranked_rows(tmp_path: Path) -> None:
    write_run(tmp_path)
    for method in ("a", "b", "c"):
        for seed in (0, 1, 2):
            write_cell(tmp_path, method, seed, maps_of("ours" if method == "a" else method, 10 * ord(method) + seed))
    write_cell(tmp_path, "prior", 0, np.ones((30, *SHAPE), np.float32), sanity=True, val_auc=None, polarity=None)
    board = build_leaderboard(tmp_path)
    pairs = {pair: compare(board, *pair, "iou") for pair in (("a", "b"), ("a", "c"), ("b", "c"))}
    smallest = min(pairs, key=lambda pair: pairs[pair].method.p)
    assert all(found.n_pairs == 3 for found in pairs.values())
    assert pairs[smallest].p_holm == pytest.approx(3 * pairs[smallest].method.p)
    assert all(found.p_holm >= found.method.p for found in pairs.values())
    assert np.isnan(compare(board, "a", "prior", "iou").p_holm)


def test_p_of_these_trainings_by_hand() -> None:
    """Two-sided, one added on both sides."""
    draws = np.array([-0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    assert _p_fixed(draws) == pytest.approx(2 * (1 + 1) / (9 + 1))
    assert _p_fixed(np.abs(draws)) == pytest.approx(2 * (0 + 1) / (9 + 1))
    assert _p_fixed(np.zeros(9)) == 1
    assert np.isnan(_p_fixed(np.array([])))


def test_one_patient_and_one_class_give_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path)
    for method in ("a", "b"):
        for seed in (0, 1):
            # All images positive, of which one is located: its patient is the only one.
            labels = [1] * 30
            write_cell(tmp_path, method, seed, maps_of(method, ord(method) + seed), test_labels=labels,
                       probability=np.full(30, 0.5))  # fmt: skip
    assert main._guarded(["compare", str(tmp_path), "a", "b", "--metric", "auc"]) == 2
    assert "not defined on these test images" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", ["$\\foo$", "_hidden", "long" * 60])
def test_a_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    """Dollar signs, a leading underscore, more letters than a file may have."""
    write_run(tmp_path)
    for number, method in enumerate(("other", "x")):
        for seed in (0, 1):
            params = {"method_params": name} if method == "x" else {}
            write_cell(tmp_path, method, seed, random_maps(30, 2 * number + seed), **params)
    assert main._guarded(["compare", str(tmp_path), "other", f"x[{name}]"]) == 0
    (figure,) = (tmp_path / "figures").glob("paired--*.png")
    assert len(figure.name) < 140


def test_turned_round_it_says_the_same(run: Path) -> None:
    board = build_leaderboard(run)
    one, other = compare(board, "ours", "theirs", "iou"), compare(board, "theirs", "ours", "iou")
    assert one.method.difference == pytest.approx(-other.method.difference)
    assert one.method.p == pytest.approx(other.method.p)
    assert one.p_fixed == pytest.approx(other.p_fixed)
    assert one.percentile == pytest.approx((-other.percentile[1], -other.percentile[0]))


def test_a_method_beside_itself_shows_no_difference(run: Path) -> None:
    found = compare(build_leaderboard(run), "ours", "ours", "iou")
    assert found.method.difference == 0
    assert found.p_fixed == 1
    assert found.percentile == found.bca == (0, 0)


def test_one_seed_gives_no_interval_for_the_method(run: Path) -> None:
    found = compare(build_leaderboard(run), "ours", "prior", "iou")
    assert np.isnan([found.method.low, found.method.p, found.smallest]).all()
    assert np.isfinite(found.percentile).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ours", "thiers", "iou"), "thiers: no such row. Did you mean 'theirs'"),
        (("ours", "theirs", "pixap"), "--metric pixap: expected one of iop"),
        (("ours", "theirs", "accuracy"), "theirs does not classify"),
    ],
)
def test_mistakes_are_named(run: Path, arguments: tuple[str, str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compare(build_leaderboard(run), *arguments)


def test_the_command_prints_both_estimands_and_draws(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = tmp_path / "paired.png"
    assert main._guarded(["compare", str(run), "ours", "theirs", "--metric", "iop", "--output", str(figure)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in ("The method (seeds random", "These trainings (seeds fixed", "BCa", "four of five repetitions"):
        assert part in said
    with Image.open(figure) as picture:
        assert picture.width > 800
    assert main._guarded(["compare", str(run), "ours", "theirs", "--threshold", "0.7"]) == 2
    assert "no finished rows" in capsys.readouterr().err


def test_the_table_says_what_it_could_have_shown(run: Path, tmp_path: Path) -> None:
    assert not [note for note in build_leaderboard(run).notes if "four of five studies" in note]  # none is complete
    write_run(tmp_path)
    for method in SEEDS:
        for seed in (0, 1):
            write_cell(tmp_path, method, seed, maps_of(method, seed))
    notes = [note for note in build_leaderboard(tmp_path).notes if "four of five studies" in note]
    assert len(notes) == 2  # the fitted and the fixed threshold
    assert notes[0].startswith("made_up, threshold val: a difference of 0.")
