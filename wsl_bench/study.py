"""A study from spec to leaderboard: what `wslbench run` does, without the terminal."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsl_bench.errors import UsageError
from wsl_bench.executors.local import run_jobs
from wsl_bench.leaderboard.build import Leaderboard, write_leaderboard
from wsl_bench.plan import Plan, make_plan
from wsl_bench.protocol.job import Job
from wsl_bench.report.density import write_densities
from wsl_bench.spec import RunSpec
from wsl_bench.store.atomic import atomic_write
from wsl_bench.store.records import Failure, read_records, set_aside
from wsl_bench.training.device import auto_precision, resolve_device
from wsl_bench.versions import versions

RUN_VERSION = 1


@dataclass(frozen=True)
class Todo:
    """What is left of a plan once finished cells are taken off.

    Attributes:
        jobs: jobs with their unfinished cells.
        n_finished: cells whose records were there already.
        failed_before: failures that are not retried.
        notes: lines to show the user.
    """

    jobs: tuple[Job, ...]
    n_finished: int
    failed_before: tuple[Failure, ...]
    notes: tuple[str, ...]


def open_study(
    spec: RunSpec, out: Path, progress: Callable[[str, int, int], None] = lambda name, done, total: None
) -> Plan:
    """Prepare the data, make the plan and claim the folder for it.

    Raises:
        UsageError: the folder holds a run with another recipe, split, dataset content or protocol.
    """
    device = resolve_device(spec.device)
    plan = make_plan(spec, out, device=device, precision=auto_precision(device), progress=progress)
    before = _read_run(out)
    if before is not None:
        _refuse_differences(before["fixed"], plan.fixed, out)
    fixed = plan.fixed
    if before is not None:
        fixed = {**fixed, "datasets": {**before["fixed"]["datasets"], **fixed["datasets"]}}
    content: dict[str, Any] = {
        "run_version": RUN_VERSION,
        "fixed": fixed,
        "thresholds": list(spec.thresholds),
        "skipped": {d.name: d.prepared.skipped for d in plan.datasets if d.prepared.skipped},
        "split_source": {d.name: d.prepared.manifest.source for d in plan.datasets},
        "versions": versions(),
        "platform": platform.platform(),
    }
    if before is not None:
        content["thresholds"] = list(dict.fromkeys([*before["thresholds"], *spec.thresholds]))
        content["skipped"] = {**before["skipped"], **content["skipped"]}
        content["split_source"] = {**before["split_source"], **content["split_source"]}
    atomic_write(out / "run.json", (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    atomic_write(out / "study.toml", spec.to_toml().encode())
    for dataset in plan.datasets:
        atomic_write(out / "manifests" / f"{dataset.name}.csv", dataset.prepared.manifest.csv().encode())
    return plan


def remaining(plan: Plan, out: Path, *, retry_failed: bool) -> Todo:
    """Take finished cells off the plan; set aside records that no longer verify or fit."""
    records, failures, corrupt = read_records(out)
    notes = [f"set aside: {line}" for line in corrupt]
    stale = _superseded(plan, [(record.slug, record.content) for record in records])
    old_failures = _superseded(plan, [(failure.slug, failure.content) for failure in failures])
    set_aside(out, [*stale, *old_failures], "superseded")
    if stale:
        notes.append(
            f"{len(stale)} records were made by another version of the code or of a plug-in; they are in "
            f"{out / 'records' / 'superseded'} and their cells are computed again."
        )
    done = {record.slug for record in records}
    planned = {cell.slug for cell in plan.cells()}
    failed = () if retry_failed else tuple(f for f in failures if f.slug in planned)
    skip = done | {failure.slug for failure in failed}
    jobs = []
    for job in plan.jobs:
        cells = tuple(cell for cell in job.cells if cell.slug not in skip)
        if cells:
            jobs.append(replace(job, cells=cells))
    return Todo(tuple(jobs), len(done & planned), failed, tuple(notes))


def run_study(todo: Todo, out: Path, *, n_workers: int, on_event: Callable[[dict[str, Any]], None]) -> Leaderboard:
    """Run what is left, then write the leaderboard, with what there is even when interrupted."""
    # The longest jobs first, so that no worker sits idle at the end beside one long training.
    jobs = sorted(todo.jobs, key=lambda job: -job.cost)
    try:
        run_jobs(jobs, n_workers, on_event)
    except BaseException:
        write_results(out)
        raise
    return write_results(out)


def write_results(out: Path) -> Leaderboard:
    """Write the tables and figures of a run, from its records alone."""
    board = write_leaderboard(out)
    write_densities(board.measured, out / "figures")
    return board


def _superseded(plan: Plan, cells: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Slugs of cells that the plan has under another key: made by other source, ours or a plug-in's."""
    planned = {(c.dataset, c.method, c.shown_params, c.seed): c.key for c in plan.cells()}
    stale = []
    for slug, c in cells:
        name = (c["dataset"], c["method"], c["method_params"], c["seed"])
        if planned.get(name, c["key"]) != c["key"]:
            stale.append(slug)
    return stale


def _read_run(out: Path) -> dict[str, Any] | None:
    path = out / "run.json"
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        if content["run_version"] != RUN_VERSION:
            raise KeyError("run_version")
        return content
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"{path}: expected the run.json of a run (version {RUN_VERSION}), found something else. "
            "Choose another --out."
        ) from None


def _refuse_differences(before: dict[str, Any], now: dict[str, Any], out: Path) -> None:
    """A folder holds one protocol, recipe and data; seeds, methods, datasets and thresholds may grow."""
    differing = []
    for part in ("rules", "recipe", "device", "precision", "threads"):
        if before.get(part) != now[part]:
            differing.append(f"{part} ({_difference(before.get(part), now[part])})")
    for name, hashes in now["datasets"].items():
        old = before["datasets"].get(name)
        if old is not None and old != hashes:
            parts = [key for key in hashes if old.get(key) != hashes[key]]
            differing.append(f"dataset {name} ({', '.join(parts)})")
    if differing:
        raise UsageError(
            f"{out} holds a run that differs in {'; '.join(differing)}. Results under another protocol, "
            "recipe or data do not belong in one table: choose another --out."
        )


def _difference(old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        return ", ".join(f"{key}: {old.get(key, 'default')} there, {new.get(key, 'default')} now" for key in keys)
    return f"{old} there, {new} now"
