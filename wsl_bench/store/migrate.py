"""Records of earlier versions, read as those of this one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RECORD_VERSION = 2


def _from_1(content: dict[str, Any]) -> dict[str, Any]:
    """Version 2 says which commit and which device a record was made with, and leaves libraries out of the key."""
    return {**content, "record_version": 2, "commit": None, "device_name": None}


_STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}


def can_migrate(version: object) -> bool:
    """Whether a record says a version that can be read."""
    return type(version) is int and (version == RECORD_VERSION or version in _STEPS)


def migrate(content: dict[str, Any]) -> dict[str, Any]:
    """A record as this version would have it; the file stays as it is. Its hash is checked before, on what it was."""
    while content["record_version"] != RECORD_VERSION:
        content = _STEPS[content["record_version"]](content)
    return content
