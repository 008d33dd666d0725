"""Damaged files of a user's: refused by name or read, never a raw error. Without a hash, other content may pass.

What a run writes itself is in test_malformed.py, weights and plug-ins in test_malformed_code.py.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dicom_files
import numpy as np
import pytest
import torch
from conftest import tiny_folder
from malformed import FEW, MANY, Crafted, Format, check, plain, try_format
from PIL import Image
from safetensors.numpy import save_file

from wsl_bench import params, registry
from wsl_bench.data.dicom import read_dicom, read_fields
from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.images import read_grey
from wsl_bench.data.prepare import prepare
from wsl_bench.data.prepared import load_truth, load_weak
from wsl_bench.data.twin import read_published
from wsl_bench.external.check import check_maps
from wsl_bench.external.read import open_maps
from wsl_bench.leaderboard.strata import read_labels
from wsl_bench.protocol.rules import Rules
from wsl_bench.spec import RunSpec, read_study, with_fields

SIZE = (12, 10)  # width, height
DAMAGED = "case011"  # a located image of the validation split


def _study(root: Path) -> Path:
    spec = RunSpec(
        methods=("infomask", "gradcam[layer=last]"), seeds=(0, 3), thresholds=("val", "0.3"), skip_corrupt=True,
        settings={"recipe.width": "0.5", "infomask.alpha": "0.003"}, rules=Rules(criterion="iop_at_fnr", max_fnr=0.4),
    )  # fmt: skip
    (root / "study.toml").write_text(spec.to_toml())
    return root / "study.toml"


def _crafted_study(whole: bytes) -> Crafted:
    texts = [
        "seeds = 0x" + "f" * 5000, "seeds = " + "9" * 5000, "seeds = 1000000000000", "seeds = [-1]", "seeds = []",
        "seeds = -3", "seeds = [nan]", "max_fnr = 0x" + "f" * 400, "max_fnr = nan", "max_fnr = 0.3",
        "thresholds = [inf]", "thresholds = ['vam']", "criterion = 'iov'", "checkpoint = ''", "methods = 3",
        "set = 3", "[set]\n" + ".".join("a" * 3000) + " = 1", "set.x = 0x" + "f" * 5000, "min_val_located = 0",
        "sets = 1", "a = " + "[" * 5000 + "]" * 5000, "skip_corrupt = 'yes'", "device = 1", "datasets = {a = 1}",
    ]  # fmt: skip
    return {f"study {i}": text.encode() for i, text in enumerate(texts)}


def _data(root: Path, file: str) -> Path:
    return tiny_folder(root / "tiny", n=15, size=SIZE) / file


def _masked_data(root: Path, file: str) -> Path:
    data = tiny_folder(root / "tiny", n=15, size=SIZE)
    (data / "boxes.csv").unlink()
    (data / "masks").mkdir()
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[2:6, 3:9] = 255
    for number in range(1, 15, 2):
        Image.fromarray(mask).save(data / "masks" / f"case{number:03d}.png")
    return data / file


def _read_data(root: Path) -> Any:
    cls = registry.discover("dataset").get("folder").cls
    dataset = params.build(cls, "folder", {"root": root / "tiny"})
    found = prepare("tiny", dataset, 8, root / "prepared")
    views = [load_weak(found.folder, split) for split in ("train", "val", "test")]
    return found.manifest, views, load_truth(found.folder, "val"), load_truth(found.folder, "test")


def _crafted_table(whole: bytes) -> Crafted:
    """Odd values, each in place of one that is in the third row."""
    head, *rows = whole.decode().splitlines()
    fields = rows[2].split(",")
    odd = ["", "nan", "inf", "-1", "1e400", "9" * 5000, "a" * 300, "..", ".", "a\0b", "ä" * 200, "²", '"', "a/b", "\t"]
    out = {}
    for column in range(len(fields)):
        for number, value in enumerate(odd):
            changed = [*fields[:column], value, *fields[column + 1 :]]
            out[f"column {column}, value {number}"] = "\n".join(
                [head, *rows[:2], ",".join(changed), *rows[3:]]
            ).encode()
    return out | {"huge field": whole + b"x" * 200_000, "doubled": whole + whole, "a column twice": b"file," + whole}


def _crafted_labels(whole: bytes) -> Crafted:
    tables = list(_crafted_table(whole).items())
    return dict(tables[:: max(1, len(tables) // 60)])


def _twin_labels(suffix: str) -> Callable[[Path], Path]:
    table = b"patientId,x,y,width,height,Target\n" + b"".join(
        b"im%02d,%d.0,8.5,20.0,30.0,1\nno%02d,,,,,0\n" % (i, i, i) for i in range(12)
    )

    def make(root: Path) -> Path:
        path = root / f"labels{suffix}"
        if suffix == ".csv.zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("labels.csv", table)
        else:
            path.write_bytes(gzip.compress(table, mtime=0))
        return path

    return make


def _read_twin_labels(root: Path) -> Any:
    (path,) = root.glob("labels.csv*")
    return read_published(path, ("patientId", "x", "y", "width", "height", "Target"))


def _crafted_archives(whole: bytes) -> Crafted:
    two, bomb = io.BytesIO(), io.BytesIO()
    for file, members in ((two, {"a.csv": b"x", "b.csv": b"y"}), (bomb, {"a.csv": b"0" * 2**28 + b"1"})):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    return {"two files": two.getvalue(), "a bomb": bomb.getvalue(), "a packed bomb": gzip.compress(b"0" * 2**28 + b"1")}


TABLES = [
    Format("twin's labels (zip)", _twin_labels(".csv.zip"), _read_twin_labels, False, (), _crafted_archives),
    Format("twin's labels (gz)", _twin_labels(".csv.gz"), _read_twin_labels, False, (), _crafted_archives),
    Format("study.toml", _study, lambda root: with_fields(RunSpec(), read_study(root / "study.toml")), False, (),
           _crafted_study),
    Format("labels.csv", lambda root: _data(root, "labels.csv"), _read_data, False, ("tiny", "image 'case"),
           _crafted_labels),
    Format("boxes.csv", lambda root: _data(root, "boxes.csv"), _read_data, False, ("image 'case",), _crafted_table),
    Format("labels for --by", lambda root: _data(root, "labels.csv"),
           lambda root: read_labels(root / "tiny/labels.csv"), False, (), _crafted_labels),
]  # fmt: skip


def _picture(suffix: str, **options: Any) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        pixels = np.random.default_rng(0).integers(0, 256, (20, 24), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{DAMAGED}{suffix}", **options)
        return root / f"{DAMAGED}{suffix}"

    return make


def _read_picture(root: Path) -> Any:
    (path,) = root.glob(f"{DAMAGED}.*")
    return read_grey(path)


def _crafted_pictures(whole: bytes) -> Crafted:
    out = {}
    for mode in ("I;16", "F", "RGBA", "P", "1", "CMYK", "LA"):
        file = io.BytesIO()
        Image.new(mode, (24, 20)).save(file, "TIFF")
        out[mode] = file.getvalue()
    return out


def _dicom(code: Callable[..., Any]) -> Callable[[Path], Path]:
    stored = np.random.default_rng(0).integers(0, 256, (20, 24), dtype=np.uint8)
    return lambda root: dicom_files.save(code(stored), root / f"{DAMAGED}.dcm")


def _read_dicom(root: Path) -> Any:
    return read_fields(root / f"{DAMAGED}.dcm"), read_dicom(root / f"{DAMAGED}.dcm")


def _crafted_dicom(whole: bytes) -> Crafted:
    """Fields of another type than theirs, or of half a value: pydicom decodes a value when it is asked for."""
    out = {}
    for name, tag in (("rows", b"\x28\x00\x10\x00"), ("kind", b"\x28\x00\x04\x00"), ("sex", b"\x10\x00\x40\x00")):
        at = whole.index(tag) + len(tag)
        out[f"{name}, no type"] = whole[:at] + b"UW" + whole[at + 2 :]
        out[f"{name}, half"] = whole[: at + 5]
        out[f"{name}, cut"] = whole[:at] + b"US\x01\x00\x14"
        out[f"{name}, a number"] = whole[:at] + b"FD" + whole[at + 2 :]
    return out


IMAGES = [
    Format("image (PNG)", _picture(".png"), _read_picture, False, (), _crafted_pictures),
    Format("image (JPEG)", _picture(".jpg", quality=90), _read_picture, False, (), _crafted_pictures),
    Format("image (TIFF, packed)", _picture(".tif", compression="tiff_lzw"), _read_picture),
    Format("image of a dataset", lambda root: _data(root, f"images/{DAMAGED}.png"), _read_data, False, (DAMAGED,)),
    Format("mask (PNG)", lambda root: _masked_data(root, f"masks/{DAMAGED}.png"), _read_data, False, (DAMAGED,),
           _crafted_pictures),
    Format("image (DICOM, plain)", _dicom(dicom_files.radiograph), _read_dicom, False, (), _crafted_dicom),
    Format("image (DICOM, RLE)", _dicom(dicom_files.rle), _read_dicom),
    Format("image (DICOM, JPEG)", _dicom(dicom_files.jpeg), _read_dicom),
    Format("image (DICOM, JPEG 2000)", _dicom(dicom_files.jpeg_2000), _read_dicom),
]  # fmt: skip


def _maps(suffix: str) -> Callable[[Path], Path]:
    """A folder of three maps, or one archive of them."""

    def make(root: Path) -> Path:
        maps = {name: np.random.default_rng(i).random((10, 12), np.float32) for i, name in enumerate(("a", DAMAGED))}
        if suffix == "archive.npz":
            np.savez_compressed(root / suffix, **maps)  # type: ignore[arg-type]
            return root / suffix
        if suffix == "archive.safetensors":
            save_file(maps, root / suffix)
            return root / suffix
        for name, scores in maps.items():
            if suffix == ".npy":
                np.save(root / f"{name}.npy", scores)
            elif suffix == ".npz":
                np.savez_compressed(root / f"{name}.npz", scores)
            else:
                levels = scores if suffix == ".tif" else np.rint(scores * 65535).astype(np.uint16)
                Image.fromarray(levels).save(root / f"{name}{suffix}")
        return root / f"{DAMAGED}{suffix}"

    return make


def _read_maps(root: Path) -> Any:
    archives = list(root.glob("archive.*"))
    source, frame = open_maps(archives[0] if archives else root), Letterbox.fit(10, 12, 8)
    return check_maps(source, {"a": frame, DAMAGED: frame}, ["a", DAMAGED])


def _arrays() -> dict[str, Any]:
    """Arrays that are no map."""
    scores = np.random.default_rng(0).random((10, 12), np.float32)
    return {
        "NaN": np.where(scores > 0.5, np.nan, scores), "infinite": np.where(scores > 0.5, np.inf, scores),
        "negative": -scores, "too large": scores * 2, "an axis more": scores[None], "flat": scores.ravel(),
        "another shape": scores[:4], "no values": scores[:0], "whole numbers": (scores * 255).astype(np.uint8),
        "complex": scores + 1j, "text": scores.astype(str), "objects": np.array([{}], object), "number": np.float32(1),
        "fields": np.zeros(3, [("a", float)]), "dates": np.zeros((10, 12), "M8[s]"), "half": scores.astype(np.float16),
    }  # fmt: skip


def _crafted_npy(whole: bytes) -> Crafted:
    out = {name: _saved(array) for name, array in _arrays().items()}
    header = whole[:128]
    for name, shape in (
        ("vast", "(999999999, 999999999)"),
        ("less than nothing", "(-10, 12)"),
        ("no numbers", "(a, b)"),
    ):
        out[name] = header.replace(b"(10, 12), }", f"{shape}, }}".encode())[:128].ljust(128) + whole[128:]
    out["a long header"] = b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + whole[10:]
    out["a later version"] = whole[:6] + b"\x09\x00" + whole[8:]
    return out


def _saved(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _crafted_npz(whole: bytes) -> Crafted:
    out = {}
    for name, array in _arrays().items():
        file = io.BytesIO()
        np.savez(file, **{"a": np.zeros((10, 12), np.float32), DAMAGED: array})
        out[name] = file.getvalue()
    return out


MAPS = [
    Format("map (NPY)", _maps(".npy"), _read_maps, False, (DAMAGED,), _crafted_npy),
    Format("map (NPZ)", _maps(".npz"), _read_maps, False, (DAMAGED,), _crafted_npz),
    Format("map (PNG)", _maps(".png"), _read_maps, False, (DAMAGED,), _crafted_pictures),
    Format("map (TIFF)", _maps(".tif"), _read_maps, False, (DAMAGED,), _crafted_pictures),
    Format("maps (one NPZ)", _maps("archive.npz"), _read_maps, False, (), _crafted_npz),
    Format("maps (one safetensors)", _maps("archive.safetensors"), _read_maps),
]


EVERY = [*TABLES, *IMAGES, *MAPS]


@pytest.mark.parametrize("form", EVERY, ids=lambda form: form.name)
def test_damage_is_no_raw_error(form: Format, tmp_path: Path) -> None:
    check([form], tmp_path, FEW)


@pytest.mark.slow
def test_two_hundred_damaged_files_of_each_format(tmp_path: Path) -> None:
    check(EVERY, tmp_path, MANY)


def _naive_read(root: Path) -> Any:
    """What a program does that trusts its files."""
    content = json.loads((root / "cell.json").read_bytes())
    return content["value"], np.load(root / content["file"])


def _naive_run(root: Path, file: str) -> Path:
    scores = np.random.default_rng(0).random(100)
    (root / "cell.json").write_text(json.dumps({"value": scores.tolist(), "file": "scores.npy"}))
    np.save(root / "scores.npy", scores)
    return root / file


@pytest.mark.parametrize("file", ["cell.json", "scores.npy"])
def test_the_same_damage_passes_or_raises_in_a_reader_that_trusts_its_files(file: str, tmp_path: Path) -> None:
    """A harness that finds nothing here is broken."""
    found = try_format(Format(file, lambda root: _naive_run(root, file), _naive_read), tmp_path / "naive", 60)
    assert len(found.raw) >= 10
    assert len(found.silent) >= 5
    with pytest.raises(AssertionError):
        check([Format(file, lambda root: _naive_run(root, file), _naive_read)], tmp_path / "check", FEW)


def test_no_difference_is_passed_over() -> None:
    """What the harness compares by."""
    zeros = np.zeros(3)
    for one, other in ((1, 1.0), (True, 1), ("1", 1), (zeros, zeros.astype(np.float32)), (zeros, -zeros), ([1], [1, 1]),
                       (zeros, zeros[None]), ({"a": None}, {}), (torch.ones(2), torch.ones(2).double())):  # fmt: skip
        assert plain(one) != plain(other), (one, other)
        assert plain(one) == plain(one)
    assert plain({"x": float("nan")}) == plain({"x": float("nan")})
