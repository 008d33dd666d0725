"""Random streams of a phantom patient, and what they alone decide: label and catheter.

Every part of an image draws from a stream of its own, SeedSequence([data_seed, index, part]). So
leaving out the lesions changes nothing else, and no image depends on another.
"""

from __future__ import annotations

import enum

import numpy as np

TUBE_SHARE = 0.2  # patients with a catheter


class Part(enum.IntEnum):
    """What a stream is for. The numbers are part of every image: do not change them."""

    LABEL = 0
    ANATOMY = 1
    DISTRACTORS = 2
    TUBE = 3
    SHADOWS = 4
    LESIONS = 5
    FILM = 6


def stream(data_seed: int, index: int, part: Part) -> np.random.Generator:
    """The random numbers of one part of one image, always from their beginning."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([data_seed, index, int(part)])))


def label(data_seed: int, index: int) -> int:
    """1 (diseased) with probability one half, from the data seed and the index alone."""
    return int(stream(data_seed, index, Part.LABEL).random() < 0.5)


def has_tube(data_seed: int, index: int, share: float = TUBE_SHARE) -> bool:
    """Whether the patient carries a catheter, whatever the label."""
    return bool(stream(data_seed, index, Part.TUBE).random() < share)
