"""--data-root: where the files of named datasets lie."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from wsl_bench.errors import UsageError


def with_data_root(spec: Any, data_root: Path) -> Any:
    """The same spec with the root of every named dataset that has one; what --set says of it wins.

    Raises:
        UsageError: no such folder, or no dataset that reads files from one.
    """
    from wsl_bench.selection import find_dataset
    from wsl_bench.spec import with_fields

    if not data_root.is_dir():
        raise UsageError(f"--data-root {data_root}: expected a folder, found none.")
    entries = [find_dataset(selector)[0] for selector in spec.datasets]
    rooted = [entry.name for entry in entries if _has_root(entry.cls) and entry.name != "folder"]
    if not rooted:
        raise UsageError(
            f"--data-root {data_root}: none of the datasets ({', '.join(spec.datasets)}) reads files from a root. "
            "Name a directory of your own in --datasets."
        )
    roots = {f"{name}.root": str(data_root.absolute()) for name in rooted}
    return with_fields(spec, {"set": {**roots, **spec.settings}})


def _has_root(cls: type) -> bool:
    return any(field.name == "root" for field in dataclasses.fields(cls))
