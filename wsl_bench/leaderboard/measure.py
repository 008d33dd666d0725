"""From the tallies of one row's trainings to its metrics, seed by seed and image by image.

A row is a (dataset, method with its parameters, threshold rule). Every threshold used here was frozen
on validation or fixed by the user before the run; nothing here searches one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl_bench.errors import StoreError
from wsl_bench.leaderboard.sample import Float, Sample
from wsl_bench.metrics import pixel
from wsl_bench.metrics.classification import auc
from wsl_bench.metrics.criteria import BOXACC_LEVELS, LocatedCounts, best_threshold, box_accuracy, objective
from wsl_bench.metrics.grid import threshold_index
from wsl_bench.metrics.tally import Tally
from wsl_bench.stats.bootstrap import bootstrap_auc, bootstrap_mean, bootstrap_pxap, cluster_weights
from wsl_bench.stats.jackknife import pseudo_values_auc, pseudo_values_pxap
from wsl_bench.store.records import Record

# Metrics that are a mean over images: over located positives, over negatives, over all; and those that are none.
LOCATED_METRICS = ("iop", "fpr", "fnr", "iou", "dice", "empty_rate")
MEAN_METRICS = (*LOCATED_METRICS, "fpr_negative", "accuracy")
CURVE_METRICS = ("auc", "pxap")
REFITS = 200


@dataclass(frozen=True)
class Row:
    """The trainings of one row, in the order of their seeds.

    Attributes:
        records: one a seed.
        rule: "val" or a fixed threshold as text.
    """

    records: tuple[Record, ...]
    rule: str

    @property
    def tallies(self) -> list[Tally]:
        """Test tallies; all of the same images.

        Raises:
            StoreError: they are not.
        """
        tallies = [record.test for record in self.records]
        if not self._same_images:
            for record, tally in zip(self.records, tallies, strict=True):
                if not np.array_equal(tally.image_ids, tallies[0].image_ids):
                    raise StoreError(
                        f"{record.slug}: expected the test images of {self.records[0].slug}, found others."
                    )
            self._same_images.append(True)
        return tallies

    @cached_property
    def _same_images(self) -> list[bool]:
        """Filled once that has been looked at."""
        return []

    @cached_property
    def thresholds(self) -> list[float]:
        """The frozen threshold of each training."""
        if self.rule != "val":
            return [float(self.rule)] * len(self.records)
        return [record.content["operating_point"]["threshold"] for record in self.records]

    @property
    def first(self) -> Tally:
        """The first tally, for what all share: images, groups, labels, ground truth."""
        return self.records[0].test

    @property
    def classifies(self) -> bool:
        """Whether the method gives class probabilities."""
        return not np.isnan(self.first.probability).any()

    @cached_property
    def counts(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """True and false positive pixels at the frozen thresholds: (S, N) each."""
        columns = [threshold_index(t) for t in self.thresholds]
        tp = [t.true_positives[:, k] for t, k in zip(self.tallies, columns, strict=True)]
        fp = [t.false_positives[:, k] for t, k in zip(self.tallies, columns, strict=True)]
        return np.stack(tp), np.stack(fp)

    @cached_property
    def components(self) -> npt.NDArray[np.int64]:
        """(S, N) 8-connected components of the maps at the frozen thresholds; 0 for a blank one."""
        columns = [threshold_index(t) for t in self.thresholds]
        return np.stack([t.components[:, k] for t, k in zip(self.tallies, columns, strict=True)]).astype(np.int64)

    def located(self, metric: str) -> tuple[Float, npt.NDArray[np.str_]]:
        """(S, n) values of a mean metric on located positives, and their groups (n,).

        For `fpr`, images that are ground truth all over have no outside and are left out.
        """
        chosen = self.first.located
        if metric == "fpr":
            chosen = chosen & (self.first.truth_area < self.first.n_pixels)
        tp, fp = (c[:, chosen] for c in self.counts)
        values = pixel_metric(metric, tp, fp, self.first.truth_area[chosen], self.first.n_pixels[chosen])
        return values, self.first.groups[chosen]

    def sample(self, metric: str) -> Sample | None:
        """One of MEAN_METRICS or CURVE_METRICS as statistics take it; computed once.

        None where the row does not have it: it does not classify, or no image is of that kind.
        """
        if metric not in self._samples:
            self._samples[metric] = self._sample(metric)
        return self._samples[metric]

    @cached_property
    def _samples(self) -> dict[str, Sample | None]:
        return {}

    def _sample(self, metric: str) -> Sample | None:
        if metric in ("accuracy", "auc") and not self.classifies:
            return None
        if metric == "auc":
            return self._auc_sample()
        if metric == "pxap":
            return self._pxap_sample()
        if metric in LOCATED_METRICS:
            values, groups = self.located(metric)
        elif metric == "fpr_negative":
            values, groups = self.fpr_negative()
        else:
            values, groups = self.correct(), self.first.groups
        if not values.shape[1]:
            return None
        return Sample(values.mean(1), values, groups, groups, lambda weights: bootstrap_mean(values, weights), True)

    def _auc_sample(self) -> Sample:
        labels, scores, groups = self.first.labels, self.probability, self.first.groups
        aucs = np.array([auc(labels, row) for row in scores])
        pseudo = pseudo_values_auc(labels, scores, groups)
        units = np.arange(pseudo.shape[1])
        return Sample(aucs, pseudo, units, groups, lambda weights: bootstrap_auc(labels, scores, weights), False)

    def _pxap_sample(self) -> Sample | None:
        tp, fp, area = self.curves
        if not len(area):
            return None
        groups = self.first.groups[self.first.located]
        precisions = np.array([pixel.pxap(t, f, area) for t, f in zip(tp, fp, strict=True)])
        pseudo = pseudo_values_pxap(tp, fp, area, groups)
        units = np.arange(pseudo.shape[1])
        return Sample(precisions, pseudo, units, groups, lambda weights: bootstrap_pxap(tp, fp, area, weights), False)

    def fpr_negative(self) -> tuple[Float, npt.NDArray[np.str_]]:
        """(S, n) share of the area lit on negatives, and their groups."""
        chosen = self.first.labels == 0
        tp, fp = self.counts
        return (tp + fp)[:, chosen] / self.first.n_pixels[chosen], self.first.groups[chosen]

    def correct(self, decision_thresholds: Sequence[float] | None = None) -> Float:
        """(S, N) 1 where the class is right; by default at the thresholds frozen on validation."""
        if decision_thresholds is None:
            decision_thresholds = [r.content["operating_point"]["decision_threshold"] for r in self.records]
        decided = self.probability >= np.array(decision_thresholds)[:, None]
        return np.asarray(decided == (self.first.labels == 1), np.float64)

    @cached_property
    def probability(self) -> Float:
        """(S, N) class probabilities."""
        return np.stack([t.probability for t in self.tallies])

    @cached_property
    def curves(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """tp and fp of located positives at all thresholds, (S, n, 1001) each, and their areas (n,)."""
        chosen = self.first.located
        tp = np.stack([t.true_positives[chosen] for t in self.tallies])
        fp = np.stack([t.false_positives[chosen] for t in self.tallies])
        return tp, fp, self.first.truth_area[chosen]

    def pooled(self, metric: str) -> Float:
        """(S,) a pixel metric with the pixels of all located positives summed first."""
        chosen = self.first.located
        tp, fp = (c[:, chosen].sum(1) for c in self.counts)
        area, size = self.first.truth_area[chosen].sum(), self.first.n_pixels[chosen].sum()
        return pixel_metric(metric, tp, fp, area, size)

    @cached_property
    def refit_spread(self) -> Float:
        """(S,) standard deviation of the test IoU under 200 refits of the threshold.

        Each refit fits the threshold on resampled validation patients; test is only read at the
        thresholds so found. It says how much of a row hangs on which validation images there were.
        """
        spread = []
        for record, test in zip(self.records, self.tallies, strict=True):
            val = record.val
            at = val.located
            weights = cluster_weights(val.groups[at], REFITS, np.random.default_rng(0)).astype(np.float64)
            rules = record.content["rules"]
            boxacc = None
            if rules["criterion"] == "boxacc":  # only located images have boxes
                boxacc = box_accuracy([val.hits_at_level(level) for level in BOXACC_LEVELS])
            counts = LocatedCounts(val.true_positives[at], val.false_positives[at], val.truth_area[at], boxacc)
            chosen = best_threshold(objective(rules["criterion"], counts, rules["max_fnr"] or 0.0, weights))
            at = test.located
            tp, fp = test.true_positives[at][:, chosen], test.false_positives[at][:, chosen]
            spread.append(float(pixel.iou(tp, fp, test.truth_area[at][:, None]).mean(0).std(ddof=1)))
        return np.array(spread)


def pixel_metric(metric: str, tp: Any, fp: Any, area: Any, size: Any) -> Float:
    """One of LOCATED_METRICS, from counts of pixels of any shapes that broadcast."""
    if metric == "iop":
        return pixel.iop(tp, fp)
    if metric == "fpr":
        return pixel.fpr(fp, area, size)
    if metric == "fnr":
        return pixel.fnr(tp, area)
    if metric == "empty_rate":
        return np.asarray(tp + fp == 0, np.float64)
    return pixel.iou(tp, fp, area) if metric == "iou" else pixel.dice(tp, fp, area)
