"""Several datasets of a run put together: ranks and wins by loops, missing cells, the command and its figures."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from made_up_run import images, random_maps, write_cell, write_run
from PIL import Image

from wsl_bench.cli import main
from wsl_bench.errors import UsageError
from wsl_bench.leaderboard.build import build_leaderboard
from wsl_bench.leaderboard.overall import _fewest, overall, overall_notes, overall_rows, together, win_table
from wsl_bench.results import write_results

DATASETS = ("made_up", "second", "third")
METHODS = {"good": 0.5, "fair": 0.25, "poor": 0.0}
SEEDS = (0, 1)
THRESHOLD = 0.4


def maps_of(dataset: str, method: str, seed: int) -> npt.NDArray[np.float32]:
    """Brighter on the lesions, the better the method; on the third dataset good and fair change places."""
    gain = METHODS[method]
    if dataset == "third":
        gain = {"good": 0.25, "fair": 0.5, "poor": 0.0}[method]
    number = 100 * DATASETS.index(dataset) + 10 * list(METHODS).index(method) + seed
    maps = random_maps(30, number)
    for scores, mask in zip(maps, images("test").masks, strict=True):
        scores[mask] = np.minimum(scores[mask] + np.float32(gain), 1)
    return maps


def ious(dataset: str, method: str) -> npt.NDArray[np.float64]:
    """(seeds, located images), pixel by pixel."""
    test = images("test")
    rows = []
    for seed in SEEDS:
        predicted = maps_of(dataset, method, seed) >= np.float32(THRESHOLD)
        rows.append([
            (p & mask).sum() / (p | mask).sum()
            for p, mask, located in zip(predicted, test.masks, test.located, strict=True)
            if located
        ])  # fmt: skip
    return np.array(rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("several")
    write_run(root, thresholds=("val",))
    for dataset in DATASETS:
        for method in METHODS:
            for seed in SEEDS:
                write_cell(root, method, seed, maps_of(dataset, method, seed), dataset=dataset, threshold=THRESHOLD)
        prior = np.ones_like(maps_of(dataset, "poor", 0))
        write_cell(root, "prior", 0, prior, dataset=dataset, sanity=True, val_auc=None, polarity=None)
    return root


def with_a_gap(root: Path) -> Path:
    """A fourth method that lacks one dataset and one seed of another; better than all where it is there."""
    write_run(root, thresholds=("val",))
    for dataset in DATASETS:
        for method in ("good", "poor"):
            for seed in SEEDS:
                write_cell(root, method, seed, maps_of(dataset, method, seed), dataset=dataset)
    perfect = np.stack([mask.astype(np.float32) for mask in images("test").masks])
    for seed in SEEDS:
        write_cell(root, "gappy", seed, perfect, dataset="made_up")
    write_cell(root, "gappy", 0, perfect, dataset="second")
    return root


def test_ranks_and_scores_are_those_of_loops(run: Path) -> None:
    found = overall(build_leaderboard(run))
    means = {method: [ious(dataset, method).mean() for dataset in DATASETS] for method in METHODS}
    for method, expected in means.items():
        assert found.scores[method] == pytest.approx(expected, abs=1e-12)
    by_dataset = [sorted(METHODS, key=lambda m: -means[m][d]) for d in range(3)]
    ranks = {m: np.mean([order.index(m) + 1 for order in by_dataset]) for m in METHODS}
    assert found.methods == ("good", "fair", "poor")
    assert found.ranks.ranks.tolist() == pytest.approx([ranks[m] for m in found.methods])
    assert "prior" not in found.lacking  # a sanity row is not missed
    # Three datasets tell nothing about three methods, and the notes say how many could.
    assert found.groups == [("good", "fair", "poor")]
    notes = " ".join(overall_notes(found))
    assert "good = fair = poor" in notes
    assert "Some rows have 2 seeds" in notes


def test_wins_are_those_of_loops(run: Path) -> None:
    found = overall(build_leaderboard(run))
    total = 0.0
    for dataset in DATASETS:
        a, b = ious(dataset, "good"), ious(dataset, "fair")
        wins = [
            1.0 if x > y else 0.5 if x == y else 0.0
            for one in a
            for other in b
            for x, y in zip(one, other, strict=True)
        ]
        total += sum(wins) / len(wins) / len(DATASETS)
    lines = {(line["a"], line["b"]): line for line in win_table(found)}
    assert lines["good", "fair"]["probability"] == pytest.approx(total)
    assert lines["fair", "good"]["probability"] == pytest.approx(1 - total)
    assert lines["good", "poor"]["low"] > 0.5
    assert overall_rows(found)[0]["beats_next"] == pytest.approx(total)
    profile = [estimate.mean for estimate in found.profile("poor")]
    expected = np.mean([[(ious(d, "poor") > x).mean() for x in (0.0, 0.1, 0.25)] for d in DATASETS], axis=0)
    assert [profile[0], profile[10], profile[25]] == pytest.approx(expected.tolist())
    assert profile == sorted(profile, reverse=True)


def test_an_incomplete_method_is_unranked_and_says_what_it_lacks(tmp_path: Path) -> None:
    found = overall(build_leaderboard(with_a_gap(tmp_path)))
    assert found.methods == ("good", "poor")
    assert found.lacking == {"gappy": ["second (incomplete, seeds: 1)", "third (not there)"]}
    rows = overall_rows(found)
    assert rows[-1]["method"] == "gappy"
    assert rows[-1]["average_rank"] is None
    assert any(note.startswith("Unranked: gappy lacks second") for note in overall_notes(found))


def test_runs_are_put_together(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three runs of one dataset each give what one run of three gives."""
    roots = []
    for dataset in DATASETS:
        roots.append(tmp_path / dataset)
        write_run(roots[-1], thresholds=("val",))
        for method in METHODS:
            for seed in SEEDS:
                write_cell(roots[-1], method, seed, maps_of(dataset, method, seed), dataset=dataset)
    assert main._guarded(["overall", *map(str, roots), "--output", str(tmp_path / "out")]) == 0
    assert overall_rows(overall(together(roots))) == overall_rows(overall(build_leaderboard(run)))
    assert (tmp_path / "out" / "figures" / "profiles.png").exists()
    capsys.readouterr()
    assert main._guarded(["overall", str(roots[0]), str(run), "--output", str(tmp_path)]) == 2
    assert "dataset made_up is in" in capsys.readouterr().err
    write_run(tmp_path / "else", thresholds=("val",), criterion="dice")
    assert main._guarded(["overall", str(roots[0]), str(tmp_path / "else"), "--output", str(tmp_path)]) == 2
    assert "different rules" in capsys.readouterr().err
    assert main._guarded(["overall", *map(str, roots)]) == 2
    assert "--output: expected a folder" in capsys.readouterr().err


