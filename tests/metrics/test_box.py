"""Box curves against labelling at every threshold, and against numbers worked out by hand."""

from __future__ import annotations

import math
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy import ndimage

from wsl_bench.metrics._box_kernels import _levels_reached
from wsl_bench.metrics.box import OVERLAP_LEVELS, BoxCurves, box_curves

from .maps import GRID, scored_boxes

Corners = tuple[float, float, float, float]
FIELDS = ("components", "iou_largest", "iou_any", "iobb_any", "hits_iou", "hits_iobb")


def components_of(mask: NDArray[np.bool_]) -> list[tuple[int, int, Corners]]:
    """Size, first pixel and box corners of each 8-connected component."""
    labels, n = ndimage.label(mask, structure=np.ones((3, 3)))
    found: list[tuple[int, int, Corners]] = []
    for name in range(1, n + 1):
        ys, xs = np.nonzero(labels == name)
        first = int((ys * mask.shape[1] + xs).min())
        box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
        found.append((len(ys), first, box))
    return found


def overlap(b: Corners, g: Corners) -> tuple[float, float, float]:
    """Areas of the intersection, the union and b."""
    both = max(0, min(b[2], g[2]) - max(b[0], g[0])) * max(0, min(b[3], g[3]) - max(b[1], g[1]))
    of_b, of_g = (b[2] - b[0]) * (b[3] - b[1]), (g[2] - g[0]) * (g[3] - g[1])
    return both, of_b + of_g - both, of_b


def corners(box: NDArray[np.float64], shape: tuple[int, ...], scale: int) -> Corners:
    """A ground-truth box clipped to the image, in units of 1/scale pixel."""
    x, y, w, h = (int(scale * side) if scale > 1 else float(side) for side in box)
    height, width = scale * shape[0], scale * shape[1]
    left, right = (min(max(edge, 0), width) for edge in (x, x + w))
    top, bottom = (min(max(edge, 0), height) for edge in (y, y + h))
    return left, top, right, bottom


def naive_at(mask: NDArray[np.bool_], boxes: NDArray[np.float64], scale: int) -> list[list[float]]:
    """The six quantities of `BoxCurves` at one threshold.

    With scale 4 and boxes on quarters of a pixel all areas are integers: overlaps are compared exactly.
    """
    truths = [corners(box, mask.shape, scale) for box in boxes]
    components = components_of(mask)
    largest = min(components, key=lambda c: (-c[0], c[1])) if components else None
    iou_largest, iou_any, iobb_any = ([0.0] * len(truths) for _ in range(3))
    hits_iou, hits_iobb = [0.0] * 19, [0.0] * 19
    for component in components:
        box: Corners = tuple(scale * side for side in component[2])  # type: ignore[assignment]
        areas = [overlap(box, truth) for truth in truths]
        for g, (both, union, of_box) in enumerate(areas):
            iou_any[g] = max(iou_any[g], both / union)
            iobb_any[g] = max(iobb_any[g], both / of_box)
            if component is largest:
                iou_largest[g] = both / union
        for level in range(19):
            hits_iou[level] += any(20 * both >= (level + 1) * union for both, union, _ in areas)
            hits_iobb[level] += any(20 * both >= (level + 1) * of_box for both, _, of_box in areas)
    return [[len(components)], iou_largest, iou_any, iobb_any, hits_iou, hits_iobb]


def naive(scores: NDArray[np.float32], boxes: NDArray[np.float64], scale: int) -> dict[str, NDArray[np.float64]]:
    seen: dict[bytes, list[list[float]]] = {}
    columns: list[list[list[float]]] = []
    for t in GRID:
        mask = scores >= t
        if mask.tobytes() not in seen:
            seen[mask.tobytes()] = naive_at(mask, boxes, scale)
        columns.append(seen[mask.tobytes()])
    arrays = [np.array([column[i] for column in columns], dtype=np.float64).T for i in range(6)]
    return dict(zip(FIELDS, [arrays[0][0], *arrays[1:]], strict=True))


@settings(deadline=None, max_examples=100)
@given(scored_boxes())
def test_everything_at_all_thresholds(sample: tuple[NDArray[np.float32], NDArray[np.float64]]) -> None:
    scores, boxes = sample
    found, expected = box_curves(scores, boxes), naive(scores, boxes, scale=4)
    for name in FIELDS:
        array = getattr(found, name)
        assert_array_equal(array, expected[name].astype(array.dtype), err_msg=name, strict=True)


@pytest.mark.parametrize("levels", [3, 40, 100_000])
def test_a_larger_map_with_any_fractions(levels: int) -> None:
    rng = np.random.default_rng(levels)
    smooth = ndimage.gaussian_filter(rng.random((40, 52)), 1.5)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    scores = (np.round(smooth * levels) / levels).astype(np.float32)
    boxes = np.column_stack([rng.random((3, 2)) * 30, rng.random((3, 2)) * 25])
    found, expected = box_curves(scores, boxes), naive(scores, boxes, scale=1)
    for name in FIELDS:
        assert_allclose(getattr(found, name), expected[name], rtol=1e-12, err_msg=name)


