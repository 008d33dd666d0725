"""Damage to files, and what a reader made of it; the tests of each family of formats share this."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsl_bench.errors import WslBenchError

FEW, MANY = 15, 200
ABSENT = object()  # what a reader returns for a file that it sets aside or does as if it were not there
Crafted = Mapping[str, bytes]


@dataclass(frozen=True)
class Format:
    """A kind of file with the reader that is tried.

    Attributes:
        make: writes a valid set below a folder and returns the file that is damaged.
        read: reads the set with the project's own function; returns what it found, or ABSENT.
        hashed: written by this package and verified, so that no other content may ever pass.
        named: what the message of an error may call the file, beside its name.
        crafted: wrong shapes and types, NaN, missing keys, ...: whole contents of the file, made from the valid one.
    """

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    hashed: bool = False
    named: tuple[str, ...] = ()
    crafted: Callable[[bytes], Crafted] = lambda whole: {}


@dataclass
class Found:
    """Outcomes of a format's variants."""

    counts: Counter[str] = field(default_factory=Counter)
    raw: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)

    def line(self, name: str) -> str:
        """One line of the table."""
        figures = [sum(self.counts.values()), *(self.counts[kind] for kind in ("clear", "harmless", "different"))]
        return f"{name:<28}" + "".join(f"{figure:>10}" for figure in figures)


HEADER = f"{'format':<28}{'variants':>10}{'clear':>10}{'harmless':>10}{'different':>10}"


def other_files() -> dict[str, bytes]:
    """Whole files of other kinds, to lie under a wrong name."""
    picture, arrays, archive = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(picture, "PNG")
    np.save(arrays, np.eye(3, dtype=np.float32))
    np.savez_compressed(archive, values=np.zeros(5))
    return {
        "a picture": picture.getvalue(), "an array": arrays.getvalue(), "an archive": archive.getvalue(),
        "a table": b"name,value\na,1\nb,2\n", "JSON": b'{"a": [1, 2.5, null]}', "a number": b"5", "nothing": b"null",
        "a list": b"[[1], {}, 2]", "brackets": b"[" * 100_000, "NaN": b'{"sha256": NaN}', "text": "größer".encode(),
        "UTF-16": "a = 1".encode("utf-16"),
    }  # fmt: skip


def variants(whole: bytes, crafted: Crafted, n: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """At least `n` damaged contents: all that are crafted; of the rest half are cut off, half have a bit flipped."""
    rng = np.random.default_rng(seed)
    fixed = {"empty": b"", **other_files(), **crafted}
    if n < MANY:  # of the common ones some, of its own all
        fixed = {name: fixed[name] for name in ("empty", "brackets", "a picture", "JSON", *crafted)}
    yield from fixed.items()
    for number in range(max(n - len(fixed), n // 2)):
        place = int(rng.integers(len(whole)))
        if number % 10 == 9:
            yield "garbage", rng.bytes(int(rng.integers(1, 2 * len(whole))))
        elif number % 2:
            yield f"cut after {place} bytes", whole[:place]
        else:
            bit = int(rng.integers(8))
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            yield f"bit {bit} of byte {place}", bytes(flipped)


def try_format(form: Format, root: Path, n: int) -> Found:
    """Read every variant and sort the outcomes."""
    root.mkdir(parents=True)
    target = form.make(root)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    whole, found = before[target], Found()
    good = plain(form.read(root))
    assert good is not ABSENT
    assert _outcome(form, root, target, good, found, "undamaged") == "harmless", found
    seed = zlib.crc32(form.name.encode())
    for what, content in variants(whole, form.crafted(whole), n, seed):
        _restore(root, before)
        target.write_bytes(content)
        found.counts[_outcome(form, root, target, good, found, what)] += 1
    return found


def _outcome(form: Format, root: Path, target: Path, good: Any, found: Found, what: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as for a user: a warning alone is no refusal
            content = plain(form.read(root))
    except WslBenchError as error:
        if not any(name in str(error) for name in (target.name, *form.named)):
            found.unnamed.append(f"{form.name}, {what}: {error}")
        return "clear"
    except Exception:
        found.raw.append(f"{form.name}, {what}: {traceback.format_exc(limit=-3)}")
        return "raw"
    if content is ABSENT:
        return "clear"
    if content == good:
        return "harmless"
    found.silent.append(f"{form.name}, {what}")
    return "different"


def _restore(root: Path, files: Mapping[Path, bytes]) -> None:
    """Put everything back that a reader has moved or that was damaged."""
    for path in [path for path in root.rglob("*") if path.is_file() and path not in files]:
        path.unlink()
    for path, content in files.items():
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)


def plain(value: Any) -> Any:
    """A value as nested text, so that NaN equals itself and no difference of type or bit is passed over."""
    if value is ABSENT or value is None or isinstance(value, str | bytes | bool | int | float):
        return value if value is ABSENT else repr(value)
    if hasattr(value, "numpy"):
        value = value.numpy()
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, Iterable) else repr(value)


def edited(whole: bytes, *changes: Callable[[Any], Any]) -> Crafted:
    """A JSON file after each of some changes."""
    out = {}
    for number, change in enumerate(changes):
        content = json.loads(whole)
        change(content)
        out[f"edit {number}"] = json.dumps(content).encode()
    return out


def without_each_key(whole: bytes) -> Crafted:
    """A JSON object without each of its keys in turn, and with each of their values of another type."""
    content = json.loads(whole)
    wrong: dict[str, Any] = {"null": None, "text": "x", "list": [3], "object": {"a": []}, "infinite": float("inf")}
    out = {f"no {key}": {k: v for k, v in content.items() if k != key} for key in content}
    out |= {f"{key} {name}": {**content, key: value} for key in content for name, value in wrong.items()}
    return {name: json.dumps(one).encode() for name, one in out.items()}


def check(forms: list[Format], root: Path, n: int) -> None:
    """Try formats; print the table, and fail with every outcome that must not be."""
    print(f"\n{HEADER}")
    bad = []
    for form in forms:
        found = try_format(form, root / form.name.replace(" ", "_"), n)
        print(found.line(form.name))
        assert sum(found.counts.values()) >= n
        assert found.counts["clear"] or set(found.counts) == {"harmless"}, f"{form.name}: nothing was noticed"
        bad += found.raw + found.unnamed + (found.silent if form.hashed else [])
    assert not bad, "\n".join(bad)
