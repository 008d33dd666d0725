"""The folder of a run: its default name, whether it may be used, and keeping other runs out of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from wsl_bench.errors import UsageError
from wsl_bench.params import expanded
from wsl_bench.store.atomic import make_folder


def default_out(datasets: tuple[str, ...]) -> Path:
    """runs/phantom, runs/bccd364, ...: the same command finds its own run again."""
    names = [expanded(selector).resolve().name for selector in datasets]
    return Path("runs") / (re.sub(r"[^A-Za-z0-9.=_-]+", "_", "-".join(names)).strip("_.") or "run")


def check_folder(folder: Path) -> None:
    """Make the folder of a run; refuse a file, or a folder that holds something else."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder}: expected a folder, found a file.")
    if (
        folder.is_dir()
        and any(not path.name.startswith(".") for path in folder.iterdir())
        and not (folder / "run.json").is_file()
        and not (folder / "prepared").is_dir()
    ):
        raise UsageError(f"--out {folder}: expected a new or empty folder or an earlier run, found other files.")
    try:
        make_folder(folder.absolute())
    except OSError as error:
        raise UsageError(f"--out {folder}: cannot be made ({error.strerror}).") from None


def is_claimed(folder: Path) -> bool:
    """Whether a run is at work in the folder."""
    from filelock import FileLock, Timeout

    if not (folder / ".lock").is_file():
        return False
    try:
        with FileLock(folder / ".lock", timeout=0):
            return False
    except (Timeout, OSError):  # held, or a folder in which nothing may be locked by us
        return True


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other runs out of the folder for as long as this one works in it, however it ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"--out {folder}: another run is at work there. Wait for it, or choose another.") from None
    try:
        yield
    finally:
        lock.release()
