"""Processes of this machine, as /proc tells of them; waiting for something to happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process runs (one that has ended and nobody has asked about does not)."""
    fields = _fields(Path(f"/proc/{pid}/stat"))
    return fields is not None and fields[0] != "Z"


def children(pid: int) -> set[int]:
    """Running processes directly below one."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        fields = _fields(path)
        if fields is not None and int(fields[1]) == pid and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found


def descendants(pid: int) -> set[int]:
    """All running processes below one."""
    below = children(pid)
    return below.union(*map(descendants, below))


def wait_until(holds: Callable[[], object], seconds: float = 90) -> None:
    """AssertionError if it does not happen in time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def _fields(stat: Path) -> list[str] | None:
    """State, parent and so on; None where the process has ended."""
    try:
        return stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None
