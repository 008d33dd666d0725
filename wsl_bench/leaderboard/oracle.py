"""What thresholds chosen *on test* would give: upper bounds, to set beside papers that report them.

Nothing here is ranked, written into a run's leaderboard.csv, or shown unless somebody asks for it by name.
"""

from __future__ import annotations

import numpy as np

from wsl_bench.leaderboard.measure import Row
from wsl_bench.metrics import pixel
from wsl_bench.metrics.criteria import BOXACC_LEVELS
from wsl_bench.metrics.grid import threshold_index
from wsl_bench.metrics.tally import Tally

COLUMNS = ("oracle_iou", "oracle_gap", "oracle_maxboxacc", "oracle_maxboxacc_v2")
NOTE = (
    "`oracle_*`: the best threshold on the test images themselves, an upper bound that no method may claim; never "
    "ranked. `oracle_gap` is oracle_iou minus iou."
)


def oracle_columns(row: Row) -> dict[str, float]:
    """Means over the trainings, each at its own best thresholds.

    `oracle_iou`: highest mean IoU. `oracle_gap`: what that is above the row's `iou`. `oracle_maxboxacc`: largest
    component, IoU .5. `oracle_maxboxacc_v2`: any component, mean over IoU .3, .5 and .7 with a threshold for each.

    Source: MaxBoxAcc (Choe et al., CVPR 2020) and MaxBoxAccV2 (Choe et al., TPAMI 2022), on this package's grid,
    boxes and `>=`.
    """
    each = [
        (*_best_iou(tally, threshold_index(t)), _max_box_acc(tally), _max_box_acc_v2(tally))
        for tally, t in zip(row.tallies, row.thresholds, strict=True)
    ]
    means = (float(np.mean(values)) for values in zip(*each, strict=True))
    return dict(zip(COLUMNS, means, strict=True))


def _best_iou(tally: Tally, k: int) -> tuple[float, float]:
    """The highest mean IoU, and what that is above the one at k / 1000."""
    on = tally.located
    curve = pixel.iou(tally.true_positives[on], tally.false_positives[on], tally.truth_area[on, None]).mean(axis=0)
    best = float(curve[1:].max())
    return best, best - float(curve[k])


def _max_box_acc(tally: Tally) -> float:
    """Largest component: an image is right where its box has an IoU of at least .5 with some ground-truth box."""
    first = np.searchsorted(tally.box_image, tally.hits_image)
    best = np.maximum.reduceat(tally.iou_largest, first, axis=0)
    return float((best >= 0.5).mean(axis=0)[1:].max())


def _max_box_acc_v2(tally: Tally) -> float:
    return float(np.mean([(tally.hits_at_level(level) > 0).mean(axis=0)[1:].max() for level in BOXACC_LEVELS]))
