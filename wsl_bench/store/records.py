"""Records: one JSON a finished cell, written last, naming its artefacts with their sha256.

A cell is finished if and only if its record and every artefact verify. What does not verify is set
aside with the suffix `.corrupt`, named to the user, and computed again. Nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl_bench.errors import StoreError
from wsl_bench.metrics.tally import Tally
from wsl_bench.store.atomic import atomic_write, write_arrays
from wsl_bench.store.migrate import RECORD_VERSION, can_migrate, migrate

FOLDER = "records"
ARTEFACTS = ("val", "test", "maps")
_COSTS: dict[str, Any] = {
    "seconds": int | float, "peak_memory_mib": int | float, "attempts": int, "training": str | None,
}  # fmt: skip


@dataclass(frozen=True)
class Record:
    """One finished cell.

    Attributes:
        slug: its file name without the suffix.
        content: the JSON.
        root: the run's folder.
    """

    slug: str
    content: dict[str, Any]
    root: Path

    @property
    def test(self) -> Tally:
        """Tallies of the test split; read again where many have been read since."""
        return _tallies.of(self, "test")

    @property
    def val(self) -> Tally:
        """Tallies of the validation split, likewise."""
        return _tallies.of(self, "val")

    def maps(self) -> dict[str, npt.NDArray[np.generic]]:
        """Display maps: image_ids and (n, h, w) float16 arrays by name."""
        return self.arrays("maps")

    def arrays(self, name: str) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays of an artefact, verified once more: it may have changed since the record was read."""
        named = self.content["artefacts"][name]
        path = _artefact_path(self.root, self.root / FOLDER / f"{self.slug}.json", named["file"])
        content = _artefact(path, named["sha256"])
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        except Exception as error:  # numpy and zipfile raise many types; only who made up a record gets here
            raise StoreError(f"{path}: expected plain arrays, found {error}. Compute the cell again.") from None


