"""What a prior is fitted to: mean training images and, for those who may look at it, the mean validation truth."""

from __future__ import annotations

import numpy as np
import torch

from wsl_bench.method import PriorData, PriorMethod
from wsl_bench.protocol.operating_point import ValidationSplit
from wsl_bench.training.inputs import Inputs

_BATCH = 256


def prior_data(prior: PriorMethod, train: Inputs, val: ValidationSplit, device: str) -> PriorData:
    """Mean training image of each label, (1, S, S), and the mean truth if the prior says that it uses it."""
    means = {}
    for label in (0, 1):
        chosen = torch.nonzero(train.labels == label).squeeze(1)
        parts = [train.images(part).sum(0) for part in torch.split(chosen, _BATCH)]
        means[label] = torch.stack(parts).sum(0) / len(chosen)
    truth = _mean_truth(val).to(device) if prior.uses_validation_truth else None
    return PriorData(means, truth)


def _mean_truth(val: ValidationSplit) -> torch.Tensor:
    """(S, S) mean validation ground truth in the frame of the square input."""
    total = np.zeros(val.weak.images.shape[1:], np.float32)
    located = np.flatnonzero(val.truth.located)
    for i in located:
        frame = val.weak.frames[i]
        mask = val.truth.truths[i].pixels(frame.height, frame.width)
        total += frame.apply(mask.astype(np.uint8) * 255) / np.float32(255)
    return torch.from_numpy(total / max(1, len(located)))
