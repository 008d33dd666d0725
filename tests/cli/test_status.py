"""`wslbench status`: counts of a run by hand, at work and not, and that it changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import environment, tiny_folder

from wsl_bench.cli import main
from wsl_bench.cli.folder import claimed
from wsl_bench.cli.run import Workers
from wsl_bench.errors import UsageError
from wsl_bench.status import RowStatus, run_status
from wsl_bench.store import run_file
from wsl_bench.store.at_work import NAME
from wsl_bench.store.records import write_cost, write_failure, write_record


def content(method: str, seed: int) -> dict[str, object]:
    return {"dataset": "made_up", "method": method, "method_params": "", "seed": seed}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two methods, four seeds: of `ours` two done, one failed, one missing; of `theirs` one at work."""
    planned = {"made_up": {"selector": "made_up", "seeds": [0, 1, 2, 3], "methods": [["ours", ""], ["theirs", ""]]}}
    parts = {part: {} for part in ("fixed", "settings", "skipped", "duplicates", "split_source")}
    run_file.write_run(tmp_path, {"planned": planned, "thresholds": ["val"], **parts})
    for seed in (0, 1):
        write_record(tmp_path, f"ours-{seed}", content("ours", seed), {"val": {}, "test": {}, "maps": {}})
    write_cost(tmp_path, "ours-1", {"attempts": 3, "seconds": 1.0})
    write_failure(tmp_path, "ours-2", content("ours", 2) | {"error": "it [broke]"})
    held = [{"label": "made_up / theirs", "cells": [["made_up", "theirs", "", 0]], "since": time.time() - 5, "epoch": 2,
             "epochs": 6}]  # fmt: skip
    (tmp_path / NAME).write_text(json.dumps(held))
    return tmp_path


def test_counts_by_hand(run: Path) -> None:
    found = run_status(run, alive=True)
    assert found.rows == {
        ("made_up", "ours", ""): RowStatus(2, 1, 0, 1), ("made_up", "theirs", ""): RowStatus(0, 0, 1, 3),
    }  # fmt: skip
    assert found.total() == RowStatus(2, 1, 1, 4)
    assert found.tried_again == {"ours-1": 3}
    assert 4 < found.at_work[0]["seconds"] < 60
    # Nobody is at work: what was held was interrupted.
    assert run_status(run, alive=False).total() == RowStatus(2, 1, 0, 5)


def test_the_command_tells_and_changes_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "records" / "ours-0.json").write_text("{}")  # damaged: told, and left for the next run
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main._guarded(["status", str(run)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in (
        "failed: made_up / ours / seed 2: it [broke]", "damaged:", "ours-0.json", "done on attempt 3",
        "1 of 8 cells done, 6 missing: the same command continues, 1 failed: --retry-failed tries them again.",
    ):  # fmt: skip
        assert part in said
    with claimed(run):
        assert main._guarded(["status", str(run)]) == 0
        said = " ".join(capsys.readouterr().out.split())
    assert "at work: made_up / theirs, epoch 2 of 6, for" in said
    assert "1 of 8 cells done; a run is at work." in said
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before
    assert main._guarded(["status", str(run / "records")]) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="kills a process group")
def test_a_run_that_is_killed_is_seen_before_and_after(tmp_path: Path) -> None:
    """A real run: at work while it trains, interrupted once it is killed, done after the same command."""
    data, out = tiny_folder(tmp_path / "data"), tmp_path / "run"
    command = [sys.executable, "-m", "wsl_bench.cli.main", "run", "--methods", "infomask", "--datasets", str(data),
               "--seeds", "1", "--epochs", "200", "--image-size", "32", "--set", "recipe.width=0.1", "--jobs", "1",
               "--out", str(out)]  # fmt: skip
    process = subprocess.Popen(command, env=environment({}), stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        end = time.monotonic() + 240
        while not list(out.glob("trainings/*/unfinished-*")):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        assert run_status(out, alive=True).total().running == 1
        assert main._guarded(["status", str(out)]) == 0
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert run_status(out, alive=False).rows["data", "infomask", ""] == RowStatus(0, 0, 0, 1)
    assert subprocess.run(command, env=environment({}), stdout=subprocess.DEVNULL, timeout=600).returncode == 0
    assert run_status(out, alive=False).total().missing == 0
    assert not (out / NAME).exists()
    assert not list(out.glob("trainings/*/unfinished-*"))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (Workers(jobs=0), "--jobs 0: expected at least 1"),
        (Workers(per_gpu=0), "--per-gpu 0"),
        (Workers(timeout=0), "--timeout 0: expected seconds"),
        (Workers(gpus=("0", "x")), "--gpus 0,x: expected numbers"),
    ],
)
def test_numbers_that_make_no_sense(how: Workers, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        how.check()


def test_gpus_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Workers(gpus=("0", "1"), per_gpu=3).on("cuda") == (6, ("0", "1"))
    assert Workers(jobs=2, gpus=("0", "1", "2")).on("cuda") == (2, ("0", "1", "2"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert Workers().on("cuda") == (2, ("4", "7"))
    with pytest.raises(UsageError, match="this run is on the CPU"):
        Workers(gpus=("0",)).on("cpu")
