"""Opacities of the lung: where they lie, how large they are and what they are made of.

Lesions, and the shadows that healthy images have in their place, come from one distribution of number,
place and attenuation in all. What tells them apart is local: a lesion is compact and mottled (the cells of
its grain are about as long as wide), a shadow (folded skin or clothing, a strand of breast tissue) is
spread out and streaked. So brightness, position, histogram and sharpness do not give the label away.
"""

from __future__ import annotations

import bisect
import math
from typing import NamedTuple

import numpy as np

from wsl_bench.data.radiograph._kernels import lateral_border
from wsl_bench.data.radiograph.anatomy import Thorax


class Opacity(NamedTuple):
    """One opacity; lengths and places in the patient frame (see anatomy.py)."""

    x: float
    y: float
    rx: float  # half axes of its edge, where the profile has fallen to 10 %
    ry: float
    power: float  # of the superellipse: 2 is an ellipse, more is boxier
    wobble: float  # irregularity of the edge
    phase: float
    falloff: float  # below 1: plateau with a steep edge; 2: bright core and faint rim
    curve: float  # makes the profile fall to 10 % on the edge, whatever the falloff
    density: float  # attenuation at the centre
    grain: float  # strength of the texture, relative to the density
    grain_long: float  # cell of the texture along its direction and across it
    grain_short: float
    grain_cos: float  # direction of the texture
    grain_sin: float


# For one, two and three opacities an image: medians of width and height as fractions of the image side.
# Together with the spreads of their logarithms they are calibrated so that the boxes of the drawn masks
# have the statistics of RSNA's.
_COUNT_BELOW = (0.44, 0.98)  # cumulative: one in 44 % of the images, two in 54 %, three in 2 %
_WIDTH = (0.210, 0.245, 0.182)
_HEIGHT = (0.220, 0.357, 0.204)
_WIDTH_SPREAD, _HEIGHT_SPREAD = 0.37, 0.58
_WITHIN_IMAGE = 0.75  # correlation of sizes within an image
_WIDTH_HEIGHT = 0.6  # correlation of width and height

_EXTRA_SHARE = 0.3  # images of either label with one more shadow
_CLEAR_SHARE = 0.08  # healthy images without shadows in place of lesions
_SMOOTH_SHARE = 0.2  # shadows without marked streaks
_SPREAD = 1.8  # a shadow in place of a lesion is so much wider and higher,
_GRAIN = 2.5  # and its grain so much stronger against its density, which keeps images equally sharp


def draw_lesions(rng: np.random.Generator, thorax: Thorax) -> list[Opacity]:
    """One to three lesions."""
    return _draw(rng, thorax, mottled=True)


def lesion_at(rng: np.random.Generator, box: tuple[float, float, float, float]) -> Opacity:
    """A lesion of this centre (x, y) and these half axes."""
    return _opacity(rng, box, float(rng.random()), mottled=True)


def draw_shadows(rng: np.random.Generator, thorax: Thorax, diseased: bool) -> list[Opacity]:
    """Benign shadows: a set in place of the lesions if healthy, and one more in some images of either label."""
    extra, clear = rng.random(2) < (_EXTRA_SHARE, _CLEAR_SHARE)
    shadows = [_draw(rng, thorax, mottled=False)[0]] if extra else []
    if not diseased and not clear:
        shadows += [_spread_out(shadow) for shadow in _draw(rng, thorax, mottled=False)]
    return shadows


def _spread_out(shadow: Opacity) -> Opacity:
    """The same attenuation over a larger area."""
    wider, higher, thinner = _SPREAD * shadow.rx, _SPREAD * shadow.ry, shadow.density / _SPREAD**2
    return shadow._replace(rx=wider, ry=higher, density=thinner, grain=_GRAIN * shadow.grain)


def _draw(rng: np.random.Generator, thorax: Thorax, mottled: bool) -> list[Opacity]:
    """One opacity, one on each side, or a third one that shares a side with the first."""
    count = 1 + bisect.bisect_left(_COUNT_BELOW, rng.random())
    first = 1.0 if rng.random() < 0.5 else -1.0
    shared, character = rng.standard_normal(2).tolist(), rng.random()
    opacities = []
    for k in range(count):
        side = first if k % 2 == 0 else -first
        half = 0 if count < 3 or k == 1 else 1 + k // 2
        own = rng.standard_normal(2).tolist()
        wide, other = (_mixed(_WITHIN_IMAGE**0.5, shared[axis], own[axis]) for axis in (0, 1))
        tall = _mixed(_WIDTH_HEIGHT, wide, other)
        width = min(0.34, _WIDTH[count - 1] * math.exp(_WIDTH_SPREAD * wide)) / thorax.zoom
        height = min(0.68, _HEIGHT[count - 1] * math.exp(_HEIGHT_SPREAD * tall)) / thorax.zoom
        x, y = _place(rng, thorax, side, (width, height), half)
        opacities.append(_opacity(rng, (x, y, 0.5 * width, 0.5 * height), character, mottled))
    return opacities


def _mixed(correlation: float, shared: float, own: float) -> float:
    """A standard normal number of the given correlation with `shared`."""
    return correlation * shared + math.sqrt(1.0 - correlation**2) * own


def _place(
    rng: np.random.Generator, t: Thorax, side: float, box: tuple[float, float], half: int
) -> tuple[float, float]:
    """A centre at which the box lies inside the lung as far as it fits; half 1, 2: its upper, lower half."""
    width, height = box
    top, base = t.lung_top + 0.02, (t.base_left if side < 0 else t.base_right) + 0.05
    if half:
        middle = 0.5 * (top + base)
        top, base = (top, middle) if half == 1 else (middle, base)
    y = _between(top + 0.5 * height, base - 0.5 * height, float(rng.beta(2.0, 1.6)))
    lateral = lateral_border(t, side, y - 0.3 * height)
    x = _between(t.medial + 0.02 + 0.5 * width, lateral - 0.5 * width, float(rng.random()))
    return side * max(x, 0.07), y


def _between(low: float, high: float, share: float) -> float:
    return 0.5 * (low + high) if low > high else low + share * (high - low)


def _opacity(
    rng: np.random.Generator, box: tuple[float, float, float, float], character: float, mottled: bool
) -> Opacity:
    x, y, rx, ry = box
    power, wobble, phase, steep, dense, grain, cell, angle, stretch, smooth = rng.random(10).tolist()
    short, falloff = 0.033 + 0.010 * cell, 0.6 + 1.2 * steep
    strength = 0.80 + 0.25 * grain
    if not mottled:  # streaks have edges in one direction only: stronger and finer, they are as sharp
        short, strength = 0.87 * short, strength + 0.15
    return Opacity(
        x, y, rx, ry,
        power=2.2 + 1.3 * power,
        wobble=0.08 * wobble,
        phase=2.0 * math.pi * phase,
        falloff=falloff,
        curve=1.0 - 0.1 ** (1.0 / falloff),
        density=0.17 + 0.14 * character + 0.06 * dense,  # from ground glass to consolidation
        grain=strength if mottled or smooth > _SMOOTH_SHARE else 0.25 * strength,
        grain_long=short * (1.0 + 0.3 * stretch if mottled else 5.0 + 3.0 * stretch),
        grain_short=short,
        grain_cos=math.cos(math.pi * angle),
        grain_sin=math.sin(math.pi * angle),
    )  # fmt: skip
