"""The paper's CNN as a plain classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from wsl_bench.method import Task
from wsl_bench.nets.enlarge import EnlargingNetwork
from wsl_bench.nets.paper_cnn import SYMMETRIC_START, Baseline, SymmetricStart
from wsl_bench.params import param
from wsl_bench.registry import register_network


@register_network("baseline")
class BaselineNetwork(EnlargingNetwork):
    """The paper's CNN without a mask."""

    # Larger and steadier steps than the masked networks, and a few more images: with a quick `beta2` its GradCAM
    # maps get wider (docs/training.md).
    recipe: ClassVar[Mapping[str, Any]] = {"epochs_factor": 1.2, "batch_size": 32, "beta2": 0.999}

    cell: ClassVar[int] = 8

    symmetric_start: SymmetricStart = param("deep", SYMMETRIC_START)

    def build(self, task: Task) -> nn.Module:
        """Encoder and classifier block."""
        return Baseline(task, symmetric_start=self.symmetric_start, input_size=self.input_size)


@register_network("untrained_baseline")
class UntrainedBaseline(BaselineNetwork):
    """The paper's CNN with its random start: what a map owes to the architecture alone."""

    recipe: ClassVar[Mapping[str, Any]] = {"epochs": 0}
