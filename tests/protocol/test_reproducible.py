"""The same study gives the same bits, whatever the order, the worker or an interruption."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny_folder
from rich.console import Console
from study_helper import bits, plan_of, run_plan

from wsl_bench.cli.progress import Running
from wsl_bench.leaderboard.build import build_leaderboard, render
from wsl_bench.protocol.cell import run_job
from wsl_bench.protocol.job import Job
from wsl_bench.spec import RunSpec, read_study, with_fields
from wsl_bench.study import open_study, remaining, run_study
from wsl_bench.versions import versions


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("data") / "set")


def test_order_of_jobs_and_cells_changes_nothing(study: Path, tmp_path: Path) -> None:
    plan = plan_of(study, tmp_path / "a", seeds=(0, 1))
    run_plan(plan, tmp_path / "a")
    shuffled = plan_of(study, tmp_path / "b", seeds=(1, 0))
    jobs = tuple(replace(job, cells=job.cells[::-1]) for job in shuffled.jobs[::-1])
    run_plan(replace(shuffled, jobs=jobs), tmp_path / "b")
    assert bits(tmp_path / "a") == bits(tmp_path / "b")
    assert len(bits(tmp_path / "a")) == 2 * 9 * 4


def test_another_seed_is_another_training(study: Path, tmp_path: Path) -> None:
    records, _ = run_plan(plan_of(study, tmp_path, seeds=(0, 1), methods=("featuremask",)), tmp_path)
    assert records["featuremask", 0].content["checkpoint"] != records["featuremask", 1].content["checkpoint"]
    assert records["center_box", 0].content["operating_point"] == records["center_box", 1].content["operating_point"]


def spec_of(study: Path, **fields: object) -> RunSpec:
    base = {"methods": ("featuremask",), "seeds": (0,), "datasets": (str(study),), "device": "cpu"}
    settings = {"recipe.epochs": "2", "recipe.image_size": "32", "recipe.width": "0.1"}
    return with_fields(RunSpec(), {**base, "set": settings, **fields})


def test_finished_cells_are_not_computed_again_and_runs_extend(study: Path, tmp_path: Path) -> None:
    def run(**fields: object) -> list[str]:
        plan = open_study(spec_of(study, **fields), tmp_path)
        todo = remaining(plan, tmp_path, retry_failed=False)
        for job in todo.jobs:
            run_job(job, lambda event: None)
        return sorted(f"{c.method} {c.seed}" for job in todo.jobs for c in job.cells)

    first = run(thresholds=("0.3",))
    assert "featuremask 0" in first
    assert len(first) == 7
    assert run() == []
    assert run(seeds=(0, 1)) == [name.replace(" 0", " 1") for name in first]
    assert run(seeds=(0, 1), methods=("featuremask", "regl1")) == ["regl1 0", "regl1 1"]
    assert run(thresholds=("val", "0.5"), methods=("featuremask",)) == []
    text = render(build_leaderboard(tmp_path), "csv")
    assert {line.split(",")[3] for line in text.splitlines()[1:]} == {"val", "0.3", "0.5"}


def test_an_unfinished_job_continues_with_the_training_that_is_there(study: Path, tmp_path: Path) -> None:
    plan = plan_of(study, tmp_path / "whole", methods=("gradcam", "gradcam_encoder"))
    run_plan(plan, tmp_path / "whole")
    part = plan_of(study, tmp_path / "part", methods=("gradcam",))
    run_plan(part, tmp_path / "part")
    rest = plan_of(study, tmp_path / "part", methods=("gradcam_encoder",))
    _, events = run_plan(rest, tmp_path / "part")
    assert not [e for e in events if e["event"] == "epoch" and "baseline / " in e["label"] and e["epoch"] > 0]
    assert bits(tmp_path / "whole") == bits(tmp_path / "part")


def test_study_toml_makes_all_that_the_folder_was_asked_for_from_anywhere(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.parent)
    out = tmp_path / "run"
    open_study(spec_of(Path(study.name), thresholds=("0.3",)), out)
    more = {"recipe.epochs": "2", "recipe.image_size": "32", "recipe.width": "0.1", "regl1.weight": "0.5"}
    open_study(spec_of(Path(study.name), methods=("regl1",), seeds=(0, 4), set=more), out)
    monkeypatch.chdir(tmp_path)
    again = with_fields(RunSpec(), read_study(out / "study.toml"))
    plan = open_study(again, out)
    cells = {(cell.method, cell.shown_params, cell.seed) for cell in plan.cells()}
    assert {("featuremask", "", 0), ("regl1", "weight=0.5", 4), ("mean_box", "", 0)} <= cells
    assert ("regl1", "", 0) not in cells
    assert again.thresholds == ("0.3", "val")


def test_a_row_that_was_planned_and_has_not_finished_is_incomplete(study: Path, tmp_path: Path) -> None:
    plan = open_study(spec_of(study, seeds=(0, 1)), tmp_path)
    for job in plan.jobs:
        if job.seed == 0 and job.trained_by is None:
            run_job(job, lambda event: None)
    rows = {row["method"]: row for row in build_leaderboard(tmp_path).rows}
    assert (rows["featuremask"]["status"], rows["featuremask"]["n_seeds"]) == ("incomplete", 0)
    assert (rows["center_box"]["status"], rows["center_box"]["n_seeds"]) == ("sanity", 1)


def test_records_of_other_code_leave_the_table_planned_or_not(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    priors = {"methods": ("center_box",), "seeds": (0,)}
    for job in open_study(spec_of(study, **priors), tmp_path).jobs:
        if job.trained_by is None:
            run_job(job, lambda event: None)
    assert remaining(open_study(spec_of(study, **priors), tmp_path), tmp_path, retry_failed=False).n_finished == 5
    monkeypatch.setattr("wsl_bench.plan.source_sha256", lambda *parts: "other source")
    todo = remaining(open_study(spec_of(study, **priors, datasets=("phantom[n_train=8,n_val=60,n_test=8]",)),
                                tmp_path), tmp_path, retry_failed=False)  # fmt: skip
    assert todo.n_finished == 0
    assert "5 records were made by another version" in todo.notes[0]
    assert list((tmp_path / "records").glob("*.json")) == []
    assert len(list((tmp_path / "records" / "superseded").glob("*.json"))) == 5


def test_records_of_other_libraries_stay_and_are_told(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(study, methods=("center_box",))

    def jobs_of(name: str) -> tuple[Job, ...]:
        found = remaining(open_study(spec, tmp_path), tmp_path, retry_failed=False).jobs
        return tuple(job for job in found if job.trained_by is None and job.cells[0].method == name)

    for job in jobs_of("center_box"):
        run_job(job, lambda event: None)
    assert not [note for note in build_leaderboard(tmp_path).notes if "the same" in note]
    other = {**versions(), "torch": "99.0"}
    monkeypatch.setattr("wsl_bench.versions.versions", lambda: other)
    todo = remaining(open_study(spec, tmp_path), tmp_path, retry_failed=False)
    assert todo.n_finished == 1
    [note] = todo.notes
    assert f"torch {versions()['torch']}, now 99.0 (1 records)" in note
    for job in jobs_of("mean_box"):
        run_job(job, lambda event: None)
    notes = [note for note in build_leaderboard(tmp_path).notes if "Not all records were made with the same" in note]
    assert notes == [f"Not all records were made with the same: torch {versions()['torch']} (1), 99.0 (1)."]


def test_datasets_that_share_a_training_train_it_once(study: Path, tmp_path: Path) -> None:
    """Another test split is another dataset, and the same training."""
    other = tmp_path / "other"
    shutil.copytree(study, other)
    with (other / "boxes.csv").open() as file:
        lines = file.read().splitlines()
    (other / "boxes.csv").write_text("\n".join([*lines[:-1], lines[-1].rpartition(",")[0] + ",3"]) + "\n")
    spec = spec_of(study, datasets=(str(study), str(other)))
    plan = open_study(spec, tmp_path / "run")
    assert len({job.training_key for job in plan.jobs if job.trained_by}) == 2  # featuremask, untrained_baseline
    assert len({job.id for job in plan.jobs}) == len(plan.jobs)
    todo, events = remaining(plan, tmp_path / "run", retry_failed=False), list[dict[str, Any]]()
    with Running(Console(file=io.StringIO()), todo, 2) as running:
        run_study(todo, tmp_path / "run", n_workers=2, on_event=lambda e: (events.append(e), running.on_event(e)))
    assert [e["epoch"] for e in events if e["event"] == "epoch" and "featuremask" in e["label"]] == [1, 2]
    assert [e for e in events if e.get("status") == "failed"] == []
    assert sum(e["event"] == "cell" for e in events) == 14


def test_a_job_whose_data_is_gone_fails_and_the_worker_goes_on(study: Path, tmp_path: Path) -> None:
    plan = plan_of(study, tmp_path, methods=("whole_image",))
    job = plan.jobs[0]
    events: list[dict[str, Any]] = []
    run_job(replace(job, folder=str(tmp_path / "gone")), events.append)
    assert [(e["event"], e["status"]) for e in events] == [("cell", "failed")]
    assert "gone" in events[0]["error"]
