"""Several processes that write the same cells into one folder, and one that reads meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import environment

from wsl_bench.store.records import FOLDER, peek_records

WRITERS = 8
WRITER = """
import sys
from pathlib import Path
import numpy as np
from wsl_bench.store.records import write_record

root, own, n_cells = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()  # all begin at once
for i in np.random.default_rng(own).permutation(n_cells):
    arrays = {"values": np.random.default_rng(i).random(200)}
    write_record(root, f"cell-{i:03d}", {"seed": int(i)}, {name: arrays for name in ("val", "test", "maps")})
"""


def _round(root: Path, n_cells: int) -> int:
    """Write every cell by every writer; returns how often a reader looked meanwhile."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root), str(own), str(n_cells)], env=environment({}),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for own in range(WRITERS)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    looks, damaged = 0, list[str]()
    while any(writer.poll() is None for writer in writers):
        peek_records(root, damaged.append)
        looks += 1
    for writer in writers:
        said = writer.communicate()[1]
        assert writer.returncode == 0, said
    assert damaged == []
    found = peek_records(root, damaged.append)
    assert damaged == []
    assert [record.slug for record in found] == [f"cell-{i:03d}" for i in range(n_cells)]
    for record in found:
        expected = np.random.default_rng(record.content["seed"]).random(200)
        np.testing.assert_array_equal(record.arrays("test")["values"], expected)
    assert sorted(path.name for path in (root / FOLDER).iterdir() if path.name.startswith(".")) == []
    return looks


def test_eight_writers_of_the_same_cells_leave_each_whole(tmp_path: Path) -> None:
    assert _round(tmp_path, 25) > 0


@pytest.mark.slow
def test_twenty_rounds_of_eight_writers(tmp_path: Path) -> None:
    looks = [_round(tmp_path / str(number), 100) for number in range(20)]
    print(f"20 rounds of {WRITERS} writers on 100 cells: 2,000 records whole, {sum(looks)} looks meanwhile, no damage")
