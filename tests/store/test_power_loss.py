"""Power failures: every prefix of a writer's calls, with what was not flushed lost, cut or kept."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from store_disk import Recorder, states

from wsl_bench.errors import WslBenchError
from wsl_bench.store import atomic, records
from wsl_bench.store.records import peek_records, read_failures, write_failure, write_record
from wsl_bench.store.run_file import NAME as RUN_FILE
from wsl_bench.store.run_file import read_run, write_run
from wsl_bench.store.trainings import load_snapshot, load_training, save_snapshot, save_training
from wsl_bench.training.loop import Checkpoint, Epoch, Snapshot, Training

RUN = {name: {} for name in ("fixed", "planned", "settings", "skipped", "duplicates", "split_source")}
Say = Callable[[str], None]


def _checkpoint(number: int) -> Checkpoint:
    return Checkpoint(Epoch(number, 0.5, 0.5, 0.5, 0.5), {"w": torch.full((300,), float(number))})


def _training(epochs: int) -> Training:
    done = tuple(_checkpoint(number) for number in range(1, epochs + 1))
    return Training(done[-1:], tuple(c.epoch for c in done))


def _write_everything(root: Path, say: Say) -> None:
    """What a run writes, in its order; `say` after each call that has returned."""
    for number in (1, 2):
        write_run(root, {**RUN, "thresholds": [str(number)]})
        say(f"run {number}")
    folder = root / "trainings" / "abc"
    for epochs in (1, 2):
        save_snapshot(folder, Snapshot(_training(epochs), {"net.w": torch.full((300,), float(epochs))}), 1.0)
        say(f"snapshot {epochs}")
    save_training(folder, _training(3))
    say("training")
    write_failure(root, "cell-1", {"error": "it died"})
    say("failure")
    for number in (0, 1):
        arrays = {"values": np.random.default_rng(number).random(200)}
        write_record(root, f"cell-{number}", {"seed": number}, {name: arrays for name in ("val", "test", "maps")})
        say(f"cell-{number}")


def _check(root: Path, said: set[str]) -> None:
    """What was acknowledged is there; nothing that is there is half there."""
    if "run 1" in said or (root / RUN_FILE).exists():
        assert read_run(root)["thresholds"] in ([["2"]] if "run 2" in said else [["1"], ["2"]])
    folder = root / "trainings" / "abc"
    training, snapshot = load_training(folder), load_snapshot(folder)
    assert training is not None or "training" not in said
    assert training is not None or not (folder / "training.json").exists()
    if training is not None:
        assert [len(training.history), float(training.candidates[0].state["w"][-1])] == [3, 3]
    else:
        reached = 0 if snapshot is None else len(snapshot[0].so_far.history)
        assert reached >= max((n for n in (1, 2) if f"snapshot {n}" in said), default=0)
    damaged: list[str] = []
    records = {record.slug: record for record in peek_records(root, damaged.append)}
    assert damaged == []
    assert records.keys() >= {name for name in said if name.startswith("cell-")}
    for slug, record in records.items():
        expected = np.random.default_rng(int(slug[-1])).random(200)
        np.testing.assert_array_equal(record.arrays("test")["values"], expected)
    if "failure" in said and "cell-1" not in records:
        assert [failure.slug for failure in read_failures(root)] == ["cell-1"]


def _replay(root: Path, tmp_path: Path) -> int:
    """Write once, recorded, then check every state a failure may leave; returns how many were different."""
    root.mkdir()
    recorder = Recorder(root)
    with pytest.MonkeyPatch.context() as patch:
        recorder.listen(patch)
        _write_everything(root, recorder.say)
    seen: set[int] = set()
    for n in range(len(recorder.calls) + 1):
        said = {str(call.path) for call in recorder.calls[:n] if call.kind == "say"}
        for how, tree in states(root, recorder.calls[:n]):
            number = hash((frozenset(said), frozenset(tree.items())))
            if number in seen:
                continue
            seen.add(number)
            after = tmp_path / f"{root.name}-state"
            for path, content in sorted(tree.items()):
                found = after / path.relative_to(root)
                found.parent.mkdir(parents=True, exist_ok=True)
                found.mkdir(exist_ok=True) if content is None else found.write_bytes(content)
            after.mkdir(exist_ok=True)
            try:
                _check(after, said)
            except (AssertionError, WslBenchError) as error:
                raise AssertionError(f"after {n} of {len(recorder.calls)} calls, {how}: {error}") from error
            _empty(after)
    return len(seen)


def _empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def test_every_state_that_a_power_failure_leaves_is_whole(tmp_path: Path) -> None:
    n = _replay(tmp_path / "run", tmp_path)
    print(f"{n} different states after power failures: all legal")
    assert n > 100


@contextlib.contextmanager
def _patched(**functions: object) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, function in functions.items():
            patch.setattr(atomic, name, function)
        yield


def _without_flush_of_files() -> contextlib.AbstractContextManager[None]:
    def only_folders(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            os.fsync(handle)

    forgetful = SimpleNamespace(
        open=lambda *given: os.open(*given), close=lambda handle: os.close(handle), fsync=only_folders,
        name=os.name, O_RDONLY=os.O_RDONLY,
    )  # fmt: skip
    return _patched(os=forgetful)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda: _patched(_flush_folder=lambda folder: None),
        lambda: _patched(make_folder=lambda folder: folder.mkdir(parents=True, exist_ok=True)),
        _without_flush_of_files,
    ],
    ids=["no folder flushed", "new folders not flushed", "no file flushed"],
)
def test_a_writer_that_leaves_out_a_flush_is_caught(
    mutant: Callable[[], contextlib.AbstractContextManager[None]], tmp_path: Path
) -> None:
    with mutant(), pytest.raises(AssertionError, match=r"after .* calls"):
        _replay(tmp_path / "run", tmp_path)


def test_a_record_before_its_artefacts_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of writes is what makes a record mean something: here the artefacts come last."""
    late: list[tuple[Path, bytes]] = []

    def remember(path: Path, arrays: object) -> str:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        late.append((path, buffer.getvalue()))
        return hashlib.sha256(buffer.getvalue()).hexdigest()

    write = records.atomic_write

    def then_the_artefacts(path: Path, content: bytes) -> str:
        digest = write(path, content)
        while late and path.suffix == ".json":
            write(*late.pop())
        return digest

    monkeypatch.setattr(records, "write_arrays", remember)
    monkeypatch.setattr(records, "atomic_write", then_the_artefacts)
    with pytest.raises(AssertionError, match=r"after .* calls"):
        _replay(tmp_path / "run", tmp_path)
