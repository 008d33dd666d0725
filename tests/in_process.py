"""The command in the tests' own process: a start of its own would take most of their time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from wsl_bench.cli import main


@dataclass
class Done:
    """How a command ended and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def run_here(
    arguments: tuple[object, ...], cwd: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Done:
    """Run `wslbench ARGUMENTS` in a folder."""
    monkeypatch.chdir(cwd)
    capsys.readouterr()
    code = main._guarded([str(argument) for argument in arguments])
    return Done(code, *capsys.readouterr())
