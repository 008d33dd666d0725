"""Trainings on disk: finished ones, for other methods to explain, and where an interrupted one stands."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from wsl_bench.errors import StoreError
from wsl_bench.store.atomic import atomic_write
from wsl_bench.training.loop import Checkpoint, Epoch, Snapshot, Training

_UNFINISHED = "unfinished-*.safetensors"
_KEPT = "kept."
_INDEX = "training.json"


def save_training(folder: Path, training: Training) -> None:
    """Write the candidates, then the file that names them with their sha256."""
    files = []
    for checkpoint in training.candidates:
        name = f"epoch-{checkpoint.epoch.epoch:03d}.safetensors"
        files.append({"file": name, "sha256": atomic_write(folder / name, save_tensors(checkpoint.state))})
    index: dict[str, Any] = {
        "candidates": files,
        "epochs": [_plain(c.epoch) for c in training.candidates],
        "history": [_plain(e) for e in training.history],
    }
    index["sha256"] = _sha256(index)
    atomic_write(folder / _INDEX, json.dumps(index, sort_keys=True, allow_nan=False).encode())
    for left in folder.glob(_UNFINISHED):
        left.unlink(missing_ok=True)


def save_snapshot(folder: Path, snapshot: Snapshot, seconds: float) -> None:
    """Write where a training stands, in place of what was written before.

    One file, named by its own sha256: it is there and verifies, or it is not there.

    Args:
        seconds: what the training has cost so far.
    """
    tensors = dict(snapshot.tensors)
    for number, candidate in enumerate(snapshot.so_far.candidates):
        tensors |= {f"{_KEPT}{number}.{name}": tensor for name, tensor in candidate.state.items()}
    content = {
        "epochs": [_plain(c.epoch) for c in snapshot.so_far.candidates],
        "history": [_plain(e) for e in snapshot.so_far.history],
        "seconds": seconds,
    }
    data = save_tensors(tensors, {"training": json.dumps(content, sort_keys=True, allow_nan=False)})
    path = folder / f"unfinished-{hashlib.sha256(data).hexdigest()}.safetensors"
    before = [left for left in folder.glob(_UNFINISHED) if left != path]
    atomic_write(path, data)
    for left in before:
        left.unlink(missing_ok=True)


def load_snapshot(folder: Path) -> tuple[Snapshot, float] | None:
    """Where the training in `folder` stands and what it has cost, or None if no file verifies.

    Killed between two files it leaves both; the one with more epochs is taken.
    """
    found = [snapshot for path in folder.glob(_UNFINISHED) if (snapshot := _read_snapshot(path)) is not None]
    return max(found, key=lambda one: len(one[0].so_far.history), default=None)


def _read_snapshot(path: Path) -> tuple[Snapshot, float] | None:
    try:
        data = path.read_bytes()
        if path.name != f"unfinished-{hashlib.sha256(data).hexdigest()}.safetensors":
            return None
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        content = json.loads(header["__metadata__"]["training"])
        tensors = load_tensors(data)
        kept = []
        for number, epoch in enumerate(content["epochs"]):
            prefix = f"{_KEPT}{number}."
            state = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            kept.append(Checkpoint(_epoch(epoch), state))
        own = {name: tensor for name, tensor in tensors.items() if not name.startswith(_KEPT)}
        history = tuple(_epoch(e) for e in content["history"])
        return Snapshot(Training(tuple(kept), history), own), float(content["seconds"])
    except Exception:  # damaged, or made up by somebody: what it may raise has no end
        return None


def load_training(folder: Path) -> Training | None:
    """The training in `folder`, or None if there is none that verifies (it is then trained again)."""
    try:
        index = _index(folder)
        candidates = []
        for entry, epoch in zip(index["candidates"], index["epochs"], strict=True):
            content = (folder / Path(entry["file"]).name).read_bytes()
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                return None
            candidates.append(Checkpoint(_epoch(epoch), load_tensors(content)))
        return Training(tuple(candidates), tuple(_epoch(e) for e in index["history"]))
    except Exception:  # as above
        return None


def checkpoint_reference(folder: Path, epoch: int) -> dict[str, str]:
    """File and sha256 of one candidate, for a record.

    Raises:
        StoreError: the training has been damaged since it was written or loaded.
    """
    name = f"epoch-{epoch:03d}.safetensors"
    try:
        sha256 = next(str(entry["sha256"]) for entry in _index(folder)["candidates"] if entry["file"] == name)
    except Exception:
        raise StoreError(
            f"{folder / _INDEX}: expected the index of a training with {name}, found none. Run the study again with "
            "--retry-failed to train it anew."
        ) from None
    return {"file": f"trainings/{folder.name}/{name}", "sha256": sha256}


def _index(folder: Path) -> dict[str, Any]:
    """The index of a training; an error of some type or other if it does not verify."""
    index: dict[str, Any] = json.loads((folder / _INDEX).read_bytes())
    if index.pop("sha256") != _sha256(index):
        raise ValueError("another content than its sha256 was taken of")
    return index


def _sha256(index: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(index, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _plain(epoch: Epoch) -> dict[str, float | None]:
    # JSON has no NaN: the random start has no loss.
    return {key: None if value != value else value for key, value in asdict(epoch).items()}


def _epoch(values: dict[str, float | None]) -> Epoch:
    filled = {key: float("nan") if value is None else value for key, value in values.items()}
    return Epoch(**{**filled, "epoch": int(filled["epoch"])})  # type: ignore[arg-type]
