"""The commands of benchmarks/, made small: they run from beginning to end and write what they promise."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from conftest import ROOT, run_python
from doc_blocks import commands

SMALL_STUDY = " ".join(
    ["--seeds 1 --epochs 1 --set recipe.width=0.1"]
    + [f"--set phantom.n_{n}" for n in ("train=64", "val=60", "test=40")]
)


def test_ratios_are_to_the_first_of_each_group(tmp_path: Path) -> None:
    times = [("a", "f[ours]", 0.002), ("b", "g[ours]", 0.001), ("a", "f[peer]", 0.005)]
    rows = [{"group": group, "name": name, "stats": {"median": median}} for group, name, median in times]
    file = tmp_path / "bench.json"
    file.write_text(json.dumps({"machine_info": {"cpu": {"brand_raw": "a processor"}}, "benchmarks": rows}))
    done = run_python(str(ROOT / "benchmarks/ratios.py"), str(file), cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0] == "a processor"
    assert lines[4:] == ["| a | ours | 2 | 1 |", "| a | peer | 5 | 2.5 |", "| b | ours | 1 | 1 |"]


@pytest.mark.slow
def test_the_search_for_recipes_writes_its_table_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    command = (str(ROOT / "benchmarks/recipes/search.py"), "--out", "found", "--methods", "gradcam", "--seeds", "1",
               "--n-train", "64", "--n-val", "64")  # fmt: skip
    (tmp_path / "found").mkdir()
    done = run_python(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "found" / "search.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert {row["setting"] for row in rows} > {"", "symmetric_start=none"}
    assert all(0 <= float(row["val_auc"]) <= 1 for row in rows)
    table = (tmp_path / "found" / "search.md").read_text()
    assert "| gradcam | defaults |" in table
    again = run_python(*command, cwd=tmp_path)
    assert again.returncode == 0
    assert again.stdout == ""
    assert (tmp_path / "found" / "search.md").read_text() == table


@pytest.mark.slow
def test_the_gpu_check_runs_without_a_gpu(tmp_path: Path) -> None:
    done = run_python(
        str(ROOT / "benchmarks/gpu.py"), "--device", "cpu", "--size", "32", "--batch", "4", "--seconds", "0.2",
        "--width", "0.1", "--study", SMALL_STUDY, "--out", str(tmp_path), cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "gpu.md").read_text()
    for network in ("baseline", "infomask", "featuremask", "regl1", "densenet121"):
        assert f"| {network} | fp32 |" in table
    same = re.search(r"\| infomask \| ([\d.]+) \| 0 \| 0.00% \|", table)  # the same device twice
    assert same is not None
    assert float(same[1]) > 0.1  # maps that are not blank
    assert re.search(r"\| densenet121 \| \d+ \| \d+ \|", table)
    assert "Written to" in table


@pytest.mark.slow
def test_the_simulation_of_intervals_prints_its_table(tmp_path: Path) -> None:
    script = str(ROOT / "benchmarks/statistics/intervals.py")
    done = run_python(script, "--studies", "2", "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2 + 18


@pytest.mark.slow
def test_the_benchmarks_run(tmp_path: Path) -> None:
    done = run_python("-m", "pytest", "-q", "--benchmark-disable", "-p", "no:cacheprovider",
                      str(ROOT / "benchmarks"), "--rootdir", str(ROOT), cwd=ROOT)  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_scale_script_measures_every_step(tmp_path: Path) -> None:
    """On 160 rows of a made-up label table; its own count of the splits is checked against the table."""
    rows = ["patientId,x,y,width,height,Target"]
    rows += [f"im{i:03d},{100 + i}.0,200.0,300.0,260.0,1" if i % 2 else f"im{i:03d},,,,,0" for i in range(160)]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    (line,) = commands((ROOT / "docs" / "scale.md").read_text())
    program, script, *options = line.split()
    assert (program, options[::2]) == ("python", ["--labels", "--headers", "--work"])
    command = (str(ROOT / script), "--labels", "labels.csv", "--work", "work", "--size", "64",
               "--image-size", "32", "--more", "--min-val-located 5 --set recipe.width=0.1 --device cpu")  # fmt: skip
    done = run_python(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()]
    table = {cells[0]: cells[1:] for cells in lines if len(cells) > 2}
    assert table["all"] == ["160", "80", "80"]
    for step in ("draw the twin", "prepare: decode, split, hash", "train one epoch, evaluate, table"):
        assert float(table[step][0].removesuffix(" s")) > 0
        assert float(table[step][1].removesuffix(" GB")) > 0.05
    assert table["infomask"][1].endswith(" s")
