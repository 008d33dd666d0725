"""The CNN of the InfoMask paper (section 4): an encoder and a classifier block.

Encoder: conv 64, 64, max-pool, 128, 128, max-pool, 256, 16. Classifier block: conv 128, max-pool,
64, 64, max-pool, global average pool, linear to two classes. Convolutions are 3 x 3 with padding 1,
each followed by an optional normalisation and ReLU.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from wsl_bench.method import Task
from wsl_bench.nets.enlarge import EnlargingSequential
from wsl_bench.nets.norm_relu import NormReLU

ENCODER_OUT = 16
# Its convolutions at full resolution: a feature of theirs lies at most two pixels beside what it answers to.
FULL_RESOLUTION = 2
SymmetricStart = Literal["none", "deep", "all"]
SYMMETRIC_START = "kernels that start as their own mirror images: none, those below the first pooling, all"


def scaled(channels: int, width: float) -> int:
    """A channel count times the width factor, at least 1."""
    return max(1, round(channels * width))


def conv(inputs: int, outputs: int, norm: str, *, pool: bool = False) -> nn.Sequential:
    """3 x 3 convolution, normalisation (none, batch or group), ReLU; then perhaps a 2 x 2 max-pool."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    if norm == "batch":
        return nn.Sequential(convolution, NormReLU(outputs, pool=pool))
    layers: list[nn.Module] = [convolution]
    if norm == "group":
        layers.append(nn.GroupNorm(next(g for g in (8, 4, 2, 1) if outputs % g == 0), outputs))
    if pool:  # before ReLU, with which it commutes: the same numbers from a quarter of the work
        layers.append(nn.MaxPool2d(2))
    # In-place ReLU saves memory; the convolution's own output is kept apart by what lies between
    # or not needed for ReLU's gradient.
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def encoder(task: Task) -> nn.Sequential:
    """(N, C, H, W) -> (N, 16 * width, H / 4, W / 4)."""
    c64, c128, c256, out = (scaled(c, task.width) for c in (64, 128, 256, ENCODER_OUT))
    return nn.Sequential(
        conv(task.channels, c64, task.norm), conv(c64, c64, task.norm, pool=True),
        conv(c64, c128, task.norm), conv(c128, c128, task.norm, pool=True),
        conv(c128, c256, task.norm), conv(c256, out, task.norm),
    )  # fmt: skip


def start_symmetric(net: nn.Module, which: SymmetricStart) -> None:
    """Make kernels wider than a pixel their own mirror images, left to right and top to bottom; norms stay.

    Nothing in an image-level loss says that a feature must answer at the place of what it answers to: it may
    do so up to half a receptive field away, and then maps of good classifiers lie next to the lesions. A
    symmetric start has no side to lean to; it is a start, not a constraint. What it is worth: docs/training.md.

    Args:
        which: `deep` leaves the first two random, so that directions are learned as quickly as ever.
    """
    wide = [m for m in net.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1]
    with torch.no_grad():
        for layer in {"none": [], "deep": wide[FULL_RESOLUTION:], "all": wide}[which]:
            mirrored = layer.weight + layer.weight.flip(-1)
            mirrored = mirrored + mirrored.flip(-2)
            layer.weight.copy_(mirrored * (layer.weight.norm() / mirrored.norm()))


class ClassifierBlock(nn.Module):
    """(N, inputs, h, w) -> logits (N, 2), healthy then diseased."""

    def __init__(self, inputs: int, task: Task) -> None:
        super().__init__()
        c128, c64 = scaled(128, task.width), scaled(64, task.width)
        self.features = nn.Sequential(
            conv(inputs, c128, task.norm, pool=True), conv(c128, c64, task.norm), conv(c64, c64, task.norm),
        )  # fmt: skip
        self.pool = nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.output = nn.Linear(c64, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch, in single precision: a softmax in bf16 would be 1 above 0.998."""
        logits: Tensor = self.output(self.pool(self.features(x))).float()
        return logits


class Baseline(nn.Module):
    """Encoder and classifier block without a mask, small images enlarged: the network that GradCAM explains."""

    def __init__(self, task: Task, *, symmetric_start: SymmetricStart, input_size: int) -> None:
        super().__init__()
        self.encoder = EnlargingSequential(input_size, encoder(task))
        self.classifier = ClassifierBlock(scaled(ENCODER_OUT, task.width), task)
        start_symmetric(self, symmetric_start)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) -> logits (N, 2)."""
        logits: Tensor = self.classifier(self.encoder(x))
        return logits
