"""Every column against plain loops over the maps themselves, written from the definitions."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_run import SHAPE, images, random_maps, write_cell, write_failed, write_run
from sklearn.metrics import roc_auc_score

from wsl_bench.leaderboard import export
from wsl_bench.leaderboard.build import build_leaderboard, render, write_leaderboard
from wsl_bench.results import write_results
from wsl_bench.store.run_file import read_run
from wsl_bench.store.run_file import write_run as rewrite_run

SEEDS = (0, 1, 2)


def loops(maps: np.ndarray[Any, Any], threshold: float) -> dict[str, float]:
    """The metrics of one training, image by image."""
    test = images("test")
    rows: dict[str, list[float]] = {k: [] for k in ("iop", "fpr", "fnr", "iou", "dice", "empty_rate", "fpr_negative")}
    pooled = np.zeros(4)
    for i in range(len(test.ids)):
        predicted = maps[i] >= np.float32(threshold)
        if test.labels[i] == 0:
            rows["fpr_negative"].append(predicted.mean())
        if not test.located[i]:
            continue
        truth = test.masks[i]
        both, either = (predicted & truth).sum(), (predicted | truth).sum()
        rows["iop"].append(both / predicted.sum() if predicted.any() else 0.0)
        rows["fpr"].append((predicted & ~truth).sum() / (~truth).sum())
        rows["fnr"].append((truth & ~predicted).sum() / truth.sum())
        rows["iou"].append(both / either)
        rows["dice"].append(2 * both / (predicted.sum() + truth.sum()))
        rows["empty_rate"].append(float(not predicted.any()))
        pooled += [both, predicted.sum(), truth.sum(), truth.size]
    out = {name: float(np.mean(values)) for name, values in rows.items()}
    both, predicted_sum, truth_sum, size = pooled
    out["iop_pooled"] = both / predicted_sum
    out["fpr_pooled"] = (predicted_sum - both) / (size - truth_sum)
    out["fnr_pooled"] = 1 - both / truth_sum
    out["iou_pooled"] = both / (predicted_sum + truth_sum - both)
    return out


def pxap(maps: np.ndarray[Any, Any]) -> float:
    """Pooled pixel average precision by a loop over thresholds."""
    test = images("test")
    at = [i for i in range(len(test.ids)) if test.located[i]]
    area = sum(test.masks[i].sum() for i in at)
    total, last_recall = 0.0, 0.0
    for k in range(1000, -1, -1):
        both = sum(((maps[i] >= np.float32(k / 1000)) & test.masks[i]).sum() for i in at)
        predicted = sum((maps[i] >= np.float32(k / 1000)).sum() for i in at)
        recall = both / area
        total += (both / predicted if predicted else 0.0) * (recall - last_recall)
        last_recall = recall
    return total


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    write_run(root)
    for seed in SEEDS:
        probability = np.random.default_rng(seed).random(30)
        write_cell(
            root, "ours", seed, random_maps(30, seed, blank=(3, 5)), probability=probability,
            threshold=0.4 + 0.1 * seed, decision=0.3 + 0.1 * seed,
        )  # fmt: skip
        write_cell(root, "prior", seed, np.ones((30, *SHAPE), np.float32), sanity=True, val_auc=None, polarity=None)
    return root


def table(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render(build_leaderboard(run), "csv"))))


@pytest.mark.parametrize("rule", ["val", "0.5"])
def test_every_mean_is_that_of_the_loops(run: Path, rule: str) -> None:
    row = next(r for r in table(run) if (r["method"], r["threshold_rule"]) == ("ours", rule))
    each = [loops(random_maps(30, s, blank=(3, 5)), 0.4 + 0.1 * s if rule == "val" else 0.5) for s in SEEDS]
    for metric in each[0]:
        assert float(row[metric]) == pytest.approx(np.mean([e[metric] for e in each]), abs=1e-12), metric
    assert float(row["pxap"]) == pytest.approx(np.mean([pxap(random_maps(30, s, (3, 5))) for s in SEEDS]), abs=1e-12)
    labels = np.array(images("test").labels)
    probabilities = [np.random.default_rng(s).random(30) for s in SEEDS]
    assert float(row["auc"]) == pytest.approx(np.mean([roc_auc_score(labels, p) for p in probabilities]), abs=1e-12)
    right = [((p >= 0.3 + 0.1 * s) == labels).mean() for s, p in zip(SEEDS, probabilities, strict=True)]
    assert float(row["accuracy"]) == pytest.approx(np.mean(right), abs=1e-12)
    assert float(row["accuracy_at_half"]) == pytest.approx(
        np.mean([((p >= 0.5) == labels).mean() for p in probabilities])
    )
    assert (row["n_images"], row["n_located"], row["n_negative"]) == ("30", "14", "15")
    assert float(row["empty_rate"]) == pytest.approx(2 / 14)


def test_blank_maps_count_in_every_mean(run: Path) -> None:
    row = next(r for r in table(run) if (r["method"], r["threshold_rule"]) == ("ours", "0.5"))
    maps = [random_maps(30, s, blank=(3, 5)) for s in SEEDS]
    test = images("test")
    filled = []
    for m in maps:
        for i in range(30):
            predicted = m[i] >= 0.5
            if test.located[i] and predicted.any():
                filled.append((predicted & test.masks[i]).sum() / predicted.sum())
    assert float(row["iop_nonempty"]) == pytest.approx(np.mean(filled))
    assert float(row["iop"]) == pytest.approx(np.sum(filled) / (3 * 14))
    assert int(row["n_nonempty"]) == len(filled) == 3 * 12


def test_the_whole_image_is_chance(run: Path) -> None:
    row = next(r for r in table(run) if (r["method"], r["threshold_rule"]) == ("prior", "val"))
    area = np.mean([m.mean() for m, at in zip(images("test").masks, images("test").located, strict=True) if at])
    assert float(row["iop"]) == pytest.approx(area)
    assert float(row["iop_times_chance"]) == pytest.approx(1.0)
    assert (row["fpr"], row["fnr"], row["fpr_negative"], row["status"]) == ("1.0", "0.0", "1.0", "sanity")
    assert row["auc"] == row["accuracy"] == row["auc_low"] == ""


def test_cells_are_the_trainings_of_the_row(run: Path) -> None:
    board = write_leaderboard(run)
    cells = list(csv.DictReader(io.StringIO((run / "cells.csv").read_text())))
    ours = [c for c in cells if (c["method"], c["threshold_rule"]) == ("ours", "val")]
    assert [c["seed"] for c in ours] == ["0", "1", "2"]
    assert [float(c["threshold"]) for c in ours] == pytest.approx([0.4, 0.5, 0.6])
    for c, s in zip(ours, SEEDS, strict=True):
        assert float(c["iou"]) == pytest.approx(loops(random_maps(30, s, (3, 5)), 0.4 + 0.1 * s)["iou"], abs=1e-12)
        assert float(c["iou_refit_sd"]) >= 0
    row = next(r for r in board.rows if (r["method"], r["threshold_rule"]) == ("ours", "val"))
    assert row["iou"] == pytest.approx(np.mean([float(c["iou"]) for c in ours]), abs=1e-12)
    assert (row["threshold"], row["threshold_low"], row["threshold_high"]) == pytest.approx((0.5, 0.4, 0.6))


def test_columns_are_the_public_ones_in_order(run: Path) -> None:
    header = render(build_leaderboard(run), "csv").splitlines()[0].split(",")
    expected = [
        "dataset",
        "method",
        "method_params",
        "threshold_rule",
        "threshold",
        "threshold_low",
        "threshold_high",
        "status",
        "n_seeds",
        "n_images",
        "n_located",
        "n_negative",
        "n_val_boxes",
        "rank_low",
        "rank_high",
        "iop",
        "iop_low",
        "iop_high",
        "fpr",
        "fpr_low",
        "fpr_high",
        "fnr",
        "fnr_low",
        "fnr_high",
        "iou",
        "iou_low",
        "iou_high",
        "dice",
        "dice_low",
        "dice_high",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "auc",
        "auc_low",
        "auc_high",
        "empty_rate",
        "empty_rate_low",
        "empty_rate_high",
        "fpr_negative",
        "fpr_negative_low",
        "fpr_negative_high",
        "pxap",
        "pxap_low",
        "pxap_high",
        "n_parameters",
    ]
    assert header[: len(expected)] == expected
    assert list(export.FIXED_COLUMNS) == expected


def test_intervals_hold_the_mean_and_stay_in_bounds(run: Path) -> None:
    for row in table(run):
        for metric in ("iop", "fpr", "fnr", "iou", "dice", "pxap", "auc", "accuracy"):
            if row[metric]:
                low, mean, high = (float(row[f"{metric}{end}"]) for end in ("_low", "", "_high"))
                assert 0 <= low <= mean <= high <= 1
                assert float(row[f"{metric}_fixed_low"]) <= mean <= float(row[f"{metric}_fixed_high"])
        if row["method"] == "ours":  # seeds add to the uncertainty of the method
            assert float(row["iou_high"]) - float(row["iou_low"]) > float(row["iou_fixed_high"]) - float(
                row["iou_fixed_low"]
            )


def test_statuses(tmp_path: Path) -> None:
    write_run(tmp_path, ("val",), planned=[["not_begun", ""], ["fine", ""]])
    inverted = {"value": 0.1, "low": 0.0, "high": 0.2}
    chance = {"value": 0.52, "low": 0.45, "high": 0.6}
    for seed in SEEDS:
        write_cell(tmp_path, "fine", seed, random_maps(30, seed))
        write_cell(tmp_path, "upside_down", seed, random_maps(30, seed), **({"polarity": inverted} if seed else {}))
        write_cell(tmp_path, "coin", seed, random_maps(30, seed), val_auc=chance)
        write_failed(tmp_path, "broken", seed)
        if seed:
            write_cell(tmp_path, "missing_one", seed, random_maps(30, seed))
    write_failed(tmp_path, "missing_one", 0)
    board = build_leaderboard(tmp_path)
    rows = {row["method"]: row for row in board.rows}
    assert {name: row["status"] for name, row in rows.items()} == {
        "fine": "ok", "upside_down": "inverted", "coin": "at_chance", "broken": "failed", "missing_one": "incomplete",
        "not_begun": "incomplete",
    }  # fmt: skip
    assert rows["upside_down"]["n_inverted"] == 2
    assert rows["broken"]["iou"] is None
    assert rows["broken"]["n_seeds"] == 0
    assert rows["missing_one"]["n_failed"] == 1
    assert (rows["not_begun"]["n_seeds"], rows["not_begun"]["iou"]) == (0, None)
    assert "inverted (2/3)" in export.to_markdown(board.rows, board.notes)
    assert any("it broke" in note for note in board.notes)
    assert all(row["rank_low"] is None for row in board.rows)
    assert any("at least 5 seeds" in note for note in board.notes)


def test_the_majority_class_is_that_of_validation(tmp_path: Path) -> None:
    write_run(tmp_path, ("0.5",))
    write_cell(tmp_path, "one", 0, random_maps(30, 0), val_labels=[1] * 20 + [0] * 10, test_labels=[1] * 9 + [0] * 21)
    (row,) = build_leaderboard(tmp_path).rows
    assert row["accuracy_majority"] == pytest.approx(9 / 30)  # not the 21 / 30 that test's own majority would give


def test_ranks_need_five_seeds_and_leave_out_sanity_and_incomplete_rows(tmp_path: Path) -> None:
    write_run(tmp_path, ("val",))
    test = images("test")
    perfect = np.stack([m.astype(np.float32) for m in test.masks])
    for seed in range(5):
        write_cell(tmp_path, "good", seed, perfect)
        write_cell(tmp_path, "bad", seed, random_maps(30, seed))
        write_cell(tmp_path, "prior", seed, np.ones((30, *SHAPE), np.float32), sanity=True)
        if seed:
            write_cell(tmp_path, "partial", seed, perfect)
    rows = {row["method"]: row for row in build_leaderboard(tmp_path).rows}
    assert (rows["good"]["rank_low"], rows["good"]["rank_high"]) == (1, 1)
    assert (rows["bad"]["rank_low"], rows["bad"]["rank_high"]) == (2, 2)
    assert rows["good"]["iou"] == 1.0
    assert rows["prior"]["rank_low"] is None
    assert rows["partial"]["rank_low"] is None
    assert list(rows) == ["good", "bad", "partial", "prior"]


def test_variants_of_a_method_are_told_apart_where_the_threshold_free_check_disagrees(tmp_path: Path) -> None:
    write_run(tmp_path, ("val",))
    faint = np.stack([np.float32(0.3) * m for m in images("test").masks])  # perfect, and blank at the threshold
    for maps, params in ((faint, "a=1"), (random_maps(30, 0), "a=2")):
        write_cell(tmp_path, "one", 0, maps, method_params=params, name=f"one-{params}")
    notes = build_leaderboard(tmp_path).notes
    assert "made_up, threshold val: the best mean is one[a=2] by iou, one[a=1] by pxap and one[a=1] by pixel_ap" in (
        " ".join(notes)
    )


def test_settings_that_are_not_the_defaults_are_said(tmp_path: Path) -> None:
    write_run(tmp_path, ("val",))
    content = read_run(tmp_path)
    content["fixed"]["recipe"] = {"width": 0.1, "epochs": 3, "flip": True, "image_size": 32}
    content["settings"] = {"recipe.width": "0.1", "phantom.n_train": "64"}
    rewrite_run(tmp_path, content)
    write_cell(tmp_path, "one", 0, random_maps(30, 0))
    said = "Not the defaults: recipe.epochs=3, recipe.width=0.1, phantom.n_train=64."
    assert said in build_leaderboard(tmp_path).notes


def test_the_leaderboard_is_a_pure_function_of_the_records(run: Path, tmp_path: Path) -> None:
    write_run(tmp_path)
    for seed in reversed(SEEDS):  # another order of writing
        write_cell(tmp_path, "prior", seed, np.ones((30, *SHAPE), np.float32), sanity=True, val_auc=None, polarity=None)
        probability = np.random.default_rng(seed).random(30)
        write_cell(
            tmp_path, "ours", seed, random_maps(30, seed, blank=(3, 5)), probability=probability,
            threshold=0.4 + 0.1 * seed, decision=0.3 + 0.1 * seed,
        )  # fmt: skip
    for name in ("leaderboard.csv", "leaderboard.md", "cells.csv", "figures/density_iop.png"):
        write_results(run)
        write_results(tmp_path)
        assert (run / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_a_corrupt_record_is_set_aside_and_named(run: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run, tmp_path / "run")
    victim = next((tmp_path / "run" / "records").glob("*ours--seed1.test.npz"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    board = build_leaderboard(tmp_path / "run")
    row = next(r for r in board.rows if r["method"] == "ours")
    assert (row["status"], row["n_seeds"]) == ("incomplete", 2)
    assert any(victim.name in note for note in board.notes)


def test_refit_spread_is_that_of_a_loop(run: Path) -> None:
    from wsl_bench.stats.bootstrap import cluster_weights

    val, test = images("val"), images("test")
    at = [i for i in range(30) if val.located[i]]
    cells = [c for c in build_leaderboard(run).cells if c["method"] == "ours" and c["threshold_rule"] == "val"]
    maps, test_maps = random_maps(30, 1000), random_maps(30, 0, blank=(3, 5))

    def iou(m: Any, split: Any, i: int, k: int) -> float:
        p = m[i] >= np.float32(k / 1000)
        return float((p & split.masks[i]).sum() / (p | split.masks[i]).sum())

    # Maps take eleven values, so one threshold in each gap stands for all.
    ks = [1, *range(101, 1001, 100)]
    table = np.array([[iou(maps, val, i, k) for k in ks] for i in at])
    weights = cluster_weights([val.groups[i] for i in at], 200, np.random.default_rng(0))
    values = []
    for w in weights:
        k = ks[int((w @ table).argmax())]
        values.append(np.mean([iou(test_maps, test, i, k) for i in range(30) if test.located[i]]))
    assert cells[0]["iou_refit_sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
