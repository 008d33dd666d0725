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

KILLS = 10


def _command(data: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "wsl_bench.cli.main", "run", "--methods", "all", "--datasets", str(data), "--seeds",
            "2", "--thresholds", "val,0.5", "--jobs", "2", "--epochs", "3", "--image-size", "32", "--set",
            "recipe.width=0.1", "--out", str(out)]  # fmt: skip


def _finished(out: Path) -> dict[str, tuple[int, bytes]]:
    """Records by name: when they were written, and what they hold."""
    paths = [path for path in (out / "records").glob("*.json") if not path.name.startswith(".")]
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="kills a process group")
def test_ten_kills_end_in_the_same_tables(tmp_path: Path) -> None:
    data = tiny_folder(tmp_path / "data")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = subprocess.run(_command(data, whole), env=environment({}), stdout=subprocess.DEVNULL, timeout=900)
    assert done.returncode == 0
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
    rest = subprocess.run(_command(data, killed), env=environment({}), stdout=subprocess.DEVNULL, timeout=900)
    assert rest.returncode == 0
    assert landed >= 3
    now = _finished(killed)
    assert {name: now[name] for name in kept} == kept
    for name in ("leaderboard.csv", "leaderboard.md", "cells.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert not list((killed / "records").glob("*.corrupt"))
    assert not list(killed.rglob(".tmp-*"))
    assert not list(killed.glob("trainings/*/unfinished-*"))
