"""The masked CNN of InfoMask, FeatureMask and RegL1 (paper, Figure 1 and equation 4).

Symbols: A attention map, mu and sigma of the code z, z~ = sigmoid(z), tau the mask's threshold,
M = min(1, max(0, z~ - tau)) the mask. All are one channel of W x H, the size of the input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsl_bench.method import Batch, Task, TrainedMethod
from wsl_bench.nets.paper_cnn import (
    ENCODER_OUT,
    SYMMETRIC_START,
    ClassifierBlock,
    SymmetricStart,
    encoder,
    scaled,
    start_symmetric,
)
from wsl_bench.params import param

MASK_SILENT: dict[str, str] = {
    "normalisation": "none is mentioned; without it the network stays at AUC 0.5, so norm=batch",
    "place": "nothing makes a mask lie over what it marks; symmetric_start starts it there",
    "attention": "may be shut by its ReLU from the start, for good; it starts open",
    "polarity": "nothing makes more mask mean more disease; polarity_start decides it at the start",
    "tau": "no value is given; 0.5",
    "optimizer": "not given; Adam, one-cycle to 1e-3, clipped at 1: at 2e-3 maps drift (docs/training.md)",
    "score map": "the mask divided by its largest value, 1 - tau",
}


class MaskedCNN(nn.Module):
    """Encoder -> attention map A -> code -> mask M -> classifier block, which sees M alone."""

    def __init__(
        self,
        task: Task,
        *,
        variational: bool,
        code_bias: float,
        symmetric_start: SymmetricStart,
        polarity_start: bool,
    ) -> None:
        super().__init__()
        self.encoder = encoder(task)
        self.attention = nn.Conv2d(scaled(ENCODER_OUT, task.width), 1, 1)
        self.mu = nn.Conv2d(1, 1, 3, padding=1)
        self.log_variance = nn.Conv2d(1, 1, 3, padding=1) if variational else None
        self.classifier = ClassifierBlock(1, task)
        nn.init.constant_(self.mu.bias, code_bias)  # type: ignore[arg-type]
        start_symmetric(self, symmetric_start)
        self._start_open()
        if polarity_start:
            self._start_upright()

    def code(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """mu and log-variance (None where not variational) of z: (N, 1, H, W) each."""
        a = functional.relu(self.attention(self.encoder(images)))
        a = functional.interpolate(a, size=images.shape[-2:], mode="bilinear", align_corners=False)
        # In single precision whatever the convolutions computed in: the mask is a difference near tau.
        return self.mu(a).float(), None if self.log_variance is None else self.log_variance(a).float()

    def _start_open(self) -> None:
        """The ReLU after the attention starts open on every pixel; trainings that start with it shut stay at chance."""
        with torch.no_grad():
            self.attention.weight.abs_()
            nn.init.zeros_(self.attention.bias)  # type: ignore[arg-type]

    def _start_upright(self) -> None:
        """More attention = more mask = more disease, as a start and not as a constraint."""
        convolutions = [m for m in self.classifier.modules() if isinstance(m, nn.Conv2d)]
        with torch.no_grad():
            for layer in [*convolutions, self.mu]:
                layer.weight.abs_()
            self.classifier.output.weight[0].abs_().neg_()
            self.classifier.output.weight[1].abs_()


def mask_of(z: Tensor, tau: float) -> Tensor:
    """M = min(1, max(0, sigmoid(z) - tau)), equation 4."""
    return (torch.sigmoid(z) - tau).clamp(0, 1)


def warmed_up(weight: float, progress: float, share: float) -> float:
    """A weight that rises from 0 over the first share of training.

    At full weight from the start a penalty shuts the mask before the classifier has learned to need it, and a
    shut mask has no gradient to open it again.
    """
    return weight * min(1.0, progress / share) if share > 0 else weight


def logit(p: float) -> float:
    """Inverse of the sigmoid."""
    return math.log(p / (1 - p))


class DeterministicMask(TrainedMethod):
    """What FeatureMask and RegL1 share: z = mu, no noise, no KL term."""

    silent: ClassVar[Mapping[str, str]] = MASK_SILENT
    bounded: ClassVar[bool] = True

    tau: float = param(0.5, "threshold of the mask", above=0, below=1)
    symmetric_start: SymmetricStart = param("deep", SYMMETRIC_START)
    polarity_start: bool = param(True, "start with more mask = more disease (a start, not a constraint)")

    def build(self, task: Task) -> nn.Module:
        """The masked CNN without a variance branch."""
        return MaskedCNN(
            task, variational=False, code_bias=logit(self.tau), symmetric_start=self.symmetric_start,
            polarity_start=self.polarity_start,
        )  # fmt: skip

    def loss(self, net: nn.Module, batch: Batch, progress: float) -> Tensor:
        """Cross-entropy plus the method's penalty on the mask."""
        mask, logits = self._forward(net, batch.images)
        return functional.cross_entropy(logits, batch.labels) + self.penalty(mask, progress)

    def penalty(self, mask: Tensor, progress: float) -> Tensor:
        """Penalty on the mask (N, 1, H, W) at a share of the training."""
        raise NotImplementedError

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Softmax of the classifier block; M / (1 - tau)."""
        mask, logits = self._forward(net, images)
        return torch.softmax(logits, dim=1)[:, 1], (mask.squeeze(1) / (1 - self.tau)).clamp(0, 1)

    def _forward(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        masked = cast(Any, net)
        mask = mask_of(masked.code(images)[0], self.tau)
        return mask, masked.classifier(mask)
