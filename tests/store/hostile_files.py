"""Files with code in them, and files of some bytes that unpack to gigabytes or say they hold as much."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

MARKER = "was-here"
GIBIBYTE = 2**30


class Payload:
    """Unpickled, it runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def marker_of(folder: Path) -> Path:
    """What is there once the code has run."""
    return folder.parent / MARKER


def pickled(folder: Path) -> bytes:
    """A pickle with the payload in it."""
    return pickle.dumps({"features.conv0.weight": Payload(marker_of(folder)), "a": Payload(marker_of(folder))})


def array_of_objects(folder: Path) -> bytes:
    """An array of objects in numpy's format: a header, then a pickle."""
    file = io.BytesIO()
    np.save(file, np.array([Payload(marker_of(folder))], object), allow_pickle=True)
    return file.getvalue()


def archive(members: Mapping[str, bytes]) -> bytes:
    """A .npz with these files in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return file.getvalue()


def bomb(members: Mapping[str, tuple[bytes, int]]) -> bytes:
    """A zip of files that unpack to some bytes and then to that many zeros; a thousandth of that on disk.

    From a gigabyte on the checksum is not right: who looks at it has unpacked all of it.
    """
    out, entries = b"", b""
    for name, (begin, zeros) in members.items():
        packer, block = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(2**22)
        packed = packer.compress(begin) + packer.flush(zlib.Z_FULL_FLUSH)
        first = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # after a full flush each block packs alike
        packed += first * (zeros // len(block)) + packer.flush()
        crc = zlib.crc32(begin)
        for _ in range(zeros // len(block) if zeros < GIBIBYTE else 0):
            crc = zlib.crc32(block, crc)
        size = len(begin) + zeros // len(block) * len(block)
        common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0x21, crc, len(packed), size, len(name), 0)
        entries += b"PK\1\2\x14\0" + common + struct.pack("<HHHII", 0, 0, 0, 0, len(out)) + name.encode()
        out += b"PK\3\4" + common + name.encode() + packed
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(entries), len(out), 0)
    return out + entries + b"PK\5\6" + end


def header(shape: str, version: int = 1, length: int | None = None) -> bytes:
    """The begin of a file in numpy's format."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    sized = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + sized + text


def picture(width: int, height: int, format: str) -> bytes:
    """A blank picture; its pixels are only packed if they are few enough to try it for real."""
    if width * height <= 2 * 10**8:
        file = io.BytesIO()
        Image.new("L", (width, height)).save(file, format)
        return file.getvalue()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(10**6))),
              (b"IEND", b"")]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def postscript() -> bytes:
    """An image that Pillow hands to Ghostscript, whatever its name ends in."""
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"


def tensors(length: int, shape: str = "[1]", size: int = 4) -> bytes:
    """A safetensors file that says how long its header is and what lies behind it."""
    text = f'{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{size}]}}}}'.encode()
    return struct.pack("<Q", length or len(text)) + text + bytes(4)


def torch_file(folder: Path) -> bytes:
    """What torch.save makes of the payload."""
    file = io.BytesIO()
    torch.save({"state_dict": {"features.conv0.weight": Payload(marker_of(folder))}}, file)
    return file.getvalue()


def torch_bomb(n: int) -> bytes:
    """Weights as torch.save writes them, but packed: `n` zeros."""
    file = io.BytesIO()
    torch.save({"features.conv0.weight": torch.zeros(77)}, file)
    with zipfile.ZipFile(file) as whole:
        members = {name: (whole.read(name), 0) for name in whole.namelist() if not name.endswith("data/0")}
    content = members["archive/data.pkl"][0]
    assert content.count(b"KM") == 2  # the number 77: values in the storage, and in the tensor
    members["archive/data.pkl"] = (content.replace(b"KM", b"\x8a\x05" + n.to_bytes(5, "little")), 0)
    return bomb(members | {"archive/data/0": (b"", 4 * n)})


def archive_of_objects(folder: Path) -> bytes:
    """A .npz with one array of objects in it."""
    return archive({"a.npy": array_of_objects(folder)})
