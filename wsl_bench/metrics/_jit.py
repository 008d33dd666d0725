"""Compiling numeric loops with numba, cached on disk where some directory allows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function as a compiled one, with its type kept for the type checker.

    The machine code is cached beside the source, or in the user's cache directory where the package is
    read-only. Where neither can be written (a container without a home), numba refuses to cache; then every
    process compiles for itself: slower to start, never an error.

    A cached function does not notice changes in *other* files, so a kernel calls only kernels of its own
    file.
    """
    try:
        return cast("F", numba.njit(cache=True)(function))
    except RuntimeError:
        return cast("F", numba.njit(function))
