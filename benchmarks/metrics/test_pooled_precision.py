"""PxAP, the average precision over the pooled pixels of a split, beside scikit-learn and torchmetrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from wsl_bench.metrics.grid import N_THRESHOLDS, THRESHOLDS
from wsl_bench.metrics.pixel import curves_from_histograms, pixel_histograms, pxap

Maps, Masks = NDArray[np.float32], NDArray[np.bool_]


def ours(maps: Maps, truths: Masks) -> float:
    sides = zip(*(pixel_histograms(*pair) for pair in zip(maps, truths, strict=True)), strict=True)
    tp, fp = curves_from_histograms(*(np.array(side) for side in sides))
    return pxap(tp, fp, truths.sum(axis=(1, 2)))


def scikit_learn(maps: Maps, truths: Masks) -> float:
    return float(average_precision_score(truths.ravel(), maps.ravel()))


def torchmetrics(maps: Maps, truths: Masks) -> float:
    functional = pytest.importorskip("torchmetrics.functional.classification")
    import torch

    scores, truth = torch.from_numpy(maps.ravel()), torch.from_numpy(truths.ravel()).long()
    return float(functional.binary_average_precision(scores, truth, thresholds=torch.from_numpy(THRESHOLDS.copy())))


@pytest.mark.parametrize("way", [ours, scikit_learn, torchmetrics], ids=lambda way: way.__name__)
def test_pooled_average_precision(benchmark: Any, way: Any) -> None:
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    # Scores on the grid, so that all three compute the same number.
    maps = THRESHOLDS[rng.integers(0, N_THRESHOLDS, (16, 224, 224))]
    truths = rng.random(maps.shape) < 0.1 + 0.2 * maps
    expected = ours(maps, truths)
    benchmark.group = "pooled average precision, 16 maps of 224 x 224"
    found = benchmark(way, maps, truths) if way is ours else benchmark.pedantic(way, (maps, truths), rounds=3)
    assert found == pytest.approx(expected, abs=1e-5)
