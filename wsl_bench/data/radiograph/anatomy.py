"""The patient: pose, thorax, vessels and bones of one phantom radiograph, drawn at random.

Lengths are fractions of the image side at zoom 1. The patient frame has its origin in the middle of
the chest, x to the right of the image (the patient's left), y down. Densities are attenuations:
0 is air, about 1 the mediastinum; brightness follows them through the film (see film.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wsl_bench.jit import unchecked

FloatArray = npt.NDArray[np.float64]


class Thorax(NamedTuple):
    """Everything about one patient that takes a single number. Left and right are those of the image."""

    tilt: float  # rotation in the image plane, radians
    zoom: float
    shift_x: float
    shift_y: float
    yaw: float  # turn about the long axis: one lung gets wider and darker
    lung_top: float
    lung_top_skew: float  # right minus left
    lung_widest: float  # y at which the lungs are widest
    lateral_left: float  # largest distance of the lung's border from the midline
    lateral_right: float
    apex: float  # how boxy the top of the lungs is
    medial: float
    base_left: float  # y of the top of the diaphragm
    base_right: float
    dome_left: float  # how far the costophrenic angle lies below it
    dome_right: float
    air_left: float  # how much darker than soft tissue the lung is
    air_right: float
    air_slope: float  # lungs brighten (or darken) towards the base
    heart_x: float
    heart_lift: float  # height of its centre above the diaphragm
    heart_rx: float
    heart_ry: float
    heart_slant: float  # tangent of the rotation of its long axis
    heart_density: float
    aorta: float  # radius of the knob
    mediastinum: float  # half width of the upper mediastinum
    spine: float
    trachea: float
    rib_spacing: float
    rib_phase: float
    rib_slope: float
    rib_posterior: float
    rib_anterior: float
    rib_width: float
    neck: float
    shoulder: float
    shoulder_slope: float
    trunk: float
    arms: float  # how much wider the outline is at the shoulders
    soft: float
    abdomen: float
    gradient_x: float  # heel effect and turned patients
    gradient_y: float
    breast_left: float  # density; below 0: none
    breast_right: float
    breast_y: float
    breast_rx: float
    breast_ry: float
    scapula_left: float
    scapula_right: float
    scapula_x: float
    gastric: float  # air in the stomach; below 0: none
    gastric_x: float


_RANGES: dict[str, tuple[float, float]] = {
    "tilt": (-0.07, 0.07), "zoom": (0.92, 1.14), "shift_x": (-0.04, 0.04), "shift_y": (-0.03, 0.05),
    "yaw": (-1.0, 1.0),
    "lung_top": (-0.41, -0.36), "lung_top_skew": (-0.015, 0.015), "lung_widest": (0.10, 0.20),
    "lateral_left": (0.33, 0.385), "lateral_right": (0.33, 0.385), "apex": (0.0, 0.45),
    "medial": (0.045, 0.06),
    "base_left": (0.17, 0.28), "base_right": (0.19, 0.30), "dome_left": (0.05, 0.13),
    "dome_right": (0.05, 0.13),
    "air_left": (0.36, 0.56), "air_right": (0.36, 0.56), "air_slope": (-0.25, 0.25),
    "heart_x": (0.04, 0.075), "heart_lift": (0.05, 0.085), "heart_rx": (0.15, 0.20), "heart_ry": (0.11, 0.14),
    "heart_slant": (0.35, 0.75), "heart_density": (0.75, 0.95), "aorta": (0.03, 0.05),
    "mediastinum": (0.045, 0.07), "spine": (0.02, 0.08), "trachea": (0.06, 0.16),
    "rib_spacing": (0.072, 0.088), "rib_phase": (0.0, 1.0), "rib_slope": (0.7, 1.5),
    "rib_posterior": (0.04, 0.13), "rib_anterior": (0.02, 0.08), "rib_width": (0.26, 0.36),
    "neck": (0.09, 0.13), "shoulder": (-0.50, -0.40), "shoulder_slope": (0.25, 0.7), "trunk": (0.42, 0.52),
    "arms": (0.0, 0.16),
    "soft": (0.62, 0.74), "abdomen": (0.10, 0.24), "gradient_x": (-0.10, 0.10), "gradient_y": (-0.10, 0.10),
    "breast_left": (-0.20, 0.16), "breast_right": (-0.20, 0.16), "breast_y": (0.08, 0.22),
    "breast_rx": (0.10, 0.16), "breast_ry": (0.12, 0.22),
    "scapula_left": (-0.06, 0.14), "scapula_right": (-0.06, 0.14), "scapula_x": (0.26, 0.36),
    "gastric": (-0.3, 0.3), "gastric_x": (0.12, 0.24),
}  # fmt: skip
_LOW = np.array([_RANGES[name][0] for name in Thorax._fields])
_SPAN = np.array([_RANGES[name][1] - _RANGES[name][0] for name in Thorax._fields])


def draw_thorax(rng: np.random.Generator) -> Thorax:
    """One patient: each number uniform in its range, independent of all others and of the label."""
    return Thorax(*(_LOW + _SPAN * rng.random(_LOW.size)).tolist())


_TRUNKS, _PIECES = 8, 4  # vessels a lung, straight pieces a vessel
_COLLAR_X = np.array([0.035, 0.10, 0.18, 0.27, 0.37])
_COLLAR_RISE = np.array([0.0, 0.1, 0.6, 1.0, 0.95])
_BONE_WIDTH = np.array([0.017, 0.013, 0.011, 0.013, 0.045, 0.026])
_BONE_DENSITY = np.array([1.0, 0.9, 0.85, 0.7, 0.8, 0.8])
_MIRROR = np.array([-1.0, 1.0, -1.0, 1.0, 1.0, 1.0])


def draw_vessels(rng: np.random.Generator) -> FloatArray:
    """Branching lung vessels as strokes (n, 6): x0, y0, x1, y1, half width, density, in the patient frame."""
    shape = (_PIECES, 2 * _TRUNKS)
    turns, forks, length = rng.normal(0.0, 0.16, shape), rng.random(shape), rng.uniform(0.04, 0.075, shape[1])
    return _grow_vessels(turns, forks, length, rng.normal(0.0, 0.015, shape[1]), rng.uniform(0.03, 0.10))


@unchecked
def _grow_vessels(
    turns: FloatArray, forks: FloatArray, lengths: FloatArray, roots: FloatArray, strength: float
) -> FloatArray:
    """Strokes of all vessels: each grows from the hilum in `_PIECES` pieces, and each piece has a twig."""
    strokes = np.empty((4 * _PIECES * _TRUNKS, 6))
    for vessel in range(2 * _TRUNKS):
        side = -1.0 if vessel < _TRUNKS else 1.0
        heading = 1.05 * np.pi * ((vessel % _TRUNKS + 0.5) / _TRUNKS - 0.5)  # 0: away from the midline
        length = lengths[vessel] * (1.0 + 0.35 * abs(np.sin(heading)))  # lungs are taller than wide
        x, y, calibre = 0.075 * side, 0.01 * side - 0.01 + roots[vessel], 0.009
        for piece in range(_PIECES):
            heading += turns[piece, vessel]
            tip_x, tip_y = x + side * length * np.cos(heading), y + length * np.sin(heading)
            fork = heading + (-0.6 if forks[piece, vessel] < 0.5 else 0.6)
            twig_x, twig_y = tip_x + 0.8 * side * length * np.cos(fork), tip_y + 0.8 * length * np.sin(fork)
            k = 4 * _TRUNKS * piece + 2 * vessel
            strokes[k] = (x, y, tip_x, tip_y, calibre, strength * (0.35 + 60.0 * calibre))
            strokes[k + 1] = (tip_x, tip_y, twig_x, twig_y, 0.6 * calibre, strength * (0.30 + 50.0 * calibre))
            x, y, calibre = tip_x, tip_y, 0.78 * calibre
    return strokes


def draw_bones(rng: np.random.Generator, thorax: Thorax) -> FloatArray:
    """Collar bones and upper arms as strokes (n, 6) in the patient frame."""
    density, y0 = rng.uniform(0.05, 0.13), thorax.lung_top + rng.uniform(0.06, 0.12)
    rise, droop = rng.uniform(0.02, 0.09), rng.uniform(-0.01, 0.05)
    collar = np.empty((5, 2))
    collar[:, 0], collar[:, 1] = _COLLAR_X, y0 - rise * _COLLAR_RISE + rng.normal(0.0, 0.004, 5)
    arm = np.array([[0.43, y0 + droop], [0.46, y0 + droop + 0.06], [0.48, y0 + droop + 0.30]])
    starts, ends = np.concatenate([collar[:-1], arm[:-1]]), np.concatenate([collar[1:], arm[1:]])
    right = as_strokes(starts, ends, _BONE_WIDTH, density * _BONE_DENSITY)
    return np.concatenate([right, right * _MIRROR])


def as_strokes(
    start: FloatArray, end: FloatArray, width: FloatArray | float, density: FloatArray | float
) -> FloatArray:
    """Strokes (n, 6) between n starts and n ends (x, y); `width` is half the width."""
    strokes = np.empty((len(start), 6))
    strokes[:, :2], strokes[:, 2:4] = start, end
    strokes[:, 4], strokes[:, 5] = width, density
    return strokes
