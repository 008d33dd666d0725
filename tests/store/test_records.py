"""Records: finished means that record and artefacts verify; everything else is set aside and named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_up_run
import numpy as np
import pytest

from wsl_bench.metrics.tally import Tally, TallyBuilder
from wsl_bench.store import records
from wsl_bench.store.records import (
    read_costs,
    read_records,
    set_aside,
    write_cost,
    write_failure,
    write_record,
)

SLUG = "data--method--seed0--0123456789ab"
CONTENT = {"key": "0123", "dataset": "data", "method": "method", "method_params": "", "seed": 0, "value": 0.25}


def _tally(seed: int = 0) -> Tally:
    draw, builder = np.random.default_rng(seed), TallyBuilder()
    for i in range(3):
        mask = np.zeros((6, 7), bool)
        mask[1:4, 2:5] = bool(i)
        boxes = np.array([[2.0, 1.0, 3.0, 3.0]]) if i else np.zeros((0, 4))
        scores = draw.random((6, 7), dtype=np.float32)
        builder.add(f"im{i}", f"g{i}", int(bool(i)), bool(i), scores, mask if i else None, boxes, draw.random())
    return builder.build()


def _write(root: Path, slug: str = SLUG, **content: Any) -> None:
    maps = {"image_ids": np.array(["im0"]), "score": np.zeros((1, 2, 2), np.float16)}
    artefacts = {"val": _tally(0).to_arrays(), "test": _tally(1).to_arrays(), "maps": maps}
    write_record(root, slug, {**CONTENT, **content}, artefacts)


def _record_file(root: Path, slug: str = SLUG) -> Path:
    return root / "records" / f"{slug}.json"


def _edit(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(_record_file(root).read_text())
    change(content)
    _record_file(root).write_text(json.dumps(content))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    _write(tmp_path)
    [record], failures, corrupt = read_records(tmp_path)
    assert (failures, corrupt) == ([], [])
    assert record.slug == SLUG
    assert {key: record.content[key] for key in CONTENT} == CONTENT
    for found, written in ((record.val, _tally(0)), (record.test, _tally(1))):
        for name, array in written.to_arrays().items():
            np.testing.assert_array_equal(found.to_arrays()[name], array)
    assert record.maps()["score"].shape == (1, 2, 2)


def test_a_record_is_the_same_file_whenever_it_is_written(tmp_path: Path) -> None:
    files = []
    for folder in ("one", "two"):
        _write(tmp_path / folder)
        files.append({p.name: p.read_bytes() for p in (tmp_path / folder / "records").iterdir()})
    assert files[0] == files[1]


def test_records_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for slug in ("c", "a", "b"):
        _write(tmp_path, slug)
    assert [record.slug for record in read_records(tmp_path)[0]] == ["a", "b", "c"]


def test_an_empty_folder_has_no_records(tmp_path: Path) -> None:
    assert read_records(tmp_path) == ([], [], [])


def _is_set_aside(root: Path, said: str) -> None:
    records, failures, corrupt = read_records(root)
    assert (records, failures) == ([], [])
    [line] = corrupt
    assert said in line
    assert not _record_file(root).exists()
    assert _record_file(root).with_name(f"{SLUG}.json.corrupt").is_file()
    assert read_records(root) == ([], [], [])  # named once
    _write(root)
    assert len(read_records(root)[0]) == 1  # and computed again


@pytest.mark.parametrize("name", ["val", "test", "maps"])
@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_a_flipped_bit_in_an_artefact_is_noticed(name: str, place: float, tmp_path: Path) -> None:
    _write(tmp_path)
    path = tmp_path / "records" / f"{SLUG}.{name}.npz"
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if place >= 0 else -1] ^= 4
    path.write_bytes(content)
    _is_set_aside(tmp_path, f"{path}: expected sha256")


def test_a_missing_or_truncated_artefact_is_noticed(tmp_path: Path) -> None:
    _write(tmp_path)
    path = tmp_path / "records" / f"{SLUG}.test.npz"
    path.write_bytes(path.read_bytes()[:-20])
    _is_set_aside(tmp_path, "expected sha256")
    path.unlink()
    _is_set_aside(tmp_path, "cannot be read")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"\xff\xfe", b"null", b'{"record_version": 1'])
def test_a_record_that_is_no_record_is_set_aside(content: bytes, tmp_path: Path) -> None:
    _write(tmp_path)
    _record_file(tmp_path).write_bytes(content)
    _is_set_aside(tmp_path, str(_record_file(tmp_path)))


def test_a_truncated_record_is_set_aside(tmp_path: Path) -> None:
    _write(tmp_path)
    whole = _record_file(tmp_path).read_bytes()
    for length in range(0, len(whole) - 2, 37):
        _record_file(tmp_path).write_bytes(whole[:length])
        assert read_records(tmp_path)[0] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(record_version=3), "expected record version 2 or older, found 3"),
        (lambda c: c.pop("record_version"), "expected record version 2 or older, found None"),
        (lambda c: c.pop("artefacts"), "expected its artefacts with sha256"),
        (lambda c: c.update(artefacts=[]), "expected its artefacts with sha256"),
        (lambda c: c["artefacts"]["test"].pop("sha256"), "expected its artefacts with sha256"),
        (lambda c: c["artefacts"].update(test=3), "expected its artefacts with sha256"),
        (lambda c: c["artefacts"]["test"].update(sha256="0" * 64), "expected sha256 " + "0" * 64),
    ],
)
def test_a_record_of_another_form_is_set_aside(
    change: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    _write(tmp_path)
    _edit(tmp_path, change)
    _is_set_aside(tmp_path, said)


@pytest.mark.parametrize(
    "file",
    ["../secret.npz", "/etc/hostname", "records/../../secret.npz", "records/sub/x.npz", "secret.npz", "records/", ""],
)
def test_a_record_may_not_name_files_elsewhere(file: str, tmp_path: Path) -> None:
    root = tmp_path / "run"
    _write(root)
    (tmp_path / "secret.npz").write_bytes(b"secret")
    _edit(root, lambda c: c["artefacts"]["test"].update(file=file))
    _is_set_aside(root, "a record names an artefact outside its folder")


def test_one_corrupt_record_does_not_touch_the_others(tmp_path: Path) -> None:
    for slug in ("a", "b", "c"):
        _write(tmp_path, slug)
    _record_file(tmp_path, "b").write_text("{}")
    records, _, corrupt = read_records(tmp_path)
    assert [record.slug for record in records] == ["a", "c"]
    assert len(corrupt) == 1


def test_a_failure_is_no_result(tmp_path: Path) -> None:
    write_failure(tmp_path, SLUG, {**CONTENT, "error": "it broke"})
    records, [failure], corrupt = read_records(tmp_path)
    assert (records, corrupt) == ([], [])
    assert (failure.slug, failure.content["error"]) == (SLUG, "it broke")


def test_success_removes_the_failure_noted_before(tmp_path: Path) -> None:
    write_failure(tmp_path, SLUG, {**CONTENT, "error": "it broke"})
    _write(tmp_path)
    assert [len(part) for part in read_records(tmp_path)] == [1, 0, 0]
    assert not _record_file(tmp_path).with_name(f"{SLUG}.failed.json").exists()


def test_a_record_wins_over_a_failure_left_beside_it(tmp_path: Path) -> None:
    _write(tmp_path)
    write_failure(tmp_path, SLUG, {**CONTENT, "error": "it broke"})
    assert [len(part) for part in read_records(tmp_path)] == [1, 0, 0]


def test_values_that_json_cannot_hold_are_refused_before_the_record_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        _write(tmp_path, value=float("nan"))
    assert read_records(tmp_path) == ([], [], [])
    assert not [p for p in (tmp_path / "records").iterdir() if p.name.startswith(".tmp")]


def test_artefacts_without_a_record_are_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the artefacts and the record."""
    replaced = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if str(target).endswith(".json"):
            raise KeyboardInterrupt
        return replaced(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            _write(tmp_path)
    assert len(os.listdir(tmp_path / "records")) == 3  # noqa: PTH208
    assert read_records(tmp_path) == ([], [], [])


def test_records_set_aside_keep_their_files(tmp_path: Path) -> None:
    for slug in ("a--1", "b--2"):
        _write(tmp_path, slug)
    set_aside(tmp_path, ["a--1"], "superseded")
    assert [record.slug for record in read_records(tmp_path)[0]] == ["b--2"]
    moved = {path.name for path in (tmp_path / "records/superseded").iterdir()}
    assert moved == {"a--1.json", "a--1.val.npz", "a--1.test.npz", "a--1.maps.npz"}


def test_costs_are_kept_apart(tmp_path: Path) -> None:
    write_cost(tmp_path, SLUG, {"train_seconds": 1.5})
    assert read_costs(tmp_path) == {SLUG: {"train_seconds": 1.5}}
    assert read_records(tmp_path) == ([], [], [])


def test_a_changed_digit_in_a_record_is_noticed(tmp_path: Path) -> None:
    _write(tmp_path)
    path = _record_file(tmp_path)
    path.write_text(path.read_text().replace('"value": 0.25', '"value": 0.75'))
    assert read_records(tmp_path)[0] == []


def test_tallies_of_many_records_are_read_again_and_not_all_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three records and room for two tallies: each is what was written, however often it is asked for."""
    maps = {str(i): made_up_run.random_maps(30, i) for i in range(3)}
    made_up_run.write_run(tmp_path)
    for name, values in maps.items():
        made_up_run.write_cell(tmp_path, name, 0, values)
    found = {r.content["method"]: r for r in read_records(tmp_path)[0]}
    few = records._Tallies(sum(records._n_bytes(record.test) for record in found.values()) - 1)
    monkeypatch.setattr(records, "_tallies", few)
    reads: list[str] = []
    arrays = records.Record.arrays
    monkeypatch.setattr(records.Record, "arrays", lambda self, name: reads.append(self.slug) or arrays(self, name))
    for name in ("0", "1", "0", "2", "0", "1"):
        expected = made_up_run.tally_of(made_up_run.images("test"), maps[name], None, 0.4)
        np.testing.assert_array_equal(found[name].test.inside, expected.inside)
        assert len(few._held) <= 2
    assert len(reads) == 4  # 0, 1, 2, and 1 again: it had made room for 2
