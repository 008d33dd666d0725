"""What is read on test must have been frozen before: the promises the whole table rests on."""

from __future__ import annotations

import csv
import inspect
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_folder, write_csv
from study_helper import plan_of, run_plan

from wsl_bench.data.prepared import load_truth, load_weak
from wsl_bench.errors import MethodError
from wsl_bench.metrics.tally import Tally
from wsl_bench.protocol import evaluate
from wsl_bench.protocol.operating_point import OperatingPoint, ValidationSplit


@pytest.fixture(scope="module")
def two_truths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same images and labels; the test boxes of the second are moved and resized."""
    first = tiny_folder(tmp_path_factory.mktemp("a") / "set")
    second = tmp_path_factory.mktemp("b") / "set"
    shutil.copytree(first, second)
    with (second / "labels.csv").open(newline="") as file:
        test_ids = {row["image_id"] for row in csv.DictReader(file) if row["split"] == "test"}
    with (second / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    moved: list[list[object]] = [
        [r["image_id"], 1, 2, 5, 7] if r["image_id"] in test_ids else [r[c] for c in ("image_id", "x", "y", "w", "h")]
        for r in rows
    ]
    write_csv(second / "boxes.csv", ["image_id", "x", "y", "w", "h"], moved)
    return first, second


def test_test_truth_changes_no_checkpoint_threshold_or_map(two_truths: tuple[Path, Path], tmp_path: Path) -> None:
    results = []
    for i, data in enumerate(two_truths):
        out = tmp_path / str(i)
        results.append(run_plan(plan_of(data, out), out)[0])
    before, after = results
    assert before.keys() == after.keys()
    assert len(before) == 3 + 6  # the methods asked for, and the sanity rows
    changed = 0
    for name in before:
        a, b = before[name].content, after[name].content
        assert a["checkpoint"] == b["checkpoint"]
        assert a["operating_point"] == b["operating_point"]
        assert a["history"] == b["history"]
        maps_a, maps_b = before[name].maps(), after[name].maps()
        for key in maps_a:
            np.testing.assert_array_equal(maps_a[key], maps_b[key])
        np.testing.assert_array_equal(before[name].val.inside, after[name].val.inside)
        assert a["key"] != b["key"]  # but the results are told apart
        changed += not np.array_equal(before[name].test.inside, after[name].test.inside)
    assert changed == len(before)


def test_the_code_that_reads_test_cannot_search_a_threshold() -> None:
    parameters = inspect.signature(evaluate.tally).parameters
    assert "point" in parameters
    assert parameters["point"].annotation == "OperatingPoint"
    source = inspect.getsource(evaluate)
    for word in ("argmax", "fit_threshold", "threshold_index", ".max(", "best_"):
        assert word not in source
    # Fitting takes a ValidationSplit, and that can only be loaded from the validation part.
    assert "val" in inspect.getsource(ValidationSplit.load)
    assert not hasattr(Tally, "fit")
    with pytest.raises(AttributeError):
        OperatingPoint(1, "none", 1.0, 0.5, "iou", 0.1, 0.5, "a:b").threshold = 0.7  # type: ignore[misc]


def test_evaluating_on_the_split_a_threshold_was_fitted_on_is_refused(
    two_truths: tuple[Path, Path], tmp_path: Path
) -> None:
    plan = plan_of(two_truths[0], tmp_path)
    folder = plan.datasets[0].prepared.folder
    val = ValidationSplit.load(folder)
    point = OperatingPoint(1, "none", 1.0, 0.5, "iou", 0.1, 0.5, val.stamp())
    evaluate.check_test_is_unseen(point, load_weak(folder, "test"), load_truth(folder, "test"))
    with pytest.raises(MethodError, match="fitted on"):
        evaluate.check_test_is_unseen(point, val.weak, val.truth)


def test_truth_of_train_cannot_be_loaded(two_truths: tuple[Path, Path], tmp_path: Path) -> None:
    folder = plan_of(two_truths[0], tmp_path).datasets[0].prepared.folder
    with pytest.raises(ValueError, match="never read"):
        load_truth(folder, "train")
