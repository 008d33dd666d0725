"""run.json: what a run's folder is for, so that later commands extend it and the tables know what is missing.

Fields: `fixed` (what every later run into the folder must agree on), `planned` (by dataset: how it was
asked for, seeds, methods), `thresholds`, `settings`, what was found in the data (`skipped`,
`duplicates`, `split_source`), and the versions and platform of the last run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wsl_bench.errors import UsageError
from wsl_bench.protocol.rules import Rules
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
        whole = content["run_version"] == RUN_VERSION and _is_whole(content)
    except Exception:  # damaged: what it may raise has no end
        whole = False
    if not whole:
        raise UsageError(
            f"{path}: expected the {NAME} of a run (version {RUN_VERSION}), found something else. "
            "Name the folder of a run; for a new one choose another --out."
        )
    return dict(content)


def _is_whole(content: dict[str, Any]) -> bool:
    """Whether everything that later commands and tables read is there; an error of some type or other may say no."""
    fixed, plans = content["fixed"], content["planned"].values()
    if fixed:
        Rules(**{key: value for key, value in fixed["rules"].items() if key != "version" and value is not None})
    for rule in content["thresholds"]:
        if rule != "val":
            float(rule)
    return (
        all(isinstance(content[name], kind) for name, kind in _FIELDS.items())
        and (not fixed or {"criterion", "max_fnr", "min_val_located"} <= fixed["rules"].keys())
        and _all(dict, fixed.get("datasets", {}).values(), [fixed.get("recipe", {})])
        and _all(str, content["thresholds"], content["settings"].values(), content["split_source"].values())
        and _all(dict, content["skipped"].values())
        and _all(str, *content.get("remarks", {}).values())
        and all(pairs and _all(str, *pairs) for pairs in content["duplicates"].values())
        and all(isinstance(plan["selector"], str) and _all(int, plan["seeds"]) for plan in plans)
        and all(len(row) == 2 and _all(str, row) for plan in plans for row in plan["methods"])
    )


def _all(kind: type, *values: Iterable[Any]) -> bool:
    return all(isinstance(value, kind) for some in values for value in some)


def write_run(root: Path, content: dict[str, Any]) -> None:
    """Write run.json; `content` has every field but the version."""
    text = json.dumps({"run_version": RUN_VERSION, **content}, indent=1, sort_keys=True)
    atomic_write(root / NAME, (text + "\n").encode())


def manifest_hashes(root: Path) -> dict[str, str]:
    """sha256 of the split manifest of each dataset of a run, where run.json has it."""
    datasets = read_run(root)["fixed"].get("datasets", {})
    return {name: str(parts["manifest"]) for name, parts in datasets.items() if "manifest" in parts}


def file_name(dataset: str) -> str:
    """A dataset's name as that of a file; it may be a selector with a path in it: folder[root=../x]."""
    return dataset.replace("/", "_").replace("\\", "_")


def manifest_file(root: Path, dataset: str) -> Path:
    """Where a dataset's split manifest lies."""
    return root / "manifests" / f"{file_name(dataset)}.csv"


def prepared_folder(root: Path, hashes: Mapping[str, str]) -> Path | None:
    """The folder below RUN/prepared that holds the dataset with these hashes, if it is still there."""
    for file in sorted((root / "prepared").glob("*/hashes.json")):
        try:
            found = json.loads(file.read_bytes())
        except (OSError, ValueError):
            continue
        if found == dict(hashes):
            return file.parent
    return None
