"""What every worker process of this package has to see to."""

from __future__ import annotations

import ctypes
import os
import signal
import sys


def as_worker_of(parent: int) -> None:
    """Called first in a worker: Ctrl-C is its parent's to handle, and it ends when its parent does.

    The latter through the kernel, so that nothing is left holding a GPU or a pipe, however the parent ended (Linux).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it ended before the call
            os._exit(1)


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
