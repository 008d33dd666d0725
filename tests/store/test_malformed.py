"""Damaged files of a run's folder: noticed or without consequence, never a raw error, never another content.

What users give is in test_malformed_inputs.py.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_folder
from malformed import ABSENT, FEW, MANY, Crafted, Format, check, edited, without_each_key
from safetensors.torch import load, save

from wsl_bench import params, registry
from wsl_bench.data.decoded import INDEX, PIXELS
from wsl_bench.data.prepare import prepare
from wsl_bench.data.prepared import load_truth, load_weak
from wsl_bench.leaderboard.build import _attempt_notes, _costs, build_leaderboard
from wsl_bench.metrics.tally import TallyBuilder
from wsl_bench.status import run_status
from wsl_bench.store.at_work import NAME as AT_WORK
from wsl_bench.store.at_work import read_at_work
from wsl_bench.store.records import read_costs, read_records, write_cost, write_failure, write_record
from wsl_bench.store.run_file import NAME as RUN_FILE
from wsl_bench.store.run_file import read_run, write_run
from wsl_bench.store.trainings import load_snapshot, load_training, save_snapshot, save_training
from wsl_bench.training.loop import Checkpoint, Epoch, Snapshot, Training

FIRST = Path(__file__).parent / "first_version"
SLUG = "made_up--ours--seed0--0123456789ab"
CELL = {"dataset": "made_up", "method": "ours", "method_params": "", "seed": 0}


def _tally(seed: int) -> dict[str, Any]:
    draw, builder = np.random.default_rng(seed), TallyBuilder()
    for i in range(2):
        mask = np.zeros((6, 7), bool)
        mask[1:4, 2:5] = bool(i)
        boxes = np.array([[2.0, 1.0, 3.0, 3.0]]) if i else np.zeros((0, 4))
        scores = draw.random((6, 7), dtype=np.float32)
        builder.add(f"im{i}", f"g{i}", i, bool(i), scores, mask if i else None, boxes, draw.random())
    return builder.build().to_arrays()


def _run(root: Path) -> Path:
    """A run with a finished cell, one that failed and one at work."""
    planned = {"made_up": {"selector": "made_up", "seeds": [0, 1, 2], "methods": [["ours", ""]]}}
    parts = {part: {} for part in ("fixed", "settings", "skipped", "duplicates", "split_source")}
    write_run(root, {"planned": planned, "thresholds": ["val"], **parts})
    maps = {"image_ids": np.array(["im0"]), "score": np.zeros((1, 2, 2), np.float16)}
    content = {**CELL, "key": "0123", "device": "cpu", "value": 0.25, "history": [1.5, None, 3e-7]}
    write_record(root, SLUG, content, {"val": _tally(0), "test": _tally(1), "maps": maps})
    write_failure(root, "other", {**CELL, "seed": 1, "key": "4567", "key_parts": {"a": 1}, "error": "it broke"})
    write_cost(root, SLUG, {"training": "abc", "attempts": 2, "seconds": 1.25, "peak_memory_mib": 310.5})
    write_cost(root, "abc", {"seconds": 20.0, "peak_memory_mib": 500.0})
    held = [{"label": "made_up / ours / seed 2", "cells": [["made_up", "ours", "", 2]], "since": 1e9, "epoch": 2,
             "epochs": 6}]  # fmt: skip
    (root / AT_WORK).write_text(json.dumps(held))
    return root


def _read_records(root: Path) -> Any:
    records, failures, corrupt = read_records(root)
    for line in corrupt:
        assert str(root / "records") in line, line
    if not records or not failures:
        assert len(corrupt) == 1
        return ABSENT
    return [[r.content, r.test, r.val, r.maps()] for r in records], [f.content for f in failures]


def _crafted_record(whole: bytes) -> Crafted:
    """What its own sha256 does not vouch for: everything, edited."""
    odd = ("records/\0.npz", "records/\ud800.npz", "records/" + "a" * 5000, "records/..", "/", "")
    changes = [lambda c, name=name: c["artefacts"]["val"].update(file=name) for name in odd]
    changes += [lambda c: c.update(value=float("nan")), lambda c: c.update(value=0.5), lambda c: c["history"].pop()]
    deep = whole.replace(b'"value": 0.25', b'"value": ' + b"[" * 700 + b"]" * 700)
    return without_each_key(whole) | edited(whole, *changes) | {"deep": deep, "twice": whole + whole}


def _crafted_arrays(whole: bytes) -> Crafted:
    arrays = dict(np.load(io.BytesIO(whole)))
    name = next(name for name, array in arrays.items() if array.dtype.kind in "iuf" and array.ndim > 1)
    changed: dict[str, dict[str, Any]] = {f"no {key}": {k: v for k, v in arrays.items() if k != key} for key in arrays}
    changed["another type"] = {**arrays, name: arrays[name].astype(np.float16)}
    changed["another shape"] = {**arrays, name: arrays[name][:, :1]}
    changed["objects"] = {**arrays, name: np.array([{}], object)}
    out = {}
    for what, content in changed.items():
        file = io.BytesIO()
        np.savez_compressed(file, **content)
        out[what] = file.getvalue()
    return out


RECORDS = [
    Format("record", lambda root: _run(root) / "records" / f"{SLUG}.json", _read_records, True, (), _crafted_record),
    Format(
        "tallies (npz)", lambda root: _run(root) / "records" / f"{SLUG}.test.npz", _read_records, True, (),
        _crafted_arrays,
    ),
    Format("maps of a record (npz)", lambda root: _run(root) / "records" / f"{SLUG}.maps.npz", _read_records, True),
    Format(
        "note of a failure", lambda root: _run(root) / "records/other.failed.json", _read_records, True, (),
        without_each_key,
    ),
]  # fmt: skip


def _training(last: int) -> Training:
    epochs = tuple(Epoch(i, float("nan") if i == 0 else 0.5 / i, 0.7, 0.4, 0.8) for i in range(last + 1))
    states = [{"layer.weight": torch.full((2, 3), float(i)), "steps": torch.tensor(i)} for i in (last, 0)]
    return Training((Checkpoint(epochs[last], states[0]), Checkpoint(epochs[0], states[1])), epochs)


def _finished(root: Path) -> Path:
    save_training(root, _training(3))
    return root


def _unfinished(root: Path) -> Path:
    save_snapshot(root, Snapshot(_training(2), {"net.w": torch.arange(5.0), "schedule.step": torch.tensor(7)}), 12.5)
    (file,) = root.iterdir()
    return file


def _crafted_index(whole: bytes) -> Crafted:
    changes = [
        lambda c: c["history"][1].update(accuracy=0.9),
        lambda c: c["history"].pop(),
        lambda c: c["epochs"][0].update(epoch=float("inf")),
        lambda c: c["candidates"].reverse(),
        lambda c: c["candidates"][0].update(file="../epoch-003.safetensors"),
    ]
    return without_each_key(whole) | edited(whole, *changes)


def _crafted_tensors(whole: bytes) -> Crafted:
    tensors = load(whole)
    name = next(iter(tensors))
    return {
        "fewer": save({k: v for k, v in tensors.items() if k != name}),
        "another type": save(tensors | {name: tensors[name].double()}),
        "another shape": save(tensors | {name: tensors[name].flatten()[:1]}),
        "NaN": save(tensors | {name: tensors[name] * float("nan")}),
        "a pickle": pickle.dumps({"a": 1}),
    }


def _read_training(root: Path) -> Any:
    found = load_training(root)
    return ABSENT if found is None else found


def _read_snapshot(root: Path) -> Any:
    found = load_snapshot(root)
    return ABSENT if found is None else found


TRAININGS = [
    Format("index of a training", lambda root: _finished(root) / "training.json", _read_training, True, (),
           _crafted_index),
    Format("checkpoint", lambda root: _finished(root) / "epoch-003.safetensors", _read_training, True, (),
           _crafted_tensors),
    Format("unfinished training", _unfinished, _read_snapshot, True, (), _crafted_tensors),
]  # fmt: skip


def _old_run(root: Path) -> Path:
    """A real run: its tables need every part of run.json."""
    shutil.copytree(FIRST, root, dirs_exist_ok=True)
    for path in [*root.glob("records/*gradcam--seed1*"), *root.glob("records/*center_box*")]:
        path.unlink()
    return root / RUN_FILE


def _read_run(root: Path) -> Any:
    board = build_leaderboard(root)
    return read_run(root), run_status(root, alive=True), board.rows, board.notes


def _crafted_run(whole: bytes) -> Crafted:
    changes = [
        lambda c: c["fixed"].pop("rules"), lambda c: c["fixed"]["rules"].pop("max_fnr"),
        lambda c: c["fixed"]["rules"].update(criterion="iov"), lambda c: c["fixed"]["rules"].update(more=1),
        lambda c: c["planned"]["tiny"].pop("methods"), lambda c: c["planned"]["tiny"].update(methods=[["a"]]),
        lambda c: c["planned"]["tiny"].update(seeds=[None]), lambda c: c.update(thresholds=["vam"]),
        lambda c: c.update(thresholds=[0.5]), lambda c: c["planned"].update(other=3),
        lambda c: c.update(duplicates={"tiny": []}), lambda c: c.update(skipped={"tiny": 4}),
        lambda c: c["fixed"].update(recipe=3), lambda c: c["fixed"]["recipe"].update(fnip=True),
    ]  # fmt: skip
    return without_each_key(whole) | edited(whole, *changes)


def _at_work(root: Path) -> Path:
    return _run(root) / AT_WORK


def _read_at_work(root: Path) -> Any:
    status = run_status(root, alive=True)
    seconds = [float(one.pop("seconds")) < time.time() for one in status.at_work]
    return (read_at_work(root), status, seconds) if status.at_work else ABSENT


def _crafted_at_work(whole: bytes) -> Crafted:
    (one,) = json.loads(whole)
    wrong: list[Any] = [3, "x", None, [], {}, [[1, 2, 3, 4]], [["a", "b", "c"]], [["a", "b", "c", []]], 10**400]
    out = {f"{key} {i}": [{**one, key: value}] for key in one for i, value in enumerate(wrong)}
    out |= {f"no {key}": [{k: v for k, v in one.items() if k != key}] for key in one}
    return {what: json.dumps(content).encode() for what, content in out.items()} | {
        "an object": json.dumps(one).encode()
    }


def _read_costs(root: Path) -> Any:
    found = read_costs(root), run_status(root, alive=False).tried_again, _costs(root), _attempt_notes(root)
    return found if SLUG in found[0] else ABSENT


def _prepared(root: Path, file: str) -> Path:
    data = tiny_folder(root / "data", n=15, size=(12, 10))
    folder = _prepare(root, data).folder
    return folder / file


def _prepare(root: Path, data: Path) -> Any:
    cls = registry.discover("dataset").get("folder").cls
    return prepare("tiny", params.build(cls, "folder", {"root": data}), 8, root / "prepared")


def _read_prepared(root: Path) -> Any:
    (folder,) = (root / "prepared").iterdir()
    return [load_weak(folder, split) for split in ("train", "val", "test")], load_truth(folder, "test")


def _prepare_again(root: Path) -> Any:
    folder = _prepare(root, root / "data").folder
    return load_weak(folder, "test"), load_truth(folder, "val")  # that it is there is all that is asked of hashes.json


def _decoded(root: Path, file: str) -> Path:
    _read_decoded(root, tiny_folder(root / "data", n=15, size=(12, 10)))
    return root / "decoded" / file


def _read_decoded(root: Path, data: Path | None = None) -> Any:
    cls = registry.discover("dataset").get("folder").cls
    dataset = params.build(cls, "folder", {"root": data or root / "data"})
    found = prepare("tiny", dataset, 8, root / "prepared", cache=root / "decoded")
    views = [load_weak(found.folder, split) for split in ("train", "val", "test")]
    # Where in the file an image lies may change, if it is decoded again.
    return found.hashes, [(view.image_ids, view.labels, view.frames, view.images[:]) for view in views]


def _crafted_decoded_index(whole: bytes) -> Crafted:
    """Lines with a valid checksum and a field of another kind, or without it."""
    first, *rest = whole.splitlines()
    fields = json.loads(first.partition(b" ")[2])
    wrong: list[Any] = [None, True, "x", -1, 2.5, 10**30, [], {}, {"a": 3}, [[]]]
    lines = {f"{key} {i}": {**fields, key: value} for key in fields for i, value in enumerate(wrong)}
    lines |= {f"no {key}": {k: v for k, v in fields.items() if k != key} for key in fields}
    source = fields["source"]
    lines |= {f"source {k} {i}": {**fields, "source": {**source, k: v}} for k in source for i, v in enumerate(wrong)}
    texts = {what: json.dumps(line).encode() for what, line in lines.items()}
    texts |= {"a list": b"[]", "a number": b"3", "deep": b"[" * 9000, "no text": b"\xff", "empty": b""}
    return {what: b"\n".join([b"%08x %s" % (zlib.crc32(text), text), *rest]) + b"\n" for what, text in texts.items()}


# No sha256 of its own in run.json, at_work.json and costs/: what they say costs no result, and another number passes.
OTHERS = [
    Format("run.json", _old_run, _read_run, False, (), _crafted_run),
    Format("at_work.json", _at_work, _read_at_work, False, (), _crafted_at_work),
    Format("costs", lambda root: _run(root) / "costs" / f"{SLUG}.json", _read_costs, False, (), without_each_key),
    Format("prepared images (npz)", lambda root: _prepared(root, "test.npz"), _read_prepared, True, (),
           _crafted_arrays),
    Format("prepared truth (npz)", lambda root: _prepared(root, "test-truth.npz"), _read_prepared, True, (),
           _crafted_arrays),
    Format("decoded index", lambda root: _decoded(root, INDEX), _read_decoded, True, (), _crafted_decoded_index),
    Format("decoded pixels", lambda root: _decoded(root, PIXELS), _read_decoded, True),
    Format("prepared hashes", lambda root: _prepared(root, "hashes.json"), _prepare_again, True),
]  # fmt: skip


@pytest.mark.parametrize("form", [*RECORDS, *TRAININGS, *OTHERS], ids=lambda form: form.name)
def test_damage_is_noticed(form: Format, tmp_path: Path) -> None:
    check([form], tmp_path, FEW)


@pytest.mark.slow
def test_two_hundred_damaged_files_of_each_format(tmp_path: Path) -> None:
    check([*RECORDS, *TRAININGS, *OTHERS], tmp_path, MANY)