def test_a_dataset_without_the_rule_is_not_left_out_in_silence(run: Path, tmp_path: Path) -> None:
    write_run(tmp_path, thresholds=("0.5",))
    write_cell(tmp_path, "good", 0, maps_of("made_up", "good", 0), dataset="fourth", threshold=None)
    with pytest.raises(UsageError, match="fourth: no method has a row of threshold val"):
        overall(together([run, tmp_path]))


def test_what_holds_no_more_is_removed(tmp_path: Path) -> None:
    with_a_gap(tmp_path)
    write_results(tmp_path)
    assert (tmp_path / "overall.csv").exists()
    for method in ("good", "poor"):  # now nothing is complete on all datasets
        write_cell(tmp_path, method, 0, maps_of("made_up", method, 0), dataset="new")
        write_cell(tmp_path, "gappy", 1, maps_of("made_up", method, 0), dataset="new")
    write_results(tmp_path)
    assert not (tmp_path / "overall.csv").exists()
    assert not (tmp_path / "wins.csv").exists()
    assert not (tmp_path / "figures" / "critical_difference.png").exists()


def test_shares_lie_between_0_and_1_and_the_fewest_datasets_are_named(run: Path) -> None:
    found = overall(build_leaderboard(run))
    for line in win_table(found):
        assert 0 <= line["low"] <= line["probability"] <= line["high"] <= 1
    # Three methods: 2.343 sqrt(12 / 6 D) < 2 from D = 3 on; two of two: 1.960 sqrt(6 / 6 D) < 1 from D = 4 on.
    assert [_fewest(k) for k in (2, 3)] == [4, 3]


def test_one_dataset_has_no_average(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_cell(tmp_path, "good", 0, maps_of("made_up", "good", 0))
    with pytest.raises(UsageError, match="several datasets"):
        overall(build_leaderboard(tmp_path))
    write_results(tmp_path)
    assert not (tmp_path / "overall.csv").exists()


def test_the_command_prints_writes_and_draws(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main._guarded(["overall", str(run)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in ("over 3 datasets", "average rank", "beats the next", "not told apart (Nemenyi, 95 %)"):
        assert part in said
    with (run / "overall.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["good", "fair", "poor"]
    assert float(rows[0]["iou_third"]) == pytest.approx(ious("third", "good").mean())
    with (run / "wins.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 6
    for name in ("critical_difference", "profiles"):
        with Image.open(run / "figures" / f"{name}.png") as picture:
            assert picture.width > 800
    assert main._guarded(["overall", str(run), "--threshold", "0.9"]) == 2
    assert "no rows of threshold 0.9" in capsys.readouterr().err
