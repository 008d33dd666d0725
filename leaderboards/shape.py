"""What the paper says of masks beyond its table, in figures: contiguity, sigma inside and outside lesions,
and IoU on dark and on bright images.

Made from a run's records and prepared images alone, at the frozen thresholds. Values are per image and
seed; their intervals are the leaderboard's (seeds random, crossed with patients).
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from wsl_bench.data.prepared import load_truth, load_weak
from wsl_bench.data.views import TruthView, WeakView
from wsl_bench.leaderboard.measure import Row
from wsl_bench.protocol.score_maps import to_truth_resolution
from wsl_bench.stats.crossed import crossed_interval
from wsl_bench.store.records import Record, read_records
from wsl_bench.store.run_file import prepared_folder, read_run

EIGHT = np.ones((3, 3), np.bool_)
Float = npt.NDArray[np.float64]
Split = tuple[WeakView, TruthView]


def shape_rows(run: Path) -> list[dict[str, Any]]:
    """One row a trained method and quantity: mean, 95 % interval, images and seeds it is over."""
    by_method: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in sorted(read_records(run)[0], key=lambda r: int(r.content["seed"])):
        c = record.content
        if not c["sanity"] and c["operating_point"]["threshold"] is not None:
            by_method[c["dataset"], c["method"], c["method_params"]].append(record)
    rows = []
    for (dataset, method, params), records in sorted(by_method.items()):
        name = {"dataset": dataset, "method": method, "method_params": params}
        folder = prepared_split(run, dataset)
        split = load_weak(folder, "test"), load_truth(folder, "test")
        for quantity, (values, groups) in _quantities(records, split).items():
            interval = crossed_interval(values, groups)
            # Nothing here is below 0 but a difference, and no share is above 1.
            lowest = -np.inf if "minus" in quantity else 0.0
            highest = 1.0 if "share" in quantity or quantity.startswith("iou") else np.inf
            low, high = max(lowest, interval.low), min(highest, interval.high)
            bounds = {"mean": interval.mean, "low": low, "high": high}
            sizes = {"n_images": values.shape[1], "n_seeds": len(records)}
            rows.append(name | {"quantity": quantity} | bounds | sizes)
    return rows


def _quantities(records: list[Record], split: Split) -> dict[str, tuple[Float, npt.NDArray[np.str_]]]:
    """(S, n) values of each quantity and the groups of its images."""
    out = {"components": _components(records), "largest_component_share": _largest_shares(records, split)}
    out |= _iou_by_brightness(records, split)
    if "sigma" in records[0].maps():
        out |= _sigmas(records, split)
    return {name: pair for name, pair in out.items() if pair[0].shape[1]}


def _components(records: list[Record]) -> tuple[Float, npt.NDArray[np.str_]]:
    """8-connected components of the thresholded map, on located images whose map is blank for no seed."""
    counts = Row(tuple(records), "val").components
    chosen = records[0].test.located & (counts > 0).all(0)
    return counts[:, chosen].astype(np.float64), records[0].test.groups[chosen]


def _largest_shares(records: list[Record], split: Split) -> tuple[Float, npt.NDArray[np.str_]]:
    """Share of the lit area that the largest component holds, on the located images kept for display."""
    shares = np.stack([_displayed(r, "score", split, located=True, measure=_largest_of(r)) for r in records])
    chosen = np.isfinite(shares).all(0)
    return shares[:, chosen], _groups(records[0], split, located=True)[chosen]


def _largest_of(record: Record) -> Any:
    threshold = np.float32(record.content["operating_point"]["threshold"])
    return lambda score, mask: largest_component_share(score >= threshold)


def largest_component_share(lit: npt.NDArray[np.bool_]) -> float:
    """Area of the largest 8-connected component over the whole lit area; NaN where nothing is lit."""
    labels, n = ndimage.label(lit, structure=EIGHT)
    return float(np.bincount(labels.ravel())[1:].max() / lit.sum()) if n else float("nan")


def _iou_by_brightness(records: list[Record], split: Split) -> dict[str, tuple[Float, npt.NDArray[np.str_]]]:
    """IoU on the darkest, middle and brightest third of the located images.

    By the mean grey outside the ground truth: a large lesion would make its own image brighter.
    """
    weak = split[0]
    row = Row(tuple(records), "val")
    iou, groups = row.located("iou")
    numbers = {name: i for i, name in enumerate(weak.image_ids)}
    brightness = np.array([_grey_outside(split, numbers[str(name)]) for name in row.first.image_ids[row.first.located]])
    order = np.argsort(brightness, kind="stable")
    thirds = zip(("darkest", "middle", "brightest"), np.array_split(order, 3), strict=True)
    return {f"iou_{name}_third": (iou[:, chosen], groups[chosen]) for name, chosen in thirds}


def _grey_outside(split: Split, i: int) -> float:
    weak, truth = split
    frame = weak.frames[i]
    outside = ~truth.truths[i].pixels(frame.height, frame.width)
    return float(frame.to_stored(weak.images[i].astype(np.float32))[outside].mean())


def _sigmas(records: list[Record], split: Split) -> dict[str, tuple[Float, npt.NDArray[np.str_]]]:
    """Mean sigma inside and outside the ground truth, their difference, and over negatives (Figure 4)."""
    inside, outside = (
        np.stack([_displayed(r, "sigma", split, located=True, measure=of) for r in records])
        for of in (lambda sigma, mask: sigma[mask].mean(), lambda sigma, mask: sigma[~mask].mean())
    )
    negative = np.stack(
        [_displayed(r, "sigma", split, located=False, measure=lambda sigma, mask: sigma.mean()) for r in records]
    )
    groups = _groups(records[0], split, located=True)
    return {
        "sigma_inside": (inside, groups),
        "sigma_outside": (outside, groups),
        "sigma_inside_minus_outside": (inside - outside, groups),
        "sigma_on_negatives": (negative, _groups(records[0], split, located=False)),
    }


def _displayed(record: Record, name: str, split: Split, *, located: bool, measure: Any) -> Float:
    """A measure of (map at the ground truth's resolution, ground truth) for each display image of one kind."""
    weak, truth = split
    maps = record.maps()
    values = []
    for row in _rows(record, split, located=located):
        i = weak.image_ids.index(str(maps["image_ids"][row]))
        frame = weak.frames[i]
        stored = np.asarray(maps[name][row], np.float32)
        shown = to_truth_resolution(stored, frame) if name == "score" else frame.to_stored(stored)
        values.append(measure(shown, truth.truths[i].pixels(frame.height, frame.width)))
    return np.array(values, np.float64)


def _rows(record: Record, split: Split, *, located: bool) -> list[int]:
    """Rows of the display maps that show a located positive, or a negative."""
    weak, truth = split
    kind = truth.located if located else weak.labels == 0
    wanted = {name for name, is_kind in zip(weak.image_ids, kind, strict=True) if is_kind}
    return [row for row, name in enumerate(record.maps()["image_ids"]) if str(name) in wanted]


def _groups(record: Record, split: Split, *, located: bool) -> npt.NDArray[np.str_]:
    of = dict(zip(split[0].image_ids, split[0].groups, strict=True))
    names = record.maps()["image_ids"]
    return np.array([of[str(names[row])] for row in _rows(record, split, located=located)])


def prepared_split(run: Path, dataset: str) -> Path:
    """Where the run keeps one of its datasets, by the hashes that run.json names."""
    planned = read_run(run)["fixed"]["datasets"][dataset]
    found = prepared_folder(run, {part: sha256 for part, sha256 in planned.items() if part != "image_size"})
    if found is None:
        raise SystemExit(f"{run / 'prepared'}: expected the images of {dataset}, found none. Run the study again.")
    return found
