"""The compatibility mode against a plain loop over the thresholds, and against numbers worked out by hand."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from wsl_bench.errors import UsageError
from wsl_bench.metrics import wsolevaluation as wsol

from .maps import quarter_boxes, score_maps, scored_truths

Box = tuple[int, int, int, int]
Scores = NDArray[np.float32]


def inclusive_overlap(a: Box, b: Box) -> float:
    columns = min(a[2], b[2]) - max(a[0], b[0]) + 1
    rows = min(a[3], b[3]) - max(a[1], b[1]) + 1
    both = columns * rows if columns > 0 and rows > 0 else 0
    area_a, area_b = ((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b))
    return both / (area_a + area_b - both)


def naive_truths(boxes: NDArray[np.float64], height: int, width: int) -> list[Box]:
    truths = []
    for x, y, w, h in boxes.tolist():
        if x >= width or y >= height or (x < 0 and x + w <= 0) or (y < 0 and y + h <= 0):
            continue
        right, bottom = min(x + w, width - 1), min(y + h, height - 1)
        truths.append((int(max(x, 0)), int(max(y, 0)), int(right), int(bottom)))
    return truths


def naive_boxes(image: NDArray[np.uint8], threshold: float, all_contours: bool) -> list[Box]:
    height, width = image.shape
    predicted = image > int(threshold * int(image.max()))
    contours, _ = cv2.findContours(predicted.astype(np.uint8) * 255, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    boxes: list[Box] = []
    greatest = -1.0
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        box = (x, y, min(x + w, width - 1), min(y + h, height - 1))
        if all_contours:
            boxes.append(box)
        elif cv2.contourArea(contour) > greatest:
            greatest = cv2.contourArea(contour)
            boxes = [box]
    return boxes or [(0, 0, 0, 0)]


def naive_ious(scores: Scores, boxes: NDArray[np.float64], all_contours: bool) -> list[float]:
    image = (scores.astype(np.float64) * 255).astype(np.uint8)
    truths = naive_truths(boxes, *image.shape)
    ious = []
    for threshold in np.arange(0, 1, 0.001):
        found = naive_boxes(image, threshold, all_contours)
        ious.append(max((inclusive_overlap(a, b) for a in found for b in truths), default=0.0))
    return ious


def naive_pxap(scores: list[Scores], masks: list[NDArray[np.bool_]]) -> float:
    pixels = np.concatenate([np.ravel(s) for s in scores]).astype(np.float64)
    truth = np.concatenate([np.ravel(m) for m in masks])
    area, recall = 0.0, 0.0
    for edge in [1.0, *np.arange(0, 1, 0.001)[::-1]]:
        predicted = pixels >= edge
        if predicted.any():
            found = int((predicted & truth).sum())
            area += found / int(predicted.sum()) * (found / int(truth.sum()) - recall)
            recall = found / int(truth.sum())
    return 100 * area


@st.composite
def holed_maps(draw: st.DrawFn) -> Scores:
    """Nested frames, or full but for a few pixels: contours within contours."""
    height, width = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns = np.indices((height, width))
    depth = np.minimum(np.minimum(rows, height - 1 - rows), np.minimum(columns, width - 1 - columns))
    frames = rng.choice([0.0, 0.3, 0.7, 1.0], 8)[depth]
    full = rng.choice([0.5, 0.9, 1.0]) * (rng.random((height, width)) > 0.15)
    return (frames if draw(st.booleans()) else full).astype(np.float32)


@st.composite
def eight_bit_maps(draw: st.DrawFn) -> Scores:
    """Scores at k/255 or its float32 neighbours: the last bit decides what they are in 8 bits."""
    shape = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    exact = (rng.integers(0, 256, shape) / 255).astype(np.float32)
    return np.nextafter(exact, rng.choice(np.array([0, 1], dtype=np.float32), shape)) if draw(st.booleans()) else exact


@st.composite
def scored_located(draw: st.DrawFn) -> tuple[Scores, NDArray[np.float64]]:
    """A map and one to five boxes."""
    scores = draw(score_maps() | holed_maps() | eight_bit_maps())
    return scores, draw(quarter_boxes(scores.shape).filter(len))


@settings(deadline=None, max_examples=120)
@given(scored_located(), st.booleans())
def test_ious_equal_a_loop_over_the_thresholds(case: tuple[Scores, NDArray[np.float64]], all_contours: bool) -> None:
    scores, boxes = case
    ious = wsol.best_box_iou(np.asfortranarray(scores), boxes, all_contours=all_contours)
    assert ious.dtype == np.float64
    assert_array_equal(ious, naive_ious(scores, boxes, all_contours))


@settings(deadline=None, max_examples=40)
@given(st.lists(scored_truths(), min_size=1, max_size=3))
def test_pxap_equals_a_loop_over_the_thresholds(images: list[tuple[Scores, NDArray[np.bool_]]]) -> None:
    histograms = np.stack([wsol.score_histograms(scores, truth) for scores, truth in images])
    found = wsol.pxap(histograms[:, 0], histograms[:, 1])
    assert_array_equal(found, wsol.pxap(histograms[:, 0].sum(axis=0), histograms[:, 1].sum(axis=0)))
    if any(truth.any() for _, truth in images):
        assert_allclose(found, naive_pxap([s for s, _ in images], [t for _, t in images]), rtol=1e-12)
    else:
        assert np.isnan(found)


def blob(shape: tuple[int, int], rows: slice, columns: slice) -> Scores:
    scores = np.zeros(shape, dtype=np.float32)
    scores[rows, columns] = 1
    return scores


def constant_iou(scores: Scores, *boxes: tuple[float, float, float, float], all_contours: bool = False) -> float:
    """The IoU of a map of which every threshold predicts the same."""
    ious = wsol.best_box_iou(scores, np.array(boxes, dtype=np.float64), all_contours=all_contours)
    assert ious.shape == (1000,)
    assert len(np.unique(ious)) == 1
    return float(ious[0])


@pytest.mark.parametrize("all_contours", [False, True])
def test_a_blank_map_predicts_the_pixel_at_the_origin(all_contours: bool) -> None:
    blank = np.zeros((6, 8), dtype=np.float32)
    # Corners 0,0,3,1: 4 x 2 pixels, one of them the origin.
    assert constant_iou(blank, (0, 0, 3, 1), all_contours=all_contours) == 1 / 8
    assert constant_iou(blank, (1, 0, 3, 1), all_contours=all_contours) == 0
    # Scores below 1/255 are cut to 0 in 8 bits: just as blank.
    faint = blank + np.float32(0.0039)
    assert constant_iou(faint, (0, 0, 3, 1), all_contours=all_contours) == 1 / 8


def test_a_constant_map_predicts_the_whole_image() -> None:
    # 0.5 is 127 in 8 bits; the highest threshold is int(0.999 * 127) = 126.
    constant = np.full((4, 5), 0.5, dtype=np.float32)
    assert constant_iou(constant, (0, 0, 5, 4)) == 1
    # Corners 1,1,3,2: 3 x 2 of the 20 pixels.
    assert constant_iou(constant, (1, 1, 2, 1)) == 6 / 20


@pytest.mark.parametrize(
    ("box", "iou"),
    [
        ((1, 1, 2, 2), 1),  # corners 1,1,3,3, like the prediction
        ((1, 1, 1, 1), 4 / 9),  # corners 1,1,2,2: 4 pixels, all of them among the 9
        # Corners 3,1,4,3: 6 pixels, 3 of them shared. Half-open, the boxes would only touch.
        ((3, 1, 1, 2), 3 / 12),
        ((4, 1, 1, 2), 0),
        ((0, 0, 7, 6), 9 / 42),
        ((1.75, 1.75, 0.5, 0.5), 4 / 9),  # corners cut to 1,1,2,2
        ((-2, -2, 3.5, 3.5), 1 / 12),  # corners 0,0,1,1: 4 pixels, 1 shared with the 9
        ((2, 2, 0, 0), 1 / 9),  # one pixel
    ],
)
def test_corners_are_inclusive_and_one_too_far(box: tuple[float, float, float, float], iou: float) -> None:
    # Two by two pixels at 1,1: the rectangle 1,1,2,2 has the corners 1,1,3,3, which are 9 pixels.
    assert constant_iou(blob((6, 7), slice(1, 3), slice(1, 3)), box) == pytest.approx(iou, rel=1e-15)


def test_corners_end_at_the_border() -> None:
    # The rectangle 3,2,2,2 of a map of 5 x 4: x1 = min(5, 4), y1 = min(4, 3), so 4 pixels and not 9.
    corner = blob((4, 5), slice(2, 4), slice(3, 5))
    assert constant_iou(corner, (3, 2, 2, 2)) == 1
    assert constant_iou(corner, (3, 2, 9, 9)) == 1
    # Corners 2,1,4,3: 9 pixels hold the 4.
    assert constant_iou(corner, (2, 1, 2, 2)) == 4 / 9
    assert constant_iou(np.ones((1, 1), dtype=np.float32), (0, 0, 1, 1)) == 1


def test_a_box_outside_the_image_overlaps_nothing() -> None:
    full = np.ones((4, 5), dtype=np.float32)
    outside = [(5, 0, 2, 2), (0, 4, 2, 2), (-3, 0, 3, 2), (0, -3, 2, 3)]
    assert constant_iou(full, *outside) == 0
    assert constant_iou(full, *outside, (0, 0, 1, 1)) == 4 / 20
    assert constant_iou(full, (0, 0, 0, 0)) == 1 / 20  # one pixel, like everywhere


def test_a_hole_is_a_box_too() -> None:
    # Seven by seven pixels at 1,1 without the one at 4,4. Outer corners 1,1,8,8: 64 pixels. The hole's contour
    # runs over its four neighbours: the rectangle 3,3,3,3, corners 3,3,6,6, 16 pixels.
    holed = blob((9, 9), slice(1, 8), slice(1, 8))
    holed[4, 4] = 0
    assert constant_iou(holed, (3, 3, 3, 3), all_contours=True) == 1
    assert constant_iou(holed, (3, 3, 3, 3), all_contours=False) == 16 / 64
    assert constant_iou(holed, (1, 1, 7, 7), all_contours=True) == 1


def test_one_contour_is_the_one_of_greatest_area_not_of_most_pixels() -> None:
    # A line of six pixels encloses the area 0, a square of four encloses 1. Corners of the square 1,3,3,5.
    scores = blob((8, 9), slice(1, 2), slice(1, 7))
    scores[3:5, 1:3] = 1
    assert constant_iou(scores, (1, 3, 2, 2)) == 1
    # The line's corners are 1,1,7,2: 14 pixels, none shared with the 9 of the square.
    assert constant_iou(scores, (1, 1, 6, 1)) == 0
    assert constant_iou(scores, (1, 1, 6, 1), all_contours=True) == 1


def test_of_equal_contours_the_first_of_opencv_is_taken() -> None:
    # Two single pixels of area 0; OpenCV lists the later one first. Corners 5,1,6,2.
    scores = blob((4, 9), slice(1, 2), slice(1, 2))
    scores[1, 5] = 1
    assert constant_iou(scores, (5, 1, 1, 1)) == 1
    assert constant_iou(scores, (1, 1, 1, 1)) == 0


def two_scores(first: float, second: float) -> NDArray[np.float64]:
    scores = np.zeros((4, 7))
    scores[1, 2:4] = first, second
    return scores


@pytest.mark.parametrize(
    ("scores", "out_from"),
    [
        # 0.2 is 51 in 8 bits and so is int(t * 255) at threshold 200; at 199 it is 50. Equal is not predicted.
        (two_scores(1, 0.2), 200),
        (two_scores(1, 0.2).astype(np.float32), 200),
        # 50.9999... is 50 in 8 bits, which int(t * 255) reaches at t = 50/255 = 0.19607... In float32 it is 51.
        (two_scores(1, 0.2 - 1e-12), 197),
        (two_scores(1, 0.2 - 1e-12).astype(np.float32), 200),
        # 127 and 25 in 8 bits: thresholds are relative to 127, int(t * 127) reaches 25 at t = 0.19685...
        (two_scores(0.5, 0.1), 197),
        # Never reached: int(0.999 * 255) = 254. And 0 is not even predicted at threshold 0.
        (two_scores(1, 1), 1000),
        (two_scores(1, 0.003), 0),
    ],
)
def test_a_score_is_predicted_while_above_the_cut(scores: NDArray[np.floating], out_from: int) -> None:
    ious = wsol.best_box_iou(scores, np.array([[2.0, 1, 2, 1]]), all_contours=False)
    # Both pixels: corners 2,1,4,2 like the truth. The first alone: 2,1,3,2, 4 of 6 pixels.
    assert_array_equal(ious[:out_from], 1)
    assert_array_equal(ious[out_from:], 4 / 6)


def test_max_box_acc_by_hand() -> None:
    ious = np.zeros((4, 1000))
    ious[0] = 0.6
    ious[1, 10] = 0.5  # equal to the level 50
    ious[2, 10:] = 0.71
    ious[3, 900:] = 0.3  # equal to the level 30
    # Level 30: images 0, 1, 2 at threshold 10 or 0, 2, 3 from 900. Level 50: 0, 1, 2 at 10. Level 70: image 2.
    assert [wsol.max_box_acc(ious, level) for level in (30, 50, 70)] == [75, 75, 25]
    assert wsol.max_box_acc_v2(ious) == pytest.approx(175 / 3, rel=1e-15)
    assert np.isnan(wsol.max_box_acc(ious[:0], 50))
    assert np.isnan(wsol.max_box_acc_v2(ious[:0]))


def test_score_histograms_by_hand() -> None:
    # In float32 0.9 is 0.89999998 and 0.1 is 0.10000000149: the bins 899 and 100. 1 has a bin of its own.
    scores = np.array([[0.9, 0.5, 1.0], [0.5, 0.1, 0.0]], dtype=np.float32)
    mask = np.array([[True, True, False], [False, False, False]])
    histograms = wsol.score_histograms(scores, mask)
    assert histograms.shape == (2, 1002)
    assert [np.flatnonzero(row).tolist() for row in histograms] == [[500, 899], [0, 100, 500, 1000]]
    ignore = np.array([[True, False, True], [True, False, False]])
    ignored = wsol.score_histograms(scores, mask, ignore)
    assert [np.flatnonzero(row).tolist() for row in ignored] == [[500, 899], [0, 100]]
    # The edge is 9 * 0.001 = 0.009000000000000001, above the float64 number 0.009.
    edge = wsol.score_histograms(np.array([[0.009]]), np.array([[True]]))
    assert np.flatnonzero(edge[0]).tolist() == [8]


def test_pxap_by_hand() -> None:
    scores = np.array([[0.9, 0.5], [0.5, 0.1]], dtype=np.float32)
    mask = np.array([[True, True], [False, False]])
    # Down to 0.9: precision 1, recall 1/2. Down to 0.5: precision 2/3, recall 1. The rest gains no recall.
    assert wsol.pxap(*wsol.score_histograms(scores, mask)) == pytest.approx(100 * (1 / 2 + 2 / 3 / 2), rel=1e-15)
    assert wsol.pxap(*wsol.score_histograms(mask.astype(np.float32), mask)) == 100
    # A constant map gives the share of the object, whatever the constant.
    for constant in (0, 0.5, 1):
        histograms = wsol.score_histograms(np.full((2, 4), constant, dtype=np.float32), np.eye(2, 4, dtype=np.bool_))
        assert wsol.pxap(*histograms) == 25
    assert np.isnan(wsol.pxap(*wsol.score_histograms(scores, np.zeros((2, 2), dtype=np.bool_))))


def test_min_max_normalized_by_hand() -> None:
    raw = np.array([[-1.0, 0.0], [1.0, 3.0]])
    assert_array_equal(wsol.min_max_normalized(raw), [[0, 0.25], [0.5, 1]])
    assert raw[0, 0] == -1
    assert wsol.min_max_normalized(raw.astype(np.float32)).dtype == np.float64
    assert_array_equal(wsol.min_max_normalized(np.full((2, 3), 0.7)), np.zeros((2, 3)))
    assert_array_equal(wsol.min_max_normalized(np.array([[0.1, np.nan]])), [[0, 0]])
    with pytest.raises(ValueError, match="found infinity"):
        wsol.min_max_normalized(np.array([[0.1, np.inf]]))
    with pytest.raises(ValueError, match=r"at least one pixel, found the shape \(0, 3\)"):
        wsol.min_max_normalized(np.zeros((0, 3)))


def test_without_opencv_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    scores, boxes = np.ones((2, 2), dtype=np.float32), np.array([[0.0, 0, 1, 1]])
    with pytest.raises(UsageError, match=r'needs OpenCV: pip install "wsl-bench\[compat\]"'):
        wsol.best_box_iou(scores, boxes, all_contours=False)
    # The pixel metric needs none.
    assert wsol.pxap(*wsol.score_histograms(scores, scores > 0)) == 100


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((2, 2, 1), dtype=np.float32), r"at least one pixel, found the shape \(2, 2, 1\)"),
        (np.zeros((0, 2), dtype=np.float32), "at least one pixel"),
        (np.zeros((2, 2), dtype=np.float16), "expected float32 or float64, found float16"),
        (np.full((2, 2), np.nan), "found NaN or infinity"),
        (np.array([[0, 1.5]]), r"expected values in \[0, 1\], found \[0, 1.5\]"),
        (np.array([[-0.5, 1]]), r"expected values in \[0, 1\], found \[-0.5, 1\]"),
    ],
)
def test_wrong_scores_are_refused(scores: Scores, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wsol.best_box_iou(scores, np.ones((1, 4)), all_contours=True)
    with pytest.raises(ValueError, match=message):
        wsol.score_histograms(scores, np.ones(scores.shape, dtype=np.bool_))


def test_wrong_truths_and_counts_are_refused() -> None:
    scores, mask = np.ones((2, 3), dtype=np.float32), np.ones((2, 3), dtype=np.bool_)
    for boxes, message in ((np.zeros((0, 4)), "expected at least one"), (-np.ones((1, 4)), "negative width or height")):
        with pytest.raises(ValueError, match=f"boxes: .*{message}"):
            wsol.best_box_iou(scores, boxes, all_contours=True)
    with pytest.raises(ValueError, match=r"mask: expected bool \(2, 3\), found bool \(3, 2\)"):
        wsol.score_histograms(scores, mask.T)
    with pytest.raises(ValueError, match=r"ignore: expected bool \(2, 3\), found int64 \(2, 3\)"):
        wsol.score_histograms(scores, mask, mask.astype(np.int64))
    with pytest.raises(ValueError, match=r"outside: expected the shape \(..., 1002\), found \(1001,\)"):
        wsol.pxap(np.ones(1002, dtype=np.int64), np.ones(1001, dtype=np.int64))
    with pytest.raises(ValueError, match=r"ious: expected the shape \(N, 1000\), found \(1000,\)"):
        wsol.max_box_acc(np.ones(1000), 50)
    with pytest.raises(ValueError, match=r"in percent from 1 to 100, found 0.5"):
        wsol.max_box_acc(np.ones((1, 1000)), 0.5)
