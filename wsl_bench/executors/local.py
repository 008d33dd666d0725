"""Jobs in worker processes of this machine.

The standard pools hang or give up everything when a worker is killed, so this is a small supervisor:
one process and one pipe a worker. A worker that dies costs what it had not finished of the job it held, which is
tried again, at most three times in all: the system may have ended it (memory, a node). An exception of a method is
no such thing and is not tried again; nor is a cell that took longer than it may.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from wsl_bench.processes import as_worker_of
from wsl_bench.protocol.job import Cell, Job

Event = dict[str, Any]
OnEvent = Callable[[Event], None]

# Set before a worker starts: keeps freed memory in the process, which stops page-fault storms (1.1x to 1.7x in
# training on a CPU), and asks for large pages (3 to 8 %). PyTorch and glibc read them; elsewhere they do nothing.
_ALLOCATOR = {
    "THP_MEM_ALLOC_ENABLE": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


MAX_ATTEMPTS = 3


def run_jobs(
    jobs: Sequence[Job],
    n_workers: int,
    on_event: OnEvent,
    *,
    timeout: float | None = None,
    gpus: Sequence[str] = (),
) -> None:
    """Run every job; returns when all are done or failed.

    Args:
        n_workers: worker processes; at most one a job is started.
        on_event: called in this process with what workers report, and with {"event": "start" | "end" | "died"}.
        timeout: seconds that a training, and after it the evaluation of each cell, may take; None: any.
        gpus: as CUDA_VISIBLE_DEVICES names them; worker i sees number i modulo their number alone.
    """
    queue = deque(jobs)
    for name, value in worker_environment().items():
        os.environ.setdefault(name, value)
    seen = [gpus[i % len(gpus)] if gpus else None for i in range(min(n_workers, len(queue)))]
    workers = [_Worker(queue, timeout, gpu) for gpu in seen]
    try:
        while queue or any(worker.job is not None for worker in workers):
            for worker in workers:
                if worker.job is None and (job := _next(queue, workers)) is not None:
                    worker.give(job, on_event)
            busy = [worker for worker in workers if worker.job is not None]
            left = [seconds for worker in busy if (seconds := worker.time_left()) is not None]
            wait([worker.pipe for worker in busy], min(left, default=None))
            for worker in busy:
                worker.collect(on_event)
    finally:
        for worker in workers:
            worker.stop()


def _next(queue: deque[Job], workers: Sequence[_Worker]) -> Job | None:
    """Take the first job whose training no worker is at: datasets that share one train it once."""
    held = {worker.job.training_key for worker in workers if worker.job is not None}
    job = next((job for job in queue if job.training_key not in held), None)
    if job is not None:
        queue.remove(job)
    return job


class _Worker:
    """One worker process, the pipe to it, and the job it holds."""

    def __init__(self, queue: deque[Job], timeout: float | None, gpu: str | None) -> None:
        self.job: Job | None = None
        self._queue, self._timeout, self._gpu = queue, timeout, gpu
        self._open: set[str] = set()
        self._trained = False
        self._since = 0.0
        self._start()

    def time_left(self) -> float | None:
        """Seconds until the work at hand has taken too long; None: it may take any."""
        return None if self._timeout is None else max(0.0, self._since + self._timeout - time.monotonic())

    def give(self, job: Job, on_event: OnEvent) -> None:
        """Hand over a job."""
        if not self.process.is_alive():  # died while it had nothing to do
            self.pipe.close()
            self._start()
        self.job = job
        self._open = {cell.slug for cell in job.cells}
        self._trained, self._since = False, time.monotonic()
        on_event({"event": "start", "label": job.label(), "job": job.id})
        try:
            self.pipe.send(job)
        except OSError:  # died while idle; `collect` finds the end of the pipe
            return

    def collect(self, on_event: OnEvent) -> None:
        """Pass on what the worker said; see to it that what it left undone is done or noted if it died or must."""
        assert self.job is not None
        try:
            while self.pipe.poll():
                event: Event = self.pipe.recv()
                if event["event"] == "end":
                    self._finish(on_event)
                    return
                self._trained |= event["event"] in ("trained", "cell")
                if event["event"] in ("trained", "cell"):
                    self._since = time.monotonic()
                self._open.discard(event.get("slug", ""))
                on_event({**event, "job": self.job.id})
        except (EOFError, OSError):
            self._died(on_event)
            return
        if self.time_left() == 0:
            self._took_too_long(on_event)

    def stop(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(theirs, os.getpid(), self._gpu), daemon=True)
        self.process.start()
        theirs.close()

    def _finish(self, on_event: OnEvent) -> None:
        assert self.job is not None
        on_event({"event": "end", "job": self.job.id})
        self.job = None

    def _died(self, on_event: OnEvent) -> None:
        """Put what is undone back into the queue, or, after the last attempt, note the cell at hand as failed."""
        assert self.job is not None
        self.process.join()
        job, open_cells = self.job, self._open_cells()
        how = _death(self.process.exitcode or 0)
        if not open_cells:  # it died with its work done
            self._restart(on_event)
            return
        if job.attempt < MAX_ATTEMPTS:
            on_event({"event": "died", "job": job.id, "label": job.label(), "how": how, "attempt": job.attempt})
            self._queue.appendleft(replace(job, cells=open_cells, attempt=job.attempt + 1))
        else:
            # Without its training no cell of the job can be; with it, the cell at hand is the one that kills.
            fatal = open_cells if not self._trained else open_cells[:1]
            reason = f"the worker process died ({how}), {MAX_ATTEMPTS} times"
            self._fail(fatal, reason, on_event)
            if rest := open_cells[len(fatal) :]:
                self._queue.appendleft(replace(job, cells=rest, attempt=1))
        self._restart(on_event)

    def _took_too_long(self, on_event: OnEvent) -> None:
        assert self.job is not None
        job, open_cells = self.job, self._open_cells()
        late = open_cells if not self._trained else open_cells[:1]
        what = "evaluating" if self._trained else "training"
        self._fail(late, f"timeout: {what} took longer than {self._timeout:g} s", on_event)
        if rest := open_cells[len(late) :]:
            self._queue.appendleft(replace(job, cells=rest))
        self.process.kill()
        self.process.join()
        self._restart(on_event)

    def _open_cells(self) -> tuple[Cell, ...]:
        assert self.job is not None
        return tuple(cell for cell in self.job.cells if cell.slug in self._open)

    def _fail(self, cells: Sequence[Cell], reason: str, on_event: OnEvent) -> None:
        from wsl_bench.store.records import write_failure

        assert self.job is not None
        for cell in cells:
            write_failure(Path(self.job.out), cell.slug, cell.failure(reason))
            on_event({"event": "cell", "slug": cell.slug, "status": "failed", "error": reason,
                      "job": self.job.id})  # fmt: skip

    def _restart(self, on_event: OnEvent) -> None:
        self._finish(on_event)
        self.pipe.close()
        self._start()


def _work(pipe: Connection, parent: int, gpu: str | None) -> None:
    """Body of a worker: jobs from the pipe until it closes."""
    if gpu is not None:  # before torch is imported
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    as_worker_of(parent)
    from wsl_bench.protocol.cell import run_job

    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        run_job(job, pipe.send)
        pipe.send({"event": "end"})


def _death(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"{name}: out of memory?" if name == "SIGKILL" else name
    return f"exit code {code}"


def worker_environment() -> dict[str, str]:
    """Variables that make a worker quicker; read when its process starts."""
    return _ALLOCATOR | dict.fromkeys(_ONE_THREAD, "1")
