"""Where decoded images are kept between runs, and under which name."""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from platformdirs import user_cache_path

from wsl_bench.data.samples import Dataset
from wsl_bench.errors import UsageError
from wsl_bench.params import values_of
from wsl_bench.source import source_sha256

# What turns a file into a square: another version may make another.
_SOURCE = ("data/decode.py", "data/dicom.py", "data/geometry.py", "data/images.py")
_LIBRARIES = ("pillow", "pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg")


def cache_root() -> Path:
    """The environment variable WSLBENCH_CACHE, or this system's place for caches."""
    chosen = os.environ.get("WSLBENCH_CACHE")
    if chosen:
        try:
            return Path(chosen).expanduser().absolute()
        except RuntimeError:
            raise UsageError(f"WSLBENCH_CACHE={chosen}: expected a folder, found no such user.") from None
    return user_cache_path("wsl_bench", False) / "decoded"


def cache_folder(name: str, source_hash: str, dataset: Dataset, size: int) -> Path:
    """The folder of this dataset's images, decoded at this size by this code; parameters that only select share it.

    Args:
        name: the dataset's registered name. source_hash: of its own source.
        size: side of the square images, pixels.
    """
    values = {k: str(v) for k, v in values_of(dataset).items() if k not in dataset.selects}
    root = getattr(dataset, "root", None)
    if isinstance(root, Path):
        values["root"] = str(root.resolve())
    made_by = [source_hash, source_sha256(*_SOURCE), *map(_version, _LIBRARIES)]
    content = json.dumps([name, values, size, made_by], sort_keys=True)
    return cache_root() / f"{name}-{size}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
