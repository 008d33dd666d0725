"""A study from spec to leaderboard: what `wslbench run` does, without the terminal."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsl_bench.data.prepared import load_truth, load_weak
from wsl_bench.errors import StoreError, UsageError
from wsl_bench.executors.local import run_jobs
from wsl_bench.leaderboard.build import Leaderboard
from wsl_bench.plan import Plan, made_by_other_code, make_plan
from wsl_bench.protocol.evaluate import display_sample
from wsl_bench.protocol.job import Job
from wsl_bench.results import write_results
from wsl_bench.selection import ChosenDataset, Progress, Say, unheard
from wsl_bench.spec import RunSpec
from wsl_bench.store.at_work import AtWork
from wsl_bench.store.atomic import atomic_write, remove_leftovers
from wsl_bench.store.display import load_display, write_display
from wsl_bench.store.records import Failure, peek_records, read_records, set_aside
from wsl_bench.store.run_file import NAME as RUN_FILE
from wsl_bench.store.run_file import file_name, manifest_file, read_run, write_run
from wsl_bench.training.device import auto_precision, resolve_device
from wsl_bench.versions import changes, made_with, versions

DETAILS = "manifests/details"  # what is known of each image besides: view, sex, age


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
    spec: RunSpec,
    out: Path,
    progress: Progress = unheard,
    say: Say = unheard,
    check: Callable[[Plan], None] = lambda plan: None,
) -> Plan:
    """Prepare the data, make the plan and claim the folder for it.

    Args:
        progress, say: see `selection.choose_dataset`.
        check: called with the plan before anything is written about it; what it raises leaves the folder as it is.

    Raises:
        UsageError: the folder holds a run with another recipe, split, dataset content or protocol.
    """
    device = resolve_device(spec.device)
    plan = make_plan(spec, out, device=device, precision=auto_precision(device), progress=progress, say=say)
    before = read_run(out) if (out / RUN_FILE).is_file() else None
    if before is not None:
        _refuse_differences(before["fixed"], plan.fixed, out)
    check(plan)
    content = _described(spec, plan, before)
    write_run(out, content)
    atomic_write(out / "study.toml", _whole_spec(spec, content).to_toml().encode())
    for dataset in plan.datasets:
        atomic_write(manifest_file(out, dataset.name), dataset.prepared.manifest.csv().encode())
        if details := dataset.prepared.manifest.details_csv():
            atomic_write(out / DETAILS / f"{file_name(dataset.name)}.csv", details.encode())
        _keep_for_display(out, dataset, plan.rules.display_images)
    return plan


def _keep_for_display(out: Path, dataset: ChosenDataset, n: int) -> None:
    """What reports show beside the maps; a folder holds one content of a dataset, so once is enough."""
    try:
        load_display(out, dataset.name)
    except StoreError:  # not there, or damaged
        weak, truth = load_weak(dataset.prepared.folder, "test"), load_truth(dataset.prepared.folder, "test")
        write_display(out, dataset.name, weak, truth, display_sample(weak.image_ids, n))


def remaining(plan: Plan, out: Path, *, retry_failed: bool) -> Todo:
    """Take finished cells off the plan; set aside records that no longer verify or fit."""
    left = remove_leftovers(out)
    records, failures, corrupt = read_records(out)
    notes = [f"{left} files of interrupted writes were removed."] if left else []
    notes += [f"set aside: {line}" for line in corrupt]
    stale = _superseded(plan, [(record.slug, record.content) for record in records])
    old_failures = _superseded(plan, [(failure.slug, failure.content) for failure in failures])
    set_aside(out, [*stale, *old_failures], "superseded")
    if stale:
        notes.append(
            f"{len(stale)} records were made by another version of the code or of a plug-in; they are "
            f"in {out / 'records' / 'superseded'}, and their cells are computed again where this command names them "
            "(maps from files: score them again)."
        )
    if changed := changes([r.content for r in records if r.slug not in stale], made_with(plan.fixed["device"])):
        notes.append(f"finished records stay as they are, though made otherwise: {'; '.join(changed)}.")
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


def lost_by(plan: Plan, out: Path) -> list[str]:
    """Cells in a folder that were made by other code than now, and that the plan would not make again."""
    again = {(c.dataset, c.method, c.shown_params, c.seed) for c in plan.cells()}
    found = {r.slug: r.content for r in peek_records(out) if r.content.get("external") is None}
    names = {slug: (c["dataset"], c["method"], c["method_params"], c["seed"]) for slug, c in found.items()}
    return [slug for slug in _superseded(plan, list(found.items())) if names[slug] not in again]


def run_study(
    todo: Todo,
    out: Path,
    *,
    n_workers: int,
    on_event: Callable[[dict[str, Any]], None],
    timeout: float | None = None,
    gpus: Sequence[str] = (),
) -> Leaderboard:
    """Run what is left, then write the leaderboard, with what there is even when interrupted.

    Args:
        n_workers, timeout, gpus: see `executors.local.run_jobs`.
        on_event: is told what the workers report.
    """
    # The longest jobs first, so that no worker sits idle at the end beside one long training.
    jobs = sorted(todo.jobs, key=lambda job: -job.cost)
    at_work = AtWork(out, jobs)

    def listen(event: dict[str, Any]) -> None:
        at_work.on_event(event)
        on_event(event)

    try:
        run_jobs(jobs, n_workers, listen, timeout=timeout, gpus=gpus)
    except BaseException:
        write_results(out)
        raise
    finally:
        at_work.close()
    return write_results(out)


def _described(spec: RunSpec, plan: Plan, before: dict[str, Any] | None) -> dict[str, Any]:
    """run.json of a folder that holds this plan and what was planned before."""
    prepared = {dataset.name: dataset.prepared for dataset in plan.datasets}
    of_methods = {cell.method for cell in plan.cells()}
    content: dict[str, Any] = {
        "fixed": plan.fixed,
        "planned": {
            dataset.name: {"selector": dataset.selector, "seeds": list(spec.seeds), "methods": plan.rows(dataset.name)}
            for dataset in plan.datasets
        },
        "thresholds": list(spec.thresholds),
        "settings": {k: v for k, v in spec.settings.items() if k.partition(".")[0] not in of_methods},
        "skipped": {name: data.skipped for name, data in prepared.items() if data.skipped},
        "duplicates": {name: data.duplicates for name, data in prepared.items() if data.duplicates},
        "split_source": {name: data.manifest.source for name, data in prepared.items()},
        "remarks": {name: data.remarks for name, data in prepared.items() if data.remarks},
        "versions": versions(),
        "platform": platform.platform(),
    }
    if before is None:
        return content
    content["fixed"] = {**plan.fixed, "datasets": before["fixed"]["datasets"] | plan.fixed["datasets"]}
    content["thresholds"] = list(dict.fromkeys([*before["thresholds"], *spec.thresholds]))
    for part in ("settings", "skipped", "duplicates", "split_source", "remarks"):
        content[part] = before.get(part, {}) | content[part]
    for name, planned in before["planned"].items():
        now = content["planned"].setdefault(name, planned)
        now["seeds"] = sorted({*planned["seeds"], *now["seeds"]})
        now["methods"] = sorted({*map(tuple, planned["methods"]), *map(tuple, now["methods"])})
    return content


def _whole_spec(spec: RunSpec, content: dict[str, Any]) -> RunSpec:
    """One spec that makes everything the folder was ever asked for, from any working directory."""
    planned = content["planned"].values()
    rows = dict.fromkeys((name, shown) for dataset in planned for name, shown in dataset["methods"])
    return replace(
        spec,
        methods=tuple(f"{name}[{shown}]" if shown else name for name, shown in rows),
        datasets=tuple(dataset["selector"] for dataset in planned),
        seeds=tuple(sorted({seed for dataset in planned for seed in dataset["seeds"]})),
        thresholds=tuple(content["thresholds"]),
        settings=content["settings"],
    )


def _superseded(plan: Plan, cells: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Slugs of cells made by other code than now, planned or not: a table mixes no versions of the code."""
    planned = {(c.dataset, c.method, c.shown_params, c.seed): c.key for c in plan.cells()}
    stale = []
    for slug, c in cells:
        name = (c["dataset"], c["method"], c["method_params"], c["seed"])
        if planned.get(name, c["key"]) != c["key"] or made_by_other_code(c["key_parts"]):
            stale.append(slug)
    return stale


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
