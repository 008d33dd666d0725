"""What a result was made with: recorded with it, compared with the others', and shown by `wslbench doctor`.

None of it enters a key: a study that runs for days outlives an update of a library, and a table says where its
records were made with different ones.
"""

from __future__ import annotations

import functools
import platform
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("wsl-bench", "torch", "timm", "captum", "numpy", "numba", "pillow", "scipy")
_CPU_INFO = Path("/proc/cpuinfo")


def versions() -> dict[str, str]:
    """Version by package; "not installed" where it is missing."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def made_with(device: str | None) -> dict[str, Any]:
    """Fields of a record: versions, the name of the device and the commit of the source.

    Args:
        device: "cpu", "cuda" or None where no network ran.
    """
    return {"versions": versions(), "device_name": device_name(device or "cpu"), "commit": commit()}


def device_name(device: str) -> str:
    """What the processor or GPU calls itself."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    try:
        lines = _CPU_INFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


@functools.cache
def commit() -> str | None:
    """The git commit of the source, with " and changes" where files differ from it; None outside a checkout."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        found = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--", "wsl_bench", "methods", "datasets")
        return found + (" and changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def differences(made: Sequence[Mapping[str, Any]]) -> list[str]:
    """What records were made with that is not the same in all of them, such as "torch 2.11.0 (3), 2.14.1 (12)".

    Args:
        made: of each record, the fields of `made_with`; others are ignored.
    """
    said = []
    for name, counts in _counts(made).items():
        if len(counts) > 1:
            said.append(f"{name} " + ", ".join(f"{value} ({n})" for value, n in sorted(counts.items())))
    return said


def changes(made: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> list[str]:
    """What records were made with that is otherwise now, such as "torch 2.11.0, now 2.14.1 (3 records)".

    The commit is left out: what of the source a result depends on is in its key.
    """
    present, said = _counts([now]), []
    for name, counts in _counts(made).items():
        (new,) = present.get(name, {"not installed": 1})
        if name != "commit":
            said += [f"{name} {old}, now {new} ({n} records)" for old, n in sorted(counts.items()) if old != new]
    return said


def _counts(made: Sequence[Mapping[str, Any]]) -> dict[str, Counter[str]]:
    """How many records were made with each version of each package, on each device, at each commit."""
    names = dict.fromkeys(name for one in made for name in one["versions"])
    columns = {name: [one["versions"].get(name) for one in made] for name in names}
    columns |= {"device": [one["device_name"] for one in made], "commit": [one["commit"] for one in made]}
    return {
        name: Counter("not recorded" if value is None else str(value) for value in values)
        for name, values in columns.items()
    }


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()
