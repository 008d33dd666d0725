"""The choices a study may make within the protocol; all of them enter every cell's key."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from wsl_bench.errors import UsageError

CheckpointRule = Literal["accurate_then_localized", "best_accuracy", "best_localization", "last"]
PROTOCOL_VERSION = 1


@dataclass(frozen=True)
class Rules:
    """The protocol of a run.

    Attributes:
        checkpoint: which epoch is taken. `accurate_then_localized` is the InfoMask paper's rule:
            of the N epochs with the best validation accuracy the one that localizes best on
            validation, N = min(5, ceil(epochs / 4)).
        fit_threshold: thresholds are fitted on validation; false in a run of fixed thresholds
            alone, where the located validation images may be too few to fit anything.
        min_val_located: fewer located validation positives than this refuse a fitted threshold.
        display_images: how many test images keep their score maps for display.
    """

    checkpoint: CheckpointRule = "accurate_then_localized"
    fit_threshold: bool = True
    min_val_located: int = 20
    display_images: int = 200

    def __post_init__(self) -> None:
        if self.checkpoint not in get_args(CheckpointRule):
            raise UsageError(f"--checkpoint {self.checkpoint}: expected one of {', '.join(get_args(CheckpointRule))}.")

    def uses_localization(self) -> bool:
        """Whether validation ground truth takes part in the choice of the checkpoint."""
        return self.fit_threshold and self.checkpoint in ("accurate_then_localized", "best_localization")

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

    def check_located(self, dataset: str, n_located: int) -> None:
        """Refuse to fit on too few located validation positives.

        Raises:
            UsageError: with the ways out.
        """
        if self.fit_threshold and n_located < self.min_val_located:
            raise UsageError(
                f"{dataset}: expected at least {self.min_val_located} located validation positives to fit a "
                f"threshold, found {n_located}. Use a larger validation split, give a fixed threshold "
                f"(--thresholds 0.5), or lower the bar with --min-val-located {n_located} "
                "(the table's footer will say so)."
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for keys and records."""
        return {
            "version": PROTOCOL_VERSION,
            "checkpoint": self.checkpoint,
            "fit_threshold": self.fit_threshold,
            "min_val_located": self.min_val_located,
            "display_images": self.display_images,
        }
