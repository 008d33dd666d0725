"""Independent uniform noise in every pixel."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from wsl_bench import PriorMethod, Task, register_method
from wsl_bench.method import PriorData
from wsl_bench.nets.noise import image_generators
from wsl_bench.nets.prior import Seed


@register_method("random_map")
class RandomMap(PriorMethod):
    """Uniform noise, seeded by (training seed, image)."""

    groups = ("sanity",)

    def fit(self, task: Task, data: PriorData) -> nn.Module:
        """Nothing but the seed."""
        return Seed(task.seed)

    def localize(self, net: nn.Module, images: Tensor) -> Tensor:
        """(N, S, S) noise."""
        generators = image_generators(images, int(cast(Seed, net).seed))
        return torch.stack([torch.rand(images.shape[-2:], generator=g) for g in generators]).to(images.device)
