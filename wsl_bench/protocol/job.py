"""What a worker is handed: one training and the cells that share it, as plain values."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from wsl_bench.params import Value
from wsl_bench.protocol.rules import Rules
from wsl_bench.training.recipe import ResolvedRecipe


def digest(value: Any) -> str:
    """sha256 of a value that JSON can hold, with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def start_seed(train_sha256: str, trained: list[Any] | None, recipe: dict[str, Any], seed: int) -> int:
    """Seed of a training's weights and noise, whatever else is run, where and in which order."""
    return int(digest([train_sha256, trained, recipe, seed])[:15], 16)


def order_seed(train_sha256: str, seed: int) -> int:
    """Seed of the order of images and flips, shared by all methods of one seed."""
    return int(digest(["order", train_sha256, seed])[:15], 16)


@dataclass(frozen=True)
class Cell:
    """One (dataset, method, seed).

    Attributes:
        dataset: the name shown in tables.
        method: registered name, `params` its full parameters, `shown_params` those that differ from
            the defaults, as text.
        key_parts: everything that could change the result; the key is their hash.
        slug: file name of its record, readable, ending in the key's first digits.
    """

    dataset: str
    method: str
    params: dict[str, Value]
    shown_params: str
    seed: int
    key_parts: dict[str, Any]
    key: str
    slug: str

    def failure(self, error: str) -> dict[str, Any]:
        """What is noted of it when it fails."""
        return {
            "key": self.key,
            "key_parts": self.key_parts,
            "dataset": self.dataset,
            "method": self.method,
            "method_params": self.shown_params,
            "seed": self.seed,
            "error": error,
        }


@dataclass(frozen=True)
class Job:
    """One training (or none, for a prior) and its cells.

    Attributes:
        folder: of the prepared dataset.
        trained_by: ("network" | "method", name, parameters) of what is trained; None for a prior.
        training_key: hash of everything that could change the training.
        start_seed, order_seed: see `training.loop.train`.
        threads: of one worker.
        attempt: how often it has been begun; more than once where a worker process died.
        cost: of the whole job, in images of the common network; for the order and the time left.
    """

    folder: str
    out: str
    trained_by: tuple[str, str, dict[str, Value]] | None
    recipe: ResolvedRecipe
    seed: int
    training_key: str
    start_seed: int
    order_seed: int
    device: str
    threads: int
    cost: float
    rules: Rules
    cells: tuple[Cell, ...]
    attempt: int = 1

    @property
    def id(self) -> str:
        """Unique in a run. Datasets may share a training; then they share its key."""
        return f"{self.training_key}:{self.cells[0].dataset}"

    def training_name(self) -> str:
        """Folder of the training below `trainings/`."""
        return self.training_key[:16]

    def label(self) -> str:
        """What progress lines call it."""
        name = self.trained_by[1] if self.trained_by else self.cells[0].method
        return f"{self.cells[0].dataset} / {name} / seed {self.seed}"
