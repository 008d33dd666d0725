"""What the explorer of test images is given: pictures, maps, and the counts of the tallies at every step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsl_bench.errors import StoreError
from wsl_bench.leaderboard.export import row_name
from wsl_bench.leaderboard.measure import Row
from wsl_bench.leaderboard.rows import Values
from wsl_bench.metrics.grid import threshold_index
from wsl_bench.report.page.packing import pack, shrunk, steps_down
from wsl_bench.store.display import Display, load_display
from wsl_bench.store.records import Record

STEPS = 200  # of the slider: thresholds k / 200, each on the grid of the tallies
_MOST_BYTES = 8_500_000  # of all maps of a page, before they are deflated
_SIDES = (16, 96)  # of a shown map, pixels


def explorer(run: Path, dataset: str, table: Sequence[tuple[Values, Row]], share: float) -> dict[str, Any] | None:
    """Images, maps and counts of one dataset's rows under one threshold rule; None where nothing is kept to show.

    Args:
        table: rows of the leaderboard, best first. Of sanity rows the first seed is shown, of others every seed.
        share: of the page's room that this dataset may take.
    """
    try:
        display = load_display(run, dataset)
    except StoreError:  # a run of an earlier version, or of nothing but maps from files
        return None
    cells = [
        (values, record, threshold)
        for values, row in table
        for record, threshold in list(zip(row.records, row.thresholds, strict=True))[: _seeds_shown(values)]
    ]
    side = int(np.clip((share * _MOST_BYTES / max(1, len(cells) * len(display.image_ids))) ** 0.5, *_SIDES))
    first = table[0][1].first
    places = _places(display, first.image_ids)
    return {
        "steps": STEPS,
        "images": _images(display, min(_SIDES[1], display.images.shape[1]))
        | {
            "located": first.located[places].tolist(),
            "truth_area": first.truth_area[places].tolist(),
            "n_pixels": first.n_pixels[places].tolist(),
        },
        "cells": [_cell(values, record, t, display, side) for values, record, t in cells],
    }


def _seeds_shown(values: Values) -> int | None:
    return 1 if values["status"] == "sanity" else None


def _places(display: Display, image_ids: Any) -> list[int]:
    where = {str(name): i for i, name in enumerate(image_ids)}
    if not where.keys() >= set(display.image_ids):
        raise StoreError("the images that the run shows are none of its test images: remove its folder display/.")
    return [where[name] for name in display.image_ids]


def _images(display: Display, side: int) -> dict[str, Any]:
    return {
        "ids": display.image_ids,
        "labels": display.labels.tolist(),
        "side": side,
        "pixels": pack(np.rint(shrunk(display.images, side)).astype(np.uint8)),
        "truth": pack((shrunk(display.truth, side) >= 0.5).astype(np.uint8)),
    }


def _cell(values: Values, record: Record, threshold: float, display: Display, side: int) -> dict[str, Any]:
    maps, tally = record.maps(), record.test
    if tuple(map(str, maps["image_ids"])) != display.image_ids:
        raise StoreError(f"{record.slug}: expected display maps of the images that the run shows, found others.")
    # What half precision may have taken is given back: a pixel that reaches a threshold must not miss it here.
    score = shrunk(np.asarray(maps["score"], np.float32) * (1 + 2**-10), side)
    levels = np.floor(score * STEPS).clip(0, STEPS).astype(np.uint8)  # step j is reached from j / STEPS on
    ks = [*range(0, 1001, 1000 // STEPS)]
    places, k = _places(display, tally.image_ids), threshold_index(threshold)
    tp, fp = tally.true_positives[places], tally.false_positives[places]
    return {
        "row": row_name(values),
        "seed": record.content["seed"],
        "threshold": threshold,
        "sanity": values["status"] == "sanity",
        "side": levels.shape[1],
        "levels": pack(levels),
        "lit_at": pack(np.packbits(score >= threshold)),  # at the frozen threshold, which is seldom a step
        "tp": pack(steps_down(tp[:, ks])),
        "fp": pack(steps_down(fp[:, ks])),
        "tp_at": tp[:, k].tolist(),
        "fp_at": fp[:, k].tolist(),
    }
