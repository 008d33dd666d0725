"""What becomes of a run whose validation or test split has little or no ground truth."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from conftest import tiny_folder, write_csv
from study_helper import plan_of, run_plan

from wsl_bench.errors import UsageError
from wsl_bench.protocol.rules import Rules


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("data") / "small", n=60)  # 12 located validation positives


def without_boxes(folder: Path, split: str) -> None:
    """Take the ground truth of one split out of a dataset directory."""
    with (folder / "labels.csv").open(newline="") as file:
        table = list(csv.reader(file))
    header, rows = table[0], table[1:]
    dropped = {row[0] for row in rows if row[header.index("split")] == split}
    for row in rows:
        if row[0] in dropped:
            row[header.index("has_boxes")] = "0"
    write_csv(folder / "labels.csv", header, [[*row] for row in rows])
    with (folder / "boxes.csv").open(newline="") as file:
        boxes = list(csv.reader(file))
    write_csv(folder / "boxes.csv", boxes[0], [[*row] for row in boxes[1:] if row[0] not in dropped])


def test_too_few_located_validation_positives_are_refused(small: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"at least 20 .* found 12.*--min-val-located 12"):
        plan_of(small, tmp_path)
    assert plan_of(small, tmp_path, min_val_located=12).jobs


@pytest.mark.parametrize("bar", [0, -3])
def test_a_bar_below_one_is_refused(bar: int) -> None:
    with pytest.raises(UsageError, match=f"--min-val-located {bar}: expected at least 1"):
        Rules(min_val_located=bar)


def test_fixed_thresholds_need_no_ground_truth_and_the_record_says_what_was_applied(tmp_path: Path) -> None:
    data = tiny_folder(tmp_path / "data")
    without_boxes(data, "val")
    with pytest.raises(UsageError, match=r"found 0\. Use .*--thresholds 0\.5\)\.$"):
        plan_of(data, tmp_path / "run")  # a bar of 0 is no way out
    records, _ = run_plan(plan_of(data, tmp_path / "run", thresholds=("0.5",)), tmp_path / "run")
    content = records["infomask", 0].content
    best = min(content["history"], key=lambda e: (-e["accuracy"], e["cross_entropy"], e["epoch"]))
    assert content["operating_point"]["epoch"] == best["epoch"]
    assert (content["operating_point"]["threshold"], content["operating_point"]["criterion"]) == (None, "none")
    assert content["checkpoint_rule"] == "best_accuracy"
    assert content["n_val_boxes"] == 0
    blank = records["mean_box", 0].test
    assert not blank.true_positives[:, 1:].any()
    assert not blank.false_positives[:, 1:].any()


def test_the_best_localization_needs_something_to_localize_on(small: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"checkpoint best_localization, found 12.*--min-val-located 12"):
        plan_of(small, tmp_path, thresholds=("0.5",), checkpoint="best_localization")


def test_with_enough_of_it_a_fixed_threshold_reads_the_same_checkpoint_as_a_fitted_one(tmp_path: Path) -> None:
    data = tiny_folder(tmp_path / "data")
    fixed = plan_of(data, tmp_path / "run", thresholds=("0.5",))
    fitted = plan_of(data, tmp_path / "run", thresholds=("val", "0.5"))
    assert [c.key for c in fixed.cells()] == [c.key for c in fitted.cells()]


def test_a_test_split_without_ground_truth_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    data = tiny_folder(tmp_path / "data")
    without_boxes(data, "test")
    with pytest.raises(UsageError, match="located positives in the test split, found none"):
        plan_of(data, tmp_path / "run")
