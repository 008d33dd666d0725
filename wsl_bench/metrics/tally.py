"""The tally of a split: per image, what every metric and threshold rule needs, at every threshold.

It is the format in which cells are kept on disk, so it changes only together with `TALLY_VERSION`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsl_bench.errors import StoreError
from wsl_bench.metrics._tally_layout import LAYOUT, check_arrays, rows_of, stacked
from wsl_bench.metrics.box import box_curves, level_index
from wsl_bench.metrics.detection import detect
from wsl_bench.metrics.grid import THRESHOLDS
from wsl_bench.metrics.pixel import at_least, curves_from_histograms, pixel_histograms
from wsl_bench.metrics.soft import soft_counts
from wsl_bench.metrics.truth import clipped_boxes

TALLY_VERSION = 2


@dataclass(frozen=True, eq=False)
class Tally:
    """The counts of N images, B ground-truth boxes in all, H images that have boxes, and D detections.

    Attributes:
        image_ids: str (N,).
        groups: str (N,), the patient or group of each image.
        labels: int8 (N,), 0 or 1.
        located: bool (N,), whether the image is scored for localization. Where it is not (healthy, or
            positive without ground truth) `inside` is zero, `outside` counts every pixel, and there are no
            boxes.
        n_pixels, truth_area: int64 (N,), pixels of the image and of its ground truth.
        inside, outside: uint32 (N, 1001), pixels in each threshold bin inside and outside the ground truth.
        components: uint32 (N, 1001), 8-connected components at each threshold.
        box_image: int32 (B,), the index of the image to which a box belongs, ascending.
        boxes: float64 (B, 4), x, y, width, height in pixels, clipped to the image.
        iou_largest, iou_any, iobb_any: float64 (B, 1001), as in `box.BoxCurves`.
        hits_image: int32 (H,), the index of the image to which a row of the hits belongs, ascending.
        hit_steps_iou, hit_steps_iobb: signed integers (H, 19, 1001), hits at threshold k minus hits at k + 1
            (at the last, the hits themselves), in the smallest type that holds them; `hits_*` give the plain
            form.
        maximum, sum_inside, sum_outside, spread_inside, spread_outside, pointing, rank_accuracy: float64
            (N,), as in `soft.SoftCounts`; where an image is not located, the last two are NaN.
        probability: float64 (N,), the method's probability of disease, NaN where it gives none.
        detected_at: int16 (N,), the k of the threshold at which detections were taken, 0 where none were.
        detection_image: int32 (D,), the index of the image to which a detection belongs, ascending.
        detection_boxes, detection_scores: int32 (D, 4) and float32 (D,), as in `detection.Detections`.
    """

    image_ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    labels: NDArray[np.int8]
    located: NDArray[np.bool_]
    n_pixels: NDArray[np.int64]
    truth_area: NDArray[np.int64]
    inside: NDArray[np.uint32]
    outside: NDArray[np.uint32]
    components: NDArray[np.uint32]
    box_image: NDArray[np.int32]
    boxes: NDArray[np.float64]
    iou_largest: NDArray[np.float64]
    iou_any: NDArray[np.float64]
    iobb_any: NDArray[np.float64]
    hits_image: NDArray[np.int32]
    hit_steps_iou: NDArray[np.signedinteger[Any]]
    hit_steps_iobb: NDArray[np.signedinteger[Any]]
    maximum: NDArray[np.float64]
    sum_inside: NDArray[np.float64]
    sum_outside: NDArray[np.float64]
    spread_inside: NDArray[np.float64]
    spread_outside: NDArray[np.float64]
    pointing: NDArray[np.float64]
    rank_accuracy: NDArray[np.float64]
    probability: NDArray[np.float64]
    detected_at: NDArray[np.int16]
    detection_image: NDArray[np.int32]
    detection_boxes: NDArray[np.int32]
    detection_scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.image_ids)

    @cached_property
    def _curves(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return curves_from_histograms(self.inside, self.outside)

    @property
    def true_positives(self) -> NDArray[np.int64]:
        """Pixels predicted inside the ground truth at every threshold, int64 (N, 1001); computed once."""
        return self._curves[0]

    @property
    def false_positives(self) -> NDArray[np.int64]:
        """Pixels predicted outside the ground truth at every threshold, int64 (N, 1001); computed once."""
        return self._curves[1]

    @property
    def hits_iou(self) -> NDArray[np.uint32]:
        """Components with an IoU of at least each level, uint32 (H, 19, 1001); computed at every call."""
        return at_least(self.hit_steps_iou).astype(np.uint32)

    @property
    def hits_iobb(self) -> NDArray[np.uint32]:
        """Components with |b and g| / |b| of at least each level, like `hits_iou`."""
        return at_least(self.hit_steps_iobb).astype(np.uint32)

    def hits_at(self, k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`hits_iou` and `hits_iobb` at the threshold k / 1000, int64 (H, 19) each."""
        steps = self.hit_steps_iou, self.hit_steps_iobb
        iou, iobb = (s[..., k:].sum(axis=-1, dtype=np.int64) for s in steps)
        return iou, iobb

    def hits_at_level(self, level: float) -> NDArray[np.int64]:
        """`hits_iou` at one level (0.05, 0.10 .. 0.95) and all thresholds, int64 (H, 1001)."""
        return at_least(self.hit_steps_iou[:, level_index(level)])

    def select(self, indices: Any) -> Tally:
        """The tally of some images, in the order given; an image may come more than once.

        Args:
            indices: whatever indexes an array of length N: integers, booleans (N,), a slice.
        """
        images = np.atleast_1d(np.arange(len(self))[indices])
        box_rows, box_image = _rows_of(self.box_image, images)
        hit_rows, hits_image = _rows_of(self.hits_image, images)
        detection_rows, detection_image = _rows_of(self.detection_image, images)
        rows = {"N": images, "B": box_rows, "H": hit_rows, "D": detection_rows}
        chosen: dict[str, Any] = {name: getattr(self, name)[rows[str(rows_of(name))]] for name in LAYOUT}
        owners = {"box_image": box_image, "hits_image": hits_image, "detection_image": detection_image}
        return Tally(**{**chosen, **owners})

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as plain arrays, none of dtype object, by name; ready for `np.savez_compressed`."""
        version: NDArray[Any] = np.array(TALLY_VERSION, dtype=np.int64)
        return {"tally_version": version} | {name: getattr(self, name) for name in LAYOUT}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Tally:
        """The tally that `to_arrays` has written.

        Raises:
            StoreError: unknown version; an array missing, of another shape or dtype, or at odds with the
                others.
        """
        version = np.asarray(arrays["tally_version"]) if "tally_version" in arrays else None
        if version is None or version.shape != () or version != TALLY_VERSION:
            found = "none" if version is None else version
            raise StoreError(
                f"tally: expected the format version {TALLY_VERSION}, found {found}. "
                "Read it with the wsl_bench that wrote it, or compute the cell again."
            )
        loaded: dict[str, Any] = {name: arrays[name] for name in LAYOUT if name in arrays}
        check_arrays(loaded)
        return cls(**loaded)


def _rows_of(owner: NDArray[np.int32], images: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The rows owned by each image in turn, and their owners as indices into `images`; `owner` ascends."""
    first = np.searchsorted(owner, images, side="left")
    counts = np.searchsorted(owner, images, side="right") - first
    new_owner = np.repeat(np.arange(len(images)), counts)
    place = np.arange(len(new_owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(first, counts) + place, new_owner.astype(np.int32)


def _steps(hits: NDArray[np.uint32]) -> NDArray[np.signedinteger[Any]]:
    """Hits (19, 1001) as differences from threshold to threshold, in the smallest type that holds them."""
    steps = hits.astype(np.int32)
    steps[:, :-1] -= steps[:, 1:]
    smallest = np.min_scalar_type(-1 - int(max(steps.max(), -steps.min())))
    return steps.astype(smallest)


def _refuse_contradiction(located: bool, n_truth_pixels: int, n_boxes: int) -> None:
    if located != (n_truth_pixels > 0) or (n_boxes and not located):
        wanted = "some, as it is located" if located else "none, as it is not located"
        raise ValueError(f"ground truth: expected {wanted}; found {n_truth_pixels} pixels and {n_boxes} boxes")


class TallyBuilder:
    """Collects a tally image by image: `add` each, then `build`.

    Args:
        detect_at: the k of a threshold, from 1 to 1000, at which detections are taken; None for none.
    """

    def __init__(self, detect_at: int | None = None) -> None:
        self._detect_at = detect_at
        self._rows: dict[str, list[Any]] = {name: [] for name in LAYOUT}
        self._ids: set[str] = set()

    def add(
        self,
        image_id: str,
        group: str,
        label: int,
        located: bool,
        scores: NDArray[np.float32],
        truth_mask: NDArray[np.bool_] | None,
        boxes: NDArray[np.float64],
        probability: float,
    ) -> None:
        """Count one image.

        Args:
            image_id: unique within the tally.
            group: patient or group.
            label: 0 or 1.
            located: whether the image is scored for localization; decided by the caller.
            scores: float32 (H, W) in [0, 1], at the resolution of the ground truth.
            truth_mask: bool (H, W), the pixels of the ground truth; None (or all False) if not located.
            boxes: (K, 4) x, y, width, height for the box metrics; none if not located.
            probability: of disease, NaN if the method gives none.

        Raises:
            ValueError: a duplicate image; located without a pixel of ground truth, or ground truth although
                not located; bad scores, masks or boxes (see `pixel_histograms`, `box_curves`).
        """
        if image_id in self._ids:
            raise ValueError(f"image {image_id!r} is in the tally already")
        if label not in (0, 1):
            raise ValueError(f"label: expected 0 or 1, found {label!r}")
        truth = np.zeros(scores.shape, dtype=np.bool_) if truth_mask is None else truth_mask
        _refuse_contradiction(located, int(truth.sum()), len(boxes))
        inside, outside = pixel_histograms(scores, truth)
        curves, soft = box_curves(scores, boxes), soft_counts(scores, truth)
        index, n_boxes = len(self._ids), len(boxes)
        rows: dict[str, Any] = {
            "image_ids": [image_id],
            "groups": [group],
            "labels": [label],
            "located": [located],
            "n_pixels": [scores.size],
            "truth_area": [np.count_nonzero(truth)],
            "inside": [inside],
            "outside": [outside],
            "components": [curves.components],
            "box_image": [index] * n_boxes,
            "boxes": clipped_boxes(boxes, *scores.shape),
            "iou_largest": curves.iou_largest,
            "iou_any": curves.iou_any,
            "iobb_any": curves.iobb_any,
            "probability": [probability],
            "detected_at": [self._detect_at or 0],
            **{name: [value] for name, value in asdict(soft).items()},
            **self._detections(index, scores),
        }
        if n_boxes:
            rows |= {
                "hits_image": [index],
                "hit_steps_iou": [_steps(curves.hits_iou)],
                "hit_steps_iobb": [_steps(curves.hits_iobb)],
            }
        # Only now, so that an image that was refused leaves nothing behind.
        self._ids.add(image_id)
        for name, more in rows.items():
            self._rows[name].extend(more)

    def _detections(self, index: int, scores: NDArray[np.float32]) -> dict[str, Any]:
        if self._detect_at is None:
            return {}
        found = detect(scores, THRESHOLDS[self._detect_at])
        return {
            "detection_image": [index] * len(found.scores),
            "detection_boxes": found.boxes,
            "detection_scores": found.scores,
        }

    def build(self) -> Tally:
        """The tally of the images added so far, in the order in which they came."""
        columns: dict[str, Any] = {name: stacked(name, rows) for name, rows in self._rows.items()}
        return Tally(**columns)
