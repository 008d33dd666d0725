"""The recipe: everything a training needs besides method and data. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wsl_bench.errors import UsageError
from wsl_bench.params import Component, build, param

# Training images shown in one training when the number of epochs is not given, and bounds of that number.
IMAGES_SHOWN = 9_600
EPOCH_BOUNDS = (5, 40)


class Recipe(Component):
    """How a network is trained.

    The common values are what made the paper's CNN train from scratch; a dataset or a network
    may suggest its own, a user's setting wins over both.
    """

    image_size: int = param(64, "side of the square input, pixels", low=16)
    width: float = param(0.25, "factor on every channel count of the paper's CNN; 1 = the paper's", above=0)
    norm: Literal["none", "batch", "group"] = param("batch", "normalisation after each convolution")
    epochs: int | None = param(None, "passes over the training images; none: by the size of the dataset", low=0)
    epochs_factor: float = param(1.0, "factor on the images shown when the epochs are not given", above=0)
    batch_size: int = param(16, "images a step", low=2)
    learning_rate: float = param(1e-3, "peak of the one-cycle schedule (Adam)", above=0)
    beta2: float = param(0.98, "decay of Adam's mean square; short trainings gain by a quick one", low=0, below=1)
    weight_decay: float = param(0.0, "Adam's weight decay", low=0)
    clip: float = param(1.0, "gradient norm is clipped to this", above=0)
    flip: bool = param(True, "random horizontal flips")
    precision: Literal["auto", "fp32", "bf16"] = param("auto", "auto: bf16 where the processor computes in it")


@dataclass(frozen=True)
class ResolvedRecipe:
    """A recipe with nothing left open: what enters the key of a training."""

    image_size: int
    width: float
    norm: str
    epochs: int
    batch_size: int
    learning_rate: float
    beta2: float
    weight_decay: float
    clip: float
    flip: bool
    precision: str


def resolve(
    suggested: Mapping[str, Any],
    network: Mapping[str, Any],
    chosen: Mapping[str, Any],
    *,
    n_train: int,
    precision: str,
) -> ResolvedRecipe:
    """Merge the common recipe, the dataset's, the network's and the user's, the last winning.

    Args:
        suggested, network, chosen: field values by name.
        n_train: training images, from which the number of epochs follows if nobody sets it.
        precision: what "auto" means on the device at hand.

    Raises:
        UsageError: an unknown field or a value out of range.
    """
    recipe: Recipe = build(Recipe, "recipe", {**suggested, **network, **chosen})
    values = {
        field.name: getattr(recipe, field.name)
        for field in dataclasses.fields(ResolvedRecipe)
        if field.name != "epochs"
    }
    epochs = recipe.epochs
    if "epochs" in chosen and epochs == 0:
        raise UsageError("recipe.epochs=0: expected at least 1. A network without training has a row: random_weights.")
    if epochs is None:
        low, high = EPOCH_BOUNDS
        epochs = round(min(high, max(low, IMAGES_SHOWN * recipe.epochs_factor / n_train)))
    if recipe.precision == "auto":
        values["precision"] = precision
    return ResolvedRecipe(epochs=epochs, **values)
