"""What is written down of a cell that failed, and said to the user."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch

import wsl_bench
from wsl_bench.errors import WslBenchError

_PACKAGE = Path(wsl_bench.__file__).parent
_NOT_METHODS = (*(f for f in _PACKAGE.iterdir() if f.name not in ("methods", "datasets")), Path(torch.__file__).parent)


def describe(error: BaseException) -> str:
    """One line: an error meant for users as it is, any other with the place it came from."""
    if isinstance(error, WslBenchError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return (
            "it does not fit in the memory of the GPU beside what else runs there. Lower --per-gpu, "
            f"recipe.batch_size or recipe.image_size (--set), then run again with --retry-failed. {_first_line(error)}"
        )
    return f"{type(error).__name__}: {' '.join(str(error).split())}{_place(error)}"


def _place(error: BaseException) -> str:
    """The last line of a method's file that it came through; where there is none, the last line of all."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [place for place in frames if not any(place[0].is_relative_to(folder) for folder in _NOT_METHODS)]
    place = next(reversed(own or frames), None)
    return "" if place is None else f" ({place[0].name}, line {place[1]})"


def _first_line(error: BaseException) -> str:
    """How much was asked for: torch goes on with a page on its allocator."""
    return str(error).split(" Of the allocated memory")[0].splitlines()[0]
