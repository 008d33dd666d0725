"""The same study gives the same bits, whatever the order, the worker or an interruption."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import tiny_folder
from study_helper import plan_of, run_plan

from wsl_bench.leaderboard.build import render
from wsl_bench.protocol.cell import run_job
from wsl_bench.spec import RunSpec, with_fields
from wsl_bench.study import open_study, remaining


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("data") / "set")


def bits(out: Path) -> dict[str, str]:
    """sha256 of every record and artefact by file name."""
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((out / "records").iterdir()) if p.is_file()
    }


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

    first = run()
    assert "featuremask 0" in first
    assert len(first) == 7
    assert run() == []
    assert run(seeds=(0, 1)) == [name.replace(" 0", " 1") for name in first]
    assert run(seeds=(0, 1), methods=("featuremask", "regl1")) == ["regl1 0", "regl1 1"]
    assert run(thresholds=("val", "0.5"), methods=("featuremask",)) == []
    text = render(tmp_path, "csv")
    assert {line.split(",")[3] for line in text.splitlines()[1:]} == {"val", "0.5"}


def test_an_unfinished_job_continues_with_the_training_that_is_there(study: Path, tmp_path: Path) -> None:
    plan = plan_of(study, tmp_path / "whole", methods=("gradcam", "gradcam_encoder"))
    run_plan(plan, tmp_path / "whole")
    part = plan_of(study, tmp_path / "part", methods=("gradcam",))
    run_plan(part, tmp_path / "part")
    rest = plan_of(study, tmp_path / "part", methods=("gradcam_encoder",))
    _, events = run_plan(rest, tmp_path / "part")
    assert not [e for e in events if e["event"] == "epoch" and "baseline / " in e["label"] and e["epoch"] > 0]
    assert bits(tmp_path / "whole") == bits(tmp_path / "part")
