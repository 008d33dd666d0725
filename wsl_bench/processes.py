"""What every worker process of this package has to see to, and a plain pool of them for work on many files."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


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


def in_order(
    function: Callable[[Sequence[A]], list[B]],
    items: Sequence[A],
    n_workers: int,
    *,
    chunk: int = 16,
    start: Callable[[], None] | None = None,
) -> Iterator[B]:
    """What `function` makes of the items, chunk by chunk in worker processes, in the order of the items.

    Args:
        function: of a module that workers can import; gets some items, returns as many results.
        start: called once in each worker; picklable.

    Raises:
        concurrent.futures.BrokenProcessPool: a worker was ended from outside.
    """
    pool = ProcessPoolExecutor(n_workers, get_context("spawn"), _start, (os.getpid(), start))
    try:
        ahead: deque[Future[list[B]]] = deque()  # a bounded number: results wait in memory
        for first in range(0, len(items), chunk):
            ahead.append(pool.submit(function, items[first : first + chunk]))
            if len(ahead) > 4 * n_workers:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start(parent: int, start: Callable[[], None] | None) -> None:
    as_worker_of(parent)
    if start is not None:
        start()
