"""From a network to score maps in [0, 1] at the resolution of the ground truth (protocol point 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wsl_bench.data.geometry import Letterbox
from wsl_bench.errors import MethodError
from wsl_bench.method import Method, PostHocMethod, PriorMethod, TrainedMethod
from wsl_bench.training.inputs import Inputs

MAP_BATCH = 32
Maps = npt.NDArray[np.float32]
MapScale = Literal["none", "dataset", "image"]


@dataclass(frozen=True)
class RawScores:
    """What a method says about a split.

    Attributes:
        maps: (N, h, w) float32, finite; in [0, 1] for bounded methods.
        probability: (N,) float64, or None where the method does not classify.
    """

    maps: Maps
    probability: npt.NDArray[np.float64] | None


@dataclass(frozen=True)
class Scaling:
    """How raw maps become score maps in [0, 1]; fitted on validation.

    `none`: as they are (bounded methods). `dataset`: over the 99.9th percentile of the validation
    maps, clipped. `image`: each map over its own maximum; a blank map stays blank.
    """

    kind: MapScale
    factor: float

    def apply(self, raw: Maps) -> Maps:
        """(..., h, w) raw -> the same shape in [0, 1]; negative values count as no evidence."""
        positive = np.maximum(raw, 0)
        if self.kind == "image":
            peak = positive.max(axis=(-2, -1), keepdims=True)
            return np.asarray(positive / np.where(peak > 0, peak, 1), np.float32)
        return np.minimum(positive / np.float32(self.factor), 1)


def scalings(method: Method, validation_maps: Maps) -> tuple[Scaling, Scaling]:
    """The two scalings that compete on validation."""
    if method.bounded:
        return Scaling("none", 1.0), Scaling("image", 1.0)
    positive = np.maximum(validation_maps, 0)
    highest = float(positive.max())
    factor = float(np.quantile(positive, 0.999, overwrite_input=True)) or highest or 1.0
    return Scaling("dataset", factor), Scaling("image", 1.0)


def score(method: Method, net: nn.Module, inputs: Inputs, image_ids: Sequence[str]) -> RawScores:
    """Run a method over a split, batch by batch, in single precision.

    Raises:
        MethodError: wrong shapes, non-finite values, or a bounded method out of [0, 1].
    """
    net.eval()
    maps: Maps | None = None
    probabilities = []
    for start in range(0, len(inputs), MAP_BATCH):
        images = inputs.images(slice(start, start + MAP_BATCH))
        probability, batch_maps = _call(method, net, images)
        checked = _checked_maps(method, batch_maps, image_ids[start : start + MAP_BATCH])
        if maps is None:  # filled in place: of a large split, joining parts would take as much memory again
            maps = np.empty((len(inputs), *checked.shape[1:]), np.float32)
        elif checked.shape[1:] != maps.shape[1:]:
            raise MethodError(f"score maps: expected {maps.shape[1:]} as before, found {checked.shape[1:]}.")
        maps[start : start + MAP_BATCH] = checked
        if probability is not None:
            probabilities.append(_checked_probability(probability, image_ids[start : start + MAP_BATCH]))
    assert maps is not None
    return RawScores(maps, np.concatenate(probabilities) if probabilities else None)


def to_truth_resolution(scaled: Maps, frame: Letterbox) -> Maps:
    """One score map (h, w) at the resolution of its ground truth; rounding kept inside [0, 1]."""
    return np.ascontiguousarray(np.clip(frame.to_stored(scaled), 0, 1, dtype=np.float32))


def _call(method: Method, net: nn.Module, images: Tensor) -> tuple[Tensor | None, Tensor]:
    if isinstance(method, PostHocMethod):
        with torch.enable_grad():
            return method.explain(net, images)
    with torch.no_grad():
        if isinstance(method, TrainedMethod):
            return method.localize(net, images)
        if isinstance(method, PriorMethod):
            return None, method.localize(net, images)
    raise MethodError(f"{type(method).__name__} is neither a trained, a post-hoc nor a prior method.")


def _checked_maps(method: Method, maps: Tensor, image_ids: Sequence[str]) -> Maps:
    if maps.ndim != 3 or len(maps) != len(image_ids):
        raise MethodError(
            f"score maps: expected shape ({len(image_ids)}, h, w), found {tuple(maps.shape)}. "
            "One map an image, without a channel axis."
        )
    values: Maps = maps.detach().float().cpu().numpy()
    wrong = ~np.isfinite(values).all(axis=(1, 2))
    if wrong.any():
        raise MethodError(f"the score map of image {image_ids[int(wrong.argmax())]!r} is not finite.")
    if method.bounded and (values.min() < 0 or values.max() > 1):
        raise MethodError(
            f"score maps: expected values in [0, 1] (the method says it is bounded), found "
            f"[{values.min():.4g}, {values.max():.4g}]. Scale them, or set bounded = False."
        )
    return values


def _checked_probability(probability: Tensor, image_ids: Sequence[str]) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = probability.detach().double().cpu().numpy()
    if values.shape != (len(image_ids),):
        raise MethodError(f"probability: expected shape ({len(image_ids)},), found {values.shape}.")
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise MethodError("probability: expected finite values in [0, 1].")
    return values
