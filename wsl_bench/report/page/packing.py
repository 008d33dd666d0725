"""Arrays and data as text that a page carries in itself."""

from __future__ import annotations

import base64
import itertools
import json
import math
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt


def pack(array: npt.NDArray[Any]) -> str:
    """The bytes of an array, little endian, deflated (zlib) and in base64."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(zlib.compress(little.tobytes(), 9)).decode("ascii")


def steps_down(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Counts (..., K) that never grow along the last axis, as (drop to the next, ..., the last): small numbers."""
    return np.concatenate([counts[..., :-1] - counts[..., 1:], counts[..., -1:]], axis=-1).astype(np.uint32)


def shrunk(maps: npt.NDArray[Any], side: int) -> npt.NDArray[np.float32]:
    """(n, h, w) maps no larger than (n, side, side): means over equal cells; smaller ones as they are."""
    out = maps.astype(np.float32)
    for axis in (1, 2):
        length = out.shape[axis]
        if length > side:
            edges = np.linspace(0, length, side + 1)
            out = np.stack([_mean_of_cell(out, axis, a, b) for a, b in itertools.pairwise(edges)], axis)
    return out


def as_json(content: Any) -> str:
    """JSON for a script element: no text in it can end the element or begin another, numbers that are none are null."""
    text = json.dumps(_plain(content), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _mean_of_cell(values: npt.NDArray[np.float32], axis: int, low: float, high: float) -> npt.NDArray[np.float32]:
    first, last = math.floor(low), math.ceil(high)
    weights = np.minimum(np.arange(first + 1, last + 1), high) - np.maximum(np.arange(first, last), low)
    part = np.moveaxis(values, axis, -1)[..., first:last]
    return np.asarray(part @ (weights / weights.sum()).astype(np.float32), np.float32)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
