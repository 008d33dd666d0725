"""Worker processes: one that dies costs its own job, and none outlives the driver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import environment, run_python, tiny_folder

from wsl_bench.executors.local import run_jobs
from wsl_bench.store.records import read_records

METHODS = '''
import os, signal, time
from pathlib import Path

import torch

from wsl_bench import PostHocMethod, PriorMethod, register_method
from wsl_bench.nets.prior import FixedMap


def die_of_kill():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def fail():
    raise ValueError("this map cannot be made")


def sleep():
    Path(os.environ["PID_FILE"]).write_text(str(os.getpid()))
    time.sleep(300)


class Base(PriorMethod):
    """A prior that does something before it is fitted."""

    act = None

    def fit(self, task, data):
        type(self).act()
        return FixedMap(torch.ones(task.image_size, task.image_size))

    def localize(self, net, images):
        return net.repeat(images)


@register_method("killer")
class Killer(Base):
    """Killed in the middle of its cell."""

    act = die_of_kill


@register_method("failer")
class Failer(Base):
    """Raises an error."""

    act = fail


@register_method("sleeper")
class Sleeper(Base):
    """Sleeps for minutes."""

    act = sleep


@register_method("killing_explainer")
class KillingExplainer(PostHocMethod):
    """Killed in a cell that shares its training with others."""

    def explain(self, net, images):
        die_of_kill()
'''

DRIVER = """
import json, sys
from pathlib import Path
from wsl_bench.executors.local import run_jobs
from wsl_bench.plan import make_plan
from wsl_bench.spec import RunSpec, with_fields

if __name__ == "__main__":
    data, out, methods, workers = sys.argv[1:]
    fields = {"methods": tuple(methods.split(",")), "datasets": (data,), "seeds": (0,),
              "set": {"recipe.epochs": "1", "recipe.image_size": "32", "recipe.width": "0.1"}}
    plan = make_plan(with_fields(RunSpec(), fields), Path(out), device="cpu", precision="fp32")
    jobs = [job for job in plan.jobs if any(cell.method in methods.split(",") for cell in job.cells)]
    events = []
    run_jobs(jobs, int(workers), events.append)
    print(json.dumps(events))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plug-in, a driver and a dataset."""
    place = tmp_path_factory.mktemp("executors")
    (place / "plugins/methods").mkdir(parents=True)
    (place / "plugins/methods/deadly.py").write_text(METHODS)
    (place / "driver.py").write_text(DRIVER)
    tiny_folder(place / "data")
    return place


def _arguments(place: Path, methods: str, workers: int) -> list[str]:
    return [str(place / "driver.py"), str(place / "data"), str(place / "run"), methods, str(workers)]


@pytest.fixture(scope="module")
def events(place: Path) -> list[dict[str, Any]]:
    """What a run reported in which two workers died and one method raised."""
    methods = "killer,center_box,gradcam,killing_explainer,gradcam_encoder,failer,whole_image"
    done = run_python(*_arguments(place, methods, 1), cwd=place, env={"WSLBENCH_PLUGINS": str(place / "plugins")})
    assert done.returncode == 0, done.stderr
    events: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return events


def _by_method(place: Path) -> tuple[set[str], dict[str, str]]:
    records, failures, corrupt = read_records(place / "run")
    assert corrupt == []
    return {r.content["method"] for r in records}, {f.content["method"]: f.content["error"] for f in failures}


def test_a_worker_that_dies_costs_only_the_cells_it_had_not_finished(events: list[dict[str, Any]], place: Path) -> None:
    done, failed = _by_method(place)
    # gradcam came before the fatal cell of the same training, gradcam_encoder after it.
    assert done == {"center_box", "whole_image", "gradcam"}
    assert set(failed) == {"killer", "failer", "killing_explainer", "gradcam_encoder"}


def test_a_failure_says_how_the_worker_died(events: list[dict[str, Any]], place: Path) -> None:
    _, failed = _by_method(place)
    killed = "the worker process died (SIGKILL: out of memory?)"
    assert failed["killer"] == failed["killing_explainer"] == failed["gradcam_encoder"] == killed
    assert "this map cannot be made" in failed["failer"]


def test_every_job_starts_and_ends_once_and_every_cell_is_reported_once(events: list[dict[str, Any]]) -> None:
    started = [event["job"] for event in events if event["event"] == "start"]
    ended = [event["job"] for event in events if event["event"] == "end"]
    assert len(started) == len(set(started))
    assert sorted(started) == sorted(ended)
    cells = [event["slug"] for event in events if event["event"] == "cell"]
    assert len(cells) == len(set(cells)) == 7
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == [1]


def test_no_jobs_need_no_workers() -> None:
    events: list[dict[str, Any]] = []
    run_jobs([], 4, events.append)
    assert events == []


def _children(pid: int) -> set[int]:
    """All processes below one."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[1]) == pid and fields[0] != "Z":
            child = int(path.parent.name)
            found |= {child} | _children(child)
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait(holds: Any, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphaned workers on Linux only")
def test_no_worker_outlives_a_killed_driver(place: Path, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    env = environment({"WSLBENCH_PLUGINS": str(place / "plugins"), "PID_FILE": str(pid_file)})
    command = [sys.executable, *_arguments(place, "sleeper", 1)]
    with (tmp_path / "output").open("w") as output:
        driver = subprocess.Popen(command, cwd=place, env=env, stdout=output, stderr=output)
    try:
        _wait(lambda: driver.poll() is not None or (pid_file.is_file() and pid_file.read_text()))
        assert driver.poll() is None, (tmp_path / "output").read_text()
        below = _children(driver.pid)
        assert int(pid_file.read_text()) in below
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    _wait(lambda: not any(_alive(pid) for pid in below))
