"""Bad plug-ins in one run with good methods: each has one named status, and no number of the others changes."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bad_methods import DEADLY, DISARMED, DONE, FAILING, UNAVAILABLE, WITNESS, write_plugins
from conftest import run_python, tiny_folder
from study_helper import plan_of
from torch import nn

from wsl_bench.cli.run import Workers, finish
from wsl_bench.contained import contained
from wsl_bench.protocol.cell import run_job
from wsl_bench.results import write_results
from wsl_bench.spec import RunSpec, with_fields
from wsl_bench.store.records import read_failures
from wsl_bench.study import open_study
from wsl_bench.training.device import set_up_process

TINY = {"recipe.epochs": "2", "recipe.image_size": "32", "recipe.width": "0.1"}
GOOD = ("gradcam", "featuremask", "featuremask[tau=0.4]", "sanity")
# gradcam explains the network that bad methods explain, in the same job; featuremask is trained on its own.
CHECKED = {"gradcam", "featuremask", "random_weights", "center_box", "mean_box", "healthy_difference", "random_map",
           "whole_image"}  # fmt: skip
SAID = {
    "wrong_shape": "score maps: expected shape (32, h, w), found (32, 1, 32, 32)",
    "raises": "ValueError: first line | second [red] | (raises.py, line ",
    "nan_map": "the score map of image 'case048' is not finite",
    "leaves": "SystemExit: this method leaves (leaves.py, line ",
    "quits": "the worker process died (exit code 3), 3 times",
    "segfaults": "the worker process died (SIGSEGV), 3 times",
    "hangs": "timeout: evaluating took longer than 60 s",
}
SAID_OF_UNAVAILABLE = {
    "bad_syntax": "SyntaxError: ",
    "bad_import": "ModuleNotFoundError: No module named 'a_package_that_is_not_there'",
    "bad_init": "bad_init cannot be made: RuntimeError: no licence found [today]. Correct Bad, or give it other",
}


@dataclass(frozen=True)
class Run:
    """A finished run of the real command.

    Attributes:
        status: by method, "done" or what its failure says, in the order in which the cells ended.
        bits: sha256 of every record and artefact of the methods that are compared, by file name.
        rows: of these in the leaderboard.
        pids: by what told it, in order, the process that it ran in.
    """

    command: subprocess.CompletedProcess[str]
    status: dict[str, str]
    bits: dict[str, str]
    rows: list[dict[str, str]]
    pids: list[tuple[str, int]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset."""
    place = tmp_path_factory.mktemp("bad_plugins")
    tiny_folder(place / "images")
    return place


