"""What is promised of a run on a GPU; skipped where there is none (`benchmarks/gpu.sh` runs these, too)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from conftest import environment, run_python, tiny_folder
from processes import alive, children, wait_until

from wsl_bench import params, registry
from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.rows import ImageRows
from wsl_bench.data.views import WeakView
from wsl_bench.method import Network, Task
from wsl_bench.protocol.rules import Rules
from wsl_bench.store.records import read_records
from wsl_bench.training.device import auto_precision, set_up_process
from wsl_bench.training.inputs import Inputs
from wsl_bench.training.loop import Snapshot, Training, train
from wsl_bench.training.recipe import ResolvedRecipe

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

SIZE = 64
NETWORKS: tuple[tuple[registry.Kind, str], ...] = (
    ("network", "baseline"), ("method", "infomask"), ("method", "featuremask"), ("method", "regl1"),
    ("network", "densenet121"),
)  # fmt: skip


def _inputs(n: int) -> Inputs:
    draw = np.random.default_rng(n)
    labels = np.arange(n, dtype=np.int64) % 2
    images = draw.integers(0, 120, (n, SIZE, SIZE), dtype=np.uint8)
    images[labels == 1, 10:30, 10:30] += 100
    names = tuple(f"im{i}" for i in range(n))
    view = WeakView(names, names, labels, ImageRows.of(images), (Letterbox.fit(SIZE, SIZE, SIZE),) * n, "")
    return Inputs(view, 70.0, 50.0, "cuda")


def _train(kind: registry.Kind, name: str, precision: str, **options: Any) -> Training:
    network = cast(Network, params.build(registry.discover(kind).get(name).cls, name, {}))
    recipe = ResolvedRecipe(SIZE, 0.25, "batch", 4, 16, 1e-3, 0.0, 0.98, 1.0, True, precision)
    seed, rules = options.pop("seed", 1), Rules()
    return train(
        network, Task(1, SIZE, 0.25, "batch", seed), recipe, _inputs(160), _inputs(70), start_seed=seed, order_seed=2,
        device="cuda", n_keep=2, prefer=lambda e: rules.preference(e.epoch, e.accuracy, e.cross_entropy), **options,
    )  # fmt: skip


def _same(one: Training, other: Training) -> bool:
    pairs = zip(one.candidates, other.candidates, strict=True)
    equal = all(torch.equal(a.state[name], b.state[name]) for a, b in pairs for name in a.state)
    return equal and one.history == other.history


@pytest.mark.filterwarnings("error:.*deterministic")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("kind", "name"), NETWORKS)
def test_trainings_on_a_gpu_are_repeated_and_resumed_bit_for_bit(
    kind: registry.Kind, name: str, precision: str
) -> None:
    set_up_process(4)
    taken: list[Snapshot] = []
    whole = _train(kind, name, precision, save=taken.append)
    torch.rand(17, device="cuda")  # whatever the process has drawn in between
    assert _same(whole, _train(kind, name, precision))
    assert _same(whole, _train(kind, name, precision, start=taken[1]))
    assert not _same(whole, _train(kind, name, precision, seed=3))


def test_a_gpu_computes_in_bf16_where_it_can() -> None:
    capability = torch.cuda.get_device_capability()
    assert auto_precision("cuda") == ("bf16" if capability >= (8, 0) else "fp32")


def _command(data: Path, out: Path) -> list[str]:
    return [
        "-m", "wsl_bench.cli.main", "run", "--methods", "infomask,gradcam,chexcam", "--datasets", str(data),
        "--seeds", "2", "--device", "cuda", "--per-gpu", "3", "--set", "recipe.epochs=4",
        "--set", "recipe.image_size=64", "--out", str(out),
    ]  # fmt: skip


def _workers(driver: int) -> list[int]:
    """Processes below the driver that have CUDA's library open."""
    found = []
    for pid in children(driver):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if "libcuda.so" in Path(f"/proc/{pid}/maps").read_text():
                found.append(pid)
    return found


def _started(command: list[str], cwd: Path) -> subprocess.Popen[bytes]:
    with (cwd / "output").open("w") as output:
        return subprocess.Popen([sys.executable, *command], cwd=cwd, env=environment({}), stdout=output, stderr=output)


def test_a_run_killed_on_a_gpu_leaves_it_free_and_continues_to_the_same_tables(tmp_path: Path) -> None:
    data = tiny_folder(tmp_path / "data")
    whole = run_python(*_command(data, tmp_path / "whole"), cwd=tmp_path)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    free = torch.cuda.mem_get_info()[0]

    driver = _started(_command(data, tmp_path / "killed"), tmp_path)
    unfinished = lambda: [*(tmp_path / "killed").rglob("unfinished-*.safetensors")]  # noqa: E731
    wait_until(lambda: driver.poll() is not None or (len(_workers(driver.pid)) == 3 and unfinished()), 120)
    assert driver.poll() is None, (tmp_path / "output").read_text()
    held = _workers(driver.pid)
    assert torch.cuda.mem_get_info()[0] < free  # the workers hold memory, or this test says nothing
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    wait_until(lambda: not any(alive(pid) for pid in held), 10)
    wait_until(lambda: torch.cuda.mem_get_info()[0] >= free, 10)

    again = run_python(*_command(data, tmp_path / "killed"), cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    for name in ("leaderboard.csv", "leaderboard.md", "cells.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_worker_killed_on_a_gpu_is_replaced(tmp_path: Path) -> None:
    data = tiny_folder(tmp_path / "data")
    driver = _started(_command(data, tmp_path / "run"), tmp_path)
    wait_until(lambda: driver.poll() is not None or len(_workers(driver.pid)) == 3, 120)
    os.kill(_workers(driver.pid)[0], signal.SIGKILL)
    assert driver.wait(300) == 0, (tmp_path / "output").read_text()
    records, failures, corrupt = read_records(tmp_path / "run")
    assert (failures, corrupt) == ([], [])
    assert {r.content["seed"] for r in records if r.content["method"] == "chexcam"} == {0, 1}


def test_a_batch_that_does_not_fit_is_a_failure_that_says_what_to_do(tmp_path: Path) -> None:
    data = tiny_folder(tmp_path / "data")
    most = torch.cuda.mem_get_info()[0] - (3 << 29)  # leaves 1.5 GiB to the run
    taken = torch.empty(most, dtype=torch.uint8, device="cuda")
    sizes = ("--per-gpu", "1", "--set", "recipe.image_size=1024", "--set", "recipe.width=1")
    done = run_python(*_command(data, tmp_path / "run"), *sizes, cwd=tmp_path)
    del taken
    torch.cuda.empty_cache()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "does not fit in the memory of the GPU" in done.stderr
    assert "recipe.batch_size" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
