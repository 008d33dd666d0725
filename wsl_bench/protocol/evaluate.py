"""Tallies of a split at a frozen operating point. Nothing here can choose a threshold."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from wsl_bench.data.views import TruthView, WeakView
from wsl_bench.errors import MethodError
from wsl_bench.metrics.tally import Tally, TallyBuilder
from wsl_bench.protocol.operating_point import OperatingPoint
from wsl_bench.protocol.score_maps import Maps, RawScores, to_truth_resolution


def tally(scores: RawScores, point: OperatingPoint, weak: WeakView, truth: TruthView) -> Tally:
    """Count, for each image and at every threshold, what later metrics need; detections at the frozen threshold.

    Args:
        scores: raw maps and probabilities of the split, in the order of `weak`.
        point: the frozen operating point, for its map scale and threshold.

    Raises:
        MethodError: a map cannot be tallied; the text names the image.
    """
    scaling, maps = point.scaling(), scores.maps  # one by one: a scaled copy of all would take as much memory again

    def map_of(i: int) -> Maps:
        return to_truth_resolution(scaling.apply(maps[i]), weak.frames[i])

    return count(map_of, scores.probability, point.k(), weak, truth)


def count(
    map_of: Callable[[int], Maps],
    probability: npt.NDArray[np.float64] | None,
    k: int | None,
    weak: WeakView,
    truth: TruthView,
) -> Tally:
    """Tallies of score maps that are in [0, 1] and at the resolution of their ground truth.

    Args:
        map_of: gives the map (H, W) of an image by its place in `weak`; called once for each, in order.
        probability: (N,) of disease, or None.
        k: of the frozen threshold k / 1000, at which detections are taken; None for none.

    Raises:
        MethodError: a map cannot be tallied; the text names the image.
    """
    builder = TallyBuilder(detect_at=k)
    for i, image_id in enumerate(weak.image_ids):
        frame, located, ground = weak.frames[i], bool(truth.located[i]), truth.truths[i]
        mask = ground.pixels(frame.height, frame.width) if located else None
        try:
            builder.add(
                image_id,
                weak.groups[i],
                int(weak.labels[i]),
                located,
                map_of(i),
                mask,
                ground.boxes,
                math.nan if probability is None else float(probability[i]),
            )
        except ValueError as error:
            raise MethodError(f"score map of image {image_id!r}: {error}") from None
    return builder.build()


def display_sample(image_ids: Sequence[str], n: int) -> list[int]:
    """Places of a fixed, hash-chosen sample of the test images, whose maps are kept: the same for all methods."""
    by_hash = sorted(range(len(image_ids)), key=lambda i: hashlib.sha256(image_ids[i].encode()).digest())
    return sorted(by_hash[:n])


def check_test_is_unseen(point: OperatingPoint, weak: WeakView, truth: TruthView) -> None:
    """Refuse to evaluate on what the operating point was fitted on.

    Raises:
        MethodError: the hash of the split equals that of the validation split.
    """
    val_images, val_truth = point.fitted_on.split(":")
    if val_images == weak.sha256 or val_truth == truth.sha256:
        raise MethodError("the test split is the split the threshold was fitted on; give test images of its own.")
