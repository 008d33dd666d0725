"""A disk that may lose what was not flushed: records the calls of a writer, then makes what a power failure leaves.

The model is POSIX's: data is safe after fsync of the file, a name (created, renamed, removed, a folder made) after
fsync of the folder it is in. What is not safe may have reached the disk or not: data as a whole, in part, or not at
all; names in any order of theirs.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class _Inode:
    """A file or folder: what was written and what of it is safe."""

    is_folder: bool
    data: bytes = b""
    safe: bytes = b""


@dataclass(frozen=True)
class Call:
    """One call of the writer: `kind` is create, write, sync, sync_folder, rename, remove, make or say."""

    kind: str
    path: Path
    other: Path | None = None
    data: bytes = b""


@dataclass
class Recorder:
    """The calls made below a folder, in their order."""

    root: Path
    calls: list[Call] = field(default_factory=list)
    _handles: dict[int, Path] = field(default_factory=dict)

    def say(self, what: str) -> None:
        """Something was acknowledged."""
        self.calls.append(Call("say", Path(what)))

    def listen(self, patch: pytest.MonkeyPatch) -> None:
        """Record from now on; every call is also really made."""
        path_open, replace, unlink, mkdir = Path.open, Path.replace, Path.unlink, Path.mkdir
        os_open, fsync, os_close = os.open, os.fsync, os.close

        def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            file = path_open(path, mode, *args, **kwargs)
            if not set(mode) & set("wxa") or not path.is_relative_to(self.root):
                return file
            self.calls.append(Call("create", path))
            self._handles[file.fileno()] = path
            return _Told(file, lambda data: self.calls.append(Call("write", path, data=data)))

        def replaced(path: Path, target: Path) -> Path:
            self.calls.append(Call("rename", path, Path(target)))
            return replace(path, target)

        def unlinked(path: Path, missing_ok: bool = False) -> None:
            if path.exists():
                self.calls.append(Call("remove", path))
            unlink(path, missing_ok=missing_ok)

        def made(path: Path, *args: Any, **kwargs: Any) -> None:
            there = path.exists()
            mkdir(path, *args, **kwargs)
            if not there:
                self.calls.append(Call("make", path))

        def os_opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            handle = os_open(path, flags, *args, **kwargs)
            self._handles[handle] = Path(path)
            return handle

        def synced(handle: int) -> None:
            fsync(handle)
            path = self._handles[handle]
            self.calls.append(Call("sync_folder" if path.is_dir() else "sync", path))

        def closed(handle: int) -> None:
            self._handles.pop(handle, None)
            os_close(handle)

        for owner, name, function in (
            (Path, "open", opened), (Path, "replace", replaced), (Path, "unlink", unlinked), (Path, "mkdir", made),
            (os, "open", os_opened), (os, "fsync", synced), (os, "close", closed),
        ):  # fmt: skip
            patch.setattr(owner, name, function)


class _Told(io.BufferedIOBase):
    """A file that tells what is written to it."""

    def __init__(self, file: Any, tell: Any) -> None:
        self._file, self._tell = file, tell

    def write(self, data: Any) -> int:
        self._tell(bytes(data))
        return int(self._file.write(data))

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()

    def fileno(self) -> int:
        return int(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        super().close()


def states(root: Path, calls: list[Call]) -> Iterator[tuple[str, dict[Path, bytes | None]]]:
    """What a failure after these calls may leave: a description, and files (None: a folder) by path.

    Every unsafe change of names kept or lost by itself where there are at most four, else all prefixes, all but one
    and one alone; for each, unsafe data whole, halved and gone.
    """
    names: dict[Path, _Inode] = {}
    safe_names: dict[Path, _Inode] = {}
    pending: list[tuple[Path, Call, _Inode]] = []  # folder, call, the inode it names
    for call in calls:
        if call.kind in ("create", "make"):
            names[call.path] = _Inode(call.kind == "make")
            pending.append((call.path.parent, call, names[call.path]))
        elif call.kind == "write":
            names[call.path].data += call.data
        elif call.kind == "sync":
            names[call.path].safe = names[call.path].data
        elif call.kind == "rename":
            assert call.other is not None
            names[call.other] = names.pop(call.path)
            pending.append((call.path.parent, call, names[call.other]))
        elif call.kind == "remove":
            pending.append((call.path.parent, call, names.pop(call.path)))
        elif call.kind == "sync_folder":
            for _, done, inode in [one for one in pending if one[0] == call.path]:
                _apply(safe_names, done, inode)
            pending = [one for one in pending if one[0] != call.path]
    for kept in _subsets(len(pending)):
        found = dict(safe_names)
        for number in kept:
            _apply(found, pending[number][1], pending[number][2])
        for loss in ("whole", "half", "gone"):
            yield f"names {list(kept)} of {len(pending)}, data {loss}", _tree(root, found, loss)


def _apply(names: dict[Path, _Inode], call: Call, inode: _Inode) -> None:
    if call.kind == "remove":
        names.pop(call.path, None)
        return
    if call.kind == "rename":
        assert call.other is not None
        names.pop(call.path, None)
        names[call.other] = inode
        return
    names[call.path] = inode


def _subsets(n: int) -> list[tuple[int, ...]]:
    everything = tuple(range(n))
    if n <= 4:
        return [some for size in range(n + 1) for some in itertools.combinations(everything, size)]
    prefixes = [everything[:size] for size in range(n + 1)]
    return list(
        dict.fromkeys(
            prefixes + [(i,) for i in everything] + [everything[:i] + everything[i + 1 :] for i in everything]
        )
    )


def _tree(root: Path, names: dict[Path, _Inode], loss: str) -> dict[Path, bytes | None]:
    """Files that can be reached: a name in a folder whose own name is lost is lost with it."""
    folders = {root} | {path for path, inode in names.items() if inode.is_folder}
    reached: dict[Path, bytes | None] = {}
    for path, inode in sorted(names.items()):
        if not all(parent in folders for parent in path.parents if parent.is_relative_to(root)):
            continue
        unsafe = inode.data[len(inode.safe) :]
        left = {"whole": len(unsafe), "half": len(unsafe) // 2, "gone": 0}[loss]
        reached[path] = None if inode.is_folder else inode.safe + unsafe[:left]
    return reached
