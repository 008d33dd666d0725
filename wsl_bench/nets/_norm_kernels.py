"""Compiled passes of batch normalisation, 2 x 2 max-pooling and ReLU in one. Imported on first use, for numba is slow.

Arrays hold images in channels-last order, (N, H, W, C), as float32 or as the 16 bits of bfloat16 (numpy has no such
type). All arithmetic is in single precision, sums over many pixels in double; results are rounded to the nearest.
Every loop runs over the channels innermost, so that it vectorises without reordering any sum.

Symbols: a = weight / sqrt(var + eps) and b = bias - mean * a, so that the normalised value is a x + b; g the gradient
of the loss after the ReLU (and pooling), `before` the same before the ReLU, at the pixel it came from. Through mean
and variance the loss depends on all pixels of a channel alike, which adds k x + m to the gradient of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from wsl_bench.jit import contracted, inlined

Images = NDArray[np.uint16] | NDArray[np.float32]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

# Rows of pixels summed in single precision before they join the sum in double.
_BLOCK = 128


def _typed_read(context: Any, value: Any) -> Any:
    """A stored value as float32: bfloat16 is the upper half of one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if value == types.float32:
            return arguments[0]
        bits, half = context.get_value_type(types.uint32), context.get_constant(types.uint32, 16)
        return builder.bitcast(
            builder.shl(builder.zext(arguments[0], bits), half), context.get_value_type(types.float32)
        )

    return types.float32(value), generate


