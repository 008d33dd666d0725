"""Compiled drawing: every loop over pixels of the phantom radiograph.

Fields are (size, size) float64 attenuations. Pixel (row, column) has its centre at image coordinates
((column + 0.5) / size, (row + 0.5) / size).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from wsl_bench.data.radiograph.anatomy import Thorax
from wsl_bench.jit import inlined, unchecked

FloatArray = npt.NDArray[np.float64]
_WAIST = 0.06  # the mediastinum bulges by less than this
_NOTHING = 40.0  # exp(-40) vanishes beside 1


@inlined
def _step(x: float) -> float:
    """0 below -1, 1 above 1, smooth between."""
    x = min(1.0, max(0.0, 0.5 * (x + 1.0)))
    return x * x * (3.0 - 2.0 * x)


@inlined
def _rise(x: float) -> float:
    """0 up to 0, then saturating to 1 like 1 - exp(-x): the depth of a rounded body behind its edge."""
    return 1.0 - 1.0 / (1.0 + x * (1.0 + x * (0.5 + x / 6.0))) if x > 0.0 else 0.0


@inlined
def _ellipse2(x: float, y: float, rx: float, ry: float, slant: float) -> float:
    """Square of the radius in units of the ellipse (1 on its edge); `slant` is the tangent of its rotation."""
    u, v = (x + slant * y) / rx, (y - slant * x) / ry
    return (u * u + v * v) / (1.0 + slant * slant)


@inlined
def _shade(radius2: float, edge: float) -> float:
    """1 inside, 0 from the edge of an ellipse on; `edge` is the half width of the transition."""
    return _step((1.0 - edge - math.sqrt(radius2)) / edge) if radius2 < 1.0 else 0.0


@inlined
def lateral_border(t: Thorax, side: float, y: float) -> float:
    """Distance of the lung's outer border from the midline at height y; 0 above the apex."""
    widest = t.lateral_left if side < 0.0 else t.lateral_right
    widest += 0.012 * t.yaw * side
    top = t.lung_top + (0.5 * t.lung_top_skew * side)
    if y <= top:
        return 0.0
    if y >= t.lung_widest:
        return widest - 0.10 * (y - t.lung_widest)
    up = ((t.lung_widest - y) / (t.lung_widest - top)) ** 2
    return widest * math.sqrt(1.0 - up * (1.0 + t.apex * (up - 1.0)))


@inlined
def diaphragm(t: Thorax, side: float, x: float) -> float:
    """Height y of the diaphragm at distance x from the midline."""
    base = t.base_left if side < 0.0 else t.base_right
    fall = t.dome_left if side < 0.0 else t.dome_right
    return base + fall * ((x - 0.16) / 0.19) ** 2


@inlined
def lung_depth(t: Thorax, x: float, y: float) -> float:
    """Share of the full lung depth at a point of the patient frame, 0 outside the lungs."""
    side = -1.0 if x < 0.0 else 1.0
    distance = abs(x)
    if distance < t.medial or distance > 0.42:
        return 0.0
    base = _rise((diaphragm(t, side, distance) - y) / 0.014)
    if base == 0.0:
        return 0.0
    lateral = _rise((lateral_border(t, side, y) - distance) / 0.022)
    return base * lateral * _rise((distance - t.medial) / 0.018)


@inlined
def heart_cover(t: Thorax, x: float, y: float) -> float:
    """Share of the lung that heart, great vessels and hila hide."""
    x -= 0.015 * t.yaw
    if abs(x) > 0.30:
        return 0.0
    below = y - 0.5 * (t.base_left + t.base_right) + t.heart_lift
    left = _ellipse2(x - t.heart_x, below, t.heart_rx, t.heart_ry, t.heart_slant)
    atrium = _ellipse2(x + 0.035, below, 0.07, 0.14, 0.12)
    knob = _ellipse2(x - 0.04, y + 0.13, 1.2 * t.aorta, 1.35 * t.aorta, 0.0)
    free, distance = 1.0, abs(x + 0.006)
    if distance < t.mediastinum + _WAIST:
        waist = t.mediastinum + 0.012 * math.cos(9.0 * y + 2.0 * t.rib_phase) + 0.03 * _step((y - 0.02) / 0.2)
        free -= _step((waist - distance) / 0.014)
    free *= (1.0 - t.heart_density * _shade(left, 0.07)) * (1.0 - 0.9 * _shade(atrium, 0.1))
    free *= 1.0 - 0.9 * _shade(knob, 0.15)
    hilum_x, hilum_y = (abs(x) - 0.075) / 0.03, (y - 0.01) / 0.065
    far = hilum_x * hilum_x + hilum_y * hilum_y
    return 1.0 - free * (1.0 - 0.5 * math.exp(-far) if far < _NOTHING else 1.0)


