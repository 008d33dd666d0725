"""Worker processes: one that dies costs its own job, and none outlives the driver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import environment, run_python, tiny_folder
from processes import alive, descendants, wait_until

from wsl_bench.executors.local import run_jobs
from wsl_bench.store.records import read_costs, read_records

METHODS = '''
import os, signal, time
from pathlib import Path

import torch

from wsl_bench import PostHocMethod, PriorMethod, register_method
from wsl_bench.nets.cam import gradcam
from wsl_bench.nets.prior import FixedMap
from wsl_bench.nets.registered.baseline import BaselineNetwork
from wsl_bench.registry import register_network


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


def die_some_times():
    """Killed as often as the file has characters."""
    left = Path(os.environ["DEATHS_FILE"])
    if text := left.read_text():
        left.write_text(text[1:])
        die_of_kill()


@register_method("unlucky")
class Unlucky(Base):
    """Killed on its first attempts."""

    act = die_some_times


@register_method("teller")
class Teller(Base):
    """Tells which GPUs it may see."""

    act = lambda: Path(os.environ["PID_FILE"]).write_text(os.environ["CUDA_VISIBLE_DEVICES"])


@register_network("mortal")
class Mortal(BaselineNetwork):
    """Killed in the middle of its training."""

    def loss(self, net, batch, progress):
        if progress >= 0.6:
            die_some_times()
        return super().loss(net, batch, progress)


@register_method("mortal_cam")
class MortalCam(PostHocMethod):
    """Explains a network that was killed in the middle of its training."""

    trained_as = "mortal"

    def explain(self, net, images):
        return gradcam(net, net.encoder[-1], images)


@register_method("killing_explainer")
class KillingExplainer(PostHocMethod):
    """Killed in a cell that shares its training with others."""

    def explain(self, net, images):
        die_of_kill()
'''

DRIVER = """
import json, os, sys
from pathlib import Path
from wsl_bench.executors.local import run_jobs
from wsl_bench.plan import make_plan
from wsl_bench.spec import RunSpec, with_fields

if __name__ == "__main__":
    data, out, methods, workers = sys.argv[1:]
    fields = {"methods": tuple(methods.split(",")), "datasets": (data,), "seeds": (0,),
              "set": {"recipe.epochs": os.environ.get("EPOCHS", "1"), "recipe.image_size": "32", "recipe.width": "0.1"}}
    plan = make_plan(with_fields(RunSpec(), fields), Path(out), device="cpu", precision="fp32")
    jobs = [job for job in plan.jobs if any(cell.method in methods.split(",") for cell in job.cells)]
    events = []
    limit = float(os.environ["TIMEOUT"]) if "TIMEOUT" in os.environ else None
    run_jobs(jobs, int(workers), events.append, timeout=limit, gpus=os.environ.get("GPUS", "").split())
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


def test_a_worker_that_dies_costs_only_the_cell_that_kills_it(events: list[dict[str, Any]], place: Path) -> None:
    done, failed = _by_method(place)
    # gradcam came before the fatal cell of the same training, gradcam_encoder after it.
    assert done == {"center_box", "whole_image", "gradcam", "gradcam_encoder"}
    assert set(failed) == {"killer", "failer", "killing_explainer"}


def test_a_failure_says_how_the_worker_died(events: list[dict[str, Any]], place: Path) -> None:
    _, failed = _by_method(place)
    killed = "the worker process died (SIGKILL: out of memory?), 3 times"
    assert failed["killer"] == failed["killing_explainer"] == killed
    assert "this map cannot be made" in failed["failer"]


def test_every_start_has_its_end_and_every_cell_is_reported_once(events: list[dict[str, Any]]) -> None:
    started = [event["job"] for event in events if event["event"] == "start"]
    ended = [event["job"] for event in events if event["event"] == "end"]
    assert sorted(started) == sorted(ended)
    # Two cells die on every attempt: each is tried three times, nothing else more than it must.
    assert [event["attempt"] for event in events if event["event"] == "died"] == [1, 2, 1, 2]
    assert len(started) - len(set(started)) == 2 + 2 + 1  # and once more for the cell after the fatal one
    cells = [event["slug"] for event in events if event["event"] == "cell"]
    assert len(cells) == len(set(cells)) == 7
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == [1]


