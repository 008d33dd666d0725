"""The tables people read: 80 columns of a terminal, and accuracies beside what they are to be read beside."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import run_python
from made_up_run import images, random_maps, write_cell, write_run
from rich.console import Console

from wsl_bench.leaderboard.build import Leaderboard, build_leaderboard
from wsl_bench.leaderboard.export import to_markdown
from wsl_bench.leaderboard.terminal import print_leaderboard

LONG = "first_parameter=none,second_parameter=0.25"
SEEDS = range(5)


@pytest.fixture
def board(tmp_path: Path) -> Leaderboard:
    """Five seeds of a method with a long name, one that is inverted now and then, and a sanity row."""
    write_run(tmp_path, ("val",))
    labels = np.array(images("test").labels)
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        probability = np.clip(0.25 + 0.3 * labels + rng.uniform(-0.2, 0.2, len(labels)), 0, 1)
        turned = {"value": 0.1, "low": 0.0, "high": 0.2} if seed else {"value": 0.9, "low": 0.8, "high": 1.0}
        write_cell(tmp_path, "gradcam", seed, random_maps(30, seed), probability=probability, decision=0.4,
                   method_params=LONG, polarity=turned)  # fmt: skip
        write_cell(tmp_path, "other", seed, random_maps(30, seed + 9), probability=1 - probability, decision=0.6)
        write_cell(tmp_path, "prior", seed, random_maps(30, 1), probability=None, decision=None, sanity=True,
                   val_auc=None, polarity=None)  # fmt: skip
    return build_leaderboard(tmp_path)


def printed(board: Leaderboard, width: int) -> str:
    out = io.StringIO()
    print_leaderboard(board, Console(file=out, width=width))
    return out.getvalue()


def test_a_terminal_of_80_columns_cuts_no_figure(board: Leaderboard) -> None:
    text = printed(board, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "inverted (4/5)" in text
    first = next(line for line in text.splitlines() if line.startswith("gradcam["))
    assert re.search(r" \d-\d +\.\d{3} \(\.\d{3}-\.\d{3}\) ", first)


def test_colours_carry_nothing(board: Leaderboard) -> None:
    out = io.StringIO()
    print_leaderboard(board, Console(file=out, width=80, force_terminal=True, color_system="truecolor"))
    assert "\x1b[" in out.getvalue()
    assert re.sub(r"\x1b\[[\d;]*m", "", out.getvalue()) == printed(board, 80)
    assert "\x1b" not in printed(board, 80)


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii", "FORCE_COLOR": "1"}])
def test_a_poor_terminal_shows_the_table(tmp_path: Path, env: dict[str, str]) -> None:
    write_run(tmp_path, ("val",))
    write_cell(tmp_path, "one", 0, random_maps(30, 0), method_params="größe=1")
    command = ("-m", "wsl_bench.cli.main", "leaderboard", str(tmp_path))
    done = run_python(*command, cwd=tmp_path, env={"COLUMNS": "80"} | env)
    assert done.returncode == 0, done.stderr
    shown = "größe=1" if "TERM" in env else "gr\\xf6\\xdfe=1"
    assert f"one[{shown}]" in done.stdout
    assert re.search(r" \.\d{3} ", done.stdout)


def test_data_are_utf_8_whatever_the_terminal_has(tmp_path: Path) -> None:
    write_run(tmp_path, ("val",))
    write_cell(tmp_path, "one", 0, random_maps(30, 0), method_params="λ=1")
    driver = (
        "import sys; sys.stdout.reconfigure(encoding='latin-1'); from wsl_bench.cli.main import main\n"
        f"sys.argv = ['wslbench', 'leaderboard', {str(tmp_path)!r}, '--format', 'csv']; main()"
    )
    done = run_python("-c", driver, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ",λ=1," in done.stdout


def test_accuracies_stand_beside_the_usual_threshold_and_the_majority(board: Leaderboard) -> None:
    rows = {row["method"]: row for row in board.rows}
    half, majority = rows["gradcam"]["accuracy_at_half"], rows["gradcam"]["accuracy_majority"]
    assert half != rows["gradcam"]["accuracy"]
    said = " ".join(printed(board, 400).split())
    beside = said[said.index("acc at the threshold chosen on val; at 0.5:") :]
    assert f"gradcam[{LONG}] {half:.2f}".replace("] 0.", "] .") in beside
    assert f"majority class {majority:.2f}".replace("0.", ".") in beside
    table = [line.split(" | ") for line in to_markdown(board.rows, []).splitlines() if line.startswith("| ")]
    header = table[0]
    line = next(cells for cells in table if cells[0] == f"| gradcam[{LONG}]")
    assert line[header.index("at 0.5")] == f"{half:.3f}"
    assert line[header.index("majority")] == f"{majority:.3f}"
    prior = next(cells for cells in table if cells[0] == "| prior")
    assert prior[header.index("at 0.5")] == prior[header.index("majority")] == ""
