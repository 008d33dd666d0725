"""The tests of what a run survives, tried on code that does not survive it: each mutant has to fail its test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, environment

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Mutant:
    """One change of the source, and the test that has to notice."""

    name: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = (
    Mutant("written in place", "store/atomic.py", "            temporary.replace(path)\n",
           "        path.write_bytes(content)\n        temporary.unlink()\n", "store/test_power_loss.py"),
    Mutant("file not flushed", "store/atomic.py", "                os.fsync(file.fileno())\n", "",
           "store/test_power_loss.py"),
    Mutant("folder not flushed", "store/atomic.py", "    _flush_folder(path.parent)\n    return", "    return",
           "store/test_power_loss.py"),
    Mutant("new folder not flushed", "store/atomic.py", "        _flush_folder(made.parent)\n", "        pass\n",
           "store/test_power_loss.py"),
    Mutant("temporary file left", "store/atomic.py", "            temporary.unlink()\n        raise",
           "            pass\n        raise", "store/test_atomic.py"),
    Mutant("artefact not verified", "store/records.py", "    if found != sha256:\n", "    if False:\n",
           "store/test_records.py"),
    Mutant("record not verified", "store/records.py", "    if not whole:\n", "    if False:\n",
           "store/test_records.py"),
    Mutant("artefact anywhere", "store/records.py", '    if file != f"{FOLDER}/{name}":\n', "    if False:\n",
           "store/test_records.py"),
    Mutant("record without its own hash", "store/records.py",
           '    record["sha256"] = _content_sha256(record)\n', "", "store/test_power_loss.py"),
    Mutant("snapshot not verified", "store/trainings.py",
           'if path.name != f"unfinished-', 'if False and path.name != f"', "training/test_loop.py"),
    Mutant("old snapshot removed first", "store/trainings.py", "    atomic_write(path, data)\n    for left in before:\n"
           "        left.unlink(missing_ok=True)\n", "    for left in before:\n        left.unlink(missing_ok=True)\n"
           "    atomic_write(path, data)\n", "store/test_power_loss.py"),
    Mutant("order's generator not resumed", "training/snapshot.py",
           "    running.order.set_state(tensors[_ORDER])\n", "", "training/test_loop.py"),
    Mutant("seed from what ran before", "training/loop.py", "    torch.manual_seed(start_seed)\n", "",
           "training/test_loop.py"),
    Mutant("exceptions kill the worker", "protocol/cell.py",
           "            _fail(job, cell, error, report)\n            continue\n", "            raise\n",
           "executors/test_local.py"),
    Mutant("failure not noted", "protocol/cell.py",
           "        write_failure(Path(job.out), cell.slug, cell.failure(message))\n", "        pass\n",
           "executors/test_local.py"),
    Mutant("two attempts", "executors/local.py", "MAX_ATTEMPTS = 3", "MAX_ATTEMPTS = 2", "executors/test_local.py"),
    Mutant("orphans", "executors/local.py", "    as_worker_of(parent)\n", "", "executors/test_local.py"),
    Mutant("late cell kept", "executors/local.py", "        if self.time_left() == 0:\n", "        if False:\n",
           "executors/test_local.py"),
)  # fmt: skip


def _copy(place: Path) -> Path:
    for name in ("wsl_bench", "methods", "datasets", "tests"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)
    return place


def _python(place: Path, *arguments: str) -> tuple[int, str]:
    """Run Python on a copy, and end whatever a mutant leaves running."""
    with (place / "said").open("w+") as said:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=place, env=environment({}) | {"PYTHONPATH": str(place)},
            stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(900)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        said.seek(0)
        return code, said.read()


def _tests(place: Path, *names: str) -> tuple[int, str]:
    """Run test files of a copy, up to the first failure."""
    files = [f"tests/{name}" for name in names]
    return _python(place, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *files)


def test_the_tests_pass_on_a_copy_without_a_change(tmp_path: Path) -> None:
    place = _copy(tmp_path)
    assert _python(place, "-c", "import wsl_bench; print(wsl_bench.__file__)")[1].startswith(str(place))
    code, said = _tests(place, *dict.fromkeys(mutant.test for mutant in MUTANTS))
    assert code == 0, said


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_killed(mutant: Mutant, tmp_path: Path) -> None:
    place = _copy(tmp_path)
    file = place / "wsl_bench" / mutant.file
    source = file.read_text()
    assert source.count(mutant.old) == 1, "the mutant does not fit the source any more"
    file.write_text(source.replace(mutant.old, mutant.new))
    code, said = _tests(place, mutant.test)
    assert code == 1, f"{mutant.name} lives: {said}"
    assert " failed" in said, said
