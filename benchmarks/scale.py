"""What a study of RSNA's size takes, step by step, on a twin drawn from the real label table.

    python benchmarks/scale.py --labels stage_2_train_labels.csv --work /big/disk

Draws the twin, prepares it, trains one method for one epoch and evaluates it, each with the command a user would
type, and prints a table: time, the largest process, disk. What is in the splits is counted again from the table.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wsl_bench.processes import n_cores
from wsl_bench.versions import device_name, versions


@dataclass(frozen=True)
class Step:
    """One command and what it took."""

    name: str
    seconds: float
    memory: float
    disk: float

    def row(self) -> str:
        """Of the table; memory and disk in GB."""
        return f"| {self.name} | {self.seconds:.0f} s | {self.memory:.2f} GB | {self.disk:.2f} GB |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--headers", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for the twin, the decoded images and the run")
    parser.add_argument("--size", type=int, default=256, help="of the twin's images, pixels")
    parser.add_argument("--image-size", type=int, default=224, help="of the network's input")
    parser.add_argument("--images", type=int, help="fewer, for a trial")
    parser.add_argument("--method", default="infomask")
    parser.add_argument("--more", default="", help="further options of `wslbench run`")
    a = parser.parse_args()
    work = a.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    os.environ["WSLBENCH_CACHE"] = str(work / "cache")
    twin, run, manifest = work / "twin", work / "run", work / "splits.csv"
    drawing = ["twin", "rsna", "--labels", a.labels, "--output", twin, "--size", a.size]
    drawing += ["--headers", a.headers] if a.headers else []
    drawing += ["--images", a.images] if a.images else []
    data = [f"rsna[side={a.size}]", "--data-root", twin, "--image-size", a.image_size]
    preparing = ["prepare", *data, "--manifest", manifest]
    training = ["run", "--methods", a.method, "--datasets", *data, "--seeds", 1, "--epochs", 1, "--out", run]
    steps = [
        measured("draw the twin", drawing, twin),
        measured("prepare: decode, split, hash", preparing, work / "cache"),
        measured("prepare again: nothing to decode", preparing, work / "cache"),
        measured("train one epoch, evaluate, table", [*training, *a.more.split()], run),
        measured("the same command again", [*training, *a.more.split()], run),
    ]
    steps[3] = replace(steps[3], memory=max(steps[3].memory, largest_cell(run)))
    print("\n".join(report(steps, run, manifest, twin / "stage_2_train_labels.csv")))


def measured(name: str, command: Sequence[object], folder: Path) -> Step:
    """Run `wslbench COMMAND`, its output to stderr; the largest process is the command or one of its workers."""
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "wsl_bench.cli.main", *map(str, command)], stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    if status:
        raise SystemExit(f"{name}: failed with status {status}")
    disk = sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
    return Step(name, seconds, usage.ru_maxrss * 1024 / 1e9, disk / 1e9)


def largest_cell(run: Path) -> float:
    """GB of the largest training or evaluation: workers start their peak anew for each, so the system forgets some."""
    columns = ("train_peak_memory_mib", "evaluate_peak_memory_mib")
    peaks = [float(row[c]) for row in csv.DictReader((run / "costs.csv").open()) for c in columns if row[c]]
    return max(peaks) * 2**20 / 1e9


def report(steps: Sequence[Step], run: Path, manifest: Path, table: Path) -> list[str]:
    """Lines of Markdown."""
    found = versions()
    lines = [
        f"{n_cores()} cores of {device_name('cpu')}, torch {found['torch']}, Python {found['python']}.", "",
        "| step | time | largest process | disk |", "|---|---|---|---|", *(step.row() for step in steps), "",
    ]  # fmt: skip
    costs = list(csv.DictReader((run / "costs.csv").open()))
    lines += ["| cell | evaluated in | trained in |", "|---|---|---|"]
    for cost in costs:
        evaluated, trained = _seconds(cost["evaluate_seconds"]), _seconds(cost["train_seconds"])
        lines.append(f"| {cost['method']} | {evaluated} | {trained} |")
    return [*lines, "", *counted(manifest, table)]


def counted(manifest: Path, table: Path) -> list[str]:
    """Images, positives and boxes of each split, from the split manifest and the twin's label table alone."""
    boxes = Counter(row["patientId"] for row in csv.DictReader(table.open()) if row["Target"] == "1")
    rows = list(csv.DictReader(manifest.open()))
    lines = ["| split | images | positives | boxes |", "|---|---|---|---|"]
    for split in ("train", "val", "test", "all"):
        own = [row for row in rows if split in ("all", row["split"])]
        n_boxes = sum(boxes[row["image_id"]] for row in own)
        lines.append(f"| {split} | {len(own):,} | {sum(int(row['label']) for row in own):,} | {n_boxes:,} |")
    return lines


def _seconds(text: str) -> str:
    return f"{float(text):.0f} s" if text else ""


if __name__ == "__main__":
    main()