def _drive(place: Path, out: Path, methods: str, **env: str) -> list[dict[str, Any]]:
    arguments = [str(place / "driver.py"), str(place / "data"), str(out), methods, "1"]
    done = run_python(*arguments, cwd=place, env={"WSLBENCH_PLUGINS": str(place / "plugins"), **env})
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("deaths", [1, 2, 3])
def test_what_died_is_tried_three_times(place: Path, tmp_path: Path, deaths: int) -> None:
    left = tmp_path / "deaths"
    left.write_text("x" * deaths)
    _drive(place, tmp_path / "run", "unlucky,center_box", DEATHS_FILE=str(left))
    records, failures, _ = read_records(tmp_path / "run")
    costs = {name.split("--")[1]: cost for name, cost in read_costs(tmp_path / "run").items()}
    assert left.read_text() == ""
    assert costs["center_box"]["attempts"] == 1
    if deaths < 3:
        assert {r.content["method"] for r in records} == {"unlucky", "center_box"}
        assert costs["unlucky"]["attempts"] == deaths + 1
    else:
        assert [f.content["method"] for f in failures] == ["unlucky"]
        assert {r.content["method"] for r in records} == {"center_box"}


def test_a_training_that_died_goes_on_and_ends_the_same(place: Path, tmp_path: Path) -> None:
    left, records = tmp_path / "deaths", {}
    for name, deaths in (("whole", ""), ("died", "xx")):
        left.write_text(deaths)
        events = _drive(place, tmp_path / name, "mortal_cam", DEATHS_FILE=str(left), EPOCHS="5")
        epochs = [event["epoch"] for event in events if event["event"] == "epoch"]
        assert epochs == [1, 2, 3, 4, 5]  # after each death it went on with the fourth, not from the start
        (records[name],) = read_records(tmp_path / name)[0]
    assert len([event for event in events if event["event"] == "died"]) == 2
    whole, died = (records[name].content for name in ("whole", "died"))
    assert whole == died  # the sha256 of weights, tallies and maps among it


def test_a_cell_that_takes_too_long_is_ended(place: Path, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    events = _drive(place, tmp_path / "run", "sleeper,center_box,gradcam", PID_FILE=str(pid_file), TIMEOUT="25")
    records, failures, _ = read_records(tmp_path / "run")
    assert {r.content["method"] for r in records} == {"center_box", "gradcam"}
    assert [f.content["error"] for f in failures] == ["timeout: evaluating took longer than 25 s"]
    assert not [event for event in events if event["event"] == "died"]  # it is not tried again
    assert not alive(int(pid_file.read_text()))


def test_a_worker_sees_its_own_gpu(place: Path, tmp_path: Path) -> None:
    told = tmp_path / "gpus"
    _drive(place, tmp_path / "run", "teller", PID_FILE=str(told), GPUS="3 5")
    assert told.read_text() == "3"


def test_no_jobs_need_no_workers() -> None:
    events: list[dict[str, Any]] = []
    run_jobs([], 4, events.append)
    assert events == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphaned workers on Linux only")
def test_no_worker_outlives_a_killed_driver(place: Path, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    env = environment({"WSLBENCH_PLUGINS": str(place / "plugins"), "PID_FILE": str(pid_file)})
    command = [sys.executable, *_arguments(place, "sleeper", 1)]
    with (tmp_path / "output").open("w") as output:
        driver = subprocess.Popen(command, cwd=place, env=env, stdout=output, stderr=output)
    try:
        wait_until(lambda: driver.poll() is not None or (pid_file.is_file() and pid_file.read_text()))
        assert driver.poll() is None, (tmp_path / "output").read_text()
        below = descendants(driver.pid)
        assert int(pid_file.read_text()) in below
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    wait_until(lambda: not any(alive(pid) for pid in below))
