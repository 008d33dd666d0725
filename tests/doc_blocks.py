"""Code blocks of pages, run as a reader would run them: in their order, in one folder."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from conftest import environment

PHANTOM = "--set phantom.n_train=64 --set phantom.n_val=60 --set phantom.n_test=40"
# What is appended to a run of the dataset that its command names: fewer images, epochs and seeds.
SMALL = {
    **dict.fromkeys(("my_images", "bccd364", "mtd1344"), "--epochs 1 --seeds 1 --set recipe.width=0.1 --image-size 32"),
    "squares": "--epochs 1 --seeds 1 --set recipe.width=0.1",
    "clinic": "--epochs 1 --set clinic.side=40 --set recipe.width=0.1 --image-size 32",
    "rsna": "--epochs 1 --seeds 1 --set recipe.width=0.1 --image-size 32 --min-val-located 5 --device cpu",
    "phantom": f"--epochs 1 --seeds 1 --set recipe.width=0.1 {PHANTOM}",
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, and the file that the line above it says to write, if any."""

    language: str
    code: str
    file: str | None


def blocks(page: str, language: str = "") -> list[Block]:
    """The blocks of a page, of one language or all."""
    found = re.findall(r"([^\n]*)\n+```(\w*)\n(.*?)```", page, flags=re.S)
    named = [(re.search(r"`([\w/]+\.\w+)`:$", above), kind, code) for above, kind, code in found]
    every = [Block(kind, code, file and file[1]) for file, kind, code in named]
    return [block for block in every if language in ("", block.language)]


def commands(page: str) -> list[str]:
    """The lines of the shell blocks of a page."""
    return [line for block in blocks(page, "bash") for line in block.code.splitlines()]


def small(command: str) -> str:
    """The same command in seconds."""
    if not command.startswith("wslbench run") or "--config" in command:
        return command
    return f"{command} {next((more for name, more in SMALL.items() if name in command), SMALL['phantom'])}"


class Reader:
    """Somebody who follows a page in a fresh folder.

    Args:
        place: the folder.
        change: what to make of a command before it is run.
    """

    def __init__(self, place: Path, change: Callable[[str], str] = small) -> None:
        self.place, self.change = place, change
        shim = place / "bin"
        shim.mkdir()
        (shim / "wslbench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wsl_bench.cli.main "$@"\n')
        (shim / "wslbench").chmod(0o755)
        self.env = environment({})
        self.env["PATH"] = f"{shim}:{Path(sys.executable).parent}:{self.env['PATH']}"

    def run(self, line: str) -> None:
        """One line of a shell; `export` lasts, as it does for a reader."""
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.env[name] = value
            return
        self._run(["/bin/sh", "-c", self.change(line)], line)

    def follow(self, page: str) -> Iterator[str]:
        """Do all that a page says; the lines and files that were done."""
        for block in blocks(page):
            if block.file is not None:
                path = self.place / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.code)
                yield block.file
            elif block.language == "bash":
                for line in block.code.splitlines():
                    if not line.startswith("python3 -m venv"):  # what installs is tried by the CI
                        self.run(line)
                        yield line
            elif block.language == "python":
                self._run([sys.executable, "-c", block.code], block.code)
                yield block.code

    def _run(self, command: list[str], said: str) -> None:
        done = subprocess.run(
            command, cwd=self.place, env=self.env, capture_output=True, text=True, timeout=1800, check=False
        )
        assert done.returncode == 0, f"{said}\n{done.stdout}\n{done.stderr}"


def examples(page: str, name: str) -> doctest.TestResults:
    """Run the `>>>` examples of a page, all in one namespace; failures are printed."""
    test = doctest.DocTestParser().get_doctest(page, {}, name, name, 0)
    runner = doctest.DocTestRunner()
    runner.run(test)
    return doctest.TestResults(runner.failures, runner.tries)
