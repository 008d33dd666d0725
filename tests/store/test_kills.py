"""SIGKILL at random points of a process that writes records; a writer in place beside it, which must be caught."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from conftest import environment

from wsl_bench.store.records import FOLDER, peek_records

N_CELLS = 300
# Writes cells that are not there yet, in order; says which it computes before, and which it has written after.
CHILD = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
from wsl_bench.store.records import FOLDER, peek_records, write_record

root, way = Path(sys.argv[1]), sys.argv[2]

def in_place(slug, content, arrays):
    # What a program writes that does not think of it: the file itself, in pieces.
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    data = arrays["test"]["values"].tobytes()
    for path, whole in ((folder / f"{slug}.bin", data),
                        (folder / f"{slug}.json", json.dumps({"sha256": hashlib.sha256(data).hexdigest()}).encode())):
        with path.open("wb", buffering=0) as file:
            for start in range(0, len(whole), 64):
                file.write(whole[start : start + 64])

done = {r.slug for r in peek_records(root)} if way == "store" else {p.stem for p in (root / FOLDER).glob("*.json")}
print("ready", flush=True)
for i in range(N_CELLS):
    slug = f"cell-{i:03d}"
    if slug in done:
        continue
    print("compute", slug, flush=True)
    values = np.random.default_rng(i).random(3400)  # 27 kB
    arrays = {name: {"values": values} for name in ("val", "test", "maps")}
    if way == "store":
        write_record(root, slug, {"seed": i}, arrays)
    else:
        in_place(slug, {"seed": i}, arrays)
    print("written", slug, flush=True)
""".replace("N_CELLS", str(N_CELLS))


@dataclass
class Found:
    """What the kills left."""

    landed: int = 0
    corrupt: int = 0
    lost: int = 0
    recomputed: int = 0
    temporary: int = 0
    written: set[str] = field(default_factory=set)


def _damaged(root: Path, way: str) -> list[str]:
    """Cells that are visible and do not verify."""
    said: list[str] = []
    if way == "store":
        peek_records(root, said.append)
        return said
    for path in sorted((root / FOLDER).glob("*.json")):
        try:
            sha256 = json.loads(path.read_text())["sha256"]
            if hashlib.sha256(path.with_suffix(".bin").read_bytes()).hexdigest() != sha256:
                said.append(path.name)
        except (OSError, ValueError):
            said.append(path.name)
    return said + [p.name for p in (root / FOLDER).glob("*.bin") if p.stat().st_size < 27200]


def _kill_often(root: Path, way: str, n: int, seed: int) -> Found:
    rng, found, number = np.random.default_rng(seed), Found(), 0
    place = root / "0"
    while found.landed < n:
        place.mkdir(parents=True, exist_ok=True)
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(place), way], env=environment({}), stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        first = child.stdout.readline()  # on a busy machine the writing itself may begin late
        time.sleep(float(rng.uniform(0, 0.03)))
        child.send_signal(signal.SIGKILL)
        lines = [first.strip(), *child.stdout.read().split("\n")]
        child.stdout.close()
        landed = child.wait() == -signal.SIGKILL
        found.landed += landed
        computed = {line.split()[1] for line in lines if line.startswith("compute ")}
        found.recomputed += len(computed & found.written)
        found.written |= {line.split()[1] for line in lines if line.startswith("written ") and len(line.split()) == 2}
        found.corrupt += len(_damaged(place, way))
        found.lost += len([slug for slug in found.written if not (place / FOLDER / f"{slug}.json").exists()])
        found.temporary += len(list((place / FOLDER).glob(".tmp-*"))) if (place / FOLDER).is_dir() else 0
        if not landed:  # it was done before the kill: begin anew
            number += 1
            place, found.written = root / str(number), set()
    return found


def _check(root: Path, n: int) -> None:
    found = _kill_often(root / "store", "store", n, seed=1)
    assert found.landed >= n
    assert (found.corrupt, found.lost, found.recomputed) == (0, 0, 0)
    control = next(
        (c for i in range(10) if (c := _kill_often(root / f"naive{i}", "naive", n, seed=i)).corrupt), Found()
    )
    assert control.corrupt > 0, "a harness that finds nothing in a writer in place is broken"
    print(f"{found.landed} kills: 0 corrupt, 0 lost, 0 recomputed, {found.temporary} temporary files seen; "
          f"in place: {control.corrupt} corrupt")  # fmt: skip


def test_kills_leave_whole_records(tmp_path: Path) -> None:
    _check(tmp_path, 12)


@pytest.mark.slow
def test_two_hundred_kills_leave_whole_records(tmp_path: Path) -> None:
    _check(tmp_path, 200)
