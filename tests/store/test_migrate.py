"""Records of the first version give the tables they gave then. `first_version/` was written by that version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from wsl_bench.leaderboard.build import build_leaderboard, render
from wsl_bench.store.migrate import RECORD_VERSION, can_migrate, migrate
from wsl_bench.store.records import peek_records, read_records

FIRST = Path(__file__).parent / "first_version"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A run of the first version."""
    return Path(shutil.copytree(FIRST, tmp_path / "run"))


def test_the_tables_are_those_of_the_first_version(old: Path) -> None:
    board = build_leaderboard(old)
    assert render(board, "csv") == (FIRST / "leaderboard.csv").read_text()
    assert not [note for note in board.notes if "Not all records" in note]


def test_an_old_record_is_read_as_one_of_this_version_and_stays_as_it_is(old: Path) -> None:
    before = {path.name: path.read_bytes() for path in (old / "records").iterdir()}
    records, failures, corrupt = read_records(old)
    assert (len(records), failures, corrupt) == (3, [], [])
    for record in records:
        assert record.content["record_version"] == RECORD_VERSION == 2
        assert (record.content["commit"], record.content["device_name"]) == (None, None)
        assert json.loads(before[f"{record.slug}.json"])["record_version"] == 1
    assert {path.name: path.read_bytes() for path in (old / "records").iterdir()} == before


def test_an_old_record_that_was_changed_does_not_verify(old: Path) -> None:
    path = next((old / "records").glob("*gradcam*.json"))
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "seed": 7}))
    said: list[str] = []
    assert len(peek_records(old, said.append)) == 2
    assert "the content its own sha256 was taken of" in said[0]


@pytest.mark.parametrize("version", [0, 3, -1, 1.0, "1", None, True, [1]])
def test_no_other_version_is_read(version: object) -> None:
    assert not can_migrate(version)


def test_every_older_version_ends_at_this_one() -> None:
    for version in range(1, RECORD_VERSION + 1):
        assert can_migrate(version)
        assert migrate({"record_version": version})["record_version"] == RECORD_VERSION
