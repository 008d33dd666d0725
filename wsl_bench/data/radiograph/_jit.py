"""Compile the drawing loops, caching the machine code on disk where some directory allows it.

A cached kernel does not notice changes in other files: kernels call only kernels of their own file.
No fast-math: an image must not depend on the processor it is drawn on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function as machine code, its type kept for the type checker."""
    return _compile(function, {})


def inlined(function: F) -> F:
    """The same for a function of one pixel: copied into its callers, as passing a patient is expensive."""
    return _compile(function, {"inline": "always"})


def _compile(function: F, options: dict[str, Any]) -> F:
    try:
        return cast("F", numba.njit(cache=True, error_model="numpy", **options)(function))
    except RuntimeError:  # nowhere to write a cache: each process compiles for itself
        return cast("F", numba.njit(error_model="numpy", **options)(function))
