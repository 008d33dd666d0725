"""The real command on a tiny dataset, as a user types it: workers, files, exit codes, errors."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import environment, run_python, tiny_folder

TINY = ("--epochs", "2", "--image-size", "32", "--set", "recipe.width=0.1", "--set", "recipe.learning_rate=0.005")


def wslbench(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return run_python("-m", "wsl_bench.cli.main", *arguments, cwd=cwd, env=env)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and a finished run of two seeds on it."""
    place = tmp_path_factory.mktemp("place")
    tiny_folder(place / "images")
    done = wslbench(
        "run", "--methods", "infomask,gradcam,chexcam", "--datasets", "images", "--seeds", "2", "--thresholds",
        "val,0.5", "--jobs", "2", *TINY, cwd=place,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (place / "foreign").mkdir()
    (place / "foreign" / "run.json").write_text('{"run_version": 2, "fixed": []}')
    return place


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_writes_what_it_promises(place: Path) -> None:
    out = place / "runs" / "images"
    board, cells, costs = (rows(out / f"{name}.csv") for name in ("leaderboard", "cells", "costs"))
    methods = {row["method"] for row in board}
    assert {"infomask", "gradcam", "chexcam"} < methods
    assert {"center_box", "mean_box", "healthy_difference", "random_map", "whole_image", "random_weights"} < methods
    assert len(board) == 9 * 2
    assert len(cells) == 9 * 2 * 2
    assert len(costs) == 9 * 2
    assert all(float(c["evaluate_seconds"]) > 0 and float(c["evaluate_peak_memory_mib"]) > 50 for c in costs)
    for cost in costs:
        trained = cost["method"] in ("infomask", "gradcam", "chexcam", "random_weights")
        assert bool(cost["training"]) == bool(cost["train_seconds"]) == trained
    assert {row["status"] for row in board if row["method"].endswith("_box")} == {"sanity"}
    assert all(row["rank_low"] == "" for row in board)
    for metric in ("iop", "fpr", "fnr"):
        assert (out / "figures" / f"density_{metric}.png").stat().st_size > 5000
    run = json.loads((out / "run.json").read_text())
    assert run["fixed"]["datasets"]["images"]["image_size"] == 32
    assert "torch" in run["versions"]
    assert (out / "manifests" / "images.csv").read_text().startswith("image_id,group,label,located,split\n")
    assert "| infomask |" in (out / "leaderboard.md").read_text()


def test_the_same_command_again_computes_nothing_and_changes_nothing(place: Path) -> None:
    out = place / "runs" / "images"
    before = {p: p.stat().st_mtime_ns for p in (out / "records").iterdir()}
    table = (out / "leaderboard.csv").read_bytes()
    again = wslbench("run", "--config", "runs/images/study.toml", cwd=place)
    assert again.returncode == 0, again.stderr
    assert "18 finished before" in again.stdout
    assert "done (" not in again.stdout
    assert "18 cells, 18 finished before" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in (out / "records").iterdir()} == before
    assert (out / "leaderboard.csv").read_bytes() == table


def test_leaderboard_comes_from_the_records_alone(place: Path, tmp_path: Path) -> None:
    out = place / "runs" / "images"
    expected = {name: (out / name).read_text() for name in ("leaderboard.csv", "leaderboard.md")}
    made = wslbench("leaderboard", str(out), "--format", "csv", cwd=tmp_path)
    assert made.stdout == expected["leaderboard.csv"]
    derived = ["leaderboard.csv", "cells.csv", "costs.csv", "figures/density_fnr.png"]
    before = [(out / name).read_bytes() for name in derived]
    for name in derived:
        (out / name).unlink()
    wslbench("leaderboard", str(out), "--format", "markdown", "--output", "x.md", cwd=tmp_path)
    assert [(out / name).read_bytes() for name in derived] == before
    assert (tmp_path / "x.md").read_text() == expected["leaderboard.md"]
    table = wslbench("leaderboard", str(out), cwd=tmp_path, env={"COLUMNS": "80"})
    assert "infomask" in table.stdout
    assert max(map(len, table.stdout.splitlines())) <= 80
    assert "Traceback" not in table.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--methods", "infomsk"), "Did you mean 'infomask'"),
        (("run", "--methods", "infomask[alfa=1]"), "Did you mean 'alpha'"),
        (("run", "--set", "infomask.alpha=high", "--datasets", "images"), "expected float, found 'high'"),
        (("run", "--set", "gradcm.layer=last"), "takes no part in this run"),
        (("run", "--datasets", "no/such"), "no such directory"),
        (("run", "--datasets", "images", "--epochs", "3", "--image-size", "32"), "differs in recipe"),
        (("run", "--thresholds", "0.1234"), "multiple of 0.001"),
        (("run", "--seeds", "many"), "expected a count"),
        (("run", "--config", "none.toml"), "cannot be read"),
        (("run", "--jobs", "0"), "at least 1"),
        (("run", "--min-val-located", "0"), "expected at least 1"),
        (("run", "--methods", "papr"), "Did you mean 'paper'"),
        (("run", "--set", "infomask.tau=1"), "expected a number above 0, below 1, found 1.0"),
        (("run", "--set", "chexcam.weights=no.pth"), "expected a file, found none at no.pth"),
        (("leaderboard", "foreign"), "expected the run.json of a run (version 2), found something else"),
        (("leaderboard", "runs/images", "--format", "csv", "--output", "images"), "expected a file, found a folder"),
        (("leaderboard", "runs/images", "--format", "csv", "--output", "images/labels.csv/x"), "labels.csv"),
        (("run", "--device", "tpu"), "expected auto, cpu or cuda"),
        (("leaderboard", "images"), "expected the folder of a run"),
        (("run", "--out", "images"), "expected a new or empty folder"),
        (("methods", "gradcamm"), "Did you mean 'gradcam'"),
        (("frobnicate",), "No such command"),
    ],
)
def test_usage_errors_say_what_to_do_and_exit_with_2(place: Path, arguments: tuple[str, ...], message: str) -> None:
    result = wslbench(*arguments, cwd=place)
    assert result.returncode == 2, result.stdout + result.stderr
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr + result.stdout


