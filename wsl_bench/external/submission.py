"""Score a submission to a competition: somebody's maps against the reference data of a Codabench bundle.

This is what the bundle's scoring program calls. It is `wslbench score` without the images, which scoring never looks
at: the threshold is fitted on the maps of the validation images and frozen, then the maps of the test images are read.
"""

from __future__ import annotations

import csv
import json
import math
import sys
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from wsl_bench.data.decoded import PIXELS, Entry
from wsl_bench.data.prepare import NO_TRUTH, PreparedDataset
from wsl_bench.data.prepared import Item, load_truth, write_prepared
from wsl_bench.data.samples import Sample, Split
from wsl_bench.data.splits import Manifest
from wsl_bench.errors import DataError, WslBenchError
from wsl_bench.external.read import MapSource, open_maps
from wsl_bench.external.score import External, check_fit, score_maps
from wsl_bench.leaderboard.codabench import COLUMNS, HELD_OUT, IMAGES, PROTOCOL, REFERENCE_VERSION, SCORES
from wsl_bench.leaderboard.measure import Row
from wsl_bench.leaderboard.rows import leaderboard_row
from wsl_bench.protocol.rules import Rules
from wsl_bench.registry import discover
from wsl_bench.selection import ChosenDataset
from wsl_bench.store.atomic import atomic_write
from wsl_bench.store.records import read_records

_ARCHIVES = ("maps.npz", "maps.safetensors")


def main(given: Path, output: Path) -> int:
    """The scoring program: `given`/ref and `given`/res -> `output`/scores.json; returns the exit code."""
    try:
        scores = score_submission(given / "ref", given / "res")
    except WslBenchError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    atomic_write(output / "scores.json", (json.dumps(scores, indent=1, allow_nan=False) + "\n").encode())
    return 0


def score_submission(reference: Path, submission: Path) -> dict[str, float]:
    """The columns of the competition's leaderboard, as leaderboard.csv would have them for one training.

    Raises:
        DataError: maps that are missing or wrong, or reference data that are not those of a bundle.
    """
    source = find_maps(submission)
    with tempfile.TemporaryDirectory() as scratch:
        dataset, rules = _dataset(reference, Path(scratch) / "prepared")
        external = External("submission", 0, None, "auto")
        score_maps(source, check_fit(source, external, dataset), external, rules, dataset, Path(scratch))
        (record,) = read_records(Path(scratch))[0]
        row = leaderboard_row(Row((record,), "val"), 1, 0)
    values = {name: row[name] for name in SCORES}
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}


def find_maps(submission: Path) -> MapSource:
    """The maps of a submission: maps.npz, maps.safetensors, the folder maps/, or the files themselves."""
    found = [submission / name for name in _ARCHIVES if (submission / name).is_file()]
    found += [submission / "maps"] if (submission / "maps").is_dir() else []
    if len(found) > 1:
        raise DataError(
            submission, expected="one set of maps", found=", ".join(path.name for path in found),
            fix="Leave one of them in the archive.",
        )  # fmt: skip
    return open_maps(found[0] if found else submission)


def _dataset(reference: Path, folder: Path) -> tuple[ChosenDataset, Rules]:
    """The dataset of the reference data, its images blank, and the rules to score by."""
    try:
        protocol = json.loads((reference / PROTOCOL).read_bytes())
        if protocol["reference_version"] != REFERENCE_VERSION:
            raise ValueError(f"version {protocol['reference_version']}")
        with (reference / IMAGES).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        rules = Rules(**{k: v for k, v in protocol["rules"].items() if k != "version" and v is not None})
        prepared = _prepared(reference, folder, rows, protocol["hashes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            reference, expected=f"reference data of version {REFERENCE_VERSION} with {PROTOCOL} and {IMAGES}",
            found=f"{type(error).__name__}: {error}", fix="Export the bundle again with this version of wsl_bench.",
        ) from None  # fmt: skip
    # Nothing of a dataset's class is asked for any more; any stands in.
    return ChosenDataset(protocol["dataset"], "", discover("dataset").get("folder"), prepared, {}), rules


def _prepared(reference: Path, folder: Path, rows: list[dict[str, str]], hashes: Mapping[str, str]) -> PreparedDataset:
    """Write what a prepared dataset has on disk, with one blank pixel for every image."""
    folder.mkdir(parents=True)
    (folder / PIXELS).write_bytes(b"\0")
    parts: dict[Split, list[Item]] = {"train": []}
    for split in HELD_OUT:
        samples = [_sample(row) for row in rows if row["split"] == split]
        truth = load_truth(reference, split)
        truths = dict(zip(truth.image_ids, truth.truths, strict=True))
        parts[split] = [Item(s, _blank(s), truths[s.image_id] if s.located else NO_TRUTH) for s in samples]
    write_prepared(folder, {split: parts[split] for split in HELD_OUT}, 1, PIXELS, hashes)
    manifest = Manifest(tuple(_sample(row) for row in rows), "dataset")
    n_boxes = dict.fromkeys(HELD_OUT, 0)  # not asked for
    return PreparedDataset(folder, folder / PIXELS, manifest, 1, dict(hashes), n_boxes, {}, [], [])


def _sample(row: Mapping[str, Any]) -> Sample:
    missing = [name for name in COLUMNS if name not in row]
    if missing:
        raise ValueError(f"no column {missing[0]}")
    numbers = [int(row[name] or 0) for name in ("label", "located", "height", "width")]
    label, located, height, width = numbers
    return Sample(row["image_id"], row["group"], label, bool(located), height, width, cast(Split, row["split"]))


def _blank(sample: Sample) -> Entry:
    return Entry(sample.image_id, sample.height, sample.width, "", zlib.crc32(b"\0"), {}, None, 0)
