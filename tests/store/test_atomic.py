"""A write is whole or has not happened, wherever it is cut off."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import environment

from wsl_bench.store.atomic import atomic_write, write_arrays

OLD, NEW = b"old content", b"new content, longer"


class _FailsHalfway(io.BufferedWriter):
    """A file that takes half of what it is given, then raises."""

    error: BaseException

    def write(self, content: Any, /) -> int:
        super().write(content[: len(content) // 2])
        raise self.error


def _at_open(patch: pytest.MonkeyPatch, error: BaseException) -> None:
    patch.setattr(Path, "open", _raising(error))


def _at_write(patch: pytest.MonkeyPatch, error: BaseException) -> None:
    def opened(path: Path, mode: str) -> _FailsHalfway:
        file = _FailsHalfway(io.FileIO(path, mode.replace("b", "")))
        file.error = error
        return file

    patch.setattr(Path, "open", opened)


def _at_fsync(patch: pytest.MonkeyPatch, error: BaseException) -> None:
    patch.setattr(os, "fsync", _raising(error))


def _at_replace(patch: pytest.MonkeyPatch, error: BaseException) -> None:
    patch.setattr(Path, "replace", _raising(error))


def _at_folder_fsync(patch: pytest.MonkeyPatch, error: BaseException) -> None:
    calls: list[int] = []

    def second(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise error

    patch.setattr(os, "fsync", second)


def _raising(error: BaseException) -> Callable[..., Any]:
    def function(*args: object, **kwargs: object) -> Any:
        raise error

    return function


@pytest.mark.parametrize("there_before", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"), OSError(5, "Input/output error"), PermissionError(13, "Denied"),
        KeyboardInterrupt(),
    ],
    ids=["full", "broken", "denied", "Ctrl-C"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("fail", "content"),
    [(_at_open, OLD), (_at_write, OLD), (_at_fsync, OLD), (_at_replace, OLD), (_at_folder_fsync, NEW)],
    ids=["open", "write", "fsync", "replace", "folder"],
)
def test_a_failure_leaves_the_old_or_the_new_file_and_nothing_else(
    fail: Callable[[pytest.MonkeyPatch, BaseException], None],
    content: bytes,
    error: BaseException,
    there_before: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "file.json"
    if there_before:
        path.write_bytes(OLD)
    with monkeypatch.context() as patch:
        fail(patch, error)
        with pytest.raises(type(error)):
            atomic_write(path, NEW)
    expected = content if there_before or content == NEW else None
    assert (path.read_bytes() if path.exists() else None) == expected
    assert [p.name for p in tmp_path.iterdir()] == ([] if expected is None else ["file.json"])
    assert atomic_write(path, NEW) == hashlib.sha256(NEW).hexdigest()  # and the next try succeeds
    assert path.read_bytes() == NEW


def test_folders_are_made_and_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    assert atomic_write(path, b"") == hashlib.sha256(b"").hexdigest()
    assert path.read_bytes() == b""


WRITER = """
import sys
from pathlib import Path
from wsl_bench.store.atomic import atomic_write
path = Path(sys.argv[1])
for i in range(10**9):
    atomic_write(path, bytes([i % 256]) * 200_000)
    print(i, flush=True)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for _ in range(2):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], env=environment({}), stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        for _ in range(3):
            writer.stdout.readline()
        time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        content = path.read_bytes()
        assert len(content) == 200_000
        assert len(set(content)) == 1


def test_writers_at_once_leave_the_content_of_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([i]) * 50_000 for i in range(8)]
    threads = [threading.Thread(target=atomic_write, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_arrays_come_back_and_the_file_depends_on_nothing_else(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.array(["x", "yz"]), "c": np.zeros((0, 4))}
    first = write_arrays(tmp_path / "one.npz", arrays)
    assert write_arrays(tmp_path / "two.npz", arrays) == first
    with np.load(tmp_path / "one.npz", allow_pickle=False) as found:
        assert set(found.files) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


@pytest.mark.parametrize(
    "array",
    [np.array([{"a": 1}], dtype=object), np.array([None, "x"]), np.zeros(2, dtype=[("a", "O"), ("b", "f4")])],
    ids=["dictionary", "none", "structured"],
)
def test_object_arrays_are_refused(array: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="array 'bad' holds Python objects"):
        write_arrays(tmp_path / "file.npz", {"good": np.zeros(2), "bad": array})
    assert not list(tmp_path.iterdir())
