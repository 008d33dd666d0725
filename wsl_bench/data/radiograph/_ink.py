"""Compiled drawing of what lies on top of the thorax: strokes, opacities, blur and the film.

Fields are (size, size) float64 attenuations; see _kernels.py for the pixel convention.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from wsl_bench.data.radiograph.anatomy import Thorax
from wsl_bench.data.radiograph.opacities import Opacity
from wsl_bench.jit import inlined, unchecked

FloatArray = npt.NDArray[np.float64]
_REACH = 1.6  # an opacity ends within so many half axes of its centre
_END = 1.3  # above the square of the largest factor by which the edge is ever wobbled outwards


@inlined
def _step(x: float) -> float:
    x = min(1.0, max(0.0, 0.5 * (x + 1.0)))
    return x * x * (3.0 - 2.0 * x)


@unchecked
def pose(strokes: FloatArray, t: Thorax) -> None:
    """Turn strokes of the patient frame into strokes in image coordinates, in place."""
    c, s = math.cos(t.tilt) * t.zoom, math.sin(t.tilt) * t.zoom
    for k in range(strokes.shape[0]):
        for end in range(0, 4, 2):
            x, y = strokes[k, end], strokes[k, end + 1]
            strokes[k, end] = c * x - s * y + 0.5 + t.shift_x
            strokes[k, end + 1] = s * x + c * y + 0.5 + t.shift_y
        strokes[k, 4] *= t.zoom


@unchecked
def add_strokes(field: FloatArray, strokes: FloatArray) -> None:
    """Add straight strokes (n, 6) in image coordinates: x0, y0, x1, y1, half width, density.

    Where strokes cross, the densest counts, so that joints do not show. A
    stroke narrower than a pixel is drawn a pixel wide and as much fainter, so that sizes agree.
    """
    size = field.shape[0]
    ink = np.zeros_like(field)
    for k in range(strokes.shape[0]):
        x0, y0, x1, y1, half, density = strokes[k]
        soft = 0.6 / size
        if half < soft:
            density *= half / soft
            half = soft
        reach = half + soft
        dx, dy = x1 - x0, y1 - y0
        length2 = dx * dx + dy * dy + 1e-12
        first_row = max(0, int((min(y0, y1) - reach) * size))
        last_row = min(size, int((max(y0, y1) + reach) * size) + 1)
        first_column = max(0, int((min(x0, x1) - reach) * size))
        last_column = min(size, int((max(x0, x1) + reach) * size) + 1)
        for row in range(first_row, last_row):
            v = (row + 0.5) / size - y0
            for column in range(first_column, last_column):
                u = (column + 0.5) / size - x0
                along = min(1.0, max(0.0, (u * dx + v * dy) / length2))
                distance = math.sqrt((u - along * dx) ** 2 + (v - along * dy) ** 2)
                if distance < reach:
                    here = density * _step((half - distance) / soft)
                    ink[row, column] = max(ink[row, column], here)
    field += ink


@inlined
def _lattice_noise(lattice: FloatArray, x: float, y: float) -> float:
    n = lattice.shape[0]
    i, j = math.floor(y), math.floor(x)
    fy, fx = y - i, x - j
    fy, fx = fy * fy * (3.0 - 2.0 * fy), fx * fx * (3.0 - 2.0 * fx)
    i0, j0 = int(i) % n, int(j) % n
    i1, j1 = (i0 + 1) % n, (j0 + 1) % n
    top = lattice[i0, j0] + fx * (lattice[i0, j1] - lattice[i0, j0])
    bottom = lattice[i1, j0] + fx * (lattice[i1, j1] - lattice[i1, j0])
    return float(top + fy * (bottom - top))


@unchecked
def add_texture(field: FloatArray, weight: FloatArray, lattice: FloatArray, cell: float, strength: float) -> None:
    """Add lattice noise of the given cell size, weighted pixel by pixel."""
    size = field.shape[0]
    for row in range(size):
        for column in range(size):
            if weight[row, column] > 0.0:
                noise = _lattice_noise(lattice, (column + 0.5) / (size * cell), (row + 0.5) / (size * cell))
                field[row, column] += strength * weight[row, column] * noise


@inlined
def _profile(o: Opacity, dx: float, dy: float) -> float:
    """Smooth density of an opacity over its peak: 1 at the centre, 0.1 on its edge, then soon 0."""
    ex, ey = abs(dx) / o.rx, abs(dy) / o.ry
    if ex > _REACH or ey > _REACH or o.curve * max(ex, ey) ** 2 > _END:
        return 0.0
    angle = math.atan2(dy / o.ry, dx / o.rx)
    edge = 1.0 + o.wobble * (math.cos(2.0 * angle + o.phase) + 0.7 * math.cos(3.0 * angle + 2.3 * o.phase))
    radius = (ex**o.power + ey**o.power) ** (1.0 / o.power) / edge
    inner = 1.0 - o.curve * radius * radius
    return inner**o.falloff if inner > 0.0 else 0.0


@inlined
def _grain(o: Opacity, lattice: FloatArray, x: float, y: float) -> float:
    """Texture of an opacity: a factor around 1, two octaves of noise, mottled or streaked."""
    c, s = o.grain_cos, o.grain_sin
    along, across = (c * x + s * y) / o.grain_long, (c * y - s * x) / o.grain_short
    noise = 0.9 * _lattice_noise(lattice, along, across)
    noise += 0.4 * _lattice_noise(lattice, 2.3 * along + 5.0, 2.3 * across + 5.0)
    return max(0.1, 1.0 + o.grain * noise)


@unchecked
def add_opacity(t: Thorax, o: Opacity, lattice: FloatArray, lung: FloatArray, out: FloatArray) -> None:
    """Add the attenuation of one opacity, clipped to the visible lung on its side, to `out`."""
    size = out.shape[0]
    c, s = math.cos(t.tilt), math.sin(t.tilt)
    centre_u, centre_v = c * o.x - s * o.y, s * o.x + c * o.y
    reach = _REACH * (max(o.rx, o.ry) + abs(s) * min(o.rx, o.ry)) * t.zoom
    left, top = 0.5 + t.shift_x + t.zoom * centre_u - reach, 0.5 + t.shift_y + t.zoom * centre_v - reach
    for row in range(max(0, int(top * size)), min(size, int((top + 2.0 * reach) * size) + 1)):
        v = ((row + 0.5) / size - 0.5 - t.shift_y) / t.zoom
        for column in range(max(0, int(left * size)), min(size, int((left + 2.0 * reach) * size) + 1)):
            u = ((column + 0.5) / size - 0.5 - t.shift_x) / t.zoom
            x, y = c * u + s * v, c * v - s * u
            if lung[row, column] <= 0.0 or x * o.x < 0.0:
                continue
            value = _profile(o, x - o.x, y - o.y)
            if value > 0.0:
                inside = min(1.0, 1.6 * lung[row, column])
                out[row, column] += o.density * value * inside * _grain(o, lattice, x, y)


@unchecked
def blur_weights(sigma: float) -> FloatArray:
    """Half of a Gaussian kernel; `sigma` in pixels, weights[k] is that of offset k."""
    weights = np.exp(-0.5 * (np.arange(int(2.5 * sigma) + 2) / max(sigma, 1e-3)) ** 2)
    scaled: FloatArray = weights / (2.0 * weights.sum() - weights[0])
    return scaled


@unchecked
def blur(field: FloatArray, weights: FloatArray) -> None:
    """Convolve in place with a separable symmetric kernel; weights[k] is that of offset k."""
    size, reach = field.shape[0], weights.shape[0] - 1
    line = np.empty(size)
    for axis in range(2):
        for i in range(size):
            for j in range(size):
                line[j] = field[i, j] if axis == 0 else field[j, i]
            for j in range(size):
                total = weights[0] * line[j]
                for k in range(1, reach + 1):
                    total += weights[k] * (line[max(0, j - k)] + line[min(size - 1, j + k)])
                if axis == 0:
                    field[i, j] = total
                else:
                    field[j, i] = total


@unchecked
def expose(
    density: FloatArray, normal: FloatArray, noise: float, low: float, high: float, gamma: float
) -> npt.NDArray[np.uint8]:
    """The film: attenuation to 8-bit grey, with quantum noise that grows where fewer photons arrive."""
    size = density.shape[0]
    image = np.empty((size, size), np.uint8)
    for row in range(size):
        for column in range(size):
            value = density[row, column]
            dense = 0.8 * (value - 0.5)
            value += noise * (1.0 + dense + 0.5 * dense * dense) * normal[row, column]
            level = min(1.0, max(0.0, (value - low) / (high - low)))
            image[row, column] = np.uint8(255.0 * level**gamma + 0.5)
    return image
