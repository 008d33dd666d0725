"""What is written down of a cell that failed, and said to the user."""

from __future__ import annotations

from pathlib import Path

import torch

from wsl_bench.errors import WslBenchError


def describe(error: BaseException) -> str:
    """One line: an error meant for users as it is, any other with the place it came from."""
    if isinstance(error, WslBenchError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return (
            "it does not fit in the memory of the GPU beside what else runs there. Lower --per-gpu, "
            f"recipe.batch_size or recipe.image_size (--set), then run again with --retry-failed. {_first_line(error)}"
        )
    place = ""
    if (last := error.__traceback__) is not None:
        while last.tb_next is not None:
            last = last.tb_next
        place = f" ({Path(last.tb_frame.f_code.co_filename).name}, line {last.tb_lineno})"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


def _first_line(error: BaseException) -> str:
    """How much was asked for: torch goes on with a page on its allocator."""
    return str(error).split(" Of the allocated memory")[0].splitlines()[0]
