"""The tally: what goes in comes out, through a file as well, and damage is noticed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from wsl_bench.errors import StoreError
from wsl_bench.metrics.box import box_curves
from wsl_bench.metrics.detection import detect
from wsl_bench.metrics.soft import soft_counts
from wsl_bench.metrics.tally import TALLY_VERSION, Tally, TallyBuilder
from wsl_bench.metrics.truth import rasterize_boxes

from .maps import GRID

AT = 700
NO_BOXES = np.zeros((0, 4))
# The format of version 2, written out: a change here needs another version.
FORMAT = {
    "tally_version": ("int64", ()),
    "image_ids": ("str", ("N",)),
    "groups": ("str", ("N",)),
    "labels": ("int8", ("N",)),
    "located": ("bool", ("N",)),
    "n_pixels": ("int64", ("N",)),
    "truth_area": ("int64", ("N",)),
    "inside": ("uint32", ("N", 1001)),
    "outside": ("uint32", ("N", 1001)),
    "components": ("uint32", ("N", 1001)),
    "box_image": ("int32", ("B",)),
    "boxes": ("float64", ("B", 4)),
    "iou_largest": ("float64", ("B", 1001)),
    "iou_any": ("float64", ("B", 1001)),
    "iobb_any": ("float64", ("B", 1001)),
    "hits_image": ("int32", ("H",)),
    "hit_steps_iou": ("int8", ("H", 19, 1001)),
    "hit_steps_iobb": ("int8", ("H", 19, 1001)),
    "maximum": ("float64", ("N",)),
    "sum_inside": ("float64", ("N",)),
    "sum_outside": ("float64", ("N",)),
    "spread_inside": ("float64", ("N",)),
    "spread_outside": ("float64", ("N",)),
    "pointing": ("float64", ("N",)),
    "rank_accuracy": ("float64", ("N",)),
    "probability": ("float64", ("N",)),
    "detected_at": ("int16", ("N",)),
    "detection_image": ("int32", ("D",)),
    "detection_boxes": ("int32", ("D", 4)),
    "detection_scores": ("float32", ("D",)),
}
Sample = tuple[str, NDArray[np.float32], NDArray[np.float64]]


def samples() -> list[Sample]:
    """Six images of three sizes with 2, 0, 1, 0, 3, 1 boxes."""
    rng = np.random.default_rng(5)
    found = []
    for i, n_boxes in enumerate([2, 0, 1, 0, 3, 1]):
        shape = [(8, 9), (12, 6), (5, 5)][i % 3]
        boxes = np.column_stack([rng.random((n_boxes, 2)) * 3, rng.random((n_boxes, 2)) * 3 + 1])
        found.append((f"image-{i}", rng.random(shape).astype(np.float32), boxes))
    return found


def tally_of(chosen: list[Sample]) -> Tally:
    builder = TallyBuilder(detect_at=AT)
    for name, scores, boxes in chosen:
        located = len(boxes) > 0
        mask = rasterize_boxes(boxes, *scores.shape) if located else None
        group, probability = f"group of {name}", float(scores[0, 0])
        builder.add(name, group, int(located), located, scores, mask, boxes, probability)
    return builder.build()


def assert_same(one: Tally, other: Tally) -> None:
    theirs = other.to_arrays()
    for name, array in one.to_arrays().items():
        assert_array_equal(array, theirs[name], err_msg=name)


def test_the_format() -> None:
    arrays = tally_of(samples()).to_arrays()
    sizes = {"N": 6, "B": 7, "H": 4, "D": len(arrays["detection_image"])}
    assert sizes["D"] > 6
    assert TALLY_VERSION == 2
    assert int(arrays["tally_version"]) == 2
    assert list(arrays) == list(FORMAT)
    for name, (dtype, shape) in FORMAT.items():
        assert arrays[name].dtype.name.startswith(dtype), name
        assert arrays[name].shape == tuple(sizes.get(str(size), size) for size in shape), name


def test_what_goes_in_comes_out() -> None:
    chosen = samples()
    tally = tally_of(chosen)
    assert len(tally) == 6
    assert tally.box_image.tolist() == [0, 0, 2, 4, 4, 4, 5]
    assert tally.hits_image.tolist() == [0, 2, 4, 5]
    for i, (name, scores, boxes) in enumerate(chosen):
        mask = rasterize_boxes(boxes, *scores.shape)
        assert (tally.image_ids[i], tally.groups[i]) == (name, f"group of {name}")
        assert (tally.labels[i], tally.located[i]) == (len(boxes) > 0, len(boxes) > 0)
        assert (tally.n_pixels[i], tally.truth_area[i]) == (scores.size, mask.sum())
        assert tally.probability[i] == scores[0, 0]
        assert_array_equal(tally.true_positives[i], [((scores >= t) & mask).sum() for t in GRID])
        assert_array_equal(tally.false_positives[i], [((scores >= t) & ~mask).sum() for t in GRID])
        curves, own = box_curves(scores, boxes), tally.box_image == i
        assert_array_equal(tally.components[i], curves.components)
        height, width = scores.shape
        edges = np.clip(np.c_[boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 0, [width, height] * 2)
        assert_allclose(tally.boxes[own], np.c_[edges[:, :2], edges[:, 2:] - edges[:, :2]], atol=1e-15)
        assert_array_equal(tally.iou_largest[own], curves.iou_largest)
        assert_array_equal(tally.iou_any[own], curves.iou_any)
        assert_array_equal(tally.iobb_any[own], curves.iobb_any)
        for kind in ("hits_iou", "hits_iobb"):
            hits = getattr(tally, kind)[tally.hits_image == i]
            assert_array_equal(hits, getattr(curves, kind)[None][: len(boxes)], strict=True)
        detections, seen = detect(scores, GRID[AT]), tally.detection_image == i
        assert_array_equal(tally.detection_boxes[seen], detections.boxes)
        assert_array_equal(tally.detection_scores[seen], detections.scores)
        assert tally.detected_at[i] == AT
        for field, value in asdict(soft_counts(scores, mask)).items():
            assert_array_equal(getattr(tally, field)[i], value)


def test_images_that_are_not_located_have_all_pixels_outside() -> None:
    tally = tally_of(samples())
    assert not tally.inside[~tally.located].any()
    assert_array_equal(tally.outside.sum(axis=1)[~tally.located], tally.n_pixels[~tally.located])
    assert np.isnan(tally.pointing[~tally.located]).all()


def test_curves_are_computed_once() -> None:
    tally = tally_of(samples())
    assert tally.true_positives is tally.true_positives
    assert tally.true_positives.dtype == tally.false_positives.dtype == np.int64


def test_many_hits_take_a_wider_type() -> None:
    # 15 x 15 separate pixels inside one large box: 225 hits by |b and g| / |b| appear at one threshold.
    scores = np.zeros((30, 30), dtype=np.float32)
    scores[::2, ::2] = 0.5
    boxes = np.array([[0, 0, 30, 30.0]])
    builder = TallyBuilder()
    builder.add("few", "a", 1, True, np.zeros_like(scores), np.ones((30, 30), dtype=np.bool_), boxes, np.nan)
    builder.add("many", "b", 1, True, scores, np.ones((30, 30), dtype=np.bool_), boxes, np.nan)
    tally = builder.build()
    assert tally.hit_steps_iobb.dtype == np.int16
    assert tally.hits_iobb[:, 0, [0, 1, 500, 501]].tolist() == [[1, 0, 0, 0], [1, 225, 225, 0]]
    assert_same(Tally.from_arrays(tally.to_arrays()), tally)


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    tally = tally_of(samples())
    arrays: dict[str, Any] = tally.to_arrays()
    np.savez_compressed(tmp_path / "tally.npz", **arrays)
    with np.load(tmp_path / "tally.npz", allow_pickle=False) as file:
        assert_same(Tally.from_arrays(file), tally)


def test_no_images_make_an_empty_tally() -> None:
    tally = TallyBuilder().build()
    assert len(tally) == 0
    assert tally.true_positives.shape == (0, 1001)
    assert tally.hits_iou.shape == (0, 19, 1001)
    assert_same(Tally.from_arrays(tally.to_arrays()), tally)


@pytest.mark.parametrize("indices", [[4, 0, 3], [2, 2, 1, 4, 2], [-1], []])
def test_selecting_is_like_building(indices: list[int]) -> None:
    chosen = samples()
    tally = tally_of(chosen)
    selected = tally.select(np.array(indices, dtype=np.int64))
    names = [chosen[i][0] for i in indices]
    assert selected.image_ids.tolist() == names
    # A builder refuses duplicates, so the expected one is put together under other names.
    expected = tally_of([(f"{place}", *chosen[i][1:]) for place, i in enumerate(indices)])
    theirs = expected.to_arrays()
    for name, array in selected.to_arrays().items():
        if name not in ("image_ids", "groups"):
            assert_array_equal(array, theirs[name], err_msg=name)
    assert_same(Tally.from_arrays(selected.to_arrays()), selected)


def test_selecting_by_truth_values_and_slices() -> None:
    tally = tally_of(samples())
    assert tally.select(tally.located).image_ids.tolist() == ["image-0", "image-2", "image-4", "image-5"]
    assert_same(tally.select(slice(0, 3)), tally.select([0, 1, 2]))


def damaged(**changes: Any) -> dict[str, NDArray[Any]]:
    return {**tally_of(samples()).to_arrays(), **changes}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"tally_version": np.array(1)}, "expected the format version 2, found 1"),
        ({"tally_version": np.array([2, 2])}, "expected the format version 2"),
        ({"inside": np.zeros((5, 1001), dtype=np.uint32)}, r"inside: expected uint32 \(6, 1001\), found"),
        ({"inside": np.zeros((6, 1001))}, r"inside: .* found float64"),
        ({"inside": np.zeros((6, 1001), dtype=np.uint32)}, "inside to sum up to truth_area"),
        ({"n_pixels": np.zeros(6, dtype=np.int64)}, "inside and outside to sum up to n_pixels"),
        ({"located": np.ones(6, dtype=np.bool_)}, "exactly the located images"),
        ({"labels": np.full(6, 3, dtype=np.int8)}, "labels to be 0 or 1"),
        ({"box_image": np.array([0, 0, 2, 4, 4, 4, 6], dtype=np.int32)}, "box_image to be ascending"),
        ({"box_image": np.array([0, 2, 0, 4, 4, 4, 5], dtype=np.int32)}, "box_image to be ascending"),
        (
            {
                "detection_image": np.array([9], dtype=np.int32),
                "detection_scores": np.ones(1, dtype=np.float32),
                "detection_boxes": np.ones((1, 4), dtype=np.int32),
            },
            "detection_image to be ascending",
        ),
        ({"hits_image": np.array([0, 1, 4, 5], dtype=np.int32)}, "hits_image to be the images"),
        ({"hit_steps_iou": np.zeros((4, 18, 1001), dtype=np.int8)}, "hit_steps_iou: expected"),
        ({"boxes": np.zeros((7, 4), dtype=np.float32)}, "boxes: expected float64"),
    ],
)
def test_damage_is_noticed(changes: dict[str, NDArray[Any]], match: str) -> None:
    with pytest.raises(StoreError, match=match):
        Tally.from_arrays(damaged(**changes))


@pytest.mark.parametrize("name", list(FORMAT))
def test_a_missing_array_is_named(name: str) -> None:
    arrays = damaged()
    del arrays[name]
    with pytest.raises(StoreError, match="found none" if name == "tally_version" else f"none named {name}"):
        Tally.from_arrays(arrays)


def test_contradictions_are_refused_and_leave_nothing_behind() -> None:
    scores, mask = np.full((3, 3), 0.5, dtype=np.float32), np.eye(3, dtype=np.bool_)
    box = np.array([[0, 0, 1, 1.0]])
    builder = TallyBuilder()
    with pytest.raises(ValueError, match="expected some, as it is located; found 0 pixels and 1 boxes"):
        builder.add("a", "p", 1, True, scores, None, box, 0.5)
    with pytest.raises(ValueError, match="expected none, as it is not located; found 3 pixels and 0 boxes"):
        builder.add("a", "p", 1, False, scores, mask, NO_BOXES, 0.5)
    with pytest.raises(ValueError, match="expected none, as it is not located; found 0 pixels and 1 boxes"):
        builder.add("a", "p", 1, False, scores, None, box, 0.5)
    with pytest.raises(ValueError, match="label: expected 0 or 1, found 2"):
        builder.add("a", "p", 2, False, scores, None, NO_BOXES, 0.5)
    with pytest.raises(ValueError, match="finite"):
        builder.add("a", "p", 1, True, scores * np.float32(np.nan), mask, box, 0.5)
    assert len(builder.build()) == 0
    builder.add("a", "p", 1, True, scores, mask, box, 0.5)
    with pytest.raises(ValueError, match="'a' is in the tally already"):
        builder.add("a", "p", 1, True, scores, mask, box, 0.5)
    assert len(builder.build()) == 1
