"""Compiling numeric loops with numba, cached on disk where some directory allows it.

The machine code is cached beside the source, or in the user's cache directory where the package is
read-only. Where neither can be written (a container without a home), numba refuses to cache; then every
process compiles for itself: slower to start, never an error. A cached function does not notice changes
in *other* files, so a kernel calls only kernels of its own file; of the tables that it takes from others
(thresholds, overlap levels, neighbours) it keeps a copy: whoever edits those deletes `__pycache__`. No
fast-math anywhere but in `contracted`: a number must not depend on the processor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function as machine code, its type kept for the type checker."""
    return _compile(function, {})


def unchecked(function: F) -> F:
    """The same, dividing as numpy does (no exception on zero), which lets loops over pixels vectorise."""
    return _compile(function, {"error_model": "numpy"})


def contracted(function: F) -> F:
    """`unchecked`, with a product and a sum rounded once where the processor can; for layers of networks,
    whose numbers depend on the processor in any case."""
    return _compile(function, {"error_model": "numpy", "fastmath": {"contract"}})


def inlined(function: F) -> F:
    """`unchecked`, copied into its callers: for a function of one pixel with many arguments."""
    return _compile(function, {"error_model": "numpy", "inline": "always"})


def _compile(function: F, options: dict[str, Any]) -> F:
    try:
        return cast("F", numba.njit(cache=True, **options)(function))
    except RuntimeError:  # nowhere to write a cache
        return cast("F", numba.njit(**options)(function))
