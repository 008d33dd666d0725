"""A real run, killed again and again: what it ends with is byte for byte what an undisturbed one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import environment, tiny_folder
from processes import alive, children, wait_until

KILLS = 10


def _command(data: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "wsl_bench.cli.main", "run", "--methods", "all", "--datasets", str(data), "--seeds",
            "2", "--thresholds", "val,0.5", "--jobs", "2", "--epochs", "3", "--image-size", "32", "--set",
            "recipe.width=0.1", "--out", str(out)]  # fmt: skip


def _finished(out: Path) -> dict[str, tuple[int, bytes]]:
    """Records by name: when they were written, and what they hold."""
    paths = [path for path in (out / "records").glob("*.json") if not path.name.startswith(".")]
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, and a run on it that nothing disturbed."""
    place = tmp_path_factory.mktemp("killed")
    _finish(tiny_folder(place / "data"), place / "whole")
    return place


def _finish(data: Path, out: Path) -> None:
    done = subprocess.run(_command(data, out), env=environment({}), stdout=subprocess.DEVNULL, timeout=900)
    assert done.returncode == 0


def _check_same(killed: Path, whole: Path) -> None:
    for name in ("leaderboard.csv", "leaderboard.md", "cells.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert not list((killed / "records").glob("*.corrupt"))
    assert not list(killed.rglob(".tmp-*"))
    assert not list(killed.glob("trainings/*/unfinished-*"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="kills a process group")
def test_ten_kills_end_in_the_same_tables(place: Path, tmp_path: Path) -> None:
    data, killed = place / "data", tmp_path / "killed"
    rng, landed, kept = np.random.default_rng(0), 0, {}
    while landed < KILLS:
        process = subprocess.Popen(
            _command(data, killed), env=environment({}), stdout=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(float(rng.uniform(3, 14)))
        os.killpg(process.pid, signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            break  # it was quicker than the kills
        landed += 1
        now = _finished(killed)
        assert {name: now.get(name) for name in kept} == kept  # nothing finished is lost or computed again
        kept = now
    _finish(data, killed)
    assert landed >= 3
    now = _finished(killed)
    assert {name: now[name] for name in kept} == kept
    _check_same(killed, place / "whole")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_driver_stopped_five_times_leaves_no_worker_and_ends_in_the_same_tables(
    place: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    data, killed = place / "data", tmp_path / "killed"
    rng, landed, with_workers = np.random.default_rng(sent), 0, 0
    while landed < 5:
        process = subprocess.Popen(_command(data, killed), env=environment({}), stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)  # fmt: skip
        time.sleep(float(rng.uniform(4, 10)))
        below = children(process.pid)
        process.send_signal(sent)
        said = process.communicate(timeout=60)[0]
        if process.returncode != code:
            assert process.returncode == 0, said  # it was quicker
            break
        assert "Traceback" not in said
        landed += 1
        with_workers += len(below) >= 2
        wait_until(lambda below=below: not any(map(alive, below)), 5)  # none outlives its driver by 5 seconds
    assert landed >= 3
    assert with_workers >= 1
    _finish(data, killed)
    _check_same(killed, place / "whole")
