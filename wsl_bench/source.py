"""Fingerprints of this package's own source, for keys: another source may give another result."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

ROOT = Path(__file__).parent


@functools.cache
def source_sha256(*parts: str) -> str:
    """sha256 over names and contents of Python files: files and folders below the package."""
    sha = hashlib.sha256()
    for part in parts:
        path = ROOT / part
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            sha.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return sha.hexdigest()
