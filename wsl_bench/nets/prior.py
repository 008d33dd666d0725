"""The module behind a prior: a map kept as a buffer, so that it is stored like a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FixedMap(nn.Module):
    """Holds one (S, S) map."""

    map: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("map", values.float())

    def repeat(self, images: Tensor) -> Tensor:
        """The map once for each image: (N, S, S)."""
        return self.map.expand(len(images), -1, -1)


class Seed(nn.Module):
    """Holds a seed."""

    seed: Tensor

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.register_buffer("seed", torch.tensor(seed))
