"""What a run shows while it works: a live view on a terminal, one line a finished cell elsewhere."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:  # torch comes with it, and not every command needs that
    from wsl_bench.study import Todo


def is_live(console: Console) -> bool:
    """Whether lines can be drawn over: not in a notebook, whose kernel makes commands believe in a terminal."""
    return console.is_terminal and "JPY_PARENT_PID" not in os.environ


class Preparing:
    """Progress of decoding datasets."""

    def __init__(self, console: Console) -> None:
        self._progress = _bars(console, "{task.completed:.0f}/{task.total:.0f} images")
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, name: str, done: int, total: int) -> None:
        """`done` of `total` images of a dataset are decoded."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(f"preparing {name}", total=total)
        self._progress.update(self._tasks[name], completed=done)

    def say(self, text: str) -> None:
        """Something the user should know of a dataset."""
        self._progress.console.print(escape(text), soft_wrap=True)


class Running:
    """Progress of the matrix: cells done, and for each training epoch, loss, validation accuracy.

    Attributes:
        failed: by slug, the cells that failed meanwhile and what they said.
    """

    def __init__(self, console: Console, todo: Todo, n_workers: int) -> None:
        self._console, self._live = console, is_live(console)
        self._n_workers = n_workers
        self._progress = _bars(console, "{task.fields[state]}")
        self._jobs = {job.id: job for job in todo.jobs}
        self._cells = {cell.slug: cell for job in todo.jobs for cell in job.cells}
        self._n_cells, self._n_done = len(self._cells) + todo.n_finished, todo.n_finished
        self._n_failed = len(todo.failed_before)
        self._done_cost: dict[str, float] = dict.fromkeys(self._jobs, 0.0)
        self._rows: dict[str, TaskID] = {}
        self.failed: dict[str, str] = {}
        self._again: set[str] = set()
        self._started = time.monotonic()
        total = sum(job.cost for job in todo.jobs)
        self._all = self._progress.add_task("cells", total=max(total, 1e-9), state=self._state())

    def __enter__(self) -> Self:
        if not self._live:
            again = f", {self._n_done} finished before" if self._n_done else ""
            print_line(self._console, f"{self._n_cells} cells{again}; {self._n_workers} worker processes")
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def on_event(self, event: dict[str, Any]) -> None:
        """Take in what a worker reports."""
        kind, key = event["event"], event["job"]
        if kind == "start":
            job = self._jobs[key]
            self._rows[key] = self._progress.add_task(f"  {job.label()}", total=max(1, job.recipe.epochs), state="")
        elif kind == "epoch":
            self._epoch(key, event)
        elif kind == "cell":
            self._cell(event)
        elif kind == "died":
            self._again.add(key)
            said = f"the worker process died ({event['how']}); attempt {event['attempt'] + 1} follows"
            if not self._live:
                print_line(self._console, f"{event['label']}: {said}")
        elif kind == "end":
            self._done_cost[key] = 0.0 if key in self._again else self._jobs[key].cost
            self._again.discard(key)
            self._progress.remove_task(self._rows.pop(key))
        self._progress.update(self._all, completed=sum(self._done_cost.values()), state=self._state())

    def _epoch(self, key: str, event: dict[str, Any]) -> None:
        job = self._jobs[key]
        state = f"epoch {event['epoch']}/{event['epochs']} loss {event['loss']:.3f} val acc {event['accuracy']:.3f}"
        if event["epoch"] == event["epochs"]:  # the random start of an untrained network has no loss
            state = f"evaluating, val acc {event['accuracy']:.3f}"
        self._progress.update(self._rows[key], completed=event["epoch"], state=state)
        self._done_cost[key] = 0.9 * job.cost * event["epoch"] / max(1, event["epochs"])

    def _cell(self, event: dict[str, Any]) -> None:
        cell = self._cells[event["slug"]]
        params = f"[{cell.shown_params}]" if cell.shown_params else ""
        name = f"{cell.dataset} / {cell.method}{params} / seed {cell.seed}"
        if event["status"] == "done":
            self._n_done += 1
            said = f"done (evaluated in {event['seconds']:.0f} s)"
        else:
            self._n_failed += 1
            said = f"failed: {event['error']}"
            self.failed[event["slug"]] = f"{name}: {event['error']}"
        if not self._live:
            elapsed = time.monotonic() - self._started
            print_line(
                self._console, f"[{self._n_done + self._n_failed}/{self._n_cells}] {elapsed:5.0f} s  {name}: {said}"
            )

    def _state(self) -> str:
        failed = f", {self._n_failed} failed" if self._n_failed else ""
        return f"{self._n_done}/{self._n_cells} done{failed}"


def _bars(console: Console, state: str) -> Progress:
    """A live view that leaves nothing behind; nothing at all where the output is not a terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), TextColumn(state, markup=False),
        TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True, disable=not is_live(console),
    )  # fmt: skip


def print_line(console: Console, text: str) -> None:
    """One plain line, whatever brackets it holds."""
    console.print(text, markup=False, soft_wrap=True)
