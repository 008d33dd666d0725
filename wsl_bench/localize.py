"""Maps of a trained cell on new images, as its test images got theirs: same input, scaling and resolution."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load as load_tensors

from wsl_bench import params, registry
from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.images import by_stem, read_grey
from wsl_bench.data.rows import ImageRows
from wsl_bench.data.views import WeakView
from wsl_bench.errors import DataError, UsageError
from wsl_bench.method import Method, Network, PostHocMethod, Task
from wsl_bench.protocol.score_maps import MAP_BATCH, Maps, Scaling, score, to_truth_resolution
from wsl_bench.store.records import Record, peek_records
from wsl_bench.training.device import to_device
from wsl_bench.training.inputs import Inputs

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Localized:
    """Maps of some images.

    Attributes:
        names: of the images, file names without the suffix.
        maps: one (H, W) float32 in [0, 1] an image, at its own size.
        probability: (N,) of disease, or None where the method gives none.
    """

    names: tuple[str, ...]
    maps: tuple[Maps, ...]
    probability: npt.NDArray[np.float64] | None


def find_cell(checkpoint: Path, method: str | None) -> Record:
    """The finished cell that a path names: its record, RUN/records/CELL.json, or its checkpoint.

    Several methods may explain one checkpoint; then `method` says which.

    Raises:
        UsageError: no such file, not of a run, or several methods and none named.
    """
    path = checkpoint.resolve()
    root = path.parent.parent if path.suffix == ".json" else path.parent.parent.parent
    if not path.is_file() or path.suffix not in (".json", ".safetensors") or not (root / "run.json").is_file():
        raise UsageError(
            f"{checkpoint}: expected RUN/records/CELL.json or RUN/trainings/TRAINING/epoch-NNN.safetensors of a run, "
            "found no such file."
        )
    records = [r for r in peek_records(root) if r.content["checkpoint"] is not None]
    if path.suffix == ".json":
        found = [r for r in records if r.slug == path.stem]
        wanted = "a finished cell that was trained"
    else:
        name = path.relative_to(root).as_posix()
        found = [r for r in records if r.content["checkpoint"]["file"] == name]
        wanted = "the chosen checkpoint of a finished cell"
    if method is not None:
        found = [r for r in found if r.content["method"] == method]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"{checkpoint}: expected {wanted}{f' of {method}' if method else ''}, found none.")
    names = ", ".join(sorted({r.content["method"] for r in found}))
    raise UsageError(f"{checkpoint}: several cells share it ({names}): say which with --method, or name a record.")


def image_files(images: Path) -> list[Path]:
    """The image files of a folder, sorted by name, or the one file.

    Raises:
        DataError: nothing there, or two files that differ only in their suffix, whose maps would share a name.
    """
    files = [images] if images.is_file() else []
    if images.is_dir():
        files = sorted(f for f in images.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith("."))
    if not files:
        raise DataError(
            images, expected=f"an image or a folder of images ({', '.join(IMAGE_SUFFIXES)})", found="none",
            fix="Name the folder that holds the images.",
        )  # fmt: skip
    return list(by_stem(images, files).values())


def localize(record: Record, files: Sequence[Path], device: str) -> Iterator[Localized]:
    """Run the cell's chosen checkpoint over image files, a batch at a time.

    Raises:
        DataError: an image that cannot be read. UsageError: a checkpoint that is gone, damaged or of another code,
            or a record made before its pixel statistics were kept.
    """
    content = record.content
    method, net = trained_network(record, device)
    moments, point = pixel_moments(record), content["operating_point"]
    scaling, size = Scaling(point["map_scale"], point["map_factor"]), int(content["recipe"]["image_size"])
    for start in range(0, len(files), MAP_BATCH):
        batch = files[start : start + MAP_BATCH]
        pixels = [read_grey(file) for file in batch]
        frames = tuple(Letterbox.fit(image.shape[0], image.shape[1], size) for image in pixels)
        squares = np.stack([frame.apply(image) for frame, image in zip(frames, pixels, strict=True)])
        names = tuple(file.stem for file in batch)
        labels = np.zeros(len(names), np.int64)  # not known, and not looked at
        view = WeakView(names, names, labels, ImageRows.of(squares), frames, "")
        scores = score(method, net, Inputs(view, *moments, device), names)
        maps = zip(scaling.apply(scores.maps), frames, strict=True)
        yield Localized(names, tuple(to_truth_resolution(one, frame) for one, frame in maps), scores.probability)


def pixel_moments(record: Record) -> tuple[float, float]:
    """Mean and standard deviation by which the cell's images were standardised.

    Raises:
        UsageError: a record made before they were kept.
    """
    found = record.content.get("pixel_moments")
    if found is None:
        raise UsageError(f"{record.slug}: made before records kept what images are standardised by; compute it again.")
    return float(found[0]), float(found[1])


def trained_network(record: Record, device: str) -> tuple[Method, torch.nn.Module]:
    """The method and its network with the chosen checkpoint's weights.

    Raises:
        UsageError: a checkpoint that is gone, damaged or of another code.
    """
    content: dict[str, Any] = record.content
    entry = registry.discover("method").get(content["method"])
    method = cast(Method, params.build(entry.cls, entry.name, _without_start(content["params"])))
    network = cast(Network, method)
    if isinstance(method, PostHocMethod):
        trained = registry.discover("network").get(method.trained_as)
        network = cast(Network, params.build(trained.cls, trained.name, method.network_params()))
    recipe = content["recipe"]
    net = network.build(Task(1, recipe["image_size"], recipe["width"], recipe["norm"], 0))
    content_of_file = _checkpoint(record)
    try:
        net.load_state_dict(load_tensors(content_of_file))
    except Exception:  # other layers, or no weights at all
        raise UsageError(
            f"{record.slug}: its checkpoint does not fit the network of this version of the code. Use the version that "
            "trained it (`versions` and `key_parts` in the record), or train it again."
        ) from None
    return method, to_device(net, device)


def _without_start(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters without `weights`, the file a network starts from, where that file is gone: the checkpoint has all."""
    start = values.get("weights")
    gone = isinstance(start, str) and not Path(start).is_file()
    return {k: v for k, v in values.items() if k != "weights" or not gone}


def _checkpoint(record: Record) -> bytes:
    reference = record.content["checkpoint"]
    file = str(reference["file"])
    path: Path = record.root / file
    if file != f"trainings/{path.parent.name}/{path.name}" or ".." in path.parent.name:
        raise UsageError(f"{record.slug}: expected a checkpoint below trainings/, found {file!r}. It is not read.")
    try:
        content: bytes = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error}). Run the study again to train it anew.") from None
    if hashlib.sha256(content).hexdigest() != reference["sha256"]:
        raise UsageError(f"{path}: damaged, its sha256 is not the record's. Remove it and run the study again.")
    return content
