"""Things that occur in healthy and diseased images alike: tubes, clips, markers, nipples, healed ribs.

All are strokes (n, 6): x0, y0, x1, y1, half width, density; the marker in image coordinates, all others
in the patient frame.
"""

from __future__ import annotations

import numpy as np

from wsl_bench.data.radiograph.anatomy import FloatArray, Thorax, as_strokes

_NONE: FloatArray = np.zeros((0, 6))
_LETTERS = {
    "L": [(0.0, 0.0, 0.0, 1.0), (0.0, 1.0, 0.6, 1.0)],
    "R": [(0, 0, 0, 1), (0, 0, 0.6, 0.1), (0.6, 0.1, 0.6, 0.4), (0.6, 0.4, 0, 0.5), (0.1, 0.5, 0.6, 1)],
}


def draw_distractors(rng: np.random.Generator, thorax: Thorax) -> FloatArray:
    """Clips, nipples, healed ribs and leads of one patient, in the patient frame."""
    has = rng.random(4)
    parts = [
        _clips(rng) if has[0] < 0.25 else _NONE,
        _nipples(rng, thorax) if has[1] < 0.35 else _NONE,
        _healed_ribs(rng, thorax) if has[2] < 0.3 else _NONE,
        _lead(rng) if has[3] < 0.25 else _NONE,
    ]
    return np.concatenate(parts)


def draw_tube(rng: np.random.Generator) -> FloatArray:
    """A catheter from the neck along the mediastinum, or from the shoulder to the great vein."""
    knots = np.array([[0.10, -0.5], [0.07, -0.33], [0.02, -0.2], [-0.03, -0.05], [-0.04, 0.1], [0.05, 0.3]])
    if rng.random() < 0.5:
        knots = np.array([[-0.36, -0.3], [-0.2, -0.36], [-0.07, -0.3], [-0.05, -0.15], [-0.04, 0.0], [-0.04, 0.05]])
    knots = knots + rng.normal(0.0, 0.012, knots.shape)
    knots[:, 0] *= rng.choice([-1.0, 1.0])
    return _line(_smooth(knots), 0.007, float(rng.uniform(0.25, 0.4)))


def draw_marker(rng: np.random.Generator) -> FloatArray:
    """The side marker in an upper corner, in image coordinates; about two thirds of the images have one."""
    if rng.random() > 0.65:
        return _NONE
    left = rng.random() < 0.5
    corner = np.array([rng.uniform(0.05, 0.10) if left else rng.uniform(0.88, 0.92), rng.uniform(0.04, 0.14)])
    scale = float(rng.uniform(0.045, 0.065))
    letter = np.array(_LETTERS["R" if left else "L"], np.float64)
    return as_strokes(corner + scale * letter[:, :2], corner + scale * letter[:, 2:], 0.008, 0.9)


def _line(points: FloatArray, width: float, density: float) -> FloatArray:
    return as_strokes(points[:-1], points[1:], width, density)


def _smooth(knots: FloatArray) -> FloatArray:
    """Cut the corners of a polyline twice (Chaikin)."""
    for _ in range(2):
        before, after = knots[:-1], knots[1:]
        cut = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], axis=1).reshape(-1, 2)
        knots = np.concatenate([knots[:1], cut, knots[-1:]])
    return knots


def _clips(rng: np.random.Generator) -> FloatArray:
    """A cluster of surgical clips: short, thin and dense."""
    n = int(rng.integers(2, 6))
    centre = np.array([rng.uniform(-0.3, 0.3), rng.uniform(-0.25, 0.2)])
    start = centre + rng.normal(0.0, 0.03, (n, 2))
    angle = rng.uniform(0.0, np.pi, n)
    end = start + 0.022 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return as_strokes(start, end, 0.006, 0.45)


def _nipples(rng: np.random.Generator, thorax: Thorax) -> FloatArray:
    """Small round shadows at like heights on both sides, one of them sometimes missing."""
    y, x, radius = (
        thorax.breast_y + rng.uniform(-0.02, 0.08),
        rng.uniform(0.20, 0.28),
        rng.uniform(0.012, 0.02),
    )
    density = rng.uniform(0.08, 0.18)
    sides = np.array([-1.0, 1.0])[rng.random(2) < 0.8]
    rows = [(side * x, y, side * x + 0.004, y + 0.004, radius, density) for side in sides]
    return np.array(rows).reshape(-1, 6)


def _healed_ribs(rng: np.random.Generator, thorax: Thorax) -> FloatArray:
    """Callus: short thick pieces along a rib."""
    n = int(rng.integers(1, 4))
    side, x = rng.choice([-1.0, 1.0]), rng.uniform(0.2, 0.32, n)
    y = rng.uniform(-0.2, 0.1) + thorax.rib_spacing * np.arange(n) + thorax.rib_slope * x * 0.3
    return np.column_stack(
        [side * x, y, side * (x + 0.03), y + 0.025, np.full((n, 2), (0.017, rng.uniform(0.08, 0.2)))]
    )


def _lead(rng: np.random.Generator) -> FloatArray:
    """The wire of an ECG electrode, thin, across the chest, with its round contact."""
    start = np.array([rng.choice([-1.0, 1.0]) * rng.uniform(0.1, 0.3), rng.uniform(-0.25, 0.15)])
    steps = rng.normal(0.0, 0.08, (4, 2)) + np.array([0.0, 0.1])
    wire = _line(_smooth(np.concatenate([start[None], start + np.cumsum(steps, 0)])), 0.004, 0.22)
    contact = np.array([[*start, *(start + 0.001), 0.018, 0.25]])
    return np.concatenate([wire, contact])
