"""Compile the drawing loops, caching the machine code on disk where some directory allows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function as machine code, its type kept for the type checker.

    A cached kernel does not notice changes in other files: kernels call only kernels of their own file.
    """
    try:
        return cast("F", numba.njit(cache=True, error_model="numpy")(function))
    except RuntimeError:  # nowhere to write a cache: each process compiles for itself
        return cast("F", numba.njit(error_model="numpy")(function))
