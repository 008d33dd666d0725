"""at_work.json: what a run's workers hold right now, for `wslbench status`; gone when the run ends well.

It is a help to people and no lock: whether the run still lives is told by the lock on the folder (`cli.folder`).
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsl_bench.protocol.job import Job
from wsl_bench.store.atomic import atomic_write

NAME = "at_work.json"


class AtWork:
    """Keeps at_work.json as workers take jobs and end them."""

    def __init__(self, out: Path, jobs: Sequence[Job]) -> None:
        self._path = out / NAME
        self._jobs = {job.id: job for job in jobs}
        self._held: dict[str, dict[str, Any]] = {}

    def on_event(self, event: dict[str, Any]) -> None:
        """Take in what a worker reports."""
        key, kind = event["job"], event["event"]
        if kind == "start":
            job = self._jobs[key]
            cells = [[c.dataset, c.method, c.shown_params, c.seed] for c in job.cells]
            self._held[key] = {"label": job.label(), "cells": cells, "since": time.time(), "epoch": 0,
                               "epochs": job.recipe.epochs}  # fmt: skip
        elif kind == "epoch":
            self._held[key]["epoch"] = event["epoch"]
        elif kind == "end":
            self._held.pop(key, None)
        else:
            return
        with contextlib.suppress(OSError):  # a full disk is told where it costs a result
            atomic_write(self._path, json.dumps(list(self._held.values())).encode())

    def close(self) -> None:
        """The run has ended."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read_at_work(out: Path) -> list[dict[str, Any]]:
    """What was held when the file was last written; nothing if there is none, or what is there is damaged."""
    try:
        held = json.loads((out / NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    return [one for one in held if _is_whole(one)] if isinstance(held, list) else []


def _is_whole(one: Any) -> bool:
    """Whether it is what `AtWork` writes of a worker."""
    return (
        isinstance(one, dict)
        and isinstance(one.get("label"), str)
        and isinstance(one.get("since"), float)
        and all(isinstance(one.get(name, 0), int) for name in ("epoch", "epochs"))
        and isinstance(one.get("cells"), list)
        and all(isinstance(c, list) and list(map(type, c)) == [str, str, str, int] for c in one["cells"])
    )
