"""A Codabench competition bundle of one dataset of a run: submitted maps are scored by this package's protocol.

Ground truth of validation and test, and the labels of test, are in the reference data alone, which Codabench shows
to the organizers and the scoring program. Images are not in the bundle.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsl_bench.data.prepared import load_truth
from wsl_bench.data.samples import Split
from wsl_bench.errors import StoreError, UsageError
from wsl_bench.leaderboard import codabench_pages as pages
from wsl_bench.leaderboard.build import Leaderboard
from wsl_bench.leaderboard.export import to_markdown
from wsl_bench.leaderboard.yaml_text import to_yaml
from wsl_bench.protocol.rules import Rules
from wsl_bench.store.run_file import manifest_file, prepared_folder, read_run

REFERENCE_VERSION = 1
HELD_OUT: tuple[Split, ...] = ("val", "test")
IMAGES, PROTOCOL = "images.csv", "protocol.json"  # of the reference data
COLUMNS = ("image_id", "group", "label", "located", "height", "width", "split")
# Of leaderboard.csv: what the scoring program reports of a submission, and which way is better.
SCORES = {
    "iou": ("IoU", "desc"), "iou_fixed_low": ("IoU, 95 % from", "desc"), "iou_fixed_high": ("IoU, 95 % to", "desc"),
    "iop": ("IoP", "desc"), "fpr": ("FPR", "asc"), "fnr": ("FNR", "asc"), "dice": ("Dice", "desc"),
    "pxap": ("PxAP", "desc"), "boxacc": ("Box accuracy", "desc"), "threshold": ("Threshold", "desc"),
}  # fmt: skip
_PAGES = ("overview", "evaluation", "data", "baselines")
_START = "2020-01-01 00:00:00"  # open as soon as it is there; the organizer sets the dates
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # of every file: the same run gives the same bytes
_SECONDS = 3600


@dataclass(frozen=True)
class _Source:
    """What a bundle is made from.

    Attributes:
        name: of the dataset. folder: its prepared files. hashes: of its parts. rules: of the run.
        manifest: rows of its split manifest.
    """

    name: str
    folder: Path
    hashes: Mapping[str, str]
    rules: Rules
    manifest: list[dict[str, str]]


def bundle(root: Path, board: Leaderboard, dataset: str | None, image: str) -> bytes:
    """The bundle as a zip archive.

    Args:
        root: folder of the run, with the prepared data that its trainings have read.
        board: its leaderboard, shown as baselines.
        dataset: which of its datasets; None if it has one.
        image: the Docker image in which the scoring program runs; it has this package installed.

    Raises:
        UsageError: an unknown dataset, prepared data that are gone, or too little ground truth to fit a threshold.
    """
    source = _find(root, dataset)
    rows = [row for row in board.rows if row["dataset"] == source.name]
    public = _public_manifest(source.manifest)
    # Of what participants have: a hash over test labels would confirm guesses at them.
    texts = pages.texts(source.name, source.rules.criterion, hashlib.sha256(public).hexdigest())
    files: dict[str, bytes] = {f"{name}.md": text.encode() for name, text in texts.items()}
    files["baselines.md"] = to_markdown(rows, board.notes).encode()
    files["logo.png"] = pages.logo()
    files["reference_data.zip"] = _zip(_reference(source))
    files["public_data.zip"] = _zip({"manifest.csv": public})
    program = {"scoring.py": pages.SCORING.encode(), "metadata.yaml": to_yaml({"command": pages.COMMAND}).encode()}
    files["scoring_program.zip"] = _zip(program)
    return _zip({"competition.yaml": to_yaml(_competition(source.name, image)).encode(), **files})


def _find(root: Path, dataset: str | None) -> _Source:
    run = read_run(root)
    names = list(run["fixed"].get("datasets", {}))
    if dataset is None and len(names) != 1:
        raise UsageError(f"{root}: has the datasets {', '.join(names) or 'none'}; say which with --dataset.")
    name = names[0] if dataset is None else dataset
    if name not in names:
        raise UsageError(f"--dataset {name}: expected one of {', '.join(names) or 'none'}.")
    hashes = {k: v for k, v in run["fixed"]["datasets"][name].items() if k != "image_size"}
    rules = Rules(**{k: v for k, v in run["fixed"]["rules"].items() if k != "version" and v is not None})
    folder = prepared_folder(root, hashes)
    if folder is None:
        raise UsageError(
            f"{root / 'prepared'}: expected the prepared data of {name}, with the ground truth that submissions are "
            "scored against, found none. Give the command of the run again: finished cells are kept, and the data "
            "are prepared anew."
        )
    file = manifest_file(root, name)
    if not file.is_file():
        raise UsageError(f"{file}: expected the run's split manifest, found none. Give the command of the run again.")
    with file.open(newline="", encoding="utf-8") as lines:
        manifest = list(csv.DictReader(lines))
    rules.check_located(name, int(load_truth(folder, "val").located.sum()), fitted=True)
    return _Source(name, folder, hashes, rules, manifest)


def _reference(source: _Source) -> dict[str, bytes]:
    """What the scoring program reads: ids, groups, labels and sizes of val and test, their ground truth, the rules."""
    rows: list[list[Any]] = [list(COLUMNS)]
    rows += [[r["image_id"], "", "", "", "", "", "train"] for r in source.manifest if r["split"] == "train"]
    files = {}
    for split in HELD_OUT:
        located = load_truth(source.folder, split).located
        path = source.folder / f"{split}.npz"
        try:
            with np.load(path, allow_pickle=False) as arrays:
                parts = [arrays[name].tolist() for name in ("image_ids", "groups", "labels", "shapes")]
        except Exception as error:  # numpy and zipfile raise many types
            raise StoreError(f"{path}: cannot be read ({error}). Give the command of the run again.") from None
        for image_id, group, label, (height, width), one in zip(*parts, located, strict=True):
            rows.append([image_id, group, label, int(one), height, width, split])
        files[f"{split}-truth.npz"] = (source.folder / f"{split}-truth.npz").read_bytes()
    protocol = {
        "reference_version": REFERENCE_VERSION, "dataset": source.name, "hashes": dict(source.hashes),
        "rules": source.rules.as_dict(),
    }  # fmt: skip
    return {IMAGES: _csv(rows), PROTOCOL: (json.dumps(protocol, indent=1) + "\n").encode(), **files}


def _public_manifest(manifest: list[dict[str, str]]) -> bytes:
    """The split for participants: of test images nothing but that they are test images."""
    rows = [["image_id", "split", "group", "label", "located"]]
    for r in manifest:
        known = [r["group"], r["label"], r["located"]] if r["split"] != "test" else ["", "", ""]
        rows.append([r["image_id"], r["split"], *known])
    return _csv(rows)


def _competition(name: str, image: str) -> dict[str, Any]:
    """competition.yaml, version 2."""
    columns = [
        {"title": title, "key": key, "index": i, "sorting": sorting, "precision": 3}
        for i, (key, (title, sorting)) in enumerate(SCORES.items())
    ]
    return {
        "version": 2,
        "title": f"Weakly supervised localization: {name}",
        "description": "Score maps of methods that train on image-level labels alone, judged on where they look.",
        "image": "logo.png",
        "terms": "terms.md",
        "docker_image": image,
        "registration_auto_approve": False,
        "make_programs_available": True,  # it holds nothing secret
        "make_input_data_available": False,
        "enable_detailed_results": False,
        "pages": [{"title": page.capitalize(), "file": f"{page}.md"} for page in _PAGES],
        "tasks": [
            {
                "index": 0, "name": name, "description": "Maps of the validation and the test images",
                "scoring_program": "scoring_program.zip", "reference_data": "reference_data.zip",
            }
        ],
        "phases": [
            {
                "index": 0, "name": "Test", "description": "Few submissions: each one reads the test split.",
                "start": _START, "max_submissions_per_day": 1, "max_submissions": 10, "execution_time_limit": _SECONDS,
                "public_data": "public_data.zip", "accepts_only_result_submissions": True, "tasks": [0],
            }
        ],
        "leaderboards": [{"title": "Results", "key": "main", "submission_rule": "Force_Last", "columns": columns}],
    }  # fmt: skip


def _csv(rows: list[list[Any]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def _zip(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.external_attr = 0o644 << 16  # whoever the container runs as may read it
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return out.getvalue()
