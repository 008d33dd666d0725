"""Every command and every file of the README, run in a fresh folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, environment, tiny_folder
from PIL import Image

README = (ROOT / "README.md").read_text()
SCORE = (ROOT / "docs" / "score.md").read_text()
# The README's runs are made small by what is appended here: fewer images, epochs and seeds.
SMALL = {
    "phantom": "--epochs 1 --seeds 1 --set recipe.width=0.1 --set phantom.n_train=64 --set phantom.n_val=60"
    " --set phantom.n_test=40",
    "folder": "--epochs 1 --seeds 1 --set recipe.width=0.1 --image-size 32",
    "squares": "--epochs 1 --seeds 1 --set recipe.width=0.1",
}


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.S)


def commands() -> list[str]:
    """Every wslbench command line; the two that install are the first and the second block."""
    lines = [line for block in [*blocks("bash")[2:], *blocks("bash", SCORE)] for line in block.splitlines()]
    main = blocks("bash")[0].strip().split(" && ")[-1]
    # The page on scoring shows some that the README has.
    return list(dict.fromkeys([main, *(line for line in lines if line.startswith("wslbench"))]))


def small(command: str) -> str:
    if not command.startswith("wslbench run"):
        return command.replace("CELL.json", "my_images--infomask--seed0--*.json")
    if "squares" in command:
        return f"{command} {SMALL['squares']}"
    if "my_images" in command:
        return f"{command} {SMALL['folder']}"
    if "--config" in command:
        return command
    return f"{command} {SMALL['phantom']}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh folder with what the README says to write: two plug-ins, and a user's images."""
    place = tmp_path_factory.mktemp("reader")
    data = tiny_folder(place / "my_images")
    shutil.copytree(data / "images", place / "new_images")
    (place / "my_maps").mkdir()
    for file in (data / "images").iterdir():
        with Image.open(file) as image:
            np.save(place / "my_maps" / f"{file.stem}.npy", np.asarray(image, np.float32) / 255)
    for path, code in zip(re.findall(r"`(my_plugins/\S+\.py)`", README), blocks("python"), strict=True):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(code)
    return place


def test_every_command_runs(place: Path) -> None:
    shim = place / "bin"
    shim.mkdir()
    (shim / "wslbench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wsl_bench.cli.main "$@"\n')
    (shim / "wslbench").chmod(0o755)
    env = environment({"WSLBENCH_PLUGINS": "my_plugins"})
    env["PATH"] = f"{shim}:{env['PATH']}"
    done = []
    for command in commands():
        result = subprocess.run(
            ["/bin/sh", "-c", small(command)], cwd=place, env=env, capture_output=True, text=True, timeout=1800
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        done.append(command)
    assert len(done) >= 12
    assert (place / "runs" / "phantom" / "figures" / "density_iop.png").is_file()
    assert "saliency" in (place / "runs" / "phantom" / "leaderboard.csv").read_text()


def test_the_method_file_is_short_and_complete() -> None:
    method = blocks("python")[0]
    assert len(method.splitlines()) < 40
    compile(method, "saliency.py", "exec")


def test_the_two_first_commands_install_from_nothing() -> None:
    first, second = blocks("bash")[:2]
    for block, end in ((first, "wslbench run --methods paper"), (second, "pytest -n auto --dist loadfile")):
        assert len(block.strip().splitlines()) == 1
        assert block.startswith("python3 -m venv .venv && . .venv/bin/activate && pip install")
        assert block.strip().endswith(f"&& {end}")


def test_files_that_pages_name_exist() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        for name in re.findall(r"`((?:tests|benchmarks|wsl_bench|methods|datasets)/[\w/]+\.\w+)`", page.read_text()):
            assert (ROOT / name).is_file(), f"{page.name}: {name}"


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
