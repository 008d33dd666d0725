"""Where a run stands: what is done, failed, at work and missing, and what the failures said."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsl_bench.store.at_work import read_at_work
from wsl_bench.store.records import Failure, peek_records, read_costs, read_failures
from wsl_bench.store.run_file import read_run

RowName = tuple[str, str, str]  # dataset, method, its parameters


@dataclass(frozen=True)
class RowStatus:
    """Cells of one row by what has become of them."""

    done: int
    failed: int
    running: int
    missing: int


@dataclass(frozen=True)
class RunStatus:
    """A run.

    Attributes:
        rows: by dataset, method and parameters, planned ones first.
        failures: cells that failed and were not done since.
        damaged: records or artefacts that do not verify; the next run sets them aside and computes them again.
        at_work: what each worker holds; "label", "epoch" of "epochs", "seconds" since it took it.
        tried_again: cells that were done after a worker process had died, with the number of attempts.
    """

    rows: dict[RowName, RowStatus]
    failures: tuple[Failure, ...]
    damaged: tuple[str, ...]
    at_work: tuple[dict[str, Any], ...]
    tried_again: dict[str, int]

    def total(self) -> RowStatus:
        """All rows together."""
        return RowStatus(*(sum(getattr(row, name) for row in self.rows.values()) for name in RowStatus.__annotations__))


def run_status(root: Path, *, alive: bool) -> RunStatus:
    """Read where a run stands; nothing in its folder is changed.

    Args:
        alive: whether a process is at work in the folder. If not, what at_work.json names was interrupted.

    Raises:
        UsageError: the folder is not a run.
    """
    run = read_run(root)
    damaged: list[str] = []
    records = peek_records(root, damaged.append)
    done = {_cell(record.content) for record in records}
    failures = [failure for failure in read_failures(root) if _cell(failure.content) not in done]
    failed = {_cell(failure.content) for failure in failures}
    held = read_at_work(root) if alive else []
    running = {(d, m, p, s) for one in held for d, m, p, s in one["cells"]} - done - failed
    planned = {
        (dataset, method, shown, seed)
        for dataset, plan in run["planned"].items()
        for method, shown in plan["methods"]
        for seed in plan["seeds"]
    }
    missing = planned - done - failed - running
    kinds = [Counter(cell[:3] for cell in cells) for cells in (done, failed, running, missing)]
    names = sorted({cell[:3] for cell in planned | done | failed | running})
    costs = read_costs(root)
    again = {r.slug: int(costs[r.slug].get("attempts", 1)) for r in records if r.slug in costs}
    return RunStatus(
        rows={name: RowStatus(*(kind[name] for kind in kinds)) for name in names},
        failures=tuple(failures),
        damaged=tuple(damaged),
        at_work=tuple({**one, "seconds": time.time() - float(one["since"])} for one in held),
        tried_again={slug: n for slug, n in again.items() if n > 1},
    )


def _cell(content: Mapping[str, Any]) -> tuple[str, str, str, int]:
    return content["dataset"], content["method"], content["method_params"], content["seed"]
