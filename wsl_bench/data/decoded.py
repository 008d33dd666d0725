"""Decoded images on disk: squares in one file that only grows, and an index that says what lies in which row.

Pixels are flushed before the index names them, so whatever ends the process, an indexed row is whole. A row is never
written twice: who reads one may go on while others are added. A line of the index that is damaged counts as not
there, and its image is decoded again.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from wsl_bench.data.rows import Pixels
from wsl_bench.store.atomic import atomic_write, make_folder, named

PIXELS, INDEX = "pixels.u8", "index.jsonl"


@dataclass(frozen=True)
class Source:
    """The file an image came from, as it was when it was read.

    Attributes:
        path: absolute.
        size: bytes.
        modified, changed: of its content, and of that or its name, rights or place; nanoseconds.
        sha256: of its bytes.
    """

    path: str
    size: int
    modified: int
    changed: int
    sha256: str

    def is_now(self, path: Path, status: os.stat_result) -> bool:
        """Whether it is this file, and looks as it did then."""
        same = (self.size, self.modified, self.changed) == (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return same and self.path == str(path.absolute())


@dataclass(frozen=True)
class Entry:
    """What is known of one decoded image.

    Attributes:
        image_id: unique within the folder.
        height, width: of the stored image, pixels.
        pixels_sha256: of the stored image's pixels.
        crc32: of the square's.
        details: what its file says besides: view, sex, age.
        source: the file; None where there is none.
        row: of the square in the file of pixels; -1 while it has none.
    """

    image_id: str
    height: int
    width: int
    pixels_sha256: str
    crc32: int
    details: dict[str, str]
    source: Source | None
    row: int = -1


class DecodedImages:
    """A folder of decoded images, of one size, to be read by many and written to by one at a time.

    Attributes:
        entries: by image id.
        read_only: why none can be added; None where they can.
    """

    def __init__(self, folder: Path, size: int, *, read_only: str | None = None) -> None:
        self._folder, self._size, self.read_only = folder, size, read_only
        found = {entry.image_id: entry for entry in _read_index(folder / INDEX)}
        length = self.pixels.stat().st_size if self.pixels.is_file() else 0
        n_whole, self._n_rows = length // size**2, -(-length // size**2)
        # Others are of a file of pixels that was cut or taken away.
        self.entries = {name: entry for name, entry in found.items() if 0 <= entry.row < n_whole}
        self._forget = len(self.entries) < len(found)

    @property
    def pixels(self) -> Path:
        """The file of squares."""
        return self._folder / PIXELS

    def add(self, images: Sequence[tuple[Entry, Pixels]]) -> None:
        """Append squares (S, S) uint8 with what is known of them; they are on the device when this returns.

        Raises:
            OSError: they cannot be written; what was there before is as it was.
        """
        assert self.read_only is None
        make_folder(self._folder)
        if self._forget:  # before anything comes to lie in rows that are gone, lest it be taken for what lay there
            atomic_write(self._folder / INDEX, b"".join(map(_to_line, self.entries.values())))
            self._forget = False
        placed = [replace(entry, row=self._n_rows + i) for i, (entry, _) in enumerate(images)]
        squares = np.stack([square for _, square in images])
        with named(self.pixels), self.pixels.open("r+b" if self.pixels.is_file() else "x+b") as file:
            file.seek(self._n_rows * self._size**2)
            file.write(squares.tobytes())
            file.flush()
            os.fsync(file.fileno())
        self._n_rows += len(placed)
        self.note(placed)

    def note(self, entries: Sequence[Entry]) -> None:
        """Append lines to the index, where it can be written; of several on one image the last counts."""
        path = self._folder / INDEX
        self.entries |= {entry.image_id: entry for entry in entries}
        if self.read_only is not None:  # so each run has to hash files anew whose times are others
            return
        lines = b"".join(map(_to_line, entries))
        with named(path), path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                lines = lines if file.read(1) == b"\n" else b"\n" + lines  # a line that was cut off stays one
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())


def map_pixels(path: Path, size: int) -> Pixels:
    """The squares of a file of pixels, (M, size, size) uint8, as a read-only memory map.

    Raises:
        OSError: no such file. ValueError: nothing in it.
    """
    return np.memmap(path, np.uint8, "r", shape=(path.stat().st_size // size**2, size, size))


def _to_line(entry: Entry) -> bytes:
    text = json.dumps(asdict(entry), separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read_index(path: Path) -> list[Entry]:
    """The entries whose lines are whole."""
    if not path.is_file():
        return []
    lines = (line.partition(b" ") for line in path.read_bytes().split(b"\n"))
    found = [_entry(text) for checksum, _, text in lines if checksum == b"%08x" % zlib.crc32(text)]
    return [entry for entry in found if entry is not None]


def _entry(text: bytes) -> Entry | None:
    """What a line says, or None where it is none of this version's."""
    try:
        fields = json.loads(text)
        given = fields.pop("source")
        source = None if given is None else Source(**given)
        entry = Entry(**fields, source=source)
        bytes.fromhex(entry.pixels_sha256)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return None
    numbers = [entry.height, entry.width, entry.crc32, entry.row]
    numbers += [] if source is None else [source.size, source.modified, source.changed]
    texts = [entry.image_id, *entry.details.values()] if isinstance(entry.details, dict) else [None]
    texts += [] if source is None else [source.sha256, source.path]
    typed = all(type(n) is int for n in numbers) and all(isinstance(t, str) for t in texts)
    return entry if typed and 0 <= entry.crc32 < 2**32 else None
