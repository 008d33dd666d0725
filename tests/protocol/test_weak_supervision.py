"""A method never meets ground truth, and one that reaches for it fails alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import tiny_folder
from study_helper import plan_of, run_plan

from wsl_bench import Batch
from wsl_bench.data.prepared import load_weak


def test_the_batch_has_images_and_labels_and_nothing_else() -> None:
    batch = Batch(torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.long))
    assert set(Batch.__slots__) == {"images", "labels"}
    for name in ("boxes", "mask", "truth", "located", "image_ids"):
        with pytest.raises(AttributeError):
            getattr(batch, name)


def test_a_method_that_reaches_for_boxes_fails_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsl_bench import registry

    found = registry.discover("method")
    cls = found.get("featuremask").cls

    def greedy(self: object, net: object, batch: Batch, progress: float) -> torch.Tensor:
        return batch.boxes.sum()  # type: ignore[attr-defined,no-any-return]

    monkeypatch.setattr(cls, "loss", greedy)
    data = tiny_folder(tmp_path / "set")
    plan = plan_of(data, tmp_path / "out", methods=("featuremask", "infomask"))
    records, events = run_plan(plan, tmp_path / "out")
    assert ("featuremask", 0) not in records
    assert ("infomask", 0) in records
    failed = [e for e in events if e["event"] == "cell" and e["status"] == "failed"]
    assert len(failed) == 1
    assert "AttributeError" in failed[0]["error"]
    assert "boxes" in failed[0]["error"]


def test_the_weak_files_hold_no_ground_truth(tmp_path: Path) -> None:
    import numpy as np

    folder = plan_of(tiny_folder(tmp_path / "set"), tmp_path / "out").datasets[0].prepared.folder
    assert sorted(p.name for p in folder.iterdir()) == [
        "hashes.json", "test-truth.npz", "test.npz", "train.npz", "val-truth.npz", "val.npz",
    ]  # fmt: skip
    with np.load(folder / "train.npz") as arrays:
        assert set(arrays.files) == {
            "image_ids", "groups", "labels", "pixels", "rows", "crc32", "size", "shapes", "sha256",
        }  # fmt: skip
    assert not hasattr(load_weak(folder, "train"), "truths")
