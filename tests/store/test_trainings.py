"""Finished trainings on disk: taken again only if every byte verifies."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from wsl_bench.store.trainings import checkpoint_reference, load_training, save_training
from wsl_bench.training.loop import Checkpoint, Epoch, Training


def _training() -> Training:
    epochs = tuple(Epoch(i, math.nan if i == 0 else 0.5 / i, 0.7, 0.4, 0.8) for i in range(4))
    states = [{"layer.weight": torch.full((2, 3), float(i)), "seed": torch.tensor(i)} for i in (3, 0)]
    return Training((Checkpoint(epochs[3], states[0]), Checkpoint(epochs[0], states[1])), epochs)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save_training(tmp_path / "t", _training())
    loaded = load_training(tmp_path / "t")
    assert loaded is not None
    assert [c.epoch.epoch for c in loaded.candidates] == [3, 0]
    assert math.isnan(loaded.history[0].loss)
    assert loaded.history[1:] == _training().history[1:]
    for found, saved in zip(loaded.candidates, _training().candidates, strict=True):
        assert found.state.keys() == saved.state.keys()
        assert all(torch.equal(found.state[name], saved.state[name]) for name in saved.state)


def test_there_is_none_in_an_empty_folder(tmp_path: Path) -> None:
    assert load_training(tmp_path) is None


@pytest.mark.parametrize("file", ["epoch-003.safetensors", "epoch-000.safetensors"])
def test_a_flipped_bit_has_it_trained_again(file: str, tmp_path: Path) -> None:
    save_training(tmp_path, _training())
    content = bytearray((tmp_path / file).read_bytes())
    content[-1] ^= 1
    (tmp_path / file).write_bytes(content)
    assert load_training(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"candidates": 3, "epochs": [], "history": []}'])
def test_an_index_that_is_none_has_it_trained_again(text: str, tmp_path: Path) -> None:
    save_training(tmp_path, _training())
    (tmp_path / "training.json").write_text(text)
    assert load_training(tmp_path) is None


def test_a_missing_checkpoint_has_it_trained_again(tmp_path: Path) -> None:
    save_training(tmp_path, _training())
    (tmp_path / "epoch-003.safetensors").unlink()
    assert load_training(tmp_path) is None


def test_an_index_may_not_lead_elsewhere(tmp_path: Path) -> None:
    save_training(tmp_path / "t", _training())
    index = json.loads((tmp_path / "t/training.json").read_text())
    (tmp_path / "t/epoch-003.safetensors").rename(tmp_path / "elsewhere.safetensors")
    index["candidates"][0]["file"] = "../elsewhere.safetensors"
    (tmp_path / "t/training.json").write_text(json.dumps(index))
    assert load_training(tmp_path / "t") is None


def test_the_reference_of_a_checkpoint(tmp_path: Path) -> None:
    save_training(tmp_path / "abc", _training())
    index = json.loads((tmp_path / "abc/training.json").read_text())
    found = checkpoint_reference(tmp_path / "abc", 0)
    assert found == {"file": "trainings/abc/epoch-000.safetensors", "sha256": index["candidates"][1]["sha256"]}
