"""Finished trainings on disk, so that another method can explain one later without training again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from wsl_bench.store.atomic import atomic_write
from wsl_bench.training.loop import Checkpoint, Epoch, Training


def save_training(folder: Path, training: Training) -> None:
    """Write the candidates, then the file that names them with their sha256."""
    files = []
    for checkpoint in training.candidates:
        name = f"epoch-{checkpoint.epoch.epoch:03d}.safetensors"
        files.append({"file": name, "sha256": atomic_write(folder / name, save_tensors(checkpoint.state))})
    index = {
        "candidates": files,
        "epochs": [_plain(c.epoch) for c in training.candidates],
        "history": [_plain(e) for e in training.history],
    }
    atomic_write(folder / "training.json", json.dumps(index, sort_keys=True, allow_nan=False).encode())


def load_training(folder: Path) -> Training | None:
    """The training in `folder`, or None if there is none that verifies (it is then trained again)."""
    try:
        index = json.loads((folder / "training.json").read_text())
        candidates = []
        for entry, epoch in zip(index["candidates"], index["epochs"], strict=True):
            content = (folder / Path(entry["file"]).name).read_bytes()
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                return None
            candidates.append(Checkpoint(_epoch(epoch), load_tensors(content)))
        return Training(tuple(candidates), tuple(_epoch(e) for e in index["history"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def checkpoint_reference(folder: Path, epoch: int) -> dict[str, str]:
    """File and sha256 of one candidate, for a record."""
    index = json.loads((folder / "training.json").read_text())
    name = f"epoch-{epoch:03d}.safetensors"
    sha256 = next(entry["sha256"] for entry in index["candidates"] if entry["file"] == name)
    return {"file": f"trainings/{folder.name}/{name}", "sha256": sha256}


def _plain(epoch: Epoch) -> dict[str, float | None]:
    # JSON has no NaN: the random start has no loss.
    return {key: None if value != value else value for key, value in asdict(epoch).items()}


def _epoch(values: dict[str, float | None]) -> Epoch:
    filled = {key: float("nan") if value is None else value for key, value in values.items()}
    return Epoch(**{**filled, "epoch": int(filled["epoch"])})  # type: ignore[arg-type]