def run(place: Path, name: str, files: dict[str, str], *extra: str) -> Run:
    """Run the usable ones of these plug-ins, then the good methods, into a folder of that name."""
    env = write_plugins(place / f"plugins of {name}", files) if files else {}
    usable = [method for method in files if method not in {*UNAVAILABLE, *WITNESS, *DISARMED}]
    methods = [*usable, *GOOD, *(WITNESS if "witness" in files else ())]
    settings = [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    command = run_python(
        "-m", "wsl_bench.cli.main", "run", "--methods", ",".join(methods), "--datasets", "images", "--out", name,
        "--seeds", "1", *settings, *extra, cwd=place, env=env,
    )  # fmt: skip
    status = dict(re.findall(r"\[\d+/\d+\] +\d+ s  images / (\w+) / seed 0: (done|failed: .*)", command.stdout))
    files_of = [p for p in (place / name / "records").iterdir() if p.is_file() and p.name.split("--")[1] in CHECKED]
    bits = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files_of}
    with (place / name / "leaderboard.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] in CHECKED]
    told = Path(env["PIDS"]).read_text().split() if env and Path(env["PIDS"]).is_file() else []
    return Run(command, status, bits, rows, list(zip(told[::2], map(int, told[1::2]), strict=True)))


@pytest.fixture(scope="module")
def alone(place: Path) -> Run:
    """The good methods by themselves."""
    found = run(place, "alone", {}, "--jobs", "1")
    assert found.command.returncode == 0, found.command.stderr
    assert len(found.bits) == (len(CHECKED) + 1) * 4
    return found


@pytest.fixture(scope="module")
def beside(place: Path) -> Run:
    """The good methods beside bad ones, all in one process."""
    return run(place, "beside", {**UNAVAILABLE, **FAILING, **DONE, **WITNESS}, "--jobs", "1")


def check_statuses(found: Run, files: dict[str, str]) -> None:
    """One status each, which says what is wrong, and an exit code that says that something is."""
    assert found.command.returncode == 1
    assert "Traceback" not in found.command.stdout + found.command.stderr
    for name in UNAVAILABLE.keys() & files.keys():
        assert f"unavailable: method {name}: {SAID_OF_UNAVAILABLE[name]}" in found.command.stderr
        assert name not in found.status
    for name in (FAILING | DEADLY).keys() & files.keys():
        assert found.status[name].startswith(f"failed: {SAID.get(name, '')}"), (name, found.status[name])
        assert found.command.stderr.count(f"failed: images / {name} / seed 0: {SAID.get(name, '')}") == 1
    done = {name for name, status in found.status.items() if status == "done"}
    assert done == CHECKED | ((DONE | WITNESS).keys() & files.keys())


def test_each_bad_plugin_has_one_named_status(beside: Run) -> None:
    check_statuses(beside, {**UNAVAILABLE, **FAILING, **DONE, **WITNESS})


def test_good_cells_came_after_bad_ones_in_their_process(beside: Run) -> None:
    (driver,) = {pid for _, pid in beside.pids[:1]}  # it imports the plug-ins first
    in_worker = [(name, pid) for name, pid in beside.pids if pid != driver]
    assert {pid for _, pid in in_worker} == {in_worker[0][1]}
    assert in_worker[0][0] == "import"
    assert in_worker[-1][0] == "witness"
    assert {name for name, _ in in_worker} >= {"disturbs", *(name for name in FAILING if name.startswith("spoils"))}
    order = list(beside.status)
    assert order[-1] == "witness"
    assert max(map(order.index, FAILING.keys() | DONE.keys())) < order.index("center_box")
    assert max(map(order.index, FAILING.keys() - {"spoils_in_fit"})) < order.index("gradcam")


def test_no_bit_of_the_others_changes(alone: Run, beside: Run) -> None:
    assert beside.bits == alone.bits
    assert beside.rows == alone.rows


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_those_that_take_the_process_with_them(place: Path, alone: Run, jobs: str) -> None:
    files = {**UNAVAILABLE, **DEADLY, **FAILING, **DONE, **WITNESS}
    found = run(place, f"deadly {jobs}", files, "--jobs", jobs, "--timeout", "60")
    check_statuses(found, files)
    assert found.bits == alone.bits


@pytest.mark.slow
def test_the_comparison_sees_what_is_not_put_back(place: Path, alone: Run) -> None:
    disturbs = {"disturbs": DONE["disturbs"]}
    guarded = run(place, "guarded", disturbs, "--jobs", "1")
    assert guarded.bits == alone.bits
    found = run(place, "disarmed", {**disturbs, **DISARMED}, "--jobs", "1")
    assert found.bits.keys() == alone.bits.keys()  # every cell is done, and wrong
    other = {name.split("--")[1] for name in alone.bits if found.bits[name] != alone.bits[name]}
    assert other == {"gradcam", "featuremask", "random_weights"}


def test_the_comparison_sees_another_parameter(alone: Run) -> None:
    tallies = [sha for name, sha in alone.bits.items() if "--featuremask--" in name and name.endswith(".test.npz")]
    assert len(set(tallies)) == 2  # with tau at 0.5 and at 0.4


SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[], object]]] = {
    "default dtype": (lambda: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
    "default device": (lambda: torch.set_default_device("meta"), lambda: torch.empty(1).device),
    "gradients": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "autocast": (lambda: torch.set_autocast_enabled("cpu", True), lambda: torch.is_autocast_enabled("cpu")),
    "deterministic": (
        lambda: torch.use_deterministic_algorithms(False),
        torch.are_deterministic_algorithms_enabled,
    ),
    "precision": (lambda: torch.set_float32_matmul_precision("medium"), torch.get_float32_matmul_precision),
    "threads": (lambda: torch.set_num_threads(3), torch.get_num_threads),
    "denormals": (lambda: torch.set_flush_denormal(False), lambda: float(torch.tensor(1e-39) * 1)),
    "hooks": (
        lambda: nn.modules.module.register_module_forward_hook(lambda module, given, out: out * 2),
        lambda: nn.Identity()(torch.ones(1)).tolist(),
    ),
    "working directory": (lambda: os.chdir("/"), Path.cwd),
    "numpy's errors": (lambda: np.seterr(all="raise"), np.geterr),
    "warnings": (lambda: warnings.simplefilter("ignore"), lambda: list(warnings.filters)),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_is_put_back(setting: str) -> None:
    change, state = SETTINGS[setting]
    set_up_process(1)
    before = state()
    with contained():
        change()
        assert state() != before
    set_up_process(1)
    assert state() == before


@pytest.mark.parametrize("setting", ["default dtype", "gradients", "hooks"])
def test_a_training_is_spoilt_by_a_setting_that_stays(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    def trained(name: str) -> list[str]:
        plan = plan_of(place / "images", tmp_path / name, methods=("featuremask",))
        (job,) = (job for job in plan.jobs if job.cells[0].method == "featuremask")
        run_job(job, lambda event: None)
        return [hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / name / "records").glob("*.test.npz")]

    clean = trained("clean")
    assert len(clean) == 1
    SETTINGS[setting][0]()
    assert trained("put back") == clean
    SETTINGS[setting][0]()
    with monkeypatch.context() as patch:
        patch.setattr("wsl_bench.protocol.cell.set_up_process", lambda threads: None)
        stayed = trained("stayed")
    set_up_process(1)
    assert stayed != clean


def test_a_failure_that_cannot_be_noted_is_said_and_counts(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fields = {"methods": ("center_box",), "seeds": (0,), "datasets": (str(place / "images"),), "set": TINY}
    plan = open_study(with_fields(RunSpec(), fields), tmp_path)

    def run_study(todo: Any, out: Path, *, on_event: Callable[[dict[str, Any]], None], **how: Any) -> Any:
        job = todo.jobs[0]
        on_event({"event": "start", "job": job.id, "label": job.label()})
        event = {"event": "cell", "status": "failed", "error": "no room (not noted)", "slug": job.cells[0].slug}
        on_event({**event, "job": job.id})
        on_event({"event": "end", "job": job.id})
        return write_results(out)

    monkeypatch.setattr("wsl_bench.study.run_study", run_study)
    assert finish(plan, tmp_path, Workers(jobs=1)) == 1
    assert read_failures(tmp_path) == []
    assert "no room (not noted)" in capfd.readouterr().err
