"""The score maps of a finished cell and the point it is read at, as files for other programs and `wslbench score`.

Maps are made as the worker made them that filled the cell's record: the same images, batches, scaling and resolution,
so that whoever reads them at the frozen threshold finds the cell's own figures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save as save_tensors

from wsl_bench import params, registry
from wsl_bench.data.prepared import load_weak
from wsl_bench.data.samples import Split
from wsl_bench.data.views import WeakView
from wsl_bench.errors import StoreError, UsageError
from wsl_bench.localize import pixel_moments, trained_network
from wsl_bench.method import Method, PriorMethod, Task
from wsl_bench.protocol.job import start_seed
from wsl_bench.protocol.operating_point import ValidationSplit
from wsl_bench.protocol.prior_data import prior_data
from wsl_bench.protocol.score_maps import Maps, Scaling, score, to_truth_resolution
from wsl_bench.selection import Progress, Say, choose_dataset, unheard
from wsl_bench.spec import RunSpec, read_study, with_fields
from wsl_bench.store.atomic import atomic_write, write_arrays
from wsl_bench.store.records import Record, peek_records
from wsl_bench.store.run_file import prepared_folder, read_run
from wsl_bench.training.inputs import Inputs
from wsl_bench.versions import versions

FORMAT_VERSION = 1
NAME = "operating_point.json"
ARCHIVE = "maps.safetensors"
READING = "A pixel is predicted where its score >= threshold, compared in float32."
Form = Literal["npz", "safetensors"]


@dataclass(frozen=True)
class SplitMaps:
    """What a cell says about one split.

    Attributes:
        view: its images.
        raw: (N, h, w) raw maps. scaling: the frozen way from them to [0, 1].
        probability: (N,) of disease, or None where the method gives none.
    """

    view: WeakView
    raw: Maps
    scaling: Scaling
    probability: npt.NDArray[np.float64] | None

    def maps(self) -> Iterator[tuple[str, Maps]]:
        """Image ids and score maps (H, W) float32 in [0, 1] at the resolution of their ground truth, one by one."""
        for image_id, raw, frame in zip(self.view.image_ids, self.raw, self.view.frames, strict=True):
            yield image_id, to_truth_resolution(self.scaling.apply(raw), frame)


def find_record(path: Path) -> Record:
    """The finished cell of a record, RUN/records/CELL.json.

    Raises:
        UsageError: no such record, one that does not verify, or one of maps that came from files.
    """
    file = path.resolve()
    root = file.parent.parent
    if not file.is_file() or file.suffix != ".json" or not (root / "run.json").is_file():
        raise UsageError(f"{path}: expected RUN/records/CELL.json of a run, found no such file.")
    said: list[str] = []
    found = next((r for r in peek_records(root, said.append) if r.slug == file.stem), None)
    if found is None:
        why = next((f" ({text})" for text in said if file.name in text), "")
        raise UsageError(f"{path}: expected the record of a finished cell, found none that verifies{why}.")
    if found.content.get("external") is not None:
        raise UsageError(
            f"{path}: expected a cell that was computed here, found maps scored from files (`wslbench score`); they "
            "are where they were read from, and the run keeps no copy. Use those."
        )
    return found


def kept_data(record: Record) -> Path | None:
    """The run's own prepared data of the cell, if they are still there and whole."""
    folder = prepared_folder(record.root, record.content["key_parts"]["dataset"])
    if folder is None:
        return None
    try:
        sizes = {load_weak(folder, split).images.shape[1] for split in ("train", "val", "test")}
    except StoreError:  # decoded images lie in a cache, which may have been cleared
        return None
    return folder if sizes == {record.content["recipe"]["image_size"]} else None


def dataset_options(record: Record) -> list[str]:
    """Options by which `wslbench score` finds the dataset as the run has it."""
    spec, selector = data_spec(record)
    own = "folder" if Path(selector).is_absolute() else selector.partition("[")[0]
    reached = {k: v for k, v in spec.settings.items() if k == "recipe.image_size" or k.startswith(f"{own}.")}
    return ["--datasets", selector, *(word for k, v in reached.items() for word in ("--set", f"{k}={v}"))]


def data_spec(record: Record) -> tuple[RunSpec, str]:
    """How the run has asked for the cell's dataset: its spec and the dataset's selector.

    Raises:
        UsageError: run.json or study.toml is damaged, or does not have the dataset.
    """
    run, study = read_run(record.root), record.root / "study.toml"
    planned = run["planned"].get(record.content["dataset"])
    if planned is None:
        raise UsageError(f"{record.root}: run.json does not say where {record.content['dataset']} comes from.")
    asked = read_study(study) if study.is_file() else {"set": run["settings"]}
    return with_fields(RunSpec(), {**asked, "datasets": (planned["selector"],)}), str(planned["selector"])


