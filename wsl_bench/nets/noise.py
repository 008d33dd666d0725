"""Noise at test time that depends on nothing but the training's seed and the image itself."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def image_generators(images: Tensor, seed: int) -> list[torch.Generator]:
    """One CPU generator an image, seeded by (seed, content of the image).

    Whatever the batch, the order or the split, an image gets the same noise.
    """
    generators = []
    for image in images.detach().cpu().contiguous():
        digest = hashlib.sha256(seed.to_bytes(8, "big", signed=True) + image.numpy().tobytes()).digest()
        generators.append(torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1))
    return generators
