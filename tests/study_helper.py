"""A real tiny study, run in this process: every step of the protocol, nothing replaced."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from wsl_bench import study
from wsl_bench.plan import Plan, make_plan
from wsl_bench.protocol.cell import run_job
from wsl_bench.results import write_results
from wsl_bench.spec import RunSpec, with_fields
from wsl_bench.store.records import Record, read_records

RECIPE = {"recipe.epochs": "3", "recipe.image_size": "32", "recipe.width": "0.1", "recipe.learning_rate": "0.005"}


def plan_of(data: Path, out: Path, **fields: Any) -> Plan:
    """Plan of a study on a dataset directory."""
    settings = {**RECIPE, **fields.pop("set", {})}
    defaults = {"methods": ("infomask", "gradcam", "gradcam_encoder"), "seeds": (0,), "datasets": (str(data),)}
    spec = with_fields(RunSpec(), {**defaults, **fields, "set": settings})
    return make_plan(spec, out, device="cpu", precision="fp32")


def run_plan(plan: Plan, out: Path) -> tuple[dict[tuple[str, int], Record], list[dict[str, Any]]]:
    """Run every job here; records by (method, seed), and the events."""
    events: list[dict[str, Any]] = []
    for job in plan.jobs:
        run_job(job, events.append)
    records = read_records(out)[0]
    return {(r.content["method"], r.content["seed"]): r for r in records}, events


def whole_run(data: Path, out: Path, **fields: Any) -> Plan:
    """A finished run with all of its files, computed in this process."""
    settings = {**RECIPE, **fields.pop("set", {})}
    defaults = {"methods": ("center_box",), "seeds": (0,), "datasets": (str(data),), "device": "cpu"}
    plan = study.open_study(with_fields(RunSpec(), {**defaults, **fields, "set": settings}), out)
    run_plan(plan, out)
    write_results(out)
    return plan


def bits(out: Path) -> dict[str, str]:
    """sha256 of every record and artefact by file name."""
    files = sorted(path for path in (out / "records").iterdir() if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
