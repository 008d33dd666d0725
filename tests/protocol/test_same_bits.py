"""One study by four executors, in three orders, cut off at five places: the same records bit for bit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tiny_folder
from study_helper import bits, plan_of

from wsl_bench.executors.local import run_jobs
from wsl_bench.plan import Plan
from wsl_bench.protocol.cell import run_job
from wsl_bench.protocol.job import Job
from wsl_bench.study import Todo, remaining

Events = Callable[[dict[str, Any]], None]
Executor = Callable[[Sequence[Job], Events], None]


def _serial(jobs: Sequence[Job], on_event: Events) -> None:
    for job in jobs:
        run_job(job, on_event)


def _thread(jobs: Sequence[Job], on_event: Events) -> None:
    thread = threading.Thread(target=_serial, args=(jobs, on_event))
    thread.start()
    thread.join()


def _spawned(n: int) -> Executor:
    return lambda jobs, on_event: run_jobs(jobs, n, on_event)


EXECUTORS: dict[str, Executor] = {
    "serial": _serial, "thread": _thread, "one process": _spawned(1), "two processes": _spawned(2),
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("data") / "set")


def _plan(study: Path, out: Path) -> Plan:
    return plan_of(study, out, methods=("infomask", "gradcam", "gradcam_encoder", "center_box"), seeds=(0, 1))


@pytest.fixture(scope="module")
def reference(study: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("reference")
    _serial(_plan(study, out).jobs, lambda event: None)
    found = bits(out)
    assert len(found) == 4 * 2 * 9  # record, val, test and maps of nine methods
    return found


def _shuffled(jobs: Sequence[Job], order: int) -> list[Job]:
    """Jobs, and the cells of each, in an order of their own; 0: as they are."""
    if not order:
        return list(jobs)
    rng = np.random.default_rng(order)
    mixed = [replace(job, cells=tuple(job.cells[i] for i in rng.permutation(len(job.cells)))) for job in jobs]
    return [mixed[i] for i in rng.permutation(len(mixed))]


def test_a_thread_in_another_order_makes_the_same_records(
    study: Path, reference: dict[str, str], tmp_path: Path
) -> None:
    _thread(_shuffled(_plan(study, tmp_path).jobs, 1), lambda event: None)
    assert bits(tmp_path) == reference


@pytest.mark.slow
@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_executor_in_every_order_makes_the_same_records(
    study: Path, reference: dict[str, str], tmp_path: Path, executor: str, order: int
) -> None:
    EXECUTORS[executor](_shuffled(_plan(study, tmp_path).jobs, order), lambda event: None)
    assert bits(tmp_path) == reference


class _CutOff(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 4, 7, 12, 20])
@pytest.mark.parametrize("executor", ["one process", "two processes"])
def test_a_study_cut_off_and_begun_again_makes_the_same_records(
    study: Path, reference: dict[str, str], tmp_path: Path, executor: str, after: int
) -> None:
    seen: list[dict[str, Any]] = []

    def cut(event: dict[str, Any]) -> None:
        if event["event"] in ("epoch", "trained", "cell"):
            seen.append(event)
        if len(seen) == after:
            raise _CutOff

    plan = _plan(study, tmp_path)
    with pytest.raises(_CutOff):  # `run_jobs` kills its workers wherever they are
        EXECUTORS[executor](plan.jobs, cut)
    todo: Todo = remaining(plan, tmp_path, retry_failed=False)
    done = [event["slug"] for event in seen if event["event"] == "cell"]
    again = [cell.slug for job in todo.jobs for cell in job.cells]
    assert not set(done) & set(again)
    EXECUTORS[executor](_shuffled(todo.jobs, 3), lambda event: None)
    assert bits(tmp_path) == reference


def test_another_seed_makes_others(study: Path, reference: dict[str, str], tmp_path: Path) -> None:
    """The control: records do differ where something was different."""
    _serial(plan_of(study, tmp_path, methods=("infomask",), seeds=(0, 2)).jobs, lambda event: None)
    found = {name: sha256 for name, sha256 in bits(tmp_path).items() if "--infomask--" in name}
    same = {name for name, sha256 in found.items() if reference.get(name) == sha256}
    assert len(found) == 8
    assert same == {name for name in found if "--seed0--" in name}
    assert not {found[name] for name in found.keys() - same} & set(reference.values())