def test_the_levels() -> None:
    assert OVERLAP_LEVELS.tolist() == [level / 20 for level in range(1, 20)]


def at(curves: BoxCurves, k: int) -> tuple[int, list[float], list[float], list[float]]:
    parts = curves.iou_largest[:, k], curves.iou_any[:, k], curves.iobb_any[:, k]
    iou_largest, iou_any, iobb_any = (np.round(part.astype(np.float64), 6).tolist() for part in parts)
    return int(curves.components[k]), iou_largest, iou_any, iobb_any


def test_a_blank_map_found_nothing() -> None:
    curves = box_curves(np.zeros((4, 5), dtype=np.float32), np.array([[1, 1, 2, 2.0]]))
    for name in FIELDS:
        assert not getattr(curves, name)[..., 1:].any()
    assert at(curves, 0) == (1, [0.2], [0.2], [0.2])


def test_a_full_map_is_one_box() -> None:
    curves = box_curves(np.ones((4, 5), dtype=np.float32), np.array([[0, 0, 5, 2.0]]))
    for k in (0, 1, 1000):
        assert at(curves, k) == (1, [0.5], [0.5], [0.5])
        assert curves.hits_iou[:, k].tolist() == [1] * 10 + [0] * 9


def test_several_components_and_boxes() -> None:
    # At 0.9 two pixels in a row top left, at 0.6 besides one pixel bottom right, at 0.3 a bridge joins them.
    scores = np.array([[0.9, 0.9, 0, 0], [0, 0, 0.3, 0], [0, 0, 0, 0.6]], dtype=np.float32)
    boxes = np.array([[0, 0, 2, 2], [3, 2, 1, 1.0]])
    curves = box_curves(scores, boxes)
    assert at(curves, 901) == (0, [0, 0], [0, 0], [0, 0])
    assert at(curves, 900) == (1, [0.5, 0], [0.5, 0], [1, 0])
    assert at(curves, 600) == (2, [0.5, 0], [0.5, 1], [1, 1])
    assert at(curves, 300) == (1, [0.333333, 0.083333], [0.333333, 0.083333], [0.333333, 0.083333])
    assert curves.hits_iou[:, 600].tolist() == [2] * 10 + [1] * 9
    assert curves.hits_iobb[:, 600].tolist() == [2] * 19
    assert curves.hits_iou[:, 300].tolist() == [1] * 6 + [0] * 13


def test_the_larger_component_counts_and_the_earlier_among_equals() -> None:
    scores = np.array([[0.5, 0, 0.5], [0, 0, 0], [0, 0, 0.4]], dtype=np.float32)
    boxes = np.array([[0, 0, 1, 1], [2, 0, 1, 1.0]])
    assert at(box_curves(scores, boxes), 500) == (2, [1, 0], [1, 1], [1, 1])
    scores[1, 2] = 0.45
    assert at(box_curves(scores, boxes), 450) == (2, [0, 0.5], [1, 0.5], [1, 0.5])
    # A component may overtake an equal one by growing to an earlier first pixel.
    scores = np.array([[0, 0, 0.3], [0.5, 0, 0.5], [0.5, 0, 0]], dtype=np.float32)
    boxes = np.array([[0, 1, 1, 2], [2, 0, 1, 2.0]])
    assert at(box_curves(scores, boxes), 500)[1] == [1, 0]
    assert at(box_curves(scores, boxes), 300)[1] == [0, 1]


def test_diagonal_neighbours_are_connected() -> None:
    curves = box_curves(np.eye(3, dtype=np.float32), np.array([[0, 0, 3, 3.0]]))
    assert at(curves, 1000) == (1, [1], [1], [1])


def test_a_fractional_box_at_the_border_is_clipped() -> None:
    # The box -1.5 .. 1.5 keeps 1.5 x 1.5 = 2.25 of the image; the pixel covers 1 of it.
    scores = np.array([[1, 0, 0], [0, 0, 0]], dtype=np.float32)
    curves = box_curves(scores, np.array([[-1.5, -1.5, 3, 3]]))
    assert at(curves, 1000) == (1, [0.444444], [0.444444], [1])


def test_a_one_pixel_box_and_a_box_outside() -> None:
    scores = np.array([[0, 0, 0], [0, 0.5, 0]], dtype=np.float32)
    curves = box_curves(scores, np.array([[1, 1, 1, 1], [7, 7, 2, 2], [0, 0, 0, 0.0]]))
    assert at(curves, 500) == (1, [1, 0, 0], [1, 0, 0], [1, 0, 0])
    assert curves.hits_iou[:, 500].tolist() == [1] * 19


