"""Hostile files run no code and take no memory; each is refused by name or set aside. The files are in hostile.py.

A record, an index or an unfinished training is tried as somebody makes it who knows the format: with the right sha256.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import hostile
import hostile_files as made
import numpy as np
import pytest
from conftest import run_python, tiny_folder

from wsl_bench.cli import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts the memory of a process as Linux tells it")
MOST_MIB = 100


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What became of every file, read in one process of their own."""
    folder = tmp_path_factory.mktemp("hostile")
    program = Path(hostile.__file__)
    done = run_python(str(program), str(folder), cwd=folder, env={"PYTHONPATH": str(program.parent.parent)})
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert not (folder / hostile.MARKER).exists()
    return {line["name"]: line for line in lines}


@pytest.mark.parametrize("name", [*hostile.CODE, *hostile.SIZE])
def test_a_hostile_file_is_refused(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    found = outcomes[name]
    assert found["outcome"] in ("refused", "absent"), found["said"]
    assert found["outcome"] == "absent" or found["folder"] in found["said"]  # by name
    assert not found["ran"]
    assert found["grown"] < MOST_MIB


@pytest.mark.parametrize("name", [name for name in hostile.CONTROLS if name.rpartition(" ")[2].count(".")])
def test_a_careless_reader_runs_the_code(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    assert outcomes[name]["ran"]


@pytest.mark.parametrize("name", ["control: zip", "control: picture", "control: packed weights"])
def test_a_careless_reader_takes_the_memory(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    assert outcomes[name]["grown"] > MOST_MIB, outcomes[name]


def test_the_command_says_what_is_wrong_with_hostile_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_folder(tmp_path / "data", n=15)  # 12, 13 and 14 are test
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "case012.npy").write_bytes(made.array_of_objects(maps))
    (maps / "case013.npz").write_bytes(made.bomb({"a.npy": hostile.MANY_GIGABYTES}))
    (maps / "case014.png").write_bytes(made.postscript())
    np.save(maps / "case000.npy", np.zeros((32, 40), np.float32))
    arguments = [str(maps), "--datasets", str(tmp_path / "data"), "--threshold", "0.5", "--out", str(tmp_path / "out")]
    assert main._guarded(["score", *arguments]) == 2
    said = capsys.readouterr().err
    assert all(f"{name}: " in said for name in ("case012", "case013", "case014"))
    assert "nothing was scored" in said
    assert "Traceback" not in said
    assert not made.marker_of(maps).exists()


def test_every_control_is_looked_at(outcomes: dict[str, dict[str, Any]]) -> None:
    assert {name for name in outcomes if name.startswith("control")} == set(hostile.CONTROLS)
    assert len(hostile.CODE) >= 8
    assert all(found["ran"] or found["grown"] > MOST_MIB for name, found in outcomes.items() if "control" in name)
