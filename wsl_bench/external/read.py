"""Score maps on disk, from any tool: a folder of files named by image id, or one archive of arrays."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from wsl_bench.data.images import MOST_PIXELS, by_stem, opened
from wsl_bench.errors import DataError

Maps = npt.NDArray[np.float32]
SUFFIXES = (".npy", ".npz", ".png", ".tif", ".tiff")
# Largest value of the integer kinds of picture; floating-point ones are taken as they are.
_LONGEST_HEADER = 10_000  # bytes of the text before an array; numpy's own bound, which it looks at after reading
_FULL = {"L": 255, "I;16": 65535, "I;16B": 65535, "I;16L": 65535}


class UnreadableMap(Exception):
    """One map that cannot be read, and why; collected, so that all are named at once."""


@dataclass(frozen=True)
class MapSource:
    """Maps by image id, read when asked for.

    Attributes:
        where: what errors call the whole.
        readers: for each id, a function that gives its array as it lies on disk, of any type and shape.
    """

    where: Path
    readers: Mapping[str, Callable[[], npt.NDArray[Any]]]

    def read(self, image_id: str) -> Maps:
        """The map (h, w) of an image as float32, values in [0, 1].

        Raises:
            UnreadableMap: a damaged file, or an array that is no map: not two axes, not floating-point, not
                finite, out of range.
        """
        try:
            array = self.readers[image_id]()
        except UnreadableMap:
            raise
        except Exception as error:  # numpy, Pillow and safetensors raise many types on damaged files
            said = " ".join(f"{type(error).__name__}: {error}".splitlines()[:1]).partition(". ")[0]
            raise UnreadableMap(f"unreadable ({said})") from None
        return _checked(array)


def open_maps(path: Path) -> MapSource:
    """Find the maps in a folder of .npy, .npz, .png, .tif files or in one .npz or .safetensors file.

    Raises:
        DataError: no such file or folder, of another kind, empty, or with two files for one image.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise _unknown(path, "no such file or folder")
    try:
        if path.suffix == ".npz":
            return MapSource(path, _npz_readers(path))
        if path.suffix == ".safetensors":
            return MapSource(path, _safetensors_readers(path))
    except Exception as error:
        raise _unknown(path, f"{type(error).__name__}: {error}") from None
    raise _unknown(path, f"a file ending in {path.suffix or 'nothing'}")


def _unknown(path: Path, found: str) -> DataError:
    return DataError(
        path,
        expected="a folder of .npy, .npz, .png or .tif maps named by image id, or one .npz or .safetensors file",
        found=found,
        fix="Write the maps in one of these forms.",
    )


def _open_folder(path: Path) -> MapSource:
    files = [f for f in sorted(path.iterdir()) if f.suffix.lower() in SUFFIXES and not f.name.startswith(".")]
    if not files:
        raise _unknown(path, "a folder without such a file")
    return MapSource(path, {name: _reader(file) for name, file in by_stem(path, files).items()})


def _reader(file: Path) -> Callable[[], npt.NDArray[Any]]:
    readers = {".npy": _read_npy, ".npz": _read_single_npz}
    read = readers.get(file.suffix.lower(), _read_picture)
    return lambda: read(file)


def _read_npy(file: Path) -> npt.NDArray[Any]:
    with file.open("rb") as opened_file:
        return _read_array(opened_file)


def _read_single_npz(file: Path) -> npt.NDArray[Any]:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise UnreadableMap(f"expected one array in the file, found {len(names)}")
        return _read_member(archive, names[0])


def _read_member(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    with archive.open(name) as file:
        return _read_array(file)


def _read_array(file: IO[bytes]) -> npt.NDArray[Any]:
    """An array in numpy's format, looked at before anything is read: a few bytes may unpack to more than there is."""
    version = npy.read_magic(file)
    length = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"the header is {length} bytes long")
    file.seek(npy.MAGIC_LEN)
    shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
    if not dtype.hasobject:  # read_array says it better
        _check_kind(shape, dtype)
    file.seek(0)
    return np.asarray(npy.read_array(file, allow_pickle=False))


def _read_picture(file: Path) -> npt.NDArray[Any]:
    with opened(file, ("PNG", "TIFF")) as picture:
        if picture.mode == "F":
            return np.asarray(picture, np.float32)
        full = 65535 if (picture.mode, picture.format) == ("I", "PNG") else _FULL.get(picture.mode)  # older Pillow
        if full is None:
            raise UnreadableMap(
                f"expected grey of 8 or 16 bits or floating-point, found the mode {picture.mode}: colours are no scores"
            )
        # In double precision, so that a level k of 255 is the float32 nearest to k / 255.
        return (np.asarray(picture, np.float64) / full).astype(np.float32)


def _npz_readers(path: Path) -> dict[str, Callable[[], npt.NDArray[Any]]]:
    archive = zipfile.ZipFile(path)
    return {n.removesuffix(".npy"): lambda n=n: _read_member(archive, n) for n in archive.namelist()}  # type: ignore[misc]


def _safetensors_readers(path: Path) -> dict[str, Callable[[], npt.NDArray[Any]]]:
    from safetensors import safe_open

    file: Any = safe_open(path, framework="numpy")
    return {name: lambda name=name: file.get_tensor(name) for name in file.keys()}  # type: ignore[misc]  # noqa: SIM118


def _check_kind(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) != 2 or min(shape) < 1:
        raise UnreadableMap(f"expected an array (height, width), found the shape {shape}")
    if dtype != np.bool_ and not np.issubdtype(dtype, np.floating):
        raise UnreadableMap(f"expected floating-point scores in [0, 1], found {dtype}")
    if math.prod(shape) > MOST_PIXELS:
        raise UnreadableMap(f"expected at most {MOST_PIXELS} values, found the shape {shape}")


def _checked(array: npt.NDArray[Any]) -> Maps:
    _check_kind(array.shape, array.dtype)
    n_bad = int(np.count_nonzero(~np.isfinite(array)))
    if n_bad:
        raise UnreadableMap(f"{n_bad} values that are not finite")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise UnreadableMap(f"expected scores in [0, 1], found [{low:.6g}, {high:.6g}]")
    return np.ascontiguousarray(array, dtype=np.float32)
