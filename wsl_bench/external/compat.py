"""Maps measured as wsolevaluation measures them, to set beside papers that used it. Oracle figures, never ranked."""

from __future__ import annotations

import numpy as np

from wsl_bench.data.geometry import stretched
from wsl_bench.data.views import TruthView, WeakView
from wsl_bench.external.read import MapSource
from wsl_bench.metrics import wsolevaluation as peer


def wsolevaluation_figures(source: MapSource, weak: WeakView, truth: TruthView) -> dict[str, float]:
    """MaxBoxAcc, MaxBoxAccV2 and PxAP of the located test images, in percent.

    Each map is normalised by its minimum and maximum, as that evaluator's pipeline does, at the size of its image
    (there: a crop of 224 x 224). All thresholds are the best on these very images.

    Raises:
        UsageError: OpenCV is not installed.
    """
    largest, every = [], []
    inside = outside = np.zeros(peer.N_BINS, dtype=np.int64)
    for i in np.flatnonzero(truth.located):
        frame, ground = weak.frames[i], truth.truths[i]
        scores = peer.min_max_normalized(stretched(source.read(weak.image_ids[i]), frame.height, frame.width))
        largest.append(peer.best_box_iou(scores, ground.boxes, all_contours=False))
        every.append(peer.best_box_iou(scores, ground.boxes, all_contours=True))
        histograms = peer.score_histograms(scores, ground.pixels(frame.height, frame.width))
        inside, outside = inside + histograms[0], outside + histograms[1]
    ious = np.array(every)
    levels = {f"oracle_maxboxacc_{level}": peer.max_box_acc(ious, level) for level in peer.V2_LEVELS}
    return {
        "oracle_maxboxacc_v1": peer.max_box_acc(np.array(largest), 50),
        **levels,
        "oracle_maxboxacc_v2": peer.max_box_acc_v2(ious),
        "pxap": peer.pxap(inside, outside),
    }
