"""Every command and every file of the README, run in a fresh folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, tiny_folder
from doc_blocks import Reader, blocks, commands, small
from PIL import Image

README = (ROOT / "README.md").read_text()
SCORE = (ROOT / "docs" / "score.md").read_text()


def readers_commands() -> list[str]:
    """Every wslbench command line; the two that install are the first and the second block."""
    installing, *rest = blocks(README, "bash")
    lines = [line for block in rest[1:] for line in block.code.splitlines()] + commands(SCORE)
    main = installing.code.strip().split(" && ")[-1]
    # The page on scoring shows some that the README has.
    return list(dict.fromkeys([main, *(line for line in lines if line.startswith("wslbench"))]))


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
    for block in blocks(README, "python"):
        assert block.file is not None
        (place / block.file).parent.mkdir(parents=True, exist_ok=True)
        (place / block.file).write_text(block.code)
    return place


def test_every_command_runs(place: Path) -> None:
    reader = Reader(place, lambda line: small(line).replace("CELL.json", "my_images--infomask--seed0--*.json"))
    reader.run("export WSLBENCH_PLUGINS=my_plugins")
    done = readers_commands()
    for command in done:
        reader.run(command)
    assert len(done) >= 12
    assert (place / "runs" / "phantom" / "figures" / "density_iop.png").is_file()
    assert "saliency" in (place / "runs" / "phantom" / "leaderboard.csv").read_text()


def test_the_method_file_is_short_and_complete() -> None:
    method = blocks(README, "python")[0].code
    assert len(method.splitlines()) < 40
    compile(method, "saliency.py", "exec")


def test_the_two_first_commands_install_from_nothing() -> None:
    first, second = (block.code for block in blocks(README, "bash")[:2])
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
