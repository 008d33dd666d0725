"""Versions of what a result depends on: recorded, and shown by `wslbench doctor`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("wsl-bench", "torch", "timm", "captum", "numpy", "scipy", "numba")


def versions() -> dict[str, str]:
    """Version by package; "not installed" where it is missing."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
