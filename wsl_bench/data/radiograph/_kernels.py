"""Compiled drawing: every loop over pixels of the phantom radiograph.

Fields are (size, size) float64 attenuations. Pixel (row, column) has its centre at image coordinates
((column + 0.5) / size, (row + 0.5) / size).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from wsl_bench.data.radiograph._jit import compiled
from wsl_bench.data.radiograph.anatomy import Thorax

FloatArray = npt.NDArray[np.float64]


@compiled
def _step(x: float) -> float:
    """0 below -1, 1 above 1, smooth between."""
    x = min(1.0, max(0.0, 0.5 * (x + 1.0)))
    return x * x * (3.0 - 2.0 * x)


@compiled
def _rise(x: float) -> float:
    """0 up to 0, then saturating to 1: the depth of a rounded body behind its edge."""
    return 1.0 - math.exp(-x) if x > 0.0 else 0.0


@compiled
def _ellipse(x: float, y: float, rx: float, ry: float, angle: float) -> float:
    """Radius in units of the ellipse: 1 on its edge."""
    c, s = math.cos(angle), math.sin(angle)
    return math.sqrt(((c * x + s * y) / rx) ** 2 + ((c * y - s * x) / ry) ** 2)


@compiled
def lateral_border(t: Thorax, side: float, y: float) -> float:
    """Distance of the lung's outer border from the midline at height y; 0 above the apex."""
    widest = t.lateral_left if side < 0.0 else t.lateral_right
    widest += 0.012 * t.yaw * side
    top = t.lung_top + (0.5 * t.lung_top_skew * side)
    if y <= top:
        return 0.0
    if y >= t.lung_widest:
        return widest - 0.10 * (y - t.lung_widest)
    up = (t.lung_widest - y) / (t.lung_widest - top)
    return widest * (1.0 - up**t.apex_power) ** (1.0 / 2.2)


@compiled
def diaphragm(t: Thorax, side: float, x: float) -> float:
    """Height y of the diaphragm at distance x from the midline."""
    base = t.base_left if side < 0.0 else t.base_right
    fall = t.dome_left if side < 0.0 else t.dome_right
    return base + fall * ((x - 0.16) / 0.19) ** 2


@compiled
def lung_depth(t: Thorax, x: float, y: float) -> float:
    """Share of the full lung depth at a point of the patient frame, 0 outside the lungs."""
    side = -1.0 if x < 0.0 else 1.0
    distance = abs(x)
    lateral = _rise((lateral_border(t, side, y) - distance) / 0.022)
    medial = _rise((distance - t.medial) / 0.018)
    base = _rise((diaphragm(t, side, distance) - y) / 0.014)
    return lateral * medial * base


@compiled
def heart_cover(t: Thorax, x: float, y: float) -> float:
    """Share of the lung that heart, great vessels and mediastinum cover."""
    shift = 0.015 * t.yaw
    heart = _step((1.0 - _ellipse(x - t.heart_x - shift, y - t.heart_y, t.heart_rx, t.heart_ry, t.heart_tilt)) / 0.10)
    atrium = _step((1.0 - _ellipse(x + 0.045 - shift, y - t.heart_y - 0.01, 0.055, 0.12, 0.0)) / 0.2)
    knob = _step((1.0 - _ellipse(x - 0.045 - shift, y + 0.11, t.aorta, t.aorta * 1.1, 0.0)) / 0.3)
    column = _step((t.mediastinum + 0.02 * _step((-0.28 - y) / 0.1) - abs(x - 0.6 * shift)) / 0.012)
    hilum = 0.45 * math.exp(-(((abs(x) - 0.075) / 0.028) ** 2) - ((y - 0.01) / 0.06) ** 2)
    return max(t.heart_density * max(heart, atrium), 0.9 * knob, column, hilum)


@compiled
def _body(t: Thorax, x: float, y: float) -> float:
    """1 inside the patient's outline, 0 in air."""
    distance = abs(x)
    trunk = t.trunk + 0.03 * math.cos(5.0 * y)
    inside = _rise((trunk - distance) / 0.03)
    if distance > t.neck:
        over = distance - t.neck
        line = t.shoulder + t.shoulder_slope * over * over + 0.10 * over
        inside *= _rise((y - line) / 0.03)
    return inside


@compiled
def _rib(phase: float, width: float) -> float:
    """Cross-section of one rib: a plateau whose edges (cortical bone) are brighter."""
    centre = abs(phase - math.floor(phase) - 0.5)
    return _step((0.5 * width - centre) / 0.07) * (0.65 + 0.35 * min(1.0, (2.0 * centre / width) ** 2))