@inlined
def _body(t: Thorax, x: float, y: float) -> float:
    """Share of the full thickness of the patient: 0 in air, falling towards the outline."""
    distance = abs(x)
    flank = t.trunk + 0.02 - 0.2 * y * y + t.arms * _step((-0.13 - y) / 0.14)
    inside = 0.6 * _rise((flank - distance) / 0.02) + 0.4 * _rise((flank - distance) / 0.12)
    over = distance - t.neck
    if over > 0.0:
        line = t.shoulder + t.shoulder_slope * over * over + 0.10 * over - 0.3 * (1.0 - _rise(over / 0.03))
        inside *= 0.6 * _rise((y - line) / 0.02) + 0.4 * _rise((y - line) / 0.10)
    else:
        inside *= 0.6 + 0.4 * _rise((y + 0.62) / 0.12)
    return inside


@inlined
def _rib(phase: float, width: float) -> float:
    """Cross-section of one rib: a plateau whose edges (cortical bone) are brighter."""
    centre = abs(phase - math.floor(phase) - 0.5)
    return _step((0.5 * width - centre) / 0.07) * (0.65 + 0.35 * min(1.0, (2.0 * centre / width) ** 2))


@inlined
def _ribs(t: Thorax, x: float, y: float) -> float:
    distance = abs(x)
    back = y - 0.9 * t.rib_slope * distance * distance + 0.10 * distance
    front = y + 0.75 * t.rib_slope * distance - 0.35 * distance * distance
    posterior = t.rib_posterior * _rib(back / t.rib_spacing + t.rib_phase, t.rib_width)
    anterior = t.rib_anterior * _rib(front / (1.25 * t.rib_spacing) + 0.5, 0.40)
    return posterior + anterior * _step((distance - 0.20) / 0.08)


@inlined
def _breast(t: Thorax, x: float, y: float) -> float:
    density = t.breast_left if x < 0.0 else t.breast_right
    if density <= 0.0:
        return 0.0
    radius2 = _ellipse2(abs(x) - 0.23, y - t.breast_y, t.breast_rx, t.breast_ry, 0.0)
    return density * _shade(radius2, 0.05 if y > t.breast_y else 0.3)  # sharp below, fading above


@inlined
def _shoulder_blade(t: Thorax, x: float, y: float) -> float:
    density = t.scapula_left if x < 0.0 else t.scapula_right
    if density <= 0.0:
        return 0.0
    border = t.scapula_x + 0.25 * abs(y + 0.12) * (1.0 if y < -0.12 else 0.35)
    return density * _step((abs(x) - border) / 0.012) * _step((0.08 - y) / 0.06) * _step((y + 0.36) / 0.04)


@inlined
def _midline(t: Thorax, x: float, y: float, chest: float) -> float:
    """Spine and trachea."""
    if abs(x) > 0.05:
        return 0.0
    vertebra = 0.8 + 0.2 * math.cos(2.0 * math.pi * y / 0.055)
    spine = t.spine * (0.6 + 0.4 * chest) * vertebra * _step((0.035 - abs(x)) / 0.010)
    return spine - t.trachea * _step((0.018 - abs(x - 0.004)) / 0.008) * _step((-0.12 - y) / 0.05)


@inlined
def _stomach_air(t: Thorax, x: float, y: float) -> float:
    dx, dy = x - t.gastric_x, y - t.base_right - 0.065
    radius2 = _ellipse2(dx, dy, 0.07, 0.036, 0.2)
    if t.gastric <= 0.0 or radius2 > 1.3:
        return 0.0
    wavy = 1.0 + 0.1 * math.cos(3.0 * math.atan2(dy, dx) + 6.0 * t.rib_phase)
    return t.gastric * _shade(radius2 / (wavy * wavy), 0.2)


@inlined
def _tissue(t: Thorax, x: float, y: float, cover: float, depth: float) -> float:
    """Attenuation of the full-thickness patient at one point of the patient frame."""
    air = (t.air_left if x < 0.0 else t.air_right) * (1.0 + t.air_slope * y)
    air *= 1.0 + 0.12 * t.yaw * (1.0 if x > 0.0 else -1.0)
    chest = _step((y + 0.34) / 0.12)
    below = _step((y - diaphragm(t, -1.0 if x < 0.0 else 1.0, abs(x))) / 0.02)
    value = t.soft - air * depth * (1.0 - cover) + max(0.15 * cover * chest, t.abdomen * below)
    value += (0.3 + 0.7 * depth) * (1.0 - 0.6 * cover) * _step((y + 0.40) / 0.06) * _ribs(t, x, y)
    value += _midline(t, x, y, chest) - below * _stomach_air(t, x, y)
    value += (1.0 - 0.7 * below) * _breast(t, x, y) + _shoulder_blade(t, x, y)
    return value + t.gradient_x * x + t.gradient_y * y


@unchecked
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
            if body > 0.0:
                cover, depth = heart_cover(t, x, y), lung_depth(t, x, y)
                density[row, column] = body * _tissue(t, x, y, cover, depth)
                lung[row, column] = depth * (1.0 - cover)
