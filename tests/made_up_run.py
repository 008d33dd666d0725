"""A run folder written by hand: records with known maps, so that every number can be recomputed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl_bench.metrics.tally import Tally, TallyBuilder
from wsl_bench.metrics.truth import rasterize_boxes
from wsl_bench.store import run_file as store
from wsl_bench.store.records import write_failure, write_record
from wsl_bench.versions import made_with

SHAPE = (12, 16)
RULES = {"min_val_located": 1, "checkpoint": "last", "criterion": "iou", "max_fnr": None}


@dataclass
class Images:
    """Images of one split: labels, groups, boxes and truth masks."""

    ids: list[str]
    labels: list[int]
    groups: list[str]
    boxes: list[npt.NDArray[np.float64]]
    masks: list[npt.NDArray[np.bool_]]
    located: list[bool] = field(default_factory=list)


def images(split: str, n: int = 30) -> Images:
    """Every second image positive, of these all but one located; four images a patient."""
    rng = np.random.default_rng(len(split))
    out = Images([], [], [], [], [])
    for i in range(n):
        label = i % 2
        located = label == 1 and i != 1
        boxes = np.zeros((0, 4))
        if located:
            boxes = np.array([[rng.uniform(0, 8), rng.uniform(0, 6), rng.uniform(2, 7), rng.uniform(2, 5)]])
        out.ids.append(f"{split}{i:03d}")
        out.labels.append(label)
        out.groups.append(f"{split}-p{i // 4}")
        out.boxes.append(boxes)
        out.masks.append(rasterize_boxes(boxes, *SHAPE))
        out.located.append(located)
    return out


def random_maps(n: int, seed: int, blank: tuple[int, ...] = ()) -> npt.NDArray[np.float32]:
    """Coarse random maps with many ties; some blank."""
    maps = (np.random.default_rng(seed).integers(0, 11, (n, *SHAPE)) / 10).astype(np.float32)
    maps[list(blank)] = 0
    return maps


def tally_of(
    split: Images,
    maps: npt.NDArray[np.float32],
    probability: npt.NDArray[np.float64] | None,
    threshold: float | None = None,
) -> Tally:
    """The tally of a split."""
    builder = TallyBuilder(None if threshold is None else round(threshold * 1000))
    for i, image_id in enumerate(split.ids):
        p = float("nan") if probability is None else float(probability[i])
        builder.add(
            image_id, split.groups[i], split.labels[i], split.located[i], maps[i],
            split.masks[i] if split.located[i] else None, split.boxes[i], p,
        )  # fmt: skip
    return builder.build()


def write_run(
    root: Path, thresholds: tuple[str, ...] = ("val", "0.5"), planned: list[list[str]] | None = None, **rules: Any
) -> None:
    """run.json of a made-up run."""
    content = {
        "fixed": {"rules": {**RULES, **rules}},
        "planned": {"made_up": {"selector": "made_up", "seeds": [], "methods": planned or []}},
        "thresholds": list(thresholds),
        **{part: {} for part in ("settings", "skipped", "duplicates", "split_source")},
    }
    store.write_run(root, content)


def write_cell(
    root: Path,
    method: str,
    seed: int,
    maps: npt.NDArray[np.float32],
    *,
    dataset: str = "made_up",
    probability: npt.NDArray[np.float64] | None = None,
    threshold: float | None = 0.4,
    decision: float | None = 0.5,
    val_labels: list[int] | None = None,
    test_labels: list[int] | None = None,
    shown: dict[str, npt.NDArray[np.generic]] | None = None,
    name: str | None = None,
    **content: Any,
) -> None:
    """One record with these test maps; `shown` are its display maps, where they are others, `name` names its files."""
    test, val = images("test", len(maps)), images("val")
    for split, labels in ((test, test_labels), (val, val_labels)):
        if labels is not None:
            split.labels = labels
            split.located = [bool(located and label) for located, label in zip(split.located, labels, strict=True)]
            split.boxes = [b if located else b[:0] for b, located in zip(split.boxes, split.located, strict=True)]
    record = {
        **made_with(None),
        "key": f"key-{method}-{seed}", "dataset": dataset, "method": method, "method_params": "", "seed": seed,
        "sanity": False, "n_val_boxes": 14, "n_val_located": 14, "n_parameters": 100,
        "checkpoint_rule": "last", "rules": RULES, "device": "cpu",
        "val_auc": {"value": 0.9, "low": 0.8, "high": 1.0}, "polarity": {"value": 0.9, "low": 0.8, "high": 1.0},
        "operating_point": {
            "epoch": 3, "map_scale": "none", "threshold": threshold, "decision_threshold": decision, "value": 0.3,
            "criterion": "iou",
        },
        **content,
    }  # fmt: skip
    artefacts = {
        "test": tally_of(test, maps, probability, threshold).to_arrays(),
        "val": tally_of(val, random_maps(len(val.ids), seed + 1000), None).to_arrays(),
        "maps": {"image_ids": np.array(test.ids), "score": maps.astype(np.float16), **(shown or {})},
    }
    write_record(root, f"{dataset}--{name or method}--seed{seed}", record, artefacts)


def write_failed(root: Path, method: str, seed: int) -> None:
    """A cell that failed."""
    content = {"dataset": "made_up", "method": method, "method_params": "", "seed": seed, "error": "it broke"}
    write_failure(root, f"made_up--{method}--seed{seed}", content)
