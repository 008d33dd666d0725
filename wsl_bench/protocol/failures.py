"""What is written down of a cell that failed, and said to the user."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch

from wsl_bench.errors import WslBenchError

_OF_METHODS = ("wsl_bench.methods.", "wsl_bench.datasets.")  # those of plug-in folders among them


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
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [place for place in frames if place[0].f_globals.get("__name__", "").startswith(_OF_METHODS)]
    if not frames:
        return ""
    frame, line = (own or frames)[-1]
    return f" ({Path(frame.f_code.co_filename).name}, line {line})"


def _first_line(error: BaseException) -> str:
    """How much was asked for: torch goes on with a page on its allocator."""
    return str(error).split(" Of the allocated memory")[0].splitlines()[0]
