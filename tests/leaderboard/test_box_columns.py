"""The columns of boxes, points and test-fitted thresholds, against plain loops over the maps themselves."""

from __future__ import annotations

import csv
import io
import math
import signal
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import made_up_run
import numpy as np
import pytest
from made_up_run import SHAPE, Images, images, random_maps, write_cell, write_run
from numpy.typing import NDArray
from scipy import ndimage

from wsl_bench import results
from wsl_bench.cli.main import main
from wsl_bench.errors import UsageError
from wsl_bench.leaderboard.boxes import box_columns
from wsl_bench.leaderboard.build import Leaderboard, build_leaderboard, render, with_oracle, write_leaderboard
from wsl_bench.leaderboard.measure import Row
from wsl_bench.leaderboard.oracle import NOTE
from wsl_bench.metrics.truth import rasterize_boxes

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]
# Left, top, right, bottom.
Corners = tuple[Fraction, ...]
# Its pixels, its box and its highest score.
Component = tuple[int, Corners, float]

SEEDS = range(5)
THRESHOLDS = {seed: (400, 500, 550, 600, 800)[seed] for seed in SEEDS}
METHODS = ("hills", "noise", "prior")
DETECTION_COLUMNS = ("ap_10", "ap_30", "ap_50", "froc_30")
ORACLE_COLUMNS = ("oracle_iou", "oracle_gap", "oracle_maxboxacc", "oracle_maxboxacc_v2")
BOX_COLUMNS = (
    "boxacc",
    *(f"{kind}_iou_{level}" for level in (10, 20, 30, 40, 50, 60, 70) for kind in ("t", "afp")),
    *(f"{kind}_iobb_{level}" for level in (10, 25, 50, 75, 90) for kind in ("t", "afp")),
    "components_negative",
    *DETECTION_COLUMNS,
    "pointing",
    "relevance_mass",
    "relevance_rank",
    "cnr_median",
)


def images_with_several_boxes(split: str, n: int = 30) -> Images:
    """Like `images`, with one to five boxes on quarters of a pixel; one image is ground truth all over."""
    out = images(split, n)
    rng = np.random.default_rng(99)
    for i in range(n):
        if out.located[i]:
            n_boxes = i // 2 % 5 + 1
            corner = rng.integers(0, (4 * SHAPE[1] - 12, 4 * SHAPE[0] - 12), (n_boxes, 2))
            size = np.minimum(rng.integers(4, 24, (n_boxes, 2)), (4 * SHAPE[1], 4 * SHAPE[0]) - corner)
            out.boxes[i] = np.concatenate([corner, size], axis=1) / 4
            if i == 7:
                out.boxes[i] = np.array([[0, 0, SHAPE[1], SHAPE[0]]], dtype=np.float64)
            out.masks[i] = rasterize_boxes(out.boxes[i], *SHAPE)
            assert out.masks[i].any()
    return out


