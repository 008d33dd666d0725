"""Which test images a figure shows: by a rule, never by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsl_bench.errors import NothingToDraw
from wsl_bench.leaderboard.export import row_name
from wsl_bench.metrics.grid import threshold_index
from wsl_bench.report.source import Pair, Source, seeds_of
from wsl_bench.store.records import Record

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
Float = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shown:
    """One training among the pictures.

    Attributes:
        name: its method.
        record: its record.
        threshold: its frozen threshold.
        iou: (N,) of every test image at that threshold, from the tally; NaN where it is not located.
    """

    name: str
    record: Record
    threshold: float
    iou: Float


@dataclass(frozen=True)
class Examples:
    """The chosen images of a dataset.

    Attributes:
        seed: of the trainings whose maps are shown.
        trainings: one a method, in the order of the leaderboard.
        missing: methods that have no training of this seed.
        n: how many located positives the run keeps pictures of.
        quantiles: (k,) of the rule, one a chosen image.
        at: (k,) places of the chosen images in the dataset's display.
        ids: (k,) their names.
        mean_iou: (k,) over the trainings shown.
        iou: (k, methods) of each training.
    """

    seed: int
    trainings: tuple[Shown, ...]
    missing: tuple[str, ...]
    n: int
    quantiles: tuple[float, ...]
    at: tuple[int, ...]
    ids: tuple[str, ...]
    mean_iou: Float
    iou: Float

    def rule(self) -> str:
        """How the images were chosen, for a reader."""
        percents = ", ".join(f"{100 * q:.0f}" for q in self.quantiles)
        return (
            f"Images nearest the {percents} % quantiles of the mean IoU over the {len(self.trainings)} methods "
            f"shown (seed {self.seed}; {self.n} located test images kept for display; ties: the first)."
        )


def choose_examples(source: Source, dataset: str) -> Examples:
    """The images by the rule, with the trainings of the lowest seed that most methods have.

    Raises:
        NothingToDraw: there are sanity rows only, or no located image is kept for display.
        StoreError, DataError: the run keeps no pictures of the dataset, or those of other images.
    """
    pairs = source.shown(dataset)
    if not pairs:
        raise NothingToDraw(f"{dataset} has sanity rows only.")
    display = source.display(dataset)
    seed = _seed(pairs)
    trainings = tuple(_shown(pair, seed) for pair in pairs if seed in seeds_of(pair[1]))
    source.maps(trainings[0].record)  # refuses pictures of other images
    first = pairs[0][1].first
    place = {name: i for i, name in enumerate(first.image_ids.tolist())}
    kept = [j for j, name in enumerate(display.image_ids) if name in place and first.located[place[name]]]
    if not kept:
        raise NothingToDraw(f"none of the images of {dataset} that the run keeps for display has ground truth.")
    rows = [place[display.image_ids[j]] for j in kept]
    iou = np.stack([training.iou[rows] for training in trainings], axis=1)
    means = iou.mean(1)
    quantiles = QUANTILES if len(kept) >= len(QUANTILES) else QUANTILES[: len(kept)]
    chosen = nearest_to_quantiles(means, quantiles)
    return Examples(
        seed, trainings, tuple(row_name(v) for v, row in pairs if seed not in seeds_of(row)), len(kept), quantiles,
        tuple(kept[i] for i in chosen), tuple(display.image_ids[kept[i]] for i in chosen), means[chosen], iou[chosen],
    )  # fmt: skip


def nearest_to_quantiles(values: Float, quantiles: tuple[float, ...]) -> list[int]:
    """For each quantile in turn the place of the nearest value not taken yet; of equally near ones the first.

    Args:
        values: (n,), at least as many as quantiles.
    """
    chosen: list[int] = []
    for target in np.quantile(values, quantiles):
        distance = np.abs(values - target)
        distance[chosen] = np.inf
        chosen.append(int(distance.argmin()))
    return chosen


def _seed(pairs: list[Pair]) -> int:
    """The lowest of those that the largest number of methods has."""
    seeds = [seed for _, row in pairs for seed in seeds_of(row)]
    return min(set(seeds), key=lambda seed: (-seeds.count(seed), seed))


def _shown(pair: Pair, seed: int) -> Shown:
    values, row = pair
    s = seeds_of(row).index(seed)
    threshold_index(row.thresholds[s])  # refuses one that is not on the grid
    iou = np.full(len(row.first), np.nan)
    iou[row.first.located] = row.located("iou")[0][s]
    return Shown(row_name(values), row.records[s], row.thresholds[s], iou)
