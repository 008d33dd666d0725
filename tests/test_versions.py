"""What a result was made with, and how differences are told."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from wsl_bench import versions as module
from wsl_bench.versions import changes, commit, device_name, differences, made_with, versions


def _made(torch: str = "2.11.0", device: str | None = "A", commit: str | None = "abc") -> dict[str, Any]:
    return {"versions": {"python": "3.11.7", "torch": torch}, "device_name": device, "commit": commit, "seed": 3}


def test_what_is_the_same_is_not_told() -> None:
    assert differences([]) == []
    assert differences([_made(), _made()]) == []
    assert changes([], _made()) == []
    assert changes([_made(), _made()], _made()) == []


def test_what_differs_is_told_with_how_many() -> None:
    found = differences([_made(), _made(), _made("2.14.1"), _made(device=None, commit=None)])
    assert found == [
        "torch 2.11.0 (3), 2.14.1 (1)",
        "device A (3), not recorded (1)",
        "commit abc (3), not recorded (1)",
    ]


def test_a_package_that_some_have_not_is_a_difference() -> None:
    lacks = _made()
    del lacks["versions"]["torch"]
    assert differences([_made(), lacks]) == ["torch 2.11.0 (1), not recorded (1)"]
    assert changes([_made()], lacks) == ["torch 2.11.0, now not installed (1 records)"]


def test_changes_are_told_beside_what_is_there_now() -> None:
    found = changes([_made(), _made("2.9.0"), _made("2.14.1"), _made("2.14.1", "B")], _made("2.14.1", commit="def"))
    assert found == ["torch 2.11.0, now 2.14.1 (1 records)", "torch 2.9.0, now 2.14.1 (1 records)",
                     "device B, now A (1 records)"]  # fmt: skip


def test_a_record_gets_this_machine_and_these_versions() -> None:
    made = made_with(None)
    assert made["versions"] == versions()
    assert made["versions"]["torch"][0].isdigit()
    assert made["device_name"] == device_name("cpu") != ""


def test_the_commit_is_that_of_the_checkout_and_says_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wsl_bench").mkdir()
    source = tmp_path / "wsl_bench" / "versions.py"
    source.write_text("a = 1\n")
    monkeypatch.setattr(module, "__file__", str(source))
    assert commit.__wrapped__() is None  # no checkout

    def git(*arguments: str) -> str:
        own = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        done = subprocess.run(["git", *own, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    assert commit.__wrapped__() == git("rev-parse", "--short=12", "HEAD")
    (tmp_path / "notes.txt").write_text("no source")
    assert "changes" not in str(commit.__wrapped__())
    source.write_text("a = 2\n")
    assert commit.__wrapped__() == git("rev-parse", "--short=12", "HEAD") + " and changes"