def prepared_again(record: Record, spec: RunSpec, out: Path, progress: Progress = unheard, say: Say = unheard) -> Path:
    """Prepare the cell's dataset anew, below `out`, and see that it is the same.

    Raises:
        UsageError: the dataset is not where the spec says, or its content is another.
    """
    try:
        found = choose_dataset(spec, spec.datasets[0], out, progress, say).prepared
    except UsageError as error:
        raise UsageError(f"{error} With --data-root say where the files of {record.content['dataset']} are.") from None
    then = record.content["key_parts"]["dataset"]
    differing = [part for part, sha256 in then.items() if found.hashes.get(part) != sha256]
    if found.image_size != record.content["recipe"]["image_size"]:
        differing.append("image_size")
    if differing:
        raise UsageError(
            f"{spec.datasets[0]}: expected the data that {record.slug} was computed on, found others "
            f"({', '.join(differing)} differ). Give the same files with --data-root."
        )
    return found.folder


def write_maps(
    record: Record, folder: Path, splits: Sequence[Split], out: Path, form: Form, device: str
) -> dict[str, Any]:
    """Write the cell's maps of some splits into a new folder, then `operating_point.json`, which says it is whole.

    Args:
        folder: the cell's prepared data.
        form: `npz`: one compressed file an image, ID.npz; `safetensors`: one file, held in memory until written.

    Returns:
        What operating_point.json says.

    Raises:
        UsageError: a checkpoint that is gone, damaged or of another code, or an id that cannot name a file.
    """
    method, net = _network(record, folder, device)
    described = _described(record)
    everything: dict[str, npt.NDArray[Any]] = {}
    for split in splits:
        found = _split_maps(record, method, net, folder, split, device)
        if form == "npz":
            _check_names(found.view.image_ids)
        for image_id, scores in found.maps():
            if form == "npz":
                write_arrays(out / f"{image_id}.npz", {"map": scores})
            else:
                everything[image_id] = scores
        described["splits"][split] = {"sha256": found.view.sha256, "image_ids": list(found.view.image_ids)}
        if found.probability is not None:
            described["probability"] |= dict(zip(found.view.image_ids, found.probability.tolist(), strict=True))
    if form == "safetensors":
        atomic_write(out / ARCHIVE, save_tensors(everything))
    atomic_write(out / NAME, (json.dumps(described, indent=1, allow_nan=False) + "\n").encode())
    return described


def _split_maps(
    record: Record, method: Method, net: torch.nn.Module, folder: Path, split: Split, device: str
) -> SplitMaps:
    view, point = load_weak(folder, split), record.content["operating_point"]
    scores = score(method, net, Inputs(view, *pixel_moments(record), device), view.image_ids)
    return SplitMaps(view, scores.maps, Scaling(point["map_scale"], point["map_factor"]), scores.probability)


def _network(record: Record, folder: Path, device: str) -> tuple[Method, torch.nn.Module]:
    """The method and its network: of the checkpoint, or for a prior, which has none, fitted again."""
    if record.content["checkpoint"] is not None:
        return trained_network(record, device)
    entry = registry.discover("method").get(record.content["method"])
    method = params.build(entry.cls, entry.name, record.content["params"])
    if not isinstance(method, PriorMethod):
        raise UsageError(f"{record.slug}: expected a checkpoint in its record, found none. Compute the cell again.")
    recipe = record.content["recipe"]
    seed = start_seed(record.content["key_parts"]["dataset"]["train"], None, recipe, record.content["seed"])
    train = Inputs(load_weak(folder, "train"), *pixel_moments(record), device)
    data = prior_data(method, train, ValidationSplit.load(folder), device)
    torch.manual_seed(seed)
    task = Task(1, recipe["image_size"], recipe["width"], recipe["norm"], seed)
    return method, method.fit(task, data).to(device)


def _described(record: Record) -> dict[str, Any]:
    """What made the maps and how to read them; splits and probabilities are filled in as they are written."""
    content: Mapping[str, Any] = record.content
    point = content["operating_point"]
    return {
        "format_version": FORMAT_VERSION,
        "cell": record.slug,
        **{k: content[k] for k in ("dataset", "method", "method_params", "params", "seed", "key", "checkpoint")},
        **{k: point[k] for k in ("threshold", "map_scale", "map_factor", "decision_threshold", "criterion", "epoch")},
        "reading": READING,
        "manifest_sha256": content["key_parts"]["dataset"]["manifest"],
        "fitted_on": point["fitted_on"],
        "splits": {},
        "probability": {},
        "computed_with": content["versions"],
        "exported_with": versions(),
    }


def _check_names(image_ids: Sequence[str]) -> None:
    """Ids name the files."""
    for name in image_ids:
        if not name or name != Path(name).name or name.startswith(".") or "\\" in name or len(name.encode()) > 200:
            raise UsageError(f"image id {name!r}: cannot name a file. Use --format safetensors.")
