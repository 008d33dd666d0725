"""What a training or an evaluation costs: wall seconds and peak memory, apart from its result."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")


@contextlib.contextmanager
def measured(device: str) -> Iterator[dict[str, float]]:
    """Fill the dictionary with {"seconds", "peak_memory_mib"} of the block, once it has ended well.

    On a GPU the memory is what torch allocated there. On a CPU it is the largest resident size of the
    process during the block; where the system cannot start that count anew (other than Linux), since the
    process began.
    """
    cost: dict[str, float] = {}
    _restart_peak(device)
    started = time.perf_counter()
    yield cost
    cost["seconds"] = time.perf_counter() - started
    cost["peak_memory_mib"] = _peak_mib(device)


def _restart_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5")  # 5: the peak resident size, see proc(5)


def _peak_mib(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = (_PROCESS / "status").read_text().splitlines()
        return float(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