class _Tallies:
    """The tallies read last, up to a number of bytes: those of a large study do not fit into memory at once."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._held = most_bytes, OrderedDict[tuple[Path, str, str], Tally]()
        self._bytes = 0

    def of(self, record: Record, name: str) -> Tally:
        """A tally of a record, from memory or from the disk."""
        key = (record.root.absolute(), record.slug, str(record.content["artefacts"][name]["sha256"]))
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        tally = Tally.from_arrays(record.arrays(name))
        self._held[key] = tally
        self._bytes += _n_bytes(tally)
        while self._bytes > self._most and len(self._held) > 1:
            self._bytes -= _n_bytes(self._held.popitem(last=False)[1])
        return tally


def _n_bytes(tally: Tally) -> int:
    """Of a tally and of the counts it makes of its histograms when they are asked for."""
    return sum(array.nbytes for array in tally.to_arrays().values()) + 4 * tally.inside.nbytes


_tallies = _Tallies(3 * 2**30)


@dataclass(frozen=True)
class Failure:
    """A cell that did not finish: the names it would have had and what it said."""

    slug: str
    content: dict[str, Any]


def write_record(
    root: Path,
    slug: str,
    content: Mapping[str, Any],
    artefacts: Mapping[str, Mapping[str, npt.NDArray[np.generic]]],
) -> None:
    """Write the artefacts, then the record that vouches for them; a failure noted before is removed."""
    folder = root / FOLDER
    named = {
        name: {
            "file": f"{FOLDER}/{slug}.{name}.npz",
            "sha256": write_arrays(folder / f"{slug}.{name}.npz", arrays),
        }
        for name, arrays in artefacts.items()
    }
    record = {"record_version": RECORD_VERSION, **content, "artefacts": named}
    record["sha256"] = _content_sha256(record)
    atomic_write(folder / f"{slug}.json", _json(record))
    (folder / f"{slug}.failed.json").unlink(missing_ok=True)


def write_failure(root: Path, slug: str, content: Mapping[str, Any]) -> None:
    """Note that a cell failed. It is not a result: the cell stays to be done."""
    atomic_write(root / FOLDER / f"{slug}.failed.json", _json({**content, "sha256": _content_sha256(content)}))


def write_cost(root: Path, slug: str, content: Mapping[str, Any]) -> None:
    """Seconds and memory of a cell: apart from its record, because they are not reproducible."""
    atomic_write(root / "costs" / f"{slug}.json", _json(content))


def read_costs(root: Path) -> dict[str, dict[str, Any]]:
    """Costs by slug; what cannot be read costs no table its result."""
    costs = {}
    for path in sorted((root / "costs").glob("*.json")):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            content = json.loads(path.read_bytes())
            if isinstance(content, dict) and all(
                isinstance(content[name], kind) for name, kind in _COSTS.items() if name in content
            ):
                costs[path.stem] = content
    return costs


def read_records(root: Path) -> tuple[list[Record], list[Failure], list[str]]:
    """All records that verify, all failures, and a line for each record set aside as corrupt."""
    records, failures, corrupt = [], [], []
    for path, found in _each(root):
        if isinstance(found, Record):
            records.append(found)
        elif isinstance(found, Failure):
            failures.append(found)
        else:
            path.replace(path.with_name(path.name + ".corrupt"))
            corrupt.append(str(found))
    done = {record.slug for record in records}
    return records, [failure for failure in failures if failure.slug not in done], corrupt


def peek_records(root: Path, on_damage: Callable[[str], None] = lambda said: None) -> list[Record]:
    """All records that verify; the others stay where they are, and what is wrong with them is told."""
    records = []
    for _, found in _each(root):
        if isinstance(found, Record):
            records.append(found)
        elif isinstance(found, StoreError):
            on_damage(str(found))
    return records


def read_failures(root: Path) -> list[Failure]:
    """All failures that were noted."""
    return [found for _, found in _each(root) if isinstance(found, Failure)]


def _each(root: Path) -> Iterator[tuple[Path, Record | Failure | StoreError]]:
    """What lies in the folder of the records, in the order of names."""
    for path in sorted((root / FOLDER).glob("*.json")):
        if path.name.startswith("."):
            continue
        try:
            content = _read(path)
            if path.name.endswith(".failed.json"):
                _check_own_sha256(path, content)
                yield path, Failure(path.name.removesuffix(".failed.json"), content)
            else:
                yield path, Record(path.stem, _verified(root, path, content), root)
        except StoreError as error:
            yield path, error


def set_aside(root: Path, slugs: list[str], reason: str) -> None:
    """Move records that another version of the source made out of the table, keeping their files."""
    folder = root / FOLDER
    for slug in slugs:
        (folder / reason).mkdir(exist_ok=True)
        for path in sorted(folder.glob(f"{glob.escape(slug)}.*")):
            path.replace(folder / reason / path.name)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: expected a JSON record, found {error}. It is set aside.") from None
    if not isinstance(content, dict):
        raise StoreError(f"{path}: expected a JSON object, found another value. It is set aside.")
    return content


def _verified(root: Path, path: Path, content: dict[str, Any]) -> dict[str, Any]:
    if not can_migrate(content.get("record_version")):
        raise StoreError(
            f"{path}: expected record version {RECORD_VERSION} or older, found {content.get('record_version')!r}. "
            "It is set aside."
        )
    try:
        named = content["artefacts"]
        artefacts = [(str(named[name]["file"]), str(named[name]["sha256"])) for name in ARTEFACTS]
    except (KeyError, TypeError, AttributeError):
        raise StoreError(f"{path}: expected its artefacts with sha256, found none. It is set aside.") from None
    for file, sha256 in artefacts:
        _artefact(_artefact_path(root, path, file), sha256)
    _check_own_sha256(path, content)
    return migrate(content)


def _check_own_sha256(path: Path, content: Mapping[str, Any]) -> None:
    try:
        whole = content.get("sha256") == _content_sha256(content)
    except (ValueError, RecursionError):  # NaN, or a tower of brackets: nothing that this package writes
        whole = False
    if not whole:
        raise StoreError(f"{path}: expected the content its own sha256 was taken of, found another. It is set aside.")


def _artefact(path: Path, sha256: str) -> bytes:
    """The content of an artefact that verifies."""
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: no name of a file
        raise StoreError(f"{path}: cannot be read ({error}); its record is set aside.") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise StoreError(f"{path}: expected sha256 {sha256}, found {found}. Its record is set aside.")
    return content


def _artefact_path(root: Path, record: Path, file: str) -> Path:
    """A record may only name files in its own folder."""
    name = Path(file).name
    if file != f"{FOLDER}/{name}":
        raise StoreError(f"{record}: a record names an artefact outside its folder: {file!r}. It is set aside.")
    return root / FOLDER / name


def _content_sha256(content: Mapping[str, Any]) -> str:
    """sha256 of a record without the field that holds it."""
    return hashlib.sha256(_json({k: v for k, v in content.items() if k != "sha256"})).hexdigest()


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, sort_keys=True, allow_nan=False, indent=1) + "\n").encode()