@compiled
def _ribs(t: Thorax, x: float, y: float) -> float:
    distance = abs(x)
    back = y - 0.9 * t.rib_slope * distance * distance + 0.10 * distance
    front = y + 0.75 * t.rib_slope * distance - 0.35 * distance * distance
    posterior = t.rib_posterior * _rib(back / t.rib_spacing + t.rib_phase, t.rib_width)
    anterior = t.rib_anterior * _rib(front / (1.25 * t.rib_spacing) + 0.5, 0.40)
    return posterior + anterior * _step((distance - 0.20) / 0.08)


@compiled
def _overlay(t: Thorax, x: float, y: float) -> float:
    """Breasts and shoulder blades: smooth normal shadows over the lungs."""
    left = x < 0.0
    distance, total = abs(x), 0.0
    breast = t.breast_left if left else t.breast_right
    if breast > 0.0:
        radius = _ellipse(distance - 0.23, y - t.breast_y, t.breast_rx, t.breast_ry, 0.0)
        edge = 0.10 if y > t.breast_y else 0.6  # sharp below, fading above
        total += breast * _step((1.0 - radius) / edge)
    blade = t.scapula_left if left else t.scapula_right
    if blade > 0.0:
        border = t.scapula_x + 0.25 * abs(y + 0.12) * (1.0 if y < -0.12 else 0.35)
        total += blade * _step((distance - border) / 0.012) * _step((0.08 - y) / 0.06) * _step((y + 0.36) / 0.04)
    return total


@compiled
def paint_thorax(t: Thorax, density: FloatArray, lung: FloatArray) -> None:
    """Fill `density` with the patient's attenuation and `lung` with the visible share of lung."""
    size = density.shape[0]
    c, s = math.cos(t.tilt) / t.zoom, math.sin(t.tilt) / t.zoom
    for row in range(size):
        v = (row + 0.5) / size - 0.5 - t.shift_y
        for column in range(size):
            u = (column + 0.5) / size - 0.5 - t.shift_x
            x, y = c * u + s * v, c * v - s * u
            body = _body(t, x, y)
            if body == 0.0:
                continue
            cover = heart_cover(t, x, y)
            depth = lung_depth(t, x, y)
            open_lung = depth * (1.0 - cover)
            air = (t.air_left if x < 0.0 else t.air_right) * (1.0 + t.air_slope * y)
            air *= 1.0 + 0.12 * t.yaw * (1.0 if x > 0.0 else -1.0)
            value = t.soft - air * open_lung + 0.16 * cover * _step((y + 0.45) / 0.1)
            value += (0.35 + 0.65 * depth) * _ribs(t, x, y) * _step((y + 0.45) / 0.08) * (1.0 - 0.6 * cover)
            value += t.abdomen * _step((y - diaphragm(t, -1.0 if x < 0.0 else 1.0, abs(x))) / 0.02)
            value += t.spine * _step((0.035 - abs(x)) / 0.008) * (0.8 + 0.2 * math.cos(2.0 * math.pi * y / 0.055))
            value -= t.trachea * _step((0.018 - abs(x - 0.004)) / 0.006) * _step((-0.12 - y) / 0.04)
            if t.gastric > 0.0:
                bubble = _ellipse(x - 0.17, y - t.base_right - 0.07, 0.07, 0.035, -0.2)
                value -= t.gastric * _step((1.0 - bubble) / 0.25)
            value += _overlay(t, x, y) + t.gradient_x * x + t.gradient_y * y
            density[row, column] = body * value
            lung[row, column] = open_lung


@compiled
def _lattice_noise(lattice: FloatArray, x: float, y: float) -> float:
    """Random lattice (n, n) interpolated smoothly; it repeats after n cells."""
    n = lattice.shape[0]
    i, j = math.floor(y), math.floor(x)
    fy, fx = y - i, x - j
    fy, fx = fy * fy * (3.0 - 2.0 * fy), fx * fx * (3.0 - 2.0 * fx)
    i0, j0 = int(i) % n, int(j) % n
    i1, j1 = (i0 + 1) % n, (j0 + 1) % n
    top = lattice[i0, j0] + fx * (lattice[i0, j1] - lattice[i0, j0])
    bottom = lattice[i1, j0] + fx * (lattice[i1, j1] - lattice[i1, j0])
    return float(top + fy * (bottom - top))


@compiled
def add_texture(field: FloatArray, weight: FloatArray, lattice: FloatArray, cell: float, strength: float) -> None:
    """Add lattice noise of the given cell size, weighted pixel by pixel."""
    size = field.shape[0]
    for row in range(size):
        for column in range(size):
            if weight[row, column] > 0.0:
                noise = _lattice_noise(lattice, (column + 0.5) / (size * cell), (row + 0.5) / (size * cell))
                field[row, column] += strength * weight[row, column] * noise
