"""Measure somebody else's maps by the protocol: fitted on their validation maps, frozen, then read on test."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wsl_bench.data.geometry import Letterbox, stretched
from wsl_bench.data.prepared import load_truth, load_weak
from wsl_bench.data.samples import Split
from wsl_bench.data.views import WeakView
from wsl_bench.errors import UsageError
from wsl_bench.external.check import check_maps
from wsl_bench.external.read import MapSource
from wsl_bench.metrics.grid import threshold_index
from wsl_bench.plan import counted_by
from wsl_bench.protocol import evaluate
from wsl_bench.protocol.job import digest
from wsl_bench.protocol.operating_point import Fit, OperatingPoint, ValidationSplit, best_fit
from wsl_bench.protocol.rules import Rules
from wsl_bench.protocol.score_maps import Maps, Scaling
from wsl_bench.registry import discover
from wsl_bench.selection import ChosenDataset
from wsl_bench.store.records import peek_records, set_aside, write_record
from wsl_bench.versions import made_with

MapScaleChoice = Literal["auto", "none", "image"]


@dataclass(frozen=True)
class External:
    """What a set of maps is scored as.

    Attributes:
        name: its row's name; no registered method has it.
        seed: which of its trainings it comes from, should there be several.
        threshold: a fixed one, k / 1000; None to fit one on the validation maps.
        map_scale: `none` (as they are), `image` (each over its maximum), or the better on validation (`auto`;
            without validation maps, `none`).
    """

    name: str
    seed: int
    threshold: float | None
    map_scale: MapScaleChoice

    def choices(self) -> dict[str, Any]:
        """What all seeds of one row share."""
        return {"threshold": self.threshold, "map_scale": self.map_scale}

    def check(self) -> None:
        """UsageError for a name that files, tables or the registry cannot take."""
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", self.name):
            raise UsageError(f"--name {self.name!r}: expected letters, digits, dots, dashes or underscores.")
        if self.name in discover("method").available:
            raise UsageError(f"--name {self.name}: a method of this name exists; give the maps a name of their own.")


def check_run(external: External, dataset: str, out: Path, planned: Iterable[str]) -> None:
    """Refuse to put the maps where they would change or hide what a run holds.

    Args:
        planned: methods that the run has been asked for on the dataset.

    Raises:
        UsageError: the run has a method of that name; or another seed under it was read otherwise, and one row
            would mix the two.
    """
    contents = [r.content for r in peek_records(out)]
    own = [c for c in contents if (c["dataset"], c["method"]) == (dataset, external.name)]
    if external.name in planned or any(c.get("external") is None for c in own):
        raise UsageError(f"--name {external.name}: the run has a method of that name; give the maps their own.")
    for content in own:
        before = content["external"]
        differs = [k for k, v in external.choices().items() if before[k] != v]
        if differs and content["seed"] != external.seed:
            raise UsageError(
                f"--name {external.name}: its seed {content['seed']} was scored with "
                f"{', '.join(f'{k} {before[k]}' for k in differs)}, and one row holds one way of reading maps. Give "
                "these another --name, or the same options."
            )


def check_fit(source: MapSource, external: External, dataset: ChosenDataset) -> str:
    """Read every map that is needed once, and refuse the set if anything is wrong with it.

    Needed are the test images' and, where a threshold is to be fitted, the validation images'; maps of training
    images, and of images that were left out as unreadable, may be there too.

    Returns:
        sha256 of the maps.

    Raises:
        DataError: see `check_maps`.
    """
    splits: tuple[Split, ...] = ("val", "test") if external.threshold is None else ("test",)
    wanted: dict[str, Letterbox] = {}
    for split in splits:
        view = load_weak(dataset.prepared.folder, split)
        wanted |= dict(zip(view.image_ids, view.frames, strict=True))
    hint = " With --threshold T the test images' maps are enough." if external.threshold is None else ""
    known = [sample.image_id for sample in dataset.prepared.manifest.samples]
    return check_maps(source, wanted, [*known, *dataset.prepared.skipped], hint)


def score_maps(
    source: MapSource, sha256: str, external: External, rules: Rules, dataset: ChosenDataset, out: Path
) -> bool:
    """Fit, freeze, count and record a set of maps that has passed `check_run` and `check_fit`.

    Returns:
        Whether it takes the place of other maps of the same name and seed, or of the same read otherwise; their
        record is set aside.
    """
    folder = dataset.prepared.folder
    val, weak, truth = ValidationSplit.load(folder), load_weak(folder, "test"), load_truth(folder, "test")
    point = _freeze(source, external, val, rules)
    evaluate.check_test_is_unseen(point, weak, truth)
    k = point.k() if external.threshold is None else threshold_index(external.threshold)
    record = _record(external, dataset, point, rules, sha256)
    record["n_val_located"] = int(val.truth.located.sum())
    record["n_val_boxes"] = 0 if point.threshold is None else val.truth.n_boxes()
    artefacts = {
        "test": evaluate.count(_maps_of(source, weak, point.scaling()), None, k, weak, truth).to_arrays(),
        "val": _val_arrays(source, val, point, external.threshold is None),
        "maps": _display(source, weak, point.scaling(), rules.display_images),
    }
    readable = re.sub(r"[^A-Za-z0-9.=_-]+", "_", f"{dataset.name}--{external.name}--seed{external.seed}")
    slug = f"{readable}--{record['key'][:12]}"
    replaced = [old for old in _earlier(out, external, dataset) if old != slug]
    set_aside(out, replaced, "superseded")
    write_record(out, slug, record, artefacts)
    return bool(replaced)


def _earlier(out: Path, external: External, dataset: ChosenDataset) -> list[str]:
    same = (dataset.name, external.name, external.seed)
    contents = [(r.slug, r.content) for r in peek_records(out)]
    return [slug for slug, c in contents if (c["dataset"], c["method"], c["seed"]) == same]


def _record(
    external: External, dataset: ChosenDataset, point: OperatingPoint, rules: Rules, sha256: str
) -> dict[str, Any]:
    """What the record of a trained cell says, as far as it can be said of maps alone."""
    own = {"sha256": sha256, **external.choices()}
    parts: dict[str, Any] = {
        "external": own,
        "counted_by": counted_by(),
        "name": external.name,
        "seed": external.seed,
        "rules": rules.as_dict(),
        "dataset": dict(dataset.prepared.hashes),
    }
    return {
        "key": digest(parts),
        "key_parts": parts,
        "external": own,
        "dataset": dataset.name,
        "method": external.name,
        "params": {},
        "method_params": "",
        "seed": external.seed,
        "sanity": False,
        "recipe": None,
        "rules": rules.as_dict(),
        "device": None,
        "operating_point": point.as_dict(),
        "checkpoint_rule": None,
        "n_parameters": None,
        **made_with(None),
        "history": [],
        "checkpoint": None,
        "val_auc": None,
        "polarity": None,
    }


def _freeze(source: MapSource, external: External, val: ValidationSplit, rules: Rules) -> OperatingPoint:
    """The threshold and scaling from validation, or what the user fixed."""
    fit: Fit | None = None
    scaling = Scaling("image" if external.map_scale == "image" else "none", 1.0)
    if external.threshold is None:
        kinds: tuple[Literal["none", "image"], ...] = ("none", "image")
        competing = [Scaling(kind, 1.0) for kind in kinds if external.map_scale in ("auto", kind)]
        fit = best_fit({way: _maps_of(source, val.weak, way) for way in competing}, val, rules)
        scaling = fit.scaling
    return OperatingPoint(
        epoch=0,
        map_scale=scaling.kind,
        map_factor=scaling.factor,
        threshold=None if fit is None else fit.threshold,
        criterion="none" if fit is None else rules.criterion,
        value=None if fit is None else fit.value,
        decision_threshold=None,
        fitted_on=val.stamp(),
    )


def _maps_of(source: MapSource, weak: WeakView, scaling: Scaling) -> Callable[[int], Maps]:
    def map_of(i: int) -> Maps:
        scaled = scaling.apply(source.read(weak.image_ids[i])[None])[0]
        frame = weak.frames[i]
        return np.ascontiguousarray(np.clip(stretched(scaled, frame.height, frame.width), 0, 1, dtype=np.float32))

    return map_of


def _val_arrays(
    source: MapSource, val: ValidationSplit, point: OperatingPoint, uses_val: bool
) -> dict[str, npt.NDArray[Any]]:
    """Tallies of validation; without validation maps, of blank ones, which no column then reads."""
    if uses_val:
        map_of = _maps_of(source, val.weak, point.scaling())
    else:
        frames = val.weak.frames

        def map_of(i: int) -> Maps:
            return np.zeros((frames[i].height, frames[i].width), np.float32)

    return evaluate.count(map_of, None, point.k(), val.weak, val.truth).to_arrays()


def _display(source: MapSource, weak: WeakView, scaling: Scaling, n: int) -> dict[str, npt.NDArray[np.generic]]:
    """The maps of the sample of test images that every method shows, in the square of the network's input."""
    chosen = evaluate.display_sample(weak.image_ids, n)
    maps = [weak.frames[i].place(scaling.apply(source.read(weak.image_ids[i])[None])[0]) for i in chosen]
    return {
        "image_ids": np.array([weak.image_ids[i] for i in chosen]),
        "score": np.stack(maps).astype(np.float16),
    }
