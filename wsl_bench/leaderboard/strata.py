"""A table split by what its images show: small and large lesions, one and several, or a column of labels.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsl_bench.errors import DataError, UsageError
from wsl_bench.leaderboard.measure import Row
from wsl_bench.leaderboard.rows import Values
from wsl_bench.params import did_you_mean
from wsl_bench.stats.crossed import crossed_interval

METRICS = ("iou", "iop", "fpr", "fnr", "empty_rate")
# What needs no table of labels: it is in the ground truth.
BUILT_IN = ("lesion_size", "lesion_count")
AGES = ("age", "patient_age", "age_years")
MOST_VALUES = 8  # numbers of a column with more of them are put into bands
FEWEST = 20  # located images in a stratum; on fewer no figure is shown
Mask = npt.NDArray[np.bool_]


def stratified(
    measured: Sequence[tuple[Values, Row]], by: str, labels: Mapping[str, Mapping[str, str]] | None = None
) -> list[Values]:
    """One row a (dataset, method, threshold rule, stratum): each metric with its interval for the method.

    Args:
        by: `lesion_size` (thirds of the located test images by the share of the image that is ground truth),
            `lesion_count` (1, 2, 3 or more boxes), or a column of `labels` (one of many numbers in bands: ages by
            20 years, others in thirds).
        labels: rows of a label table by image id.

    Returns:
        Rows in the order of `measured`, with `n_images` and `n_groups`; figures are None on fewer than 20 images.

    Raises:
        UsageError: no such column, or no image of the table.
    """
    rows = []
    for values, row in measured:
        for stratum, chosen in _strata(row, by, labels).items():
            rows.append(
                {key: values[key] for key in ("dataset", "method", "method_params", "threshold_rule", "status")}
                | {"by": by, "stratum": stratum}
                | stratum_figures(row, chosen)
            )
    return rows


def stratum_figures(row: Row, chosen: Mask) -> Values:
    """Numbers of images, patients and seeds, and each metric with its interval, of some located images.

    Args:
        chosen: bool (n,), which of the row's located images.
    """
    share = _share(row)[chosen]
    enough = int(chosen.sum()) >= FEWEST
    groups = row.first.groups[row.first.located][chosen]
    out: Values = {
        "n_images": int(chosen.sum()),
        "n_groups": len(set(groups.tolist())),
        "n_seeds": len(row.records),
        "iop_chance": float(share.mean()) if enough else None,
    }
    for metric in METRICS:
        per_image, _ = row.located(metric)
        # FPR is not defined where the ground truth covers the whole image; such a stratum has none.
        if not enough or per_image.shape[1] != len(chosen):
            out |= dict.fromkeys((metric, f"{metric}_low", f"{metric}_high"))
            continue
        interval = crossed_interval(per_image[:, chosen], groups)
        low, high = (None if bound != bound else min(1.0, max(0.0, bound)) for bound in (interval.low, interval.high))
        out |= {metric: interval.mean, f"{metric}_low": low, f"{metric}_high": high}
    return out


def read_labels(path: Path) -> dict[str, dict[str, str]]:
    """A label table by image id.

    Raises:
        DataError: it cannot be read, or has no column image_id.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval=None)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, expected="a CSV table", found=str(error), fix="Name one with --labels.") from None
    if not rows or "image_id" not in rows[0]:
        raise DataError(path, expected="rows with an image_id", found="none", fix="Name a label table with --labels.")
    seen: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, 2):
        where = f"row {number} (image_id {row['image_id']!r})"
        if "" in row or None in row.values():
            raise DataError(path, expected=f"{len(rows[0])} fields in {where}", found="another number",
                            fix="Mend the row.")  # fmt: skip
        if row["image_id"] in seen:
            raise DataError(path, expected="each image_id once", found=f"{where} again", fix="Keep one of the rows.")
        seen[row["image_id"]] = row
    return seen


def _strata(row: Row, by: str, labels: Mapping[str, Mapping[str, str]] | None) -> dict[str, Mask]:
    if by == "lesion_size":
        return _thirds(_share(row))
    if by == "lesion_count":
        tally = row.first
        counts = np.bincount(tally.box_image, minlength=len(tally))[tally.located]
        return {"1": counts == 1, "2": counts == 2, "3 or more": counts > 2}
    if labels is None:
        raise UsageError(f"--by {by}: expected {' or '.join(BUILT_IN)}, or a column of a label table (--labels FILE).")
    columns = list(next(iter(labels.values())))
    if by not in columns:
        raise UsageError(f"--by {by}: no such column{did_you_mean(by, columns)} There are {', '.join(columns)}.")
    ids = row.first.image_ids[row.first.located]
    if not any(name in labels for name in ids.tolist()):
        dataset = row.records[0].content["dataset"]
        raise UsageError(f"--by {by}: the label table has none of {dataset}'s test images. Name its own with --labels.")
    found = np.array([labels[name][by] if name in labels else "" for name in ids.tolist()])
    return _bands(by, found) or {value or "(none)": found == value for value in sorted(set(found.tolist()))}


def _bands(by: str, found: npt.NDArray[np.str_]) -> dict[str, Mask]:
    """A column of many numbers: ages in bands of 20 years, others in thirds of these images; else nothing."""
    try:
        numbers = np.array([float(value) if value else np.nan for value in found.tolist()])
    except ValueError:
        return {}
    numbers[~np.isfinite(numbers)] = np.nan
    known = numbers[np.isfinite(numbers)]
    if len(np.unique(known)) <= MOST_VALUES:
        return {}
    if by.lower() in AGES:
        low = 20 * np.floor(numbers / 20)
        bands = {f"{start:.0f} to {start + 19:.0f}": low == start for start in np.unique(low[np.isfinite(low)])}
    else:
        cuts = np.quantile(known, [1 / 3, 2 / 3])
        bands = {
            f"to {cuts[0]:g}": numbers <= cuts[0],
            f"above {cuts[0]:g} to {cuts[1]:g}": (numbers > cuts[0]) & (numbers <= cuts[1]),
            f"above {cuts[1]:g}": numbers > cuts[1],
        }
    missing = ~np.isfinite(numbers)
    return bands | ({"(none)": missing} if missing.any() else {})


def _thirds(share: npt.NDArray[np.float64]) -> dict[str, Mask]:
    low, high = np.quantile(share, [1 / 3, 2 / 3])
    return {
        f"small (to {low:.3f} of the image)": share <= low,
        "middle": (share > low) & (share <= high),
        f"large (above {high:.3f})": share > high,
    }


def _share(row: Row) -> npt.NDArray[np.float64]:
    """(n,) share of each located image that is ground truth."""
    tally = row.first
    return np.asarray((tally.truth_area / tally.n_pixels)[tally.located], np.float64)
