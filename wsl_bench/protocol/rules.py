"""The choices a study may make within the protocol; all of them enter every cell's key."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from wsl_bench.errors import UsageError
from wsl_bench.metrics.criteria import CRITERIA, CriterionName

CheckpointRule = Literal["accurate_then_localized", "best_accuracy", "best_localization", "last"]
PROTOCOL_VERSION = 2


@dataclass(frozen=True)
class Rules:
    """The protocol of a run.

    Attributes:
        checkpoint: which epoch is taken. `accurate_then_localized` is the InfoMask paper's rule:
            of the N epochs with the best validation accuracy the one that localizes best on
            validation, N = min(5, ceil(epochs / 4)).
        criterion: what the threshold, the map scale and the checkpoint are fitted to on validation
            (`metrics.criteria.objective`).
        max_fnr: the bound of `iop_at_fnr`; None: 0.5.
        min_val_located: on fewer located validation positives nothing is fitted: a fitted threshold
            is refused, fixed ones read the most accurate checkpoint.
        display_images: how many test images keep their score maps for display.
    """

    checkpoint: CheckpointRule = "accurate_then_localized"
    criterion: CriterionName = "iou"
    max_fnr: float | None = None
    min_val_located: int = 20
    display_images: int = 200

    def __post_init__(self) -> None:
        if self.min_val_located < 1:
            raise UsageError(f"--min-val-located {self.min_val_located}: expected at least 1.")
        if self.criterion not in CRITERIA:
            raise UsageError(f"--criterion {self.criterion}: expected one of {', '.join(CRITERIA)}.")
        if self.max_fnr is not None and self.criterion != "iop_at_fnr":
            raise UsageError(f"--max-fnr {self.max_fnr}: it bounds --criterion iop_at_fnr alone.")
        if self.max_fnr is not None and not 0 <= self.max_fnr < 1:
            raise UsageError(f"--max-fnr {self.max_fnr}: expected a share from 0 to below 1.")
        if self.checkpoint not in get_args(CheckpointRule):
            raise UsageError(f"--checkpoint {self.checkpoint}: expected one of {', '.join(get_args(CheckpointRule))}.")

    def fnr_bound(self) -> float:
        """The highest mean FNR that `iop_at_fnr` accepts."""
        return 0.5 if self.max_fnr is None else self.max_fnr

    def fits(self, n_val_located: int) -> bool:
        """Whether thresholds, map scales and checkpoints are fitted on this much ground truth."""
        return n_val_located >= self.min_val_located

    def applied(self, n_val_located: int) -> CheckpointRule:
        """The checkpoint rule that is applied: without ground truth to fit on, accuracy alone decides."""
        if self.checkpoint == "accurate_then_localized" and not self.fits(n_val_located):
            return "best_accuracy"
        return self.checkpoint

    def n_candidates(self, epochs: int) -> int:
        """Checkpoints a training keeps for the choice."""
        if self.checkpoint == "best_localization":
            return max(1, epochs)
        if self.checkpoint == "accurate_then_localized":
            return max(1, min(5, math.ceil(epochs / 4)))
        return 1

    def preference(self, epoch: int, accuracy: float, cross_entropy: float) -> tuple[float, ...]:
        """Sort key of an epoch, best first: accuracy, then lower cross-entropy, then the earlier."""
        return (-epoch,) if self.checkpoint == "last" else (-accuracy, cross_entropy, epoch)

    def check_located(self, dataset: str, n_located: int, *, fitted: bool) -> None:
        """Refuse to fit on too few located validation positives.

        Args:
            fitted: a fitted threshold is asked for.

        Raises:
            UsageError: with the ways out.
        """
        if self.fits(n_located):
            return
        found = f"{dataset}: expected at least {self.min_val_located} located validation positives"
        lower = f", or lower the bar with --min-val-located {n_located} (the table says so)" if n_located else ""
        if fitted:
            raise UsageError(
                f"{found} to fit a threshold, found {n_located}. Use a larger validation split, give a fixed "
                f"threshold (--thresholds 0.5){lower}."
            )
        if self.checkpoint == "best_localization":
            raise UsageError(
                f"{found} for --checkpoint best_localization, found {n_located}. Use a larger validation split, "
                f"another rule{lower}."
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for keys and records."""
        return {
            "version": PROTOCOL_VERSION,
            "checkpoint": self.checkpoint,
            "criterion": self.criterion,
            "max_fnr": self.fnr_bound() if self.criterion == "iop_at_fnr" else None,
            "min_val_located": self.min_val_located,
            "display_images": self.display_images,
        }
