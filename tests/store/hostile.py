"""Hostile files and what becomes of reading them; run as a program of its own, with a bound on its memory.

`python hostile.py FOLDER` makes each file, reads it as the project does and prints a line of JSON for it. A file that
holds code would leave FOLDER/was-here. The controls read some of them as a careless program would.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import json
import os
import pickle
import resource
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dicom_files
import numpy as np
import torch
from hostile_files import (
    GIBIBYTE,
    MARKER,
    archive_of_objects,
    array_of_objects,
    bomb,
    header,
    marker_of,
    pickled,
    picture,
    postscript,
    tensors,
    torch_bomb,
    torch_file,
)
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian
from safetensors.torch import save

from wsl_bench.data.dicom import read_dicom
from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.images import read_grey
from wsl_bench.data.prepared import load_weak
from wsl_bench.errors import StoreError, WslBenchError
from wsl_bench.external.check import check_maps
from wsl_bench.external.read import open_maps
from wsl_bench.nets.registered.densenet121 import load_weights
from wsl_bench.spec import read_study
from wsl_bench.store.records import _content_sha256, read_records, write_record
from wsl_bench.store.run_file import read_run
from wsl_bench.store.trainings import _sha256, load_snapshot, load_training, save_training
from wsl_bench.training.loop import Checkpoint, Epoch, Training

Make = Callable[[Path], object]
Read = Callable[[Path], object]


def write(name: str, content: Callable[[Path], bytes]) -> Make:
    return lambda folder: (folder / name).write_bytes(content(folder))


def dicom(code: Callable[..., Any], side: int, said: int) -> Make:
    """Blank pixels, coded, under a header that gives another size."""

    def make(folder: Path) -> None:
        data = code(np.zeros((side, side), np.uint8))
        data.Rows = data.Columns = said
        dicom_files.save(data, folder / "a.dcm")

    return make


def deflated_dicom(folder: Path) -> None:
    data = dicom_files.radiograph(np.zeros((9, 9), np.uint8), PixelData=bytes(2**28))
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dicom_files.save(data, folder / "a.dcm")


def read_maps(folder: Path) -> object:
    archives, frame = list(folder.glob("archive.*")), Letterbox.fit(10, 12, 8)
    return check_maps(open_maps(archives[0] if archives else folder), {"a": frame}, ["a"])


def read_weights(folder: Path) -> object:
    net = torch.nn.Module()
    net.features = torch.nn.Module()
    net.features.conv0 = torch.nn.Conv2d(1, 4, 3, bias=False)
    load_weights(net, next(folder.glob("w.*")))
    return net


def _map_arrays() -> dict[str, np.ndarray[Any, Any]]:
    return {"image_ids": np.array(["im0"]), "score": np.zeros((1, 2, 2), np.float16)}


def forged_record(content: Callable[[Path], bytes]) -> Make:
    """A record whose test tallies are this file, with the right sha256 of it and of itself."""

    def make(folder: Path) -> None:
        write_record(folder, "cell", {"seed": 0}, dict.fromkeys(("val", "test", "maps"), _map_arrays()))
        path, data = folder / "records/cell.json", content(folder)
        record = json.loads(path.read_text())
        (folder / "records/cell.test.npz").write_bytes(data)
        record["artefacts"]["test"]["sha256"] = hashlib.sha256(data).hexdigest()
        path.write_text(json.dumps(record | {"sha256": _content_sha256(record)}))

    return make


def read_tally(folder: Path) -> object:
    records, _, corrupt = read_records(folder)
    if corrupt:
        raise StoreError(corrupt[0])
    return records[0].test


def forged_training(content: Callable[[Path], bytes]) -> Make:
    """A training whose one checkpoint is this file, with the right sha256 of it and of the index."""

    def make(folder: Path) -> None:
        epoch = Epoch(1, 0.5, 0.5, 0.5, 0.5)
        save_training(folder, Training((Checkpoint(epoch, {"a": torch.zeros(1)}),), (epoch,)))
        data, index = content(folder), json.loads((folder / "training.json").read_text())
        (folder / "epoch-001.safetensors").write_bytes(data)
        index["candidates"][0]["sha256"] = hashlib.sha256(data).hexdigest()
        del index["sha256"]
        (folder / "training.json").write_text(json.dumps(index | {"sha256": _sha256(index)}))

    return make


def forged_snapshot(content: Callable[[Path], bytes]) -> Make:
    def make(folder: Path) -> None:
        data = content(folder)
        (folder / f"unfinished-{hashlib.sha256(data).hexdigest()}.safetensors").write_bytes(data)

    return make


def record_of(content: Callable[[Path], bytes]) -> Make:
    def make(folder: Path) -> None:
        (folder / "records").mkdir()
        (folder / "records/cell.json").write_bytes(content(folder))

    return make


VAST = "(1000000000, 1000000000)"
MANY_GIGABYTES = (header("(40000, 20000)"), 3 * GIBIBYTE)
CODE: dict[str, tuple[Make, Read]] = {
    "map, array of objects": (write("a.npy", array_of_objects), read_maps),
    "map, pickle": (write("a.npy", pickled), read_maps),
    "map, archive of objects": (write("a.npz", archive_of_objects), read_maps),
    "maps, one archive of objects": (write("archive.npz", archive_of_objects), read_maps),
    "maps, pickle for safetensors": (write("archive.safetensors", pickled), read_maps),
    "map, program for Ghostscript": (write("a.png", lambda folder: postscript()), read_maps),
    "image, program for Ghostscript": (write("a.png", lambda folder: postscript()), lambda f: read_grey(f / "a.png")),
    "weights, pickle": (write("w.pth", pickled), read_weights),
    "weights, torch.save of code": (write("w.pth", torch_file), read_weights),
    "weights, pickle for safetensors": (write("w.safetensors", pickled), read_weights),
    "record, pickle": (record_of(pickled), read_tally),
    "tallies, objects, forged": (forged_record(archive_of_objects), read_tally),
    "tallies, pickle, forged": (forged_record(pickled), read_tally),
    "checkpoint, pickle, forged": (forged_training(pickled), load_training),
    "unfinished training, pickle, forged": (forged_snapshot(pickled), load_snapshot),
    "prepared images, objects": (write("val.npz", archive_of_objects), lambda folder: load_weak(folder, "val")),
    "run.json, pickle": (write("run.json", pickled), read_run),
    "study, pickle": (write("study.toml", pickled), lambda folder: read_study(folder / "study.toml")),
}
SIZE: dict[str, tuple[Make, Read]] = {
    "map of 10^9 x 10^9": (write("a.npy", lambda folder: header(VAST)), read_maps),
    "map of 10^5 x 10^5": (write("a.npy", lambda folder: header("(100000, 100000)")), read_maps),
    "map, header of 2 GB": (write("a.npz", lambda folder: bomb({"a.npy": (header("(9, 9)", 2, 2**31 - 1), GIBIBYTE)})),
                            read_maps),
    "map, zip of 3 GB": (write("a.npz", lambda folder: bomb({"a.npy": MANY_GIGABYTES})), read_maps),
    "map, zip of 3 GB, no array": (write("a.npz", lambda folder: bomb({"a.npy": (b"", 3 * GIBIBYTE)})), read_maps),
    "maps, one zip of 3 GB": (write("archive.npz", lambda folder: bomb({"a.npy": MANY_GIGABYTES})), read_maps),
    "map, picture of 2.5 gigapixels": (write("a.png", lambda folder: picture(50_000, 50_000, "PNG")), read_maps),
    "map, picture of 144 megapixels": (write("a.png", lambda folder: picture(12_000, 12_000, "PNG")), read_maps),
    "image of 2.5 gigapixels": (write("a.png", lambda folder: picture(50_000, 50_000, "PNG")),
                                lambda folder: read_grey(folder / "a.png")),
    "image of 144 megapixels": (write("a.png", lambda folder: picture(12_000, 12_000, "PNG")),
                                lambda folder: read_grey(folder / "a.png")),
    "DICOM that says 65535 x 65535": (dicom(dicom_files.rle, 9, 65535), lambda folder: read_dicom(folder / "a.dcm")),
    "DICOM, JPEG 2000 of 144 megapixels in it": (dicom(dicom_files.jpeg_2000, 12_000, 9),
                                                 lambda folder: read_dicom(folder / "a.dcm")),
    "DICOM, JPEG of 144 megapixels in it": (dicom(dicom_files.jpeg, 12_000, 9),
                                            lambda folder: read_dicom(folder / "a.dcm")),
    "DICOM, deflated": (deflated_dicom, lambda folder: read_dicom(folder / "a.dcm")),
    "maps, header of 2^60 bytes": (write("archive.safetensors", lambda folder: tensors(2**60)), read_maps),
    "maps, tensor of 10^12": (write("archive.safetensors", lambda f: tensors(0, "[1000000000000]", 4 * 10**12)),
                              read_maps),
    "weights, header of 2^60 bytes": (write("w.safetensors", lambda folder: tensors(2**60)), read_weights),
    "weights, zip of 1 GB": (write("w.pth", lambda folder: torch_bomb(2**28)), read_weights),
    "checkpoint, tensor of 10^12": (forged_training(lambda f: tensors(0, "[1000000000000]", 4 * 10**12)),
                                    load_training),
    "unfinished training, header of 2^60": (forged_snapshot(lambda folder: tensors(2**60)), load_snapshot),
    "study, 10^12 seeds": (write("study.toml", lambda folder: b"seeds = 1000000000000"),
                           lambda folder: read_study(folder / "study.toml")),
}  # fmt: skip


def _control_zip(folder: Path) -> object:
    with np.load(folder / "a.npz") as arrays:
        return arrays["a"].sum()


def _control_picture(folder: Path) -> object:
    with Image.open(folder / "a.png") as image:
        return np.asarray(image)


def _control_weights(folder: Path) -> object:
    return torch.load(folder / "w.pth", weights_only=True)


# As a careless program reads them: each runs the code in it, or takes the memory.
CONTROLS: dict[str, tuple[Make, Read]] = {
    "control: np.load": (write("a.npy", array_of_objects), lambda f: np.load(f / "a.npy", allow_pickle=True)),
    "control: pickle.load": (write("a.pkl", pickled), lambda f: pickle.loads((f / "a.pkl").read_bytes())),
    "control: torch.load": (write("w.pth", torch_file), lambda f: torch.load(f / "w.pth", weights_only=False)),
    "control: Image.open": (write("a.png", lambda folder: postscript()), lambda f: _control_picture(f)),
    "control: zip": (write("a.npz", lambda f: bomb({"a.npy": (header("(8192, 8192)"), GIBIBYTE // 4)})), _control_zip),
    "control: picture": (write("a.png", lambda folder: picture(12_000, 12_000, "PNG")), _control_picture),
    "control: packed weights": (write("w.pth", lambda folder: torch_bomb(2**26)), _control_weights),
}  # fmt: skip


def attempt(name: str, make: Make, read: Read, root: Path) -> dict[str, Any]:
    """What became of reading one file: what was said, MiB that the process grew by, and whether code ran."""
    folder = root / name.replace(" ", "_").replace(":", "")
    folder.mkdir()
    make(folder)
    _give_back()  # what making it has left behind would count as there before, and its room be used again
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    try:
        found = read(folder)
        outcome, said = ("absent", "") if found is None else ("read", type(found).__name__)
        del found
    except WslBenchError as error:
        outcome, said = "refused", str(error)
    except Exception as error:
        outcome, said = "raw", f"{type(error).__name__}: {error}"
    grown = _memory("VmHWM") - before
    ran = marker_of(folder).exists()
    marker_of(folder).unlink(missing_ok=True)
    return {"name": name, "outcome": outcome, "said": said, "grown": grown, "ran": ran, "folder": str(folder)}


def _memory(field: str) -> float:
    """MiB of this process, by a field of its status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) / 2**10


def _give_back() -> None:
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # of glibc, which keeps what was freed
        trim(0)


def main(root: Path) -> None:
    """Try everything; one line of JSON each."""
    limit = int(_memory("VmSize") * 2**20) + 3 * GIBIBYTE  # a failing test must not take the machine with it
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    (root / "bin").mkdir()
    program = root / "bin" / "gs"
    program.write_text(f"#!/bin/sh\ntouch '{root / MARKER}'\n")
    program.chmod(0o755)
    os.environ["PATH"] = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    warnings.simplefilter("ignore")
    save({"a": torch.zeros(1)})  # what is imported at first use is no growth
    for name, (make, read) in {**CODE, **SIZE, **CONTROLS}.items():
        with contextlib.redirect_stdout(sys.stderr):
            line = attempt(name, make, read, root)
        print(json.dumps(line), flush=True)
        shutil.rmtree(line["folder"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
