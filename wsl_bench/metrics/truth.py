"""Ground truth in its two forms: boxes and masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def checked_boxes(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The boxes as (K, 4) float64; ValueError unless they are x, y, width >= 0, height >= 0, all finite."""
    array = np.asarray(boxes, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes: expected the shape (K, 4), found {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("boxes: expected finite numbers, found NaN or infinity")
    if (array[:, 2:] < 0).any():
        raise ValueError("boxes: expected x, y, width, height; found a negative width or height")
    return array


def clipped_boxes(boxes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """The boxes (K, 4) clipped to an image; one wholly outside keeps no area.

    Raises:
        ValueError: as `checked_boxes`.
    """
    checked = checked_boxes(boxes)
    size = np.array([width, height], dtype=np.float64)
    low, high = np.clip(checked[:, :2], 0, size), np.clip(checked[:, :2] + checked[:, 2:], 0, size)
    # As given where nothing is cut: x + w - x need not be w.
    inside = (checked[:, :2] == low) & (checked[:, :2] + checked[:, 2:] == high)
    return np.concatenate([low, np.where(inside, checked[:, 2:], high - low)], axis=1)


def rasterize_boxes(boxes: NDArray[np.float64], height: int, width: int) -> NDArray[np.bool_]:
    """The union of boxes as a mask.

    A pixel belongs to a box when its centre lies inside it, half-open: x <= column + 0.5 < x + w, and the
    same for rows. So boxes that share an edge share no pixel, and a box that reaches no centre covers none.

    Args:
        boxes: (K, 4) x, y, width, height in pixels; they may be fractional or lie partly or wholly outside.
        height: rows of the image.
        width: columns of the image.

    Returns:
        bool (height, width).

    Raises:
        ValueError: boxes of another shape, not finite or with a negative size.
    """
    mask = np.zeros((height, width), dtype=np.bool_)
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    for x, y, w, h in checked_boxes(boxes):
        # "left" gives the first centre at or after an edge: the half-open rule on both sides.
        left, right = np.searchsorted(columns, (x, x + w), side="left")
        top, bottom = np.searchsorted(rows, (y, y + h), side="left")
        mask[top:bottom, left:right] = True
    return mask


def boxes_from_mask(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The tight boxes of a mask's 8-connected components.

    Args:
        mask: bool (H, W).

    Returns:
        (K, 4) float64 x, y, width, height in pixels, ordered by each component's first pixel in raster order.

    Raises:
        ValueError: the mask is not a boolean array of two dimensions.
    """
    from scipy import ndimage  # here, because few callers need it and it takes 0.3 s to import

    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(f"mask: expected bool (H, W), found {mask.dtype} {mask.shape}")
    components, _ = ndimage.label(mask, structure=np.ones((3, 3), dtype=np.bool_))
    names, first_pixels = np.unique(components, return_index=True)
    slices = ndimage.find_objects(components)
    boxes = [
        (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        for rows, columns in (slices[name - 1] for name in names[np.argsort(first_pixels)] if name > 0)
    ]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)
