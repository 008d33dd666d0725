"""What thresholds are fitted to, against loops over images and exact fractions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy import ndimage

from wsl_bench.metrics.criteria import (
    BOXACC_LEVELS,
    CRITERIA,
    CriterionName,
    LocatedCounts,
    best_threshold,
    box_accuracy,
    objective,
)
from wsl_bench.metrics.tally import Tally, TallyBuilder
from wsl_bench.metrics.truth import rasterize_boxes

from .maps import GRID, quarter_boxes, score_maps

Float = NDArray[np.float64]
Corners = tuple[int, int, int, int]
NAMES: tuple[CriterionName, ...] = ("iou", "dice", "iop_at_fnr", "boxacc")


@dataclass(frozen=True)
class Located:
    """A map, boxes on quarters of a pixel and a mask that is not empty."""

    scores: NDArray[np.float32]
    boxes: Float
    mask: NDArray[np.bool_]


@st.composite
def located_images(draw: st.DrawFn) -> Located:
    scores = draw(score_maps(max_side=7))
    boxes = draw(quarter_boxes(scores.shape))
    mask = rasterize_boxes(boxes, *scores.shape)
    mask[draw(st.integers(0, scores.shape[0] - 1)), draw(st.integers(0, scores.shape[1] - 1))] = True
    return Located(scores, boxes, mask)


def tally_of(images: list[Located]) -> Tally:
    builder = TallyBuilder()
    for i, image in enumerate(images):
        builder.add(f"image-{i}", "group", 1, True, image.scores, image.mask, image.boxes, math.nan)
    return builder.build()


def steps_of(images: list[Located]) -> list[int]:
    """Every threshold at which some map changes, and its neighbours; between them all stays the same."""
    values = np.unique(np.concatenate([image.scores.ravel() for image in images])).tolist()
    near = {round(1000 * v) + i for v in values for i in (-1, 0, 1, 2)}
    return sorted({0, 1, 1000} | {k for k in near if 0 <= k <= 1000})


def clipped(box: Float, shape: tuple[int, ...]) -> Corners:
    """Left, top, right, bottom in quarters of a pixel."""
    x, y, w, h = (int(4 * side) for side in box)
    left, right = (min(max(edge, 0), 4 * shape[1]) for edge in (x, x + w))
    top, bottom = (min(max(edge, 0), 4 * shape[0]) for edge in (y, y + h))
    return left, top, right, bottom


def overlaps(b: Corners, g: Corners) -> tuple[Fraction, Fraction]:
    """IoU, and |b and g| / |b|."""
    both = max(0, min(b[2], g[2]) - max(b[0], g[0])) * max(0, min(b[3], g[3]) - max(b[1], g[1]))
    of_b, of_g = ((box[2] - box[0]) * (box[3] - box[1]) for box in (b, g))
    return Fraction(both, of_b + of_g - both), Fraction(both, of_b)


def hits_of(image: Located, k: int) -> tuple[list[int], list[int]]:
    """Components with an IoU, and with an IoBB, of at least each of the nineteen levels."""
    labels, n = ndimage.label(image.scores >= GRID[k], structure=np.ones((3, 3)))
    truths = [clipped(box, image.scores.shape) for box in image.boxes]
    best = []
    for name in range(1, n + 1):
        ys, xs = np.nonzero(labels == name)
        box = (4 * int(xs.min()), 4 * int(ys.min()), 4 * int(xs.max()) + 4, 4 * int(ys.max()) + 4)
        pairs = [overlaps(box, truth) for truth in truths]
        best.append([max((pair[kind] for pair in pairs), default=Fraction(0)) for kind in (0, 1)])
    iou, iobb = ([sum(20 * own[kind] >= level for own in best) for level in range(1, 20)] for kind in (0, 1))
    return iou, iobb


@settings(deadline=None, max_examples=40)
@given(st.lists(located_images(), max_size=3))
def test_hits_at_a_threshold_and_at_a_level(images: list[Located]) -> None:
    tally = tally_of(images)
    boxed = [image for image in images if len(image.boxes)]
    assert tally.hits_image.tolist() == [i for i, image in enumerate(images) if len(image.boxes)]
    by_level = [tally.hits_at_level(level / 20) for level in range(1, 20)]
    for part in by_level:
        assert (part.dtype, part.shape) == (np.dtype(np.int64), (len(boxed), 1001))
    for k in steps_of(images)[:40] if images else [0, 1, 1000]:
        iou, iobb = tally.hits_at(k)
        expected = [hits_of(image, k) for image in boxed]
        for kind, found in enumerate((iou, iobb)):
            wanted = np.array([own[kind] for own in expected], dtype=np.int64).reshape(-1, 19)
            assert_array_equal(found, wanted, strict=True)
        assert_array_equal(np.array([part[:, k] for part in by_level]).T.reshape(-1, 19), iou)


def test_hits_at_agree_with_the_whole_curves() -> None:
    rng = np.random.default_rng(0)
    images = []
    for n_boxes in (1, 0, 3):
        boxes = np.column_stack([rng.integers(0, 40, (n_boxes, 2)), rng.integers(8, 40, (n_boxes, 2))]) / 4
        scores = (rng.integers(0, 40, (14, 17)) / 40).astype(np.float32)
        images.append(Located(scores, boxes, np.ones((14, 17), dtype=np.bool_)))
    tally = tally_of(images)
    for k in range(0, 1001, 7):
        iou, iobb = tally.hits_at(k)
        assert_array_equal(iou, tally.hits_iou[:, :, k])
        assert_array_equal(iobb, tally.hits_iobb[:, :, k])
    for level in range(1, 20):
        assert_array_equal(tally.hits_at_level(level / 20), tally.hits_iou[:, level - 1])


@pytest.mark.parametrize("level", [0.0, 0.04, 0.33, 0.30000001, 1.0, -0.05, 19])
def test_levels_that_are_not_counted_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match=r"expected a multiple of 0\.05 from 0\.05 to 0\.95, found"):
        tally_of([]).hits_at_level(level)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), min_size=3, max_size=3))
def test_box_accuracy_is_the_share_of_levels(hits: list[list[int]]) -> None:
    expected = [sum(level[i] > 0 for level in hits) / 3 for i in range(6)]
    assert_allclose(box_accuracy([np.array(level) for level in hits]), expected, rtol=0, atol=1e-15)
    square = box_accuracy([np.array(level, dtype=np.uint32).reshape(2, 3) for level in hits])
    assert_allclose(square, np.reshape(expected, (2, 3)), rtol=0, atol=1e-15)


def share(numerator: int, denominator: int) -> Fraction:
    return Fraction(numerator, denominator) if denominator else Fraction(0)


def values_of(name: str, image: Located, k: int) -> Fraction:
    """A criterion of one image at one threshold, from the pixels and components themselves."""
    predicted = image.scores >= GRID[k]
    both, n_predicted, area = (int(m.sum()) for m in (predicted & image.mask, predicted, image.mask))
    if name == "boxacc":
        hits = hits_of(image, k)[0]
        return Fraction(sum(hits[round(20 * level) - 1] > 0 for level in (0.3, 0.5, 0.7)), 3)
    if name == "iou":
        return share(both, n_predicted + area - both)
    if name == "dice":
        return share(2 * both, n_predicted + area)
    return share(both, n_predicted) if name == "iop" else share(area - both, area)


def counts_of(images: list[Located]) -> LocatedCounts:
    """Pixels by plain loops; box accuracies by way of the tally, as the protocol takes them."""
    masks = [[image.scores >= t for t in GRID] for image in images]
    tp = [[int((p & image.mask).sum()) for p in own] for own, image in zip(masks, images, strict=True)]
    fp = [[int((p & ~image.mask).sum()) for p in own] for own, image in zip(masks, images, strict=True)]
    tally = tally_of(images)
    boxacc = np.zeros((len(images), 1001))
    boxacc[tally.hits_image] = box_accuracy([tally.hits_at_level(level) for level in BOXACC_LEVELS])
    return LocatedCounts(np.array(tp), np.array(fp), np.array([int(image.mask.sum()) for image in images]), boxacc)


def slow_objective(
    name: str, images: list[Located], k: int, max_fnr: float, weights: list[int]
) -> tuple[Fraction, bool]:
    """The value, and whether rounding may decide on which side of the bound it is."""
    total = sum(weights)

    def mean(of: str) -> Fraction:
        own = [w * values_of(of, image, k) for w, image in zip(weights, images, strict=True) if w]
        return sum(own, Fraction(0)) / total

    if name != "iop_at_fnr":
        return mean(name), False
    missed = mean("fnr")
    return mean("iop") if missed <= max_fnr else -missed, abs(missed - Fraction(max_fnr)) < Fraction(1, 10**12)


bounds = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.9]) | st.floats(0, 0.99)


@settings(deadline=None, max_examples=40)
@given(st.lists(located_images(), min_size=1, max_size=4), bounds, st.data())
def test_every_criterion_is_that_of_the_loops(images: list[Located], max_fnr: float, data: st.DataObject) -> None:
    counts = counts_of(images)
    one = st.lists(st.integers(0, 3), min_size=len(images), max_size=len(images)).filter(any)
    weights = data.draw(st.lists(one, min_size=1, max_size=3))
    ks = data.draw(st.lists(st.sampled_from(steps_of(images)), min_size=1, max_size=12, unique=True))
    for name in NAMES:
        curve = objective(name, counts, max_fnr)
        resampled = objective(name, counts, max_fnr, np.array(weights, dtype=np.float64))
        assert (curve.dtype, curve.shape) == (np.dtype(np.float64), (1001,))
        assert (resampled.dtype, resampled.shape) == (np.dtype(np.float64), (len(weights), 1001))
        for k in ks:
            for found, own in zip([curve[k], *resampled[:, k]], [[1] * len(images), *weights], strict=True):
                expected, at_the_bound = slow_objective(name, images, k, max_fnr, own)
                if not at_the_bound:
                    assert found == pytest.approx(float(expected), abs=1e-12), (name, k)


@settings(deadline=None, max_examples=25)
@given(st.lists(located_images(), min_size=1, max_size=3), st.data())
def test_a_weight_is_a_number_of_copies(images: list[Located], data: st.DataObject) -> None:
    copies = data.draw(st.lists(st.integers(0, 3), min_size=len(images), max_size=len(images)).filter(any))
    once = counts_of(images)
    repeated = counts_of([image for image, n in zip(images, copies, strict=True) for _ in range(n)])
    weights = np.array([copies], dtype=np.float64)
    bound = 0.1234567  # far from every mean FNR of nine images of 49 pixels
    for name in NAMES:
        plain = objective(name, repeated, bound)
        assert_allclose(objective(name, once, bound, weights)[0], plain, rtol=0, atol=1e-12)
        assert_allclose(objective(name, once, bound, 2.5 * weights)[0], plain, rtol=0, atol=1e-12)


def curves(*steps: tuple[int, ...]) -> NDArray[np.int64]:
    """(n, 1001) counts that are steps[i][j] from threshold 0, 201, 401, 601 or 801 on."""
    return np.repeat(np.array(steps), [201, 200, 200, 200, 200], axis=1)


def test_criteria_by_hand() -> None:
    # Two images of 10 pixels of truth each.
    counts = LocatedCounts(
        tp=curves((10, 10, 8, 5, 0), (10, 10, 4, 5, 0)),
        fp=curves((90, 10, 2, 0, 0), (90, 30, 4, 0, 0)),
        area=np.array([10, 10]),
        boxacc=curves((0, 1, 2, 3, 0), (0, 1, 1, 0, 0)) / 3,
    )
    ends = [0, 201, 401, 601, 801]
    # IoU 10/100, 10/100; 10/20, 10/40; 8/12, 4/14; 5/10, 5/10; 0, 0.
    iou = objective("iou", counts, 0.0)
    assert_allclose(iou[ends], [0.1, 0.375, (8 / 12 + 4 / 14) / 2, 0.5, 0], atol=1e-15)
    assert best_threshold(iou) == 601
    # Dice 20/110 twice; 20/30, 20/50; 16/20, 8/18; 10/15 twice; 0.
    dice = objective("dice", counts, 0.0)
    assert_allclose(dice[ends], [20 / 110, (2 / 3 + 2 / 5) / 2, (4 / 5 + 4 / 9) / 2, 2 / 3, 0], atol=1e-15)
    # Mean box accuracy 0, 1/3, 1/2, 1/2, 0: the lower of the two best.
    boxacc = objective("boxacc", counts, 0.0)
    assert_allclose(boxacc[ends], [0, 1 / 3, 1 / 2, 1 / 2, 0], atol=1e-15)
    assert best_threshold(boxacc) == 401
    # Mean FNR 0, 0, 0.4, 0.5, 1. Mean IoP 0.1; (10/20 + 10/40) / 2; (8/10 + 4/8) / 2; 1; 0.
    strict, loose = (objective("iop_at_fnr", counts, bound) for bound in (0.45, 0.5))
    assert_allclose(strict[ends], [0.1, 0.375, 0.65, -0.5, -1], atol=1e-15)
    assert_allclose(loose[ends], [0.1, 0.375, 0.65, 1, -1], atol=1e-15)
    assert best_threshold(strict) == 401
    assert best_threshold(loose) == 601
    # By weights 3 : 1 the FNR at 401 is 0.3 and at 601 it is 0.5; the IoP there 0.75 * 0.8 + 0.25 * 0.5 = 0.725.
    weighted = objective("iop_at_fnr", counts, 0.35, np.array([[3.0, 1.0], [0.0, 2.0]]))
    assert_allclose(weighted[0, ends], [0.1, 0.75 * 0.5 + 0.25 * 0.25, 0.725, -0.5, -1], atol=1e-15)
    # By the second image alone it is 0.6 at 401.
    assert_allclose(weighted[1, ends], [0.1, 0.25, -0.6, -0.5, -1], atol=1e-15)
    assert best_threshold(weighted).tolist() == [401, 201]


def test_where_no_threshold_meets_the_bound_the_nearest_wins_below_zero() -> None:
    # A blank map but for 2 of 10 pixels, so FNR 0.8 up to 0.6 and 1 above. Threshold 0 finds all and is not asked.
    tp, fp = curves((10, 2, 2, 2, 0)), curves((90, 50, 8, 0, 0))
    tp[0, 1:201], fp[0, 1:201] = 1, 3
    curve = objective("iop_at_fnr", LocatedCounts(tp, fp, np.array([10])), 0.5)
    assert_allclose(curve[[0, 1, 201, 401, 601, 801]], [0.1, -0.9, -0.8, -0.8, -0.8, -1], atol=1e-15)
    assert best_threshold(curve) == 201
    assert curve[best_threshold(curve)] < 0
    blank = np.zeros((1, 1001), dtype=np.int64)
    blank[0, 0] = 10
    curve = objective("iop_at_fnr", LocatedCounts(blank, 9 * blank, np.array([10])), 0.5)
    assert best_threshold(curve) == 1
    assert curve[1] == -1


def test_no_iop_is_worth_less_than_a_missed_bound() -> None:
    # At 201 the bound is met with an IoP of 1/1000; at 601 it is missed by a pixel with an IoP of 1.
    tp, fp = curves((10, 5, 4, 4, 0)), curves((5000, 4995, 0, 0, 0))
    tp[0, :201], fp[0, :201] = 5, 9995
    curve = objective("iop_at_fnr", LocatedCounts(tp, fp, np.array([10])), 0.5)
    assert_allclose(curve[[1, 201, 401]], [5 / 10000, 5 / 5000, -0.6], atol=1e-15)
    assert best_threshold(curve) == 201


@pytest.mark.parametrize(("area", "tp"), [((2, 11, 11), (1, 2, 9)), ((6, 2, 10, 4, 6), (5, 0, 10, 0, 4))])
def test_a_mean_exactly_at_the_bound_meets_it(area: tuple[int, ...], tp: tuple[int, ...]) -> None:
    # FNR 1/2, 9/11, 2/11; or 1/6, 1, 0, 1, 1/3: the mean is 1/2, whatever the sum is rounded to.
    assert sum(Fraction(a - t, a) for a, t in zip(area, tp, strict=True)) / len(area) == Fraction(1, 2)
    every = np.repeat(np.array(tp)[:, None], 1001, axis=1)
    counts = LocatedCounts(every, np.zeros_like(every), np.array(area))
    iop = sum(t > 0 for t in tp) / len(tp)
    assert objective("iop_at_fnr", counts, 0.5)[500] == pytest.approx(iop)
    weights = np.ones((1, len(tp)))
    assert objective("iop_at_fnr", counts, 0.5, weights)[0, 500] == pytest.approx(iop)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(), (1,), (3,), (2, 3)]), st.integers(1, 5))
def test_the_best_threshold_is_the_lowest_among_ties(seed: int, shape: tuple[int, ...], n_values: int) -> None:
    rng = np.random.default_rng(seed)
    curve = rng.integers(-n_values, n_values, (*shape, 1001)) / 8
    curve[..., 0] = 9
    found = best_threshold(curve)
    assert (found.dtype, found.shape) == (np.dtype(np.int64), shape)
    for k, own in zip(found.reshape(-1), curve.reshape(-1, 1001).tolist(), strict=True):
        best = max(own[1:])
        assert k == min(i for i in range(1, 1001) if own[i] == best)


@pytest.mark.parametrize("value", [-1.0, -0.5, 0.0, 1 / 3, 1.0])
def test_a_level_curve_gives_the_lowest_threshold_that_is_not_zero(value: float) -> None:
    assert best_threshold(np.full(1001, value)) == 1
    last = np.full(1001, value)
    last[1000] += 0.1
    assert best_threshold(last) == 1000


@pytest.mark.parametrize("n_images", [5, 24, 100])
def test_resampled_thresholds_with_the_same_counts_tie(n_images: int) -> None:
    """All thresholds from 1 to 1000 have the same counts, as with maps of two values: the lowest is the best."""
    rng = np.random.default_rng(n_images)
    area = rng.integers(1, 30, n_images)
    tp, fp = (np.repeat(rng.integers(1, area + 1)[:, None], 1001, axis=1) for _ in range(2))
    boxacc = np.repeat(rng.integers(0, 4, n_images)[:, None] / 3, 1001, axis=1)
    weights = rng.integers(0, 4, (200, n_images)).astype(np.float64)
    weights[:, 0] += 1
    counts = LocatedCounts(tp, fp, area, boxacc)
    for name in NAMES:
        assert best_threshold(objective(name, counts, 0.9)) == 1
        chosen = best_threshold(objective(name, counts, 0.9, weights))
        assert chosen.tolist() == [1] * 200, name


def test_the_names_and_levels() -> None:
    assert CRITERIA == NAMES
    assert BOXACC_LEVELS == (0.3, 0.5, 0.7)


def test_box_accuracy_needs_its_counts() -> None:
    counts = LocatedCounts(curves((1, 1, 1, 1, 0)), curves((1, 1, 1, 1, 0)), np.array([2]))
    for weights in (None, np.ones((1, 1))):
        with pytest.raises(AssertionError):
            objective("boxacc", counts, 0.0, weights)