def hills(test: Images, seed: int) -> Map:
    """Rectangles on tenths, most of them near the ground truth; some maps noisy, constant or blank."""
    rng = np.random.default_rng(1000 + seed)
    maps = random_maps(len(test.ids), seed + 50)
    for i in range(len(test.ids)):
        kind = (i // 2 + seed) % 6
        if kind in (1, 2, 3):
            maps[i] = maps[i] * 0.3 if kind == 3 else 0
            near = [(int(x), int(y), math.ceil(w), math.ceil(h)) for x, y, w, h in test.boxes[i]]
            anywhere = [tuple(int(v) for v in rng.integers((0, 0, 1, 1), (15, 11, 5, 5))) for _ in range(2)]
            for x, y, w, h in [*near, *anywhere]:
                left, top = (max(0, side + int(rng.integers(-1, 2))) for side in (x, y))
                maps[i, top : y + h, left : x + w] = rng.integers(3, 11) / 10
        elif kind == 4:
            maps[i] = 0 if i % 3 else 0.7
    return maps.astype(np.float32)


def maps_of(method: str, test: Images, seed: int) -> Map:
    if method == "hills":
        return hills(test, seed)
    return random_maps(30, seed, blank=(3, 5)) if method == "noise" else np.ones((30, *SHAPE), np.float32)


@pytest.fixture(scope="module", params=["one box", "several boxes"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Images]:
    """A run of five seeds on images with a box each, or with several."""
    root = tmp_path_factory.mktemp("run")
    write_run(root, planned=[["not_begun", ""]])
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "several boxes":
            patch.setattr(made_up_run, "images", images_with_several_boxes)
        test = made_up_run.images("test")
        for seed in SEEDS:
            for method in METHODS:
                write_cell(
                    root, method, seed, maps_of(method, test, seed), threshold=THRESHOLDS[seed] / 1000,
                    sanity=method == "prior",
                )  # fmt: skip
    return root, test


@pytest.fixture(scope="module")
def board(made: tuple[Path, Images]) -> Leaderboard:
    return with_oracle(build_leaderboard(made[0]))


@pytest.fixture(scope="module")
def plain(made: tuple[Path, Images]) -> Leaderboard:
    return build_leaderboard(made[0])


def row_of(board: Leaderboard, method: str, rule: str) -> dict[str, Any]:
    return next(row for row in board.rows if (row["method"], row["threshold_rule"]) == (method, rule))


def components_of(scores: Map, k: int) -> list[Component]:
    """By their first pixel in raster order."""
    labels, n = ndimage.label(scores >= np.float32(k / 1000), structure=np.ones((3, 3)))
    found = []
    for name in range(1, n + 1):
        ys, xs = np.nonzero(labels == name)
        first = int((ys * SHAPE[1] + xs).min())
        edges = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
        found.append((first, (len(ys), tuple(map(Fraction, edges)), float(scores[ys, xs].max()))))
    return [component for _, component in sorted(found, key=lambda one: one[0])]


def corners(box: NDArray[np.float64]) -> Corners:
    x, y, w, h = (Fraction(float(side)) for side in box)
    return x, y, x + w, y + h


def overlaps(b: Corners, g: Corners) -> tuple[Fraction, Fraction]:
    """IoU, and |b and g| / |b|."""
    both = max(Fraction(0), min(b[2], g[2]) - max(b[0], g[0])) * max(Fraction(0), min(b[3], g[3]) - max(b[1], g[1]))
    of_b, of_g = ((box[2] - box[0]) * (box[3] - box[1]) for box in (b, g))
    return both / (of_b + of_g - both), both / of_b


def mean(values: list[Any]) -> float:
    return float(sum(map(Fraction, values), Fraction(0)) / len(values))


def accuracies(test: Images, maps: Map, k: int) -> dict[str, float]:
    reached: dict[str, list[list[Fraction]]] = {"iou": [], "iobb": []}
    for i in np.flatnonzero(test.located):
        truths = [corners(box) for box in test.boxes[i]]
        pairs = [[overlaps(box, truth) for truth in truths] for _, box, _ in components_of(maps[i], k)]
        for which, kind in enumerate(("iou", "iobb")):
            reached[kind].append([max(pair[which] for pair in own) for own in pairs])

    def any_hit(kind: str, percent: int) -> float:
        return mean([any(best >= Fraction(percent, 100) for best in own) for own in reached[kind]])

    out = {"boxacc": sum(any_hit("iou", percent) for percent in (30, 50, 70)) / 3}
    for kind, levels in (("iou", (10, 20, 30, 40, 50, 60, 70)), ("iobb", (10, 25, 50, 75, 90))):
        for percent in levels:
            out[f"t_{kind}_{percent}"] = any_hit(kind, percent)
            missing = [sum(best < Fraction(percent, 100) for best in own) for own in reached[kind]]
            out[f"afp_{kind}_{percent}"] = mean(missing)
    healthy = [i for i, label in enumerate(test.labels) if label == 0]
    out["components_negative"] = mean([len(components_of(maps[i], k)) for i in healthy])
    return out


def judged(test: Images) -> list[int]:
    """Healthy images and located positives: of other positives nobody knows what a detection has found."""
    return [i for i in range(len(test.ids)) if test.located[i] or test.labels[i] == 0]


def ranked_detections(test: Images, maps: Map, k: int, level: Fraction) -> list[tuple[float, bool]]:
    """Score and whether true, of all images, by COCO's greedy rule."""
    found = []
    for i in judged(test):
        free = [corners(box) for box in test.boxes[i]]
        for _, box, score in sorted(components_of(maps[i], k), key=lambda one: -one[2]):
            best = max(free, key=lambda truth: overlaps(box, truth)[0], default=None)
            hit = best is not None and overlaps(box, best)[0] >= level
            if hit and best is not None:
                free.remove(best)
            found.append((score, hit))
    return found


def precisions(test: Images, maps: Map, k: int) -> dict[str, float]:
    n_truth = sum(len(boxes) for boxes in test.boxes)
    out = {}
    for percent in (10, 30, 50):
        detections = ranked_detections(test, maps, k, Fraction(percent, 100))
        curve = []
        for threshold in sorted({score for score, _ in detections}, reverse=True):
            kept = [hit for score, hit in detections if score >= threshold]
            curve.append((sum(kept), len(kept) - sum(kept)))
        area, before = Fraction(0), 0
        for place, (tp, _) in enumerate(curve):
            area += Fraction(tp - before, n_truth) * max(Fraction(t, t + f) for t, f in curve[place:])
            before = tp
        out[f"ap_{percent}"] = float(area)
        if percent == 30:
            rates = [Fraction(1, 8), Fraction(1, 4), Fraction(1, 2), *map(Fraction, (1, 2, 4, 8))]
            reached = [max((t for t, f in curve if f <= rate * len(judged(test))), default=0) for rate in rates]
            out["froc_30"] = mean(reached) / n_truth
    return out


def contrast(inside: list[Fraction], outside: list[Fraction]) -> float | None:
    if not inside or not outside:
        return None
    means = [sum(side, Fraction(0)) / len(side) for side in (inside, outside)]
    variance = sum(
        sum(((s - m) ** 2 for s in side), Fraction(0)) / len(side)
        for side, m in zip((inside, outside), means, strict=True)
    )
    if means[0] == means[1]:
        return 0.0
    return float(abs(means[0] - means[1])) / math.sqrt(variance) if variance else math.inf


def top_share(inside: list[Fraction], outside: list[Fraction], count: int) -> Fraction:
    """Share of the `count` highest pixels that lie inside, places among equals drawn evenly."""
    if not any(inside) and not any(outside):
        return Fraction(0)
    here, everywhere, left, found = Counter(inside), Counter(inside + outside), count, Fraction(0)
    for value in sorted(everywhere, reverse=True):
        taken = min(left, everywhere[value])
        found += Fraction(taken * here[value], everywhere[value])
        left -= taken
    return found / count


def soft(test: Images, maps: Map) -> dict[str, float | None]:
    pointing, mass, rank, contrasts = [], [], [], []
    for i in np.flatnonzero(test.located):
        inside, outside = ([Fraction(float(s)) for s in maps[i][mask]] for mask in (test.masks[i], ~test.masks[i]))
        total = sum(inside, Fraction(0)) + sum(outside, Fraction(0))
        pointing.append(top_share(inside, outside, 1))
        rank.append(top_share(inside, outside, len(inside)))
        mass.append(sum(inside, Fraction(0)) / total if total else Fraction(0))
        contrasts.append(contrast(inside, outside))
    defined = [value for value in contrasts if value is not None]
    return {
        "pointing": mean(pointing),
        "relevance_mass": mean(mass),
        "relevance_rank": mean(rank),
        "cnr_median": statistics.median(defined) if defined else None,
    }


def oracle(test: Images, maps: Map) -> dict[str, float]:
    """The best thresholds on test; maps take values on tenths, so one threshold in each gap stands for all."""
    located = np.flatnonzero(test.located)
    rows: dict[str, list[float]] = {name: [] for name in ("iou", "largest", "30", "50", "70")}
    for k in [1, *(k for ten in range(100, 1000, 100) for k in (ten, ten + 1)), 1000]:
        ious, largest, best = [], [], []
        for i in located:
            predicted, truths = maps[i] >= np.float32(k / 1000), [corners(box) for box in test.boxes[i]]
            both, either = (predicted & test.masks[i]).sum(), (predicted | test.masks[i]).sum()
            ious.append(Fraction(int(both), int(either)))
            components = components_of(maps[i], k)
            each = [max(overlaps(box, truth)[0] for truth in truths) for _, box, _ in components]
            best.append(max(each, default=Fraction(0)))
            sizes = [size for size, _, _ in components]
            largest.append(bool(sizes) and each[sizes.index(max(sizes))] >= Fraction(1, 2))
        rows["iou"].append(mean(ious))
        rows["largest"].append(mean(largest))
        for percent in ("30", "50", "70"):
            rows[percent].append(mean([one >= Fraction(int(percent), 100) for one in best]))
    top = {name: max(values) for name, values in rows.items()}
    v2 = (top["30"] + top["50"] + top["70"]) / 3
    return {"oracle_iou": top["iou"], "oracle_maxboxacc": top["largest"], "oracle_maxboxacc_v2": v2}


def over_seeds(measure: Callable[[Map, int], dict[str, Any]], method: str, test: Images) -> dict[str, float]:
    each = [measure(maps_of(method, test, seed), seed) for seed in SEEDS]
    return {name: sum(values[name] for values in each) / len(each) for name in each[0]}


def assert_columns(row: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        assert row[name] == (value if value is None else pytest.approx(value, abs=1e-12)), name


@pytest.mark.parametrize("method", ["hills", "noise"])
def test_accuracies_are_those_of_the_loops(made: tuple[Path, Images], board: Leaderboard, method: str) -> None:
    _, test = made
    fitted = over_seeds(lambda maps, seed: accuracies(test, maps, THRESHOLDS[seed]), method, test)
    assert_columns(row_of(board, method, "val"), fitted)
    assert_columns(row_of(board, method, "0.5"), over_seeds(lambda maps, _: accuracies(test, maps, 500), method, test))
    if method == "hills":
        assert 0 < fitted["t_iou_70"] < fitted["t_iou_50"] < fitted["t_iou_10"] < 1
        assert fitted["t_iobb_90"] < fitted["t_iobb_25"]
        assert fitted["afp_iou_10"] < fitted["afp_iou_70"]


@pytest.mark.parametrize("method", METHODS)
def test_precisions_are_those_of_the_loops(made: tuple[Path, Images], board: Leaderboard, method: str) -> None:
    _, test = made
    expected = over_seeds(lambda maps, seed: precisions(test, maps, THRESHOLDS[seed]), method, test)
    assert_columns(row_of(board, method, "val"), expected)
    if method == "hills":
        assert 0 < expected["ap_50"] < expected["ap_30"] < expected["ap_10"] < 1
        assert 0 < expected["froc_30"] < 1


@pytest.mark.parametrize("rule", ["val", "0.5"])
@pytest.mark.parametrize("method", METHODS)
def test_threshold_free_columns_are_those_of_the_loops(
    made: tuple[Path, Images], board: Leaderboard, method: str, rule: str
) -> None:
    _, test = made
    expected = over_seeds(lambda maps, _: soft(test, maps), method, test)
    assert_columns(row_of(board, method, rule), expected)
    if method == "prior":
        assert expected["cnr_median"] == 0
    else:
        assert 0 < expected["pointing"] < 1


@pytest.mark.parametrize("method", ["hills", "noise"])
def test_oracle_columns_are_those_of_the_loops(made: tuple[Path, Images], board: Leaderboard, method: str) -> None:
    _, test = made
    expected = over_seeds(lambda maps, _: oracle(test, maps), method, test)
    for rule in ("val", "0.5"):
        row = row_of(board, method, rule)
        assert_columns(row, expected)
        ks = [THRESHOLDS[seed] if rule == "val" else 500 for seed in SEEDS]
        own = []
        for seed, k in zip(SEEDS, ks, strict=True):
            maps = maps_of(method, test, seed)
            for i in np.flatnonzero(test.located):
                predicted = maps[i] >= np.float32(k / 1000)
                both, either = (predicted & test.masks[i]).sum(), (predicted | test.masks[i]).sum()
                own.append(Fraction(int(both), int(either)))
        assert row["oracle_gap"] == pytest.approx(expected["oracle_iou"] - mean(own), abs=1e-12)
        assert row["oracle_gap"] > 0


def test_the_whole_image(made: tuple[Path, Images], board: Leaderboard) -> None:
    """One component all over: each number follows from the ground truth alone."""
    _, test = made
    boxes = [[corners(box) for box in own] for own in test.boxes if len(own)]
    area = SHAPE[0] * SHAPE[1]
    best = [max((g[2] - g[0]) * (g[3] - g[1]) / area for g in own) for own in boxes]
    for rule in ("val", "0.5"):
        row = row_of(board, "prior", rule)
        for percent in (10, 50, 70):
            assert row[f"t_iou_{percent}"] == pytest.approx(mean([b >= Fraction(percent, 100) for b in best]))
            assert row[f"afp_iou_{percent}"] == pytest.approx(1 - row[f"t_iou_{percent}"])
        assert row["components_negative"] == 1
        # Within the image, the intersection with the whole is the box and the union the image.
        assert (row["t_iobb_10"], row["t_iobb_50"]) == (row["t_iou_10"], row["t_iou_50"])
        assert row["oracle_gap"] == pytest.approx(0, abs=1e-12)
        assert row["oracle_maxboxacc"] == row["t_iou_50"]
        assert row["oracle_maxboxacc_v2"] == pytest.approx(row["boxacc"])
        masks = [mask.mean() for mask, on in zip(test.masks, test.located, strict=True) if on]
        for name in ("pointing", "relevance_mass", "relevance_rank"):
            assert row[name] == pytest.approx(np.mean(masks), abs=1e-12)


def test_rows_of_other_thresholds_have_no_precisions(made: tuple[Path, Images], board: Leaderboard) -> None:
    """One of the trainings was fitted to 0.5 itself; a mean over some trainings would be none of the row."""
    assert 500 in THRESHOLDS.values()
    for method in METHODS:
        fixed, fitted = row_of(board, method, "0.5"), row_of(board, method, "val")
        assert [fixed[name] for name in DETECTION_COLUMNS] == [None] * 4
        assert None not in [fitted[name] for name in DETECTION_COLUMNS]
        assert None not in [fixed[name] for name in BOX_COLUMNS if name not in DETECTION_COLUMNS]
    lines = list(csv.DictReader(io.StringIO(render(board, "csv"))))
    assert {line["ap_30"] for line in lines if line["threshold_rule"] == "0.5"} == {""}


def test_where_every_training_was_fitted_to_the_fixed_threshold_both_rows_agree(tmp_path: Path) -> None:
    write_run(tmp_path)
    for seed in range(2):
        write_cell(tmp_path, "hills", seed, hills(images("test"), seed), threshold=0.5)
    rows = {row["threshold_rule"]: row for row in with_oracle(build_leaderboard(tmp_path)).rows}
    for name in (*BOX_COLUMNS, *ORACLE_COLUMNS):
        assert rows["val"][name] == rows["0.5"][name]
        assert rows["val"][name] is not None


def test_without_a_fitted_threshold_only_precisions_are_missing(tmp_path: Path) -> None:
    write_run(tmp_path)
    test = images("test")
    write_cell(tmp_path, "hills", 0, hills(test, 0), threshold=None)
    (row,) = with_oracle(build_leaderboard(tmp_path)).rows
    assert row["threshold_rule"] == "0.5"
    assert [row[name] for name in DETECTION_COLUMNS] == [None] * 4
    assert_columns(
        row, accuracies(test, hills(test, 0), 500) | soft(test, hills(test, 0)) | oracle(test, hills(test, 0))
    )


def test_the_columns_and_their_places(plain: Leaderboard, board: Leaderboard) -> None:
    row = row_of(board, "hills", "val")
    assert set(row) - set(plain.rows[0]) == set(ORACLE_COLUMNS)
    assert set(list(row)[-len(BOX_COLUMNS) - 4 : -4]) == set(BOX_COLUMNS)
    assert tuple(row)[-4:] == ORACLE_COLUMNS
    measured = next(one for values, one in board.measured if (values["method"], one.rule) == ("hills", "val"))
    assert box_columns(measured) == {name: row[name] for name in BOX_COLUMNS}
    not_begun = row_of(board, "not_begun", "val")
    assert {not_begun[name] for name in (*BOX_COLUMNS, *ORACLE_COLUMNS)} == {None}


def test_the_order_of_columns_is_the_same_for_fixed_thresholds(board: Leaderboard) -> None:
    """The first row decides on the order in leaderboard.csv, and a run may have fixed thresholds only."""
    assert list(row_of(board, "hills", "0.5")) == list(row_of(board, "hills", "val"))


def test_ranks_and_everything_else_are_the_same_without_the_oracle(plain: Leaderboard, board: Leaderboard) -> None:
    stripped = [{name: value for name, value in row.items() if name not in ORACLE_COLUMNS} for row in board.rows]
    assert stripped == plain.rows
    assert [list(row) for row in stripped] == [list(row) for row in plain.rows]
    assert not any("oracle" in name for row in plain.rows for name in row)
    assert plain.cells == board.cells
    assert not any("oracle" in name for cell in board.cells for name in cell)
    assert (plain.notes, [NOTE]) == (board.notes[:-1], board.notes[-1:])
    ranked = {
        row["method"]: (row["rank_low"], row["rank_high"]) for row in board.rows if row["threshold_rule"] == "val"
    }
    assert {method for method, ranks in ranked.items() if None not in ranks} == {"hills", "noise"}


def test_the_oracle_ranks_nobody(tmp_path: Path) -> None:
    """`late` is perfect at a threshold of 0.9 and frozen at 0.1; `steady` is poor everywhere and ranks first."""
    write_run(tmp_path, ("val",))
    test = images("test")
    for seed in range(5):
        late = np.stack([np.where(mask, np.float32(0.9), np.float32(0.5)) for mask in test.masks])
        steady = np.stack([mask * (np.indices(SHAPE).sum(axis=0) % 2 == 0) for mask in test.masks]).astype(np.float32)
        write_cell(tmp_path, "late", seed, late, threshold=0.1)
        write_cell(tmp_path, "steady", seed, steady, threshold=0.1)
    steady_row, late_row = with_oracle(build_leaderboard(tmp_path)).rows
    assert (steady_row["method"], late_row["method"]) == ("steady", "late")
    assert (late_row["oracle_iou"], late_row["oracle_gap"]) == (1, pytest.approx(1 - late_row["iou"]))
    assert late_row["oracle_iou"] > steady_row["oracle_iou"]
    assert (steady_row["rank_low"], steady_row["rank_high"]) == (1, 1)
    assert (late_row["rank_low"], late_row["rank_high"]) == (2, 2)


def test_a_perfect_map_by_hand(tmp_path: Path) -> None:
    """Whole boxes, each its own component and nothing else lit; contrast is infinite, for both sides are constant."""
    boxes = np.array([[1.0, 2, 3, 4], [8, 3, 2, 2]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_up_run, "images", lambda split, n=30: with_boxes(images(split, n), boxes))
        test = made_up_run.images("test")
        write_run(tmp_path, ("val",))
        write_cell(tmp_path, "perfect", 0, np.stack(test.masks).astype(np.float32), threshold=0.7)
    (row,) = with_oracle(build_leaderboard(tmp_path)).rows
    for name in BOX_COLUMNS:
        expected = 0 if name.startswith("afp") or name == "components_negative" else 1
        assert row[name] == (math.inf if name == "cnr_median" else pytest.approx(expected)), name
    assert [row[name] for name in ORACLE_COLUMNS] == [1, 0, 1, 1]


def test_the_oracle_by_hand(tmp_path: Path) -> None:
    """Ground truth all over. The upper half has an IoU of exactly 1/2 with it; a blank map finds it at 0 alone."""
    whole = np.array([[0.0, 0, SHAPE[1], SHAPE[0]]])
    upper = np.zeros((30, *SHAPE), dtype=np.float32)
    upper[:, : SHAPE[0] // 2] = 0.8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_up_run, "images", lambda split, n=30: with_boxes(images(split, n), whole))
        write_run(tmp_path, ("val",))
        write_cell(tmp_path, "upper", 0, upper, threshold=0.9)
        write_cell(tmp_path, "blank", 0, 0 * upper, threshold=0.9)
    upper_row, blank_row = (
        row_of(with_oracle(build_leaderboard(tmp_path)), name, "val") for name in ("upper", "blank")
    )
    # Of the levels .3, .5 and .7 it reaches two. At the frozen 0.9 nothing is found.
    assert [upper_row[name] for name in ORACLE_COLUMNS] == [0.5, 0.5, 1, pytest.approx(2 / 3)]
    assert [blank_row[name] for name in ORACLE_COLUMNS] == [0, 0, 0, 0]
    for row in (upper_row, blank_row):
        assert [row[name] for name in ("boxacc", "t_iou_10", "t_iobb_10", *DETECTION_COLUMNS)] == [0] * 7


def test_undefined_columns_are_missing(tmp_path: Path) -> None:
    """No healthy image, and ground truth all over: no components to count and no outside to contrast with."""
    whole = np.array([[0.0, 0, SHAPE[1], SHAPE[0]]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_up_run, "images", lambda split, n=30: with_boxes(images(split, n), whole))
        test = made_up_run.images("test")
        write_run(tmp_path, ("val",))
        for seed in range(2):
            write_cell(tmp_path, "hills", seed, hills(test, seed), test_labels=[1] * 30)
    (row,) = build_leaderboard(tmp_path).rows
    assert row["n_negative"] == 0
    assert (row["components_negative"], row["cnr_median"]) == (None, None)
    assert None not in [row[name] for name in BOX_COLUMNS if name not in ("components_negative", "cnr_median")]


def with_boxes(split: Images, boxes: NDArray[np.float64]) -> Images:
    """The same boxes on every located image."""
    for i in np.flatnonzero(split.located):
        split.boxes[i], split.masks[i] = boxes, rasterize_boxes(boxes, *SHAPE)
    return split


@pytest.mark.parametrize("text", ["0", "0.0005", "1.5", "nan"])
def test_a_threshold_off_the_grid_is_refused(made: tuple[Path, Images], board: Leaderboard, text: str) -> None:
    records = board.measured[0][1].records
    with pytest.raises(UsageError, match=r"expected a multiple of 0\.001 from 0\.001 to 1, found"):
        box_columns(Row(records, text))


Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def wslbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Say]:
    """The command in this process, without its figures: exit code, output, errors."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(results, "write_densities", lambda measured, folder: None)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wslbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", planned=[["not_begun", ""]])
    for seed in range(2):
        write_cell(tmp_path / "run", "hills", seed, hills(images("test"), seed), threshold=0.4 + 0.2 * seed)
    return tmp_path / "run"


def test_what_a_run_writes_never_has_the_oracle(small: Path) -> None:
    write_leaderboard(small)
    header = (small / "leaderboard.csv").read_text().splitlines()[0].split(",")
    assert set(BOX_COLUMNS) < set(header)
    for path in small.glob("*.*"):
        assert "oracle" not in path.read_text(), path.name


def test_the_command_shows_the_oracle_when_asked_and_writes_it_nowhere(small: Path, wslbench: Say) -> None:
    code, shown, said = wslbench("leaderboard", str(small), "--oracle", "--format", "csv")
    assert (code, said) == (0, "")
    rows = list(csv.DictReader(io.StringIO(shown)))
    expected = with_oracle(build_leaderboard(small)).rows
    assert [row["method"] for row in rows] == [row["method"] for row in expected]
    assert tuple(rows[0])[-4:] == ORACLE_COLUMNS
    for row, values in zip(rows, expected, strict=True):
        for name in (*BOX_COLUMNS, *ORACLE_COLUMNS):
            assert row[name] == ("" if values[name] is None else repr(values[name])), name
    for path in small.rglob("*.*"):
        if path.suffix in (".csv", ".md", ".json"):
            assert "oracle" not in path.read_text(), path.name
    output = small.parent / "shown.csv"
    assert wslbench("leaderboard", str(small), "--oracle", "--format", "csv", "--output", str(output))[0] == 0
    assert output.read_text() == shown
    code, plain, _ = wslbench("leaderboard", str(small), "--format", "csv")
    assert (code, plain) == (0, (small / "leaderboard.csv").read_text())
    assert "oracle" not in plain


@pytest.mark.parametrize("arguments", [("--format", "xlsx"), ("--format", "table", "--output", "here.txt")])
def test_a_bad_format_is_refused_with_the_oracle_too(small: Path, wslbench: Say, arguments: tuple[str, ...]) -> None:
    code, shown, said = wslbench("leaderboard", str(small), "--oracle", *arguments)
    assert (code, shown) == (2, "")
    assert "--format" in said
    assert not (small / "leaderboard.csv").exists()
