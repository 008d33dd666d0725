"""What the sigma maps of a variational method say: where they are large, and whether they ever left their start."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsl_bench.errors import DataError
from wsl_bench.report.pictures import fitted, inside
from wsl_bench.report.source import Maps
from wsl_bench.store.display import Display
from wsl_bench.store.records import Record

# Names that display maps may have besides `score`.
MEANS, SPREADS = ("mu", "mean"), ("sigma", "std", "sd")
# A sigma map is where it started if this share of its pixels is within this part of the start.
STUCK_SHARE, STUCK_WITHIN = 0.95, 0.10
PLACES = ("inside", "outside", "negatives")


@dataclass(frozen=True)
class Spread:
    """What the sigma maps of one training say.

    Attributes:
        means: of sigma inside and outside the ground truth of located positives, and on negatives: each image's mean,
            averaged over images; NaN where there are none.
        start: the sigma that a training starts from, None where the record does not say.
        near_start: share of pixels within 10 % of it; None without a start.
    """

    means: tuple[float, float, float]
    start: float | None
    near_start: float | None

    @property
    def stuck(self) -> bool | None:
        """Whether the map never left its start: 95 % of its pixels or more are near it. None where it is not known."""
        return None if self.near_start is None else self.near_start >= STUCK_SHARE


def measure_spread(record: Record, maps: Maps, display: Display) -> Spread:
    """Mean sigma by place, and how much of it is where it started; padding left out."""
    sigma = sigma_of(record, maps)
    each = [fitted(sigma[j], display, j) for j in range(len(sigma))]
    truths = [display.truth[j][inside(display, j)] for j in range(len(sigma))]
    located = [j for j, truth in enumerate(truths) if truth.any()]
    within = [float(each[j][truths[j]].mean()) for j in located]
    without = [float(each[j][~truths[j]].mean()) for j in located if not truths[j].all()]
    negative = [float(each[j].mean()) for j in np.flatnonzero(display.labels == 0)]
    start = start_of(record)
    near = None
    if start is not None:
        pixels = np.concatenate([one.ravel() for one in each])
        near = float((np.abs(pixels / start - 1) <= STUCK_WITHIN).mean())
    return Spread((_mean(within), _mean(without), _mean(negative)), start, near)


def start_of(record: Record) -> float | None:
    """exp(start / 2) of the parameter `log_variance_start`: the bias of the log-variance before training.

    A network without evidence (attention 0) has this sigma on every pixel at the start; where there is attention,
    the random first weights move it a little. No map of the start is kept, so this is what is known of it.
    """
    value = record.content.get("params", {}).get("log_variance_start")
    return math.exp(float(value) / 2) if isinstance(value, int | float) else None


def code_names(maps: Maps) -> tuple[str, str] | None:
    """Names of the mean's and of the spread's maps; None where a record lacks one of them."""
    mean = next((name for name in MEANS if name in maps), None)
    spread = next((name for name in SPREADS if name in maps), None)
    return None if mean is None or spread is None else (mean, spread)


def sigma_of(record: Record, maps: Maps) -> npt.NDArray[np.generic]:
    """(n, h, w) of a record.

    Raises:
        DataError: it has none, though other trainings of its method have.
    """
    names = code_names(maps)
    if names is None:
        raise DataError(record.slug, expected=f"maps named {'/'.join(SPREADS)} like other seeds of its method",
                        found="none", fix="Compute the cell again.")  # fmt: skip
    return maps[names[1]]


def median_negative(sigma: npt.NDArray[np.generic], display: Display) -> int | None:
    """Of the negatives, the place of the one whose mean sigma is the (lower) median; None where there are none.

    Args:
        sigma: (n, h, w).
    """
    negatives = np.flatnonzero(display.labels == 0).tolist()
    means = [float(fitted(sigma[j], display, j).mean(dtype=np.float64)) for j in negatives]
    return negatives[int(np.argsort(means, kind="stable")[(len(means) - 1) // 2])] if negatives else None


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan
