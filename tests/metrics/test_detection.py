"""Detections and what they find, against flood fills, exact fractions and loops over every score threshold."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from wsl_bench.metrics.detection import (
    FROC_RATES,
    MOST_DETECTIONS,
    average_precision,
    detect,
    froc,
    true_detections,
)

from .maps import GRID, score_maps

Box = tuple[int, ...]
# An image's name, a box in quarters of a pixel and a score.
Detected = tuple[int, Box, float]
Placed = tuple[int, Box]


def flood(mask: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """The pixels of each 8-connected component, components by their first pixel in raster order."""
    height, width = mask.shape
    seen: set[tuple[int, int]] = set()
    components = []
    for start in ((y, x) for y in range(height) for x in range(width)):
        if not mask[start] or start in seen:
            continue
        seen.add(start)
        pixels = [start]
        for y, x in pixels:
            for near in ((y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
                if 0 <= near[0] < height and 0 <= near[1] < width and mask[near] and near not in seen:
                    seen.add(near)
                    pixels.append(near)
        components.append(pixels)
    return components


def slow_detect(scores: NDArray[np.float32], threshold: np.float32) -> tuple[list[list[int]], list[float]]:
    """Boxes and scores, at most a hundred."""
    found = []
    for pixels in flood(scores >= threshold):
        ys, xs = [y for y, _ in pixels], [x for _, x in pixels]
        box = [min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1]
        found.append((max(float(scores[p]) for p in pixels), box))
    found.sort(key=lambda one: -one[0])
    return [box for _, box in found[:100]], [score for score, _ in found[:100]]


def assert_detects(scores: NDArray[np.float32], k: int) -> None:
    found, (boxes, maxima) = detect(scores, GRID[k]), slow_detect(scores, GRID[k])
    assert_array_equal(found.boxes, np.array(boxes, dtype=np.int32).reshape(-1, 4), strict=True)
    assert_array_equal(found.scores, np.array(maxima, dtype=np.float32), strict=True)


@settings(deadline=None, max_examples=250)
@given(score_maps(), st.integers(1, 1000) | st.integers(1, 10).map(lambda ten: 100 * ten), st.integers(0, 4))
def test_components_boxes_scores_and_order(scores: NDArray[np.float32], k: int, layout: int) -> None:
    layouts = [scores, np.asfortranarray(scores), scores.T, scores[::-1], scores[::2, ::-1]]
    assert_detects(layouts[layout], k)


@settings(deadline=None, max_examples=100)
@given(score_maps(), st.data())
def test_at_thresholds_around_the_scores_themselves(scores: NDArray[np.float32], data: st.DataObject) -> None:
    k = round(1000 * float(data.draw(st.sampled_from(scores.ravel().tolist()))))
    for near in {max(1, k - 1), max(1, k), min(1000, k + 1)}:
        assert_detects(scores, near)


@pytest.mark.parametrize("n_values", [1, 2, 5, 1000])
def test_more_components_than_are_kept(n_values: int) -> None:
    assert MOST_DETECTIONS == 100
    rng = np.random.default_rng(n_values)
    scores = np.zeros((25, 31), dtype=np.float32)
    scores[::2, ::2] = (0.5 + rng.integers(0, n_values, (13, 16)) / (2 * n_values)).astype(np.float32)
    assert len(flood(scores >= GRID[500])) == 13 * 16
    assert_detects(scores, 500)
    assert len(detect(scores, GRID[500]).scores) == 100


def test_among_equal_scores_the_first_hundred_in_raster_order_are_kept() -> None:
    # 8 rows of 15 pixels apart: the hundredth is the tenth of the seventh row (6 * 15 + 10), in column 18.
    scores = np.zeros((16, 30), dtype=np.float32)
    scores[::2, ::2] = 0.5
    found = detect(scores, GRID[500])
    assert found.boxes[[0, 14, 15, 99]].tolist() == [[0, 0, 1, 1], [28, 0, 1, 1], [0, 2, 1, 1], [18, 12, 1, 1]]
    # One that is higher comes first wherever it lies, and the hundredth of before gives way.
    scores[14, 28] = 0.75
    found = detect(scores, GRID[500])
    assert found.boxes[[0, 1, 99]].tolist() == [[28, 14, 1, 1], [0, 0, 1, 1], [16, 12, 1, 1]]


def test_detections_by_hand() -> None:
    # At 0.5: right, a diagonal chain of three with maximum 0.75 whose first pixel lies in row 0; left, a pixel of
    # 0.75 in row 1; at the bottom a pixel of exactly 0.5. 0.4 is no part of anything.
    scores = np.array(
        [[0, 0, 0, 0.5, 0], [0.75, 0, 0, 0, 0.75], [0, 0, 0, 0.5, 0], [0.4, 0, 0, 0, 0], [0.4, 0.5, 0, 0, 0]],
        dtype=np.float32,
    )
    found = detect(scores, GRID[500])
    assert found.boxes.tolist() == [[3, 0, 2, 3], [0, 1, 1, 1], [1, 4, 1, 1]]
    assert found.scores.tolist() == [0.75, 0.75, 0.5]
    assert detect(scores, GRID[501]).boxes.tolist() == [[0, 1, 1, 1], [4, 1, 1, 1]]
    assert detect(scores, GRID[751]).boxes.shape == (0, 4)
    assert detect(scores, GRID[400]).boxes.tolist() == [[3, 0, 2, 3], [0, 1, 1, 1], [0, 3, 2, 2]]


def test_blank_and_constant_maps() -> None:
    blank = detect(np.zeros((3, 4), dtype=np.float32), GRID[1])
    assert_array_equal(blank.boxes, np.zeros((0, 4), dtype=np.int32), strict=True)
    assert_array_equal(blank.scores, np.zeros(0, dtype=np.float32), strict=True)
    constant = np.full((3, 4), 0.7, dtype=np.float32)
    assert detect(constant, GRID[700]).boxes.tolist() == [[0, 0, 4, 3]]
    assert detect(constant, GRID[701]).boxes.tolist() == []
    assert detect(np.nextafter(constant, np.float32(0)), GRID[700]).boxes.tolist() == []


def iou(a: Box, b: Box) -> Fraction:
    sides = [min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    both = max(0, sides[0]) * max(0, sides[1])
    return Fraction(both, a[2] * a[3] + b[2] * b[3] - both)


def outcomes(detected: Sequence[Detected], truth: Sequence[Placed], level: Fraction) -> set[tuple[bool, ...]]:
    """What the greedy rule may find, one outcome for every way to choose among free boxes of equal IoU."""
    order = sorted(range(len(detected)), key=lambda d: -detected[d][2])
    states = {(frozenset(range(len(truth))), frozenset[int]())}
    for d in order:
        image, box, _ = detected[d]
        after = set()
        for free, found in states:
            overlaps = {g: iou(box, truth[g][1]) for g in free if truth[g][0] == image}
            best = max(overlaps.values(), default=Fraction(-1))
            if best < level:
                after.add((free, found))
            else:
                after |= {(free - {g}, found | {d}) for g, own in overlaps.items() if own == best}
        states = after
    return {tuple(d in found for d in range(len(detected))) for _, found in states}


def found_of(detected: Sequence[Detected], truth: Sequence[Placed], level: float) -> list[bool]:
    """`true_detections` of boxes in quarters of a pixel."""
    boxes = np.array([box for _, box, _ in detected]).reshape(-1, 4)
    found = true_detections(
        np.array([image for image, _, _ in detected], dtype=np.int32),
        (boxes // 4).astype(np.int32),
        np.array([score for _, _, score in detected], dtype=np.float32),
        np.array([image for image, _ in truth], dtype=np.int32),
        np.array([box for _, box in truth], dtype=np.float64).reshape(-1, 4) / 4,
        [1.0, level],
    )
    assert (found.dtype, found.shape) == (np.bool_, (2, len(detected)))
    return list(found[1].tolist())


# Few places and sizes, so that boxes coincide, compete and tie.
places, sides = st.integers(0, 2), st.integers(1, 3)
whole_boxes = st.tuples(places, places, sides, sides).map(lambda box: tuple(4 * side for side in box))
quarters = st.tuples(st.integers(-4, 12), st.integers(-4, 12), st.integers(0, 16), st.integers(1, 16))
images = st.integers(0, 1)
detected_boxes = st.tuples(images, whole_boxes, st.sampled_from([0.25, 0.5, 0.75, 1.0]))


@settings(deadline=None, max_examples=250)
@given(
    st.lists(detected_boxes, max_size=10),
    st.lists(st.tuples(images, whole_boxes | quarters), max_size=5),
    st.integers(1, 20),
)
def test_what_is_found_is_what_the_greedy_rule_finds(
    detected: list[Detected], truth: list[Placed], twentieths: int
) -> None:
    assert tuple(found_of(detected, truth, twentieths / 20)) in outcomes(detected, truth, Fraction(twentieths, 20))


@pytest.mark.parametrize("twentieths", range(1, 20))
def test_an_iou_at_the_level_is_enough(twentieths: int) -> None:
    # The detection covers 20 columns, the ground truth the first n of them: IoU n / 20.
    detected = [(0, (0, 0, 80, 4), 1.0)]
    assert found_of(detected, [(0, (0, 0, 4 * twentieths, 4))], twentieths / 20) == [True]
    assert found_of(detected, [(0, (0, 0, 4 * twentieths - 1, 4))], twentieths / 20) == [False]


def test_the_greedy_rule_by_hand() -> None:
    # Two ground-truth boxes in a row of pixels, 0..4 and 4..8; in quarters of a pixel 16 each.
    truth = [(0, (0, 0, 16, 4)), (0, (16, 0, 16, 4))]
    first, second, across = (0, 0, 16, 4), (16, 0, 16, 4), (4, 0, 16, 4)
    # `across` is 1..5: IoU 3/5 with the first, 1/7 with the second.
    assert found_of([(0, first, 0.5), (0, second, 0.4)], truth, 0.5) == [True, True]
    # A second detection of a box that is taken is false, though it overlaps more.
    assert found_of([(0, first, 0.5), (0, across, 0.9)], truth, 0.5) == [False, True]
    # It may take the next best that is free: 1/7 is at least 0.1, not 0.15.
    assert found_of([(0, first, 0.9), (0, across, 0.5)], truth, 0.1) == [True, True]
    assert found_of([(0, first, 0.9), (0, across, 0.5)], truth, 0.15) == [True, False]
    # Equal scores keep their order.
    assert found_of([(0, across, 0.5), (0, first, 0.5)], truth, 0.5) == [True, False]
    assert found_of([(0, first, 0.5), (0, across, 0.5)], truth, 0.5) == [True, False]
    # Another image has boxes of its own.
    assert found_of([(1, first, 0.5)], truth, 0.1) == [False]
    assert found_of([(1, first, 0.5), (0, first, 0.1)], [*truth, (1, first)], 0.9) == [True, True]
    assert found_of([], truth, 0.5) == []
    assert found_of([(0, first, 0.5)], [], 0.5) == [False]


Ranked = list[tuple[float, bool]]
ranked = st.lists(st.tuples(st.integers(1, 6).map(lambda n: n / 8), st.booleans()), max_size=14)


def arrays(detections: Ranked) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    scores, found = [score for score, _ in detections], [hit for _, hit in detections]
    return np.array(scores, dtype=np.float32), np.array(found, dtype=np.bool_)


def counts_at_every_threshold(detections: Ranked) -> list[tuple[int, int]]:
    """True and false detections with at least each distinct score, from the highest on."""
    rows = []
    for threshold in sorted({score for score, _ in detections}, reverse=True):
        kept = [hit for score, hit in detections if score >= threshold]
        rows.append((sum(kept), len(kept) - sum(kept)))
    return rows


def slow_average_precision(detections: Ranked, n_truth: int) -> Fraction:
    points = counts_at_every_threshold(detections)
    area, recall = Fraction(0), Fraction(0)
    for i, (tp, _) in enumerate(points):
        best = max(Fraction(t, t + f) for t, f in points[i:])
        area += (Fraction(tp, n_truth) - recall) * best
        recall = Fraction(tp, n_truth)
    return area


def slow_froc(detections: Ranked, n_truth: int, n_images: int) -> Fraction:
    total = Fraction(0)
    for rate in (Fraction(1, 8), Fraction(1, 4), Fraction(1, 2), 1, 2, 4, 8):
        allowed = [tp for tp, fp in counts_at_every_threshold(detections) if fp <= rate * n_images]
        total += Fraction(max(allowed, default=0), n_truth)
    return total / 7


@settings(deadline=None, max_examples=200)
@given(ranked, st.integers(0, 3), st.randoms(use_true_random=False))
def test_average_precision_is_that_of_the_loop(detections: Ranked, missed: int, order: Random) -> None:
    n_truth = max(1, sum(hit for _, hit in detections) + missed)
    value = average_precision(*arrays(detections), n_truth)
    assert value == pytest.approx(float(slow_average_precision(detections, n_truth)), abs=1e-12)
    order.shuffle(detections)
    assert average_precision(*arrays(detections), n_truth) == pytest.approx(value, abs=1e-12)
    if any(hit for _, hit in detections):
        scores, found = arrays(detections)
        without_interpolation = average_precision_score(found, scores) * found.sum() / n_truth
        assert value >= without_interpolation - 1e-12


@settings(deadline=None, max_examples=200)
@given(ranked, st.integers(0, 3), st.integers(1, 40), st.randoms(use_true_random=False))
def test_froc_is_that_of_the_loop(detections: Ranked, missed: int, n_images: int, order: Random) -> None:
    n_truth = max(1, sum(hit for _, hit in detections) + missed)
    value = froc(*arrays(detections), n_truth, n_images)
    assert value == pytest.approx(float(slow_froc(detections, n_truth, n_images)), abs=1e-12)
    order.shuffle(detections)
    assert froc(*arrays(detections), n_truth, n_images) == pytest.approx(value, abs=1e-12)


def test_a_long_ranking() -> None:
    rng = np.random.default_rng(0)
    for n_values in (2, 30, 10**6):
        scores = (rng.integers(0, n_values, 600) / n_values).astype(np.float32)
        detections = list(zip(scores.tolist(), (rng.random(600) < 0.2 + 0.6 * scores).tolist(), strict=True))
        assert average_precision(*arrays(detections), 500) == pytest.approx(
            float(slow_average_precision(detections, 500)), abs=1e-12
        )
        assert froc(*arrays(detections), 500, 60) == pytest.approx(float(slow_froc(detections, 500, 60)), abs=1e-12)


def test_average_precision_by_hand() -> None:
    # scikit-learn's example: precision 1 at recall 1/2, 1/2 at 1/2, 2/3 at 1: 1/2 * 1 + 1/2 * 2/3 = 5/6.
    detections: Ranked = [(0.1, False), (0.4, False), (0.35, True), (0.8, True)]
    assert average_precision(*arrays(detections), 2) == pytest.approx(5 / 6, abs=1e-15)
    # Of four boxes only these two are found: half of it.
    assert average_precision(*arrays(detections), 4) == pytest.approx(5 / 12, abs=1e-15)
    # Precision 0, 1/2, 2/3: from the right it is 2/3 everywhere; without interpolation it were 1/4 + 1/3.
    assert average_precision(*arrays([(0.9, False), (0.8, True), (0.7, True)]), 2) == pytest.approx(2 / 3, abs=1e-15)
    # False ones after the last true one change nothing.
    assert average_precision(*arrays([(0.9, True), (0.2, False), (0.1, False)]), 1) == 1
    assert average_precision(*arrays([(0.9, False), (0.1, False)]), 1) == 0


def test_equal_scores_enter_together() -> None:
    # One point of precision 1/2 and recall 1, whichever comes first.
    assert average_precision(*arrays([(0.5, True), (0.5, False)]), 1) == 0.5
    assert average_precision(*arrays([(0.5, False), (0.5, True)]), 1) == 0.5
    # One image: the only threshold brings a false positive, too many for the rates 1/8, 1/4 and 1/2.
    assert froc(*arrays([(0.5, True), (0.5, False)]), 1, 1) == pytest.approx(4 / 7, abs=1e-15)
    # Scores a last bit apart do not tie.
    close: Ranked = [(0.5, False), (float(np.nextafter(np.float32(0.5), np.float32(1))), True)]
    assert average_precision(*arrays(close), 1) == 1
    tiny: Ranked = [(0.0, False), (float(np.nextafter(np.float32(0), np.float32(1))), True)]
    assert average_precision(*arrays(tiny), 1) == 1


def test_froc_by_hand() -> None:
    assert FROC_RATES == (0.125, 0.25, 0.5, 1, 2, 4, 8)
    # Four images allow 0.5, 1, 2, 4 .. false positives. Going down: T F T F F T, of four boxes.
    # At most 0: 1 found; 1: 2 found; 2: 2; 3 and more: 3. So 1 + 2 + 2 + 3 + 3 + 3 + 3 = 17 of 7 * 4.
    detections: Ranked = [(0.9, True), (0.8, False), (0.7, True), (0.6, False), (0.5, False), (0.4, True)]
    assert froc(*arrays(detections), 4, 4) == pytest.approx(17 / 28, abs=1e-15)
    # One image less: 0.375, 0.75, 1.5, 3 ..: 1 + 1 + 2 + 3 + 3 + 3 + 3 = 16.
    assert froc(*arrays(detections), 4, 3) == pytest.approx(16 / 28, abs=1e-15)
    # The first is false: with eight images exactly one false positive is allowed at 1/8.
    assert froc(*arrays([(0.9, False), (0.8, True)]), 1, 8) == 1
    assert froc(*arrays([(0.9, False), (0.8, True)]), 1, 7) == pytest.approx(6 / 7, abs=1e-15)


def test_without_ground_truth_undefined_without_detections_zero() -> None:
    for detections in ([], [(0.5, False)]):
        assert np.isnan(average_precision(*arrays(detections), 0))
        assert np.isnan(froc(*arrays(detections), 0, 3))
    assert average_precision(*arrays([]), 2) == 0
    assert froc(*arrays([]), 2, 3) == 0
