"""Publish a finished run: its tables and figures, the environment that made it, what its masks look like, and
InfoMask against each other method.

    python leaderboards/publish.py runs/phantom --output leaderboards/phantom
    python leaderboards/publish.py runs/mtd1344 --output leaderboards/mtd1344 \\
        --labels DIR/labels.csv --stratum "tiny=subclass:Blowhole|Break|Crack" --stratum "huge=subclass:Uneven|Fray"

Everything is made from the run's records; nothing is trained and no threshold is searched. A stratum keeps the
located test images whose column has one of the values, at the thresholds that were frozen for all of them.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from differences import difference_rows
from shape import shape_rows

from wsl_bench.leaderboard.export import row_name, to_csv
from wsl_bench.leaderboard.strata import stratum_figures
from wsl_bench.results import write_results
from wsl_bench.store.run_file import read_run

COPIED = ("leaderboard.csv", "leaderboard.md", "cells.csv", "costs.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--labels", type=Path, help="labels.csv with the column of the strata")
    parser.add_argument("--stratum", action="append", default=[], metavar="NAME=COLUMN:VALUE|VALUE")
    parser.add_argument("--commit", default="HEAD", help="the commit whose code made the run")
    arguments = parser.parse_args()
    publish(arguments.run, arguments.output, arguments.labels, arguments.stratum, arguments.commit)


def publish(
    run: Path, output: Path, labels: Path | None = None, strata: Sequence[str] = (), commit: str = "HEAD"
) -> None:
    """Write everything that is published of a run, but for the words."""
    board = write_results(run)
    (output / "figures").mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copyfile(run / name, output / name)
    for figure in sorted((run / "figures").glob("*.png")):
        shutil.copyfile(figure, output / "figures" / figure.name)
    content = read_run(run)
    (output / "study.toml").write_text(_portable((run / "study.toml").read_text(), content))
    (output / "environment.json").write_text(json.dumps(_environment(content, commit), indent=1, sort_keys=True) + "\n")
    (output / "shape.csv").write_text(to_csv(shape_rows(run), ("dataset", "method", "quantity")))
    (output / "differences.csv").write_text(to_csv(difference_rows(board), ("dataset", "metric", "other")))
    if strata:
        assert labels is not None
        rows = [row for text in strata for row in _stratum_rows(board.measured, labels, text)]
        (output / "strata.csv").write_text(to_csv(rows, ("stratum", "method")))


def _stratum_rows(measured: Any, labels: Path, text: str) -> Iterator[dict[str, Any]]:
    """One row a method: each metric on the images of one stratum."""
    stratum, _, rest = text.partition("=")
    column, _, values = rest.partition(":")
    with labels.open(newline="") as file:
        chosen = {row["image_id"] for row in csv.DictReader(file) if row[column] in values.split("|")}
    for values_of_row, row in measured:
        located = row.first.image_ids[row.first.located]
        yield {
            "stratum": stratum, "dataset": values_of_row["dataset"], "method": row_name(values_of_row),
            "status": values_of_row["status"], **stratum_figures(row, np.isin(located, sorted(chosen))),
        }  # fmt: skip


def _environment(content: dict[str, Any], commit: str) -> dict[str, Any]:
    """What the run was made with: versions, platform, device, hashes of the data, commit."""
    git = ["git", "-C", str(Path(__file__).resolve().parent), "rev-parse", commit]
    found = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {name: content[name] for name in ("versions", "platform", "fixed", "split_source")} | {"commit": found}


def _portable(study: str, content: dict[str, Any]) -> str:
    """A study file for other machines: a directory is named by its last part."""
    for name, planned in content["planned"].items():
        if "/" in planned["selector"]:
            study = study.replace(planned["selector"], name)
    return study


if __name__ == "__main__":
    main()