@pytest.mark.parametrize("pixels", range(1, 20))
def test_an_overlap_exactly_at_a_level_reaches_it(pixels: int) -> None:
    scores = np.zeros((1, 20), dtype=np.float32)
    scores[0, :pixels] = 1
    curves = box_curves(scores, np.array([[0, 0, 20, 1.0]]))
    assert curves.hits_iou[:, 1000].tolist() == [1] * pixels + [0] * (19 - pixels)


def test_levels_to_the_last_bit() -> None:
    levels = [level / 20 for level in range(1, 20)]
    around = [
        *levels,
        *np.nextafter(levels, 0),
        *np.nextafter(levels, 1),
        0.0,
        1.0,
        math.nextafter(1, 2),
        5e-324,
    ]
    for overlap in map(float, around):
        assert _levels_reached(overlap) == sum(overlap >= level for level in levels)


def test_a_score_on_a_threshold_counts_there() -> None:
    scores = np.array([[0.7, 0]], dtype=np.float32)
    assert box_curves(scores, np.zeros((0, 4))).components[[700, 701]].tolist() == [1, 0]
    below = np.nextafter(scores, np.float32(0))
    assert box_curves(below, np.zeros((0, 4))).components[[699, 700]].tolist() == [1, 0]


def test_a_healthy_image_has_only_components() -> None:
    scores = np.random.default_rng(0).random((7, 8)).astype(np.float32)
    curves = box_curves(scores, np.zeros((0, 4)))
    assert curves.iou_largest.shape == curves.iou_any.shape == curves.iobb_any.shape == (0, 1001)
    assert curves.hits_iou.shape == curves.hits_iobb.shape == (19, 1001)
    assert not curves.hits_iou.any()
    with_box = box_curves(scores, np.array([[0, 0, 3, 3.0]]))
    assert_array_equal(curves.components, with_box.components)


def test_a_large_noisy_map_in_bounded_memory() -> None:
    """1024 x 1024 with a hundred thousand components: a few times the map's own 4 MiB."""
    scores = np.random.default_rng(0).random((1024, 1024)).astype(np.float32)
    boxes = np.array([[100, 100, 300, 200], [600, 500, 250, 333.0]])
    box_curves(scores[:8, :8], boxes)  # compiled before it is measured
    tracemalloc.start()
    curves = box_curves(scores, boxes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert curves.components.max() > 50_000
    assert peak < 32 * 2**20
    for k in (0, 500, 900):
        _, n = ndimage.label(scores >= GRID[k], structure=np.ones((3, 3)))
        assert curves.components[k] == n


def test_maps_of_changing_sizes_and_several_threads_do_not_meet() -> None:
    """Scratch is kept from map to map, by thread."""
    rng = np.random.default_rng(3)
    samples = [
        (rng.random(shape).astype(np.float32), rng.random((n, 4)) * 4)
        for shape, n in [((9, 7), 2), ((5, 12), 1), ((9, 7), 0), ((9, 7), 3), ((5, 12), 1), ((9, 7), 2)] * 20
    ]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda sample: box_curves(*sample), samples))
    for (scores, boxes), curves in zip(samples, found, strict=True):
        alone = box_curves(scores, boxes)
        for name in FIELDS:
            assert_array_equal(getattr(curves, name), getattr(alone, name), err_msg=name)
    expected = naive(*samples[3], scale=1)
    for name in FIELDS:
        assert_allclose(getattr(found[3], name), expected[name], rtol=1e-12, err_msg=name)


def test_the_inputs_stay_as_they_are() -> None:
    scores = np.random.default_rng(0).random((6, 5)).astype(np.float32)
    boxes = np.array([[-1, -1, 4, 4.0]])
    before = scores.copy(), boxes.copy()
    scores.flags.writeable = boxes.flags.writeable = False
    one = box_curves(scores, boxes)
    other = box_curves(np.asfortranarray(scores), boxes)
    assert_array_equal(scores, before[0])
    assert_array_equal(boxes, before[1])
    for name in FIELDS:
        assert_array_equal(getattr(one, name), getattr(other, name))


def test_bad_maps_and_boxes_are_refused() -> None:
    boxes = np.zeros((0, 4))
    with pytest.raises(ValueError, match=r"map \(H, W\)"):
        box_curves(np.zeros(4, dtype=np.float32), boxes)
    with pytest.raises(ValueError, match="at least one pixel"):
        box_curves(np.zeros((0, 4), dtype=np.float32), boxes)
    with pytest.raises(ValueError, match="finite"):
        box_curves(np.full((2, 2), np.nan, dtype=np.float32), boxes)
    with pytest.raises(ValueError, match="negative width"):
        box_curves(np.zeros((2, 2), dtype=np.float32), np.array([[0, 0, -1, 1.0]]))
