"""Versions of what a result depends on: recorded, and shown by `wslbench doctor`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

# What computes images, networks, maps and tallies: another version may give other digits.
LIBRARIES = ("torch", "timm", "captum", "numpy", "numba", "pillow")
PACKAGES = ("wsl-bench", *LIBRARIES, "scipy")


def versions() -> dict[str, str]:
    """Version by package; "not installed" where it is missing."""
    return {"python": platform.python_version()} | _versions(PACKAGES)


def libraries() -> dict[str, str]:
    """Versions of the libraries that results are computed with; part of every key."""
    return _versions(LIBRARIES)


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