BROKEN = '''
from wsl_bench import PostHocMethod, register_method
@register_method("explodes")
class Explodes(PostHocMethod):
    """Raises."""
    def explain(self, net, images):
        raise RuntimeError("no map today [red]")
'''


def test_a_cell_that_fails_is_named_and_the_others_are_done(place: Path, tmp_path: Path) -> None:
    (tmp_path / "plugins" / "methods").mkdir(parents=True)
    (tmp_path / "plugins" / "methods" / "explodes.py").write_text(BROKEN)
    (tmp_path / "plugins" / "methods" / "unfinished.py").write_text("def f(:\n")
    env = {"WSLBENCH_PLUGINS": str(tmp_path / "plugins")}
    command = ("run", "--methods", "explodes,gradcam", "--datasets", str(place / "images"), "--seeds", "1", *TINY)
    result = wslbench(*command, cwd=tmp_path, env=env)
    assert result.returncode == 1
    assert "explodes / seed 0: RuntimeError: no map today [red] (explodes.py, line 7)" in result.stderr
    assert "unavailable: method unfinished: SyntaxError" in result.stderr
    board = {row["method"]: row for row in rows(tmp_path / "runs" / "images" / "leaderboard.csv")}
    assert (board["explodes"]["status"], board["explodes"]["iou"]) == ("failed", "")
    assert board["gradcam"]["iou"] != ""
    again = wslbench(*command, cwd=tmp_path, env=env)
    assert again.returncode == 1
    assert "done (" not in again.stdout  # neither the finished cells nor, unasked, the failed one
    fixed = BROKEN.replace(
        'raise RuntimeError("no map today [red]")', "return net(images).softmax(1)[:, 1], images[:, 0].abs()"
    )
    (tmp_path / "plugins" / "methods" / "explodes.py").write_text(fixed)
    mended = wslbench(*command, cwd=tmp_path, env=env)
    assert mended.returncode == 0, mended.stderr  # another source is another cell


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_continues_to_the_same_table(
    place: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [
        sys.executable, "-m", "wsl_bench.cli.main", "run", "--methods", "infomask,gradcam,chexcam", "--datasets",
        str(place / "images"), "--seeds", "2", "--thresholds", "val,0.5", "--jobs", "2", *TINY,
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell's background jobs ignore Ctrl-C and hand that down; a user's foreground command does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    records = tmp_path / "runs" / "images" / "records"
    deadline = time.monotonic() + 900
    while len(list(records.glob("*.json"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()
    os.kill(process.pid, number)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == code
    assert "the same command continues" in stderr
    assert "Traceback" not in stderr
    finished = len(list(records.glob("*.json")))
    assert 2 <= finished < 18
    rest = wslbench(*command[3:], cwd=tmp_path)
    assert rest.returncode == 0, rest.stderr
    assert f"{finished} finished before" in rest.stdout
    for name in ("leaderboard.csv", "leaderboard.md", "cells.csv"):
        assert (tmp_path / "runs" / "images" / name).read_bytes() == (place / "runs" / "images" / name).read_bytes()


@pytest.mark.parametrize("arguments", [("--debug", "methods", "gradcamm"), ("methods", "gradcamm", "--debug")])
def test_debug_shows_the_traceback_wherever_it_stands(place: Path, arguments: tuple[str, ...]) -> None:
    result = wslbench(*arguments, cwd=place)
    assert result.returncode != 0
    assert "Traceback" in result.stderr
    assert "Did you mean 'gradcam'" in result.stderr


def test_two_runs_do_not_work_in_one_folder(place: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "runs").mkdir()
    with FileLock(tmp_path / "runs" / ".lock"):
        result = wslbench("run", "--datasets", str(place / "images"), "--out", "runs", *TINY, cwd=tmp_path)
    assert result.returncode == 2
    assert "another run is at work there" in result.stderr


def test_a_run_that_cannot_be_written_to_is_still_shown(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "runs" / "images", tmp_path / "archive")
    driver = (
        "import sys, wsl_bench.results as results\n"
        "def refuse(out): raise PermissionError(13, 'Permission denied', str(out / 'leaderboard.csv'))\n"
        "results.write_results = refuse\n"  # root may write anywhere, so the refusal is played
        "from wsl_bench.cli.main import main\n"
        "main()\n"
    )
    result = run_python("-c", driver, "leaderboard", "archive", "--format", "csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == (place / "runs" / "images" / "leaderboard.csv").read_text()
    assert "not written: archive/leaderboard.csv: Permission denied" in result.stderr
