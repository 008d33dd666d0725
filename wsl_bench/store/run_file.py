"""run.json: what a run's folder is for, so that later commands extend it and the tables know what is missing.

Fields: `fixed` (what every later run into the folder must agree on), `planned` (by dataset: how it was
asked for, seeds, methods), `thresholds`, `settings`, what was found in the data (`skipped`,
`duplicates`, `split_source`), and the versions and platform of the last run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wsl_bench.errors import UsageError
from wsl_bench.store.atomic import atomic_write

RUN_VERSION = 2
NAME = "run.json"
_FIELDS: dict[str, type] = {
    "fixed": dict, "planned": dict, "thresholds": list, "settings": dict, "skipped": dict, "duplicates": dict,
    "split_source": dict,
}  # fmt: skip


def read_run(root: Path) -> dict[str, Any]:
    """The run in a folder.

    Raises:
        UsageError: there is none, or it is not of this version.
    """
    path = root / NAME
    if not path.is_file():
        raise UsageError(f"{root}: expected the folder of a run (with {NAME}), found none.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        whole = content["run_version"] == RUN_VERSION and all(
            isinstance(content[name], kind) for name, kind in _FIELDS.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise UsageError(
            f"{path}: expected the {NAME} of a run (version {RUN_VERSION}), found something else. "
            "Name the folder of a run; for a new one choose another --out."
        )
    return dict(content)


def write_run(root: Path, content: dict[str, Any]) -> None:
    """Write run.json; `content` has every field but the version."""
    text = json.dumps({"run_version": RUN_VERSION, **content}, indent=1, sort_keys=True)
    atomic_write(root / NAME, (text + "\n").encode())
