"""Tables as pandas frames (extra `wsl-bench[notebook]`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wsl_bench.errors import UsageError
from wsl_bench.leaderboard.measure import Row
from wsl_bench.leaderboard.rows import Values
from wsl_bench.metrics import pixel

if TYPE_CHECKING:
    from pandas import DataFrame


def require_pandas() -> Any:
    """The module.

    Raises:
        UsageError: it is not installed; names the extra that has it.
    """
    try:
        import pandas
    except ImportError:
        raise UsageError(
            'Tables in a notebook need pandas, which is not installed: pip install "wsl-bench[notebook]".'
        ) from None
    return pandas


def frame(rows: Sequence[Values], columns_if_empty: Sequence[str]) -> DataFrame:
    """Rows as `pandas.read_csv` reads the file that a run writes of them, every float to its last bit.

    Empty fields are NaN, in columns of text as well; columns are in the order of the file. Names stay names, a method
    called `nan` or `1` too.
    """
    columns = list(rows[0]) if rows else list(columns_if_empty)
    values = {name: [math.nan if row[name] in (None, "") else row[name] for row in rows] for name in columns}
    found: DataFrame = require_pandas().DataFrame(values, columns=columns)
    return found


def image_frame(row: Row, shown: Sequence[str]) -> DataFrame:
    """One line a test image and training, at the row's frozen thresholds; see `Run.per_image`.

    Args:
        shown: images whose maps are kept.
    """
    pandas = require_pandas()
    columns = image_columns(row)
    n_seeds, n_images = columns["iou"].shape
    flat = {name: np.broadcast_to(values, (n_seeds, n_images)).reshape(-1) for name, values in columns.items()}
    found: DataFrame = pandas.DataFrame(flat)
    found["shown"] = found["image_id"].isin(list(shown))
    return found


def image_columns(row: Row) -> dict[str, npt.NDArray[Any]]:
    """Columns of the per-image table, each (S, N), (N,) or (S, 1); overlaps are NaN on images that are not located."""
    tally = row.first
    tp, fp = row.counts
    area, size = tally.truth_area, tally.n_pixels
    overlaps = {
        "iop": pixel.iop(tp, fp),
        "fpr": pixel.fpr(fp, area, size),
        "fnr": pixel.fnr(tp, area),
        "iou": pixel.iou(tp, fp, area),
        "dice": pixel.dice(tp, fp, area),
    }
    return {
        "image_id": tally.image_ids,
        "label": tally.labels.astype(np.int64),
        "located": tally.located,
        "area": area / size,
        **{name: np.where(tally.located, values, np.nan) for name, values in overlaps.items()},
        "probability": row.probability,
        "predicted": (tp + fp) / size,
        "group": tally.groups,
        "seed": np.array([[record.content["seed"]] for record in row.records], np.int64),
        "threshold": np.array(row.thresholds, np.float64)[:, None],
    }