def _typed_rounded(context: Any, value: Any, like: Any) -> Any:
    """A float32 as it is stored beside `like`: for bfloat16 rounded to the nearest, ties to even."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if like == types.float32:
            return arguments[0]
        bits = builder.bitcast(arguments[0], context.get_value_type(types.uint32))
        half, one, below = (context.get_constant(types.uint32, number) for number in (16, 1, 0x7FFF))
        odd = builder.and_(builder.lshr(bits, half), one)
        return builder.trunc(
            builder.lshr(builder.add(bits, builder.add(odd, below)), half), context.get_value_type(types.uint16)
        )

    return like(types.float32, like), generate


_read = cast("Callable[[Any], np.float32]", intrinsic(_typed_read))
_rounded = cast("Callable[[np.float32, Any], Any]", intrinsic(_typed_rounded))


@contracted
def measure(x: Images, statistics: Doubles) -> None:
    """Mean and biased variance, (2, C), of x (N, H, W, C), around its first pixel.

    So a mean that is large beside the deviation costs no digits, if the first pixel is not itself far out.
    """
    n_channels = x.shape[3]
    rows = x.reshape(-1, n_channels)
    first = np.empty(n_channels, np.float32)
    for c in range(n_channels):
        first[c] = _read(rows[0, c])
    totals = np.zeros((2, n_channels))
    sums, squares = np.empty(n_channels, np.float32), np.empty(n_channels, np.float32)
    for start in range(0, len(rows), _BLOCK):
        sums[:] = 0
        squares[:] = 0
        for r in range(start, min(start + _BLOCK, len(rows))):
            for c in range(n_channels):
                value = _read(rows[r, c]) - first[c]
                sums[c] += value
                squares[c] += value * value
        for c in range(n_channels):
            totals[0, c] += sums[c]
            totals[1, c] += squares[c]
    for c in range(n_channels):
        shifted = totals[0, c] / len(rows)
        statistics[0, c] = shifted + first[c]
        variance = totals[1, c] / len(rows) - shifted * shifted
        statistics[1, c] = 0.0 if variance < 0 else variance  # NaN stays NaN


@contracted
def normalise(x: Images, weight: Floats, bias: Floats, eps: float, statistics: Doubles, pool: bool, y: Images) -> None:
    """y = relu(a x + b), x and y (N, H, W, C); with `pool` the largest of each 2 x 2, y (N, H // 2, W // 2, C)."""
    n_channels = x.shape[3]
    a, b = _scale_and_shift(weight, bias, eps, statistics)
    if pool:
        _normalise_pooled(x, a, b, y)
    else:
        _normalise(x.reshape(-1, n_channels), a, b, y.reshape(-1, n_channels))


@contracted
def differentiate(
    x: Images,
    g: Images,
    weight: Floats,
    bias: Floats,
    eps: float,
    statistics: Doubles,
    pool: bool,
    dx: Images,
    parameters: Floats,
) -> None:
    """The gradient of x, dx (N, H, W, C), from that of y, g; `statistics` are those of x, and depend on it.

    `parameters` (2, C) takes the gradients of weight and bias.
    """
    n_channels = x.shape[3]
    a, b = _scale_and_shift(weight, bias, eps, statistics)
    mean = statistics[0].astype(np.float32)
    sums, products = np.zeros(n_channels), np.zeros(n_channels)
    rows = x.reshape(-1, n_channels)
    if pool:
        _sum_pooled(x, g, a, b, mean, sums, products)
    else:
        _sum(rows, g.reshape(-1, n_channels), a, b, mean, sums, products)
    k, m = np.empty(n_channels, np.float32), np.empty(n_channels, np.float32)
    for c in range(n_channels):
        rstd = 1 / np.sqrt(statistics[1, c] + eps)
        slope = -a[c] * rstd * rstd * products[c] / len(rows)
        k[c] = slope
        m[c] = -a[c] * sums[c] / len(rows) - slope * statistics[0, c]
        parameters[0, c] = products[c] * rstd
        parameters[1, c] = sums[c]
    if pool:
        _differentiate_pooled(x, g, a, b, k, m, dx)
    else:
        _differentiate(rows, g.reshape(-1, n_channels), a, b, k, m, dx.reshape(-1, n_channels))


@contracted
def _scale_and_shift(weight: Floats, bias: Floats, eps: float, statistics: Doubles) -> tuple[Floats, Floats]:
    """a and b (C,)."""
    a, b = np.empty_like(weight), np.empty_like(bias)
    for c in range(len(a)):
        scale = weight[c] / np.sqrt(statistics[1, c] + eps)
        a[c] = scale
        b[c] = bias[c] - statistics[0, c] * scale
    return a, b


@contracted
def _normalise(x: Images, a: Floats, b: Floats, y: Images) -> None:
    """y = relu(a x + b), both (R, C)."""
    n_rows, n_channels = x.shape
    for r in range(n_rows):
        for c in range(n_channels):
            y[r, c] = _rounded(_relu(_read(x[r, c]) * a[c] + b[c]), x[r, c])


@contracted
def _sum(x: Images, g: Images, a: Floats, b: Floats, mean: Floats, sums: Doubles, products: Doubles) -> None:
    """Add up (C,) the gradient before the ReLU, and its products with x - mean; x and g (R, C)."""
    n_rows, n_channels = x.shape
    s, p = np.empty(n_channels, np.float32), np.empty(n_channels, np.float32)
    for start in range(0, n_rows, _BLOCK):
        s[:] = 0
        p[:] = 0
        for r in range(start, min(start + _BLOCK, n_rows)):
            for c in range(n_channels):
                value = _read(x[r, c])
                before = _read(g[r, c]) if value * a[c] + b[c] > 0 else np.float32(0)
                s[c] += before
                p[c] += before * (value - mean[c])
        for c in range(n_channels):
            sums[c] += s[c]
            products[c] += p[c]


@contracted
def _differentiate(x: Images, g: Images, a: Floats, b: Floats, k: Floats, m: Floats, dx: Images) -> None:
    """dx = a g [a x + b > 0] + k x + m; x, g, dx (R, C)."""
    n_rows, n_channels = x.shape
    for r in range(n_rows):
        for c in range(n_channels):
            value = _read(x[r, c])
            before = _read(g[r, c]) if value * a[c] + b[c] > 0 else np.float32(0)
            dx[r, c] = _rounded(a[c] * before + (k[c] * value + m[c]), x[r, c])


@inlined
def _relu(value: np.float32) -> np.float32:
    return np.float32(0) if value < 0 else value  # so that NaN stays what it is


@inlined
def _larger(one: np.float32, other: np.float32) -> np.float32:
    return one if one >= other or one != one else other  # what is no number stays, on either side


@contracted
def _normalise_pooled(x: Images, a: Floats, b: Floats, y: Images) -> None:
    """y (N, H // 2, W // 2, C) = relu(max over 2 x 2 of a x + b), x (N, H, W, C)."""
    n_images, height, width, n_channels = y.shape
    for n in range(n_images):
        for h in range(height):
            for w in range(width):
                for c in range(n_channels):
                    v00 = _read(x[n, 2 * h, 2 * w, c]) * a[c] + b[c]
                    v01 = _read(x[n, 2 * h, 2 * w + 1, c]) * a[c] + b[c]
                    v10 = _read(x[n, 2 * h + 1, 2 * w, c]) * a[c] + b[c]
                    v11 = _read(x[n, 2 * h + 1, 2 * w + 1, c]) * a[c] + b[c]
                    largest = _larger(_larger(v00, v01), _larger(v10, v11))
                    y[n, h, w, c] = _rounded(_relu(largest), x[n, 0, 0, c])


@inlined
def _winner(v00: np.float32, v01: np.float32, v10: np.float32, v11: np.float32) -> int:
    """Which of four is the largest, the first among equals; -1 where the ReLU lets none of them pass."""
    top, first = (v01, 1) if v01 > v00 else (v00, 0)
    low, second = (v11, 3) if v11 > v10 else (v10, 2)
    best, place = (low, second) if low > top else (top, first)
    return place if best > 0 else -1


@contracted
def _sum_pooled(x: Images, g: Images, a: Floats, b: Floats, mean: Floats, sums: Doubles, products: Doubles) -> None:
    """`_sum` of x (N, H, W, C) and g (N, H // 2, W // 2, C)."""
    n_images, height, width, n_channels = g.shape
    s, p = np.empty(n_channels, np.float32), np.empty(n_channels, np.float32)
    for n in range(n_images):
        for h in range(height):
            s[:] = 0
            p[:] = 0
            for w in range(width):
                for c in range(n_channels):
                    x00, x01 = _read(x[n, 2 * h, 2 * w, c]), _read(x[n, 2 * h, 2 * w + 1, c])
                    x10, x11 = _read(x[n, 2 * h + 1, 2 * w, c]), _read(x[n, 2 * h + 1, 2 * w + 1, c])
                    place = _winner(x00 * a[c] + b[c], x01 * a[c] + b[c], x10 * a[c] + b[c], x11 * a[c] + b[c])
                    value = (x00 if place == 0 else x01) if place < 2 else (x10 if place == 2 else x11)
                    before = _read(g[n, h, w, c]) if place >= 0 else np.float32(0)
                    s[c] += before
                    p[c] += before * (value - mean[c])
            for c in range(n_channels):
                sums[c] += s[c]
                products[c] += p[c]


@contracted
def _differentiate_pooled(x: Images, g: Images, a: Floats, b: Floats, k: Floats, m: Floats, dx: Images) -> None:
    """`_differentiate` of g (N, H // 2, W // 2, C); an odd last row or column is in no window."""
    n_images, height, width, n_channels = x.shape
    places, scaled = np.empty(n_channels, np.int32), np.empty(n_channels, np.float32)
    for n in range(n_images):
        for h in range(0, height, 2):
            for w in range(0, width, 2):
                if h + 1 == height or w + 1 == width:
                    places[:] = -1
                else:
                    for c in range(n_channels):
                        places[c] = _winner(
                            _read(x[n, h, w, c]) * a[c] + b[c], _read(x[n, h, w + 1, c]) * a[c] + b[c],
                            _read(x[n, h + 1, w, c]) * a[c] + b[c], _read(x[n, h + 1, w + 1, c]) * a[c] + b[c],
                        )  # fmt: skip
                        scaled[c] = a[c] * _read(g[n, h // 2, w // 2, c])
                for i in range(min(2, height - h)):
                    for j in range(min(2, width - w)):
                        here = 2 * i + j
                        for c in range(n_channels):
                            value = k[c] * _read(x[n, h + i, w + j, c]) + m[c]
                            own = scaled[c] if places[c] == here else np.float32(0)
                            dx[n, h + i, w + j, c] = _rounded(own + value, x[n, 0, 0, c])
