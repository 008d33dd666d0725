"""The arrays of a tally: their types and shapes, and the check that what was read from disk fits them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsl_bench.errors import StoreError
from wsl_bench.metrics.box import N_LEVELS
from wsl_bench.metrics.grid import N_THRESHOLDS as T

# Name -> dtype (or its kind, where the width depends on the content), then the shape: N images, B boxes,
# H images with boxes, D detections.
LAYOUT: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "image_ids": ("U", ("N",)),
    "groups": ("U", ("N",)),
    "labels": ("int8", ("N",)),
    "located": ("bool", ("N",)),
    "n_pixels": ("int64", ("N",)),
    "truth_area": ("int64", ("N",)),
    "inside": ("uint32", ("N", T)),
    "outside": ("uint32", ("N", T)),
    "components": ("uint32", ("N", T)),
    "box_image": ("int32", ("B",)),
    "boxes": ("float64", ("B", 4)),
    "iou_largest": ("float64", ("B", T)),
    "iou_any": ("float64", ("B", T)),
    "iobb_any": ("float64", ("B", T)),
    "hits_image": ("int32", ("H",)),
    "hit_steps_iou": ("i", ("H", N_LEVELS, T)),
    "hit_steps_iobb": ("i", ("H", N_LEVELS, T)),
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


def rows_of(name: str) -> str | int:
    """Of what an array has one row each: "N", "B", "H" or "D"."""
    return LAYOUT[name][1][0]


def stacked(name: str, rows: list[Any]) -> NDArray[np.generic]:
    """The rows of one array, perhaps none, in the type and shape of the layout."""
    kind, (_, *rest) = LAYOUT[name]
    if kind == "i":
        kind = f"int{8 * max((row.dtype.itemsize for row in rows), default=1)}"
    return np.array(rows, dtype=kind).reshape(-1, *rest)


def check_arrays(arrays: Mapping[str, NDArray[Any]]) -> None:
    """StoreError unless all arrays of the layout are there, fit it and agree with each other."""
    missing = [name for name in LAYOUT if name not in arrays]
    if missing:
        raise _error(f"expected the arrays of format version 2, found none named {', '.join(missing)}")
    sizes = {"N": "image_ids", "B": "box_image", "H": "hits_image", "D": "detection_image"}
    lengths = {symbol: arrays[name].size for symbol, name in sizes.items()}
    for name, (kind, symbols) in LAYOUT.items():
        array = arrays[name]
        shape = tuple(lengths[size] if isinstance(size, str) else size for size in symbols)
        if array.shape != shape or kind not in (array.dtype.name, array.dtype.kind):
            raise _error(f"{name}: expected {kind} {shape}, found {array.dtype} {array.shape}")
    for expectation, holds in _agreements(arrays).items():
        if not holds:
            raise _error(f"expected {expectation}, found otherwise")


def _agreements(arrays: Mapping[str, NDArray[Any]]) -> dict[str, bool]:
    n, owner, area = len(arrays["image_ids"]), arrays["box_image"], arrays["truth_area"]
    inside, outside = arrays["inside"].sum(axis=1), arrays["outside"].sum(axis=1)
    return {
        "labels to be 0 or 1": bool(np.isin(arrays["labels"], (0, 1)).all()),
        "inside to sum up to truth_area": bool((inside == area).all()),
        "inside and outside to sum up to n_pixels": bool((inside + outside == arrays["n_pixels"]).all()),
        "exactly the located images to have a truth_area": bool((arrays["located"] == (area > 0)).all()),
        "box_image to be ascending indices of images": _indices(owner, n),
        "hits_image to be the images that have boxes": np.array_equal(arrays["hits_image"], np.unique(owner)),
        "detection_image to be ascending indices of images": _indices(arrays["detection_image"], n),
    }


def _indices(owner: NDArray[Any], n: int) -> bool:
    return bool((np.diff(owner) >= 0).all() and (owner >= 0).all() and (owner < n).all())


def _error(text: str) -> StoreError:
    return StoreError(f"tally: {text}. The file is damaged or of another origin: compute the cell again.")
