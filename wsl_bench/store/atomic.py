"""The one way this project writes a file that must not be half there."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

_TEMPORARY = ".tmp-"


def atomic_write(path: Path, content: bytes) -> str:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part.

    A temporary file with a random name in the same folder is written, flushed to the device and
    renamed over the target; then the folder is flushed. Holds for a process killed at any point and
    for a power failure, after which a file whose write has returned is there.
    It does not order this write against others: write a record after the artefacts it names.

    Returns:
        sha256 of the content, hexadecimal.

    Raises:
        OSError: it cannot be written; `filename` is `path`, which is as it was.
    """
    make_folder(path.parent)
    temporary = path.with_name(f"{_TEMPORARY}{path.name}-{secrets.token_hex(6)}")
    try:
        with named(path):
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _flush_folder(path.parent)
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Have errors of the system name a file: a failing write names none, a failing open perhaps a temporary one."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, each flushed into the one it is in.

    Raises:
        OSError: it cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _flush_folder(made.parent)


def remove_leftovers(root: Path) -> int:
    """Delete what writers that were killed left below a folder that nobody else writes to; returns how many files."""
    left = [path for path in root.rglob(f"{_TEMPORARY}*") if path.is_file()]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[np.generic]]) -> str:
    """Write arrays as a compressed .npz (no object arrays, so nothing in it can be a pickle)."""
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"{path}: array {name!r} holds Python objects")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    return atomic_write(path, buffer.getvalue())


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":  # Windows cannot open a folder to flush it
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
