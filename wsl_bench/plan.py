"""From a run spec to jobs: which trainings there are, which cells share them, and their keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from wsl_bench import params, registry
from wsl_bench.errors import UsageError
from wsl_bench.method import Method, Network, PostHocMethod, TrainedMethod
from wsl_bench.params import Value
from wsl_bench.protocol.job import Cell, Job, digest, order_seed, start_seed
from wsl_bench.protocol.rules import Rules
from wsl_bench.selection import (
    ChosenDataset,
    ChosenMethod,
    Progress,
    Say,
    check_settings,
    choose_dataset,
    choose_methods,
    recipe_for,
    settings_for,
    unheard,
)
from wsl_bench.source import source_sha256
from wsl_bench.spec import VAL, RunSpec
from wsl_bench.training.recipe import Recipe, ResolvedRecipe

THREADS = 1  # a worker's; parallelism belongs to the matrix, two small trainings beat one on two threads
# All that computes a number of a record; intervals of the validation figures are among them.
_SHARED_SOURCE = (
    "method.py", "jit.py", "nets", "training", "protocol", "metrics", "data", "stats/bootstrap.py", "stats/crossed.py",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """All jobs of a run, in a fixed order, and what later runs into the same folder must agree on."""

    jobs: tuple[Job, ...]
    datasets: tuple[ChosenDataset, ...]
    fixed: dict[str, Any]

    @property
    def rules(self) -> Rules:
        """The protocol of the run."""
        return Rules(**{k: v for k, v in self.fixed["rules"].items() if k != "version" and v is not None})

    def rows(self, dataset: str) -> list[tuple[str, str]]:
        """Methods of one dataset, each with the parameters that differ from its defaults."""
        return sorted({(cell.method, cell.shown_params) for cell in self.cells() if cell.dataset == dataset})

    def cells(self) -> list[Cell]:
        """Every cell of the run."""
        return [cell for job in self.jobs for cell in job.cells]


def make_plan(
    spec: RunSpec,
    out: Path,
    *,
    device: str,
    precision: str,
    progress: Progress = unheard,
    say: Say = unheard,
) -> Plan:
    """Prepare the datasets and lay out every training and cell.

    Args:
        device: "cpu" or "cuda". precision: what "auto" means there.
        progress, say: see `choose_dataset`.

    Raises:
        UsageError, DataError: anything in the spec or the data that the protocol refuses.
    """
    methods = choose_methods(spec)
    check_settings(spec, methods)
    datasets = [choose_dataset(spec, selector, out, progress, say) for selector in spec.datasets]
    names = [dataset.name for dataset in datasets]
    if len(set(names)) != len(names):
        raise UsageError(f"--datasets: two datasets share the name {max(names, key=names.count)!r}.")
    for dataset in datasets:
        _check_located(spec, dataset)
    jobs: list[Job] = []
    for dataset in datasets:
        for seed in spec.seeds:
            jobs += _jobs(spec, dataset, methods, seed, out, device, precision)
    fixed = {
        "rules": spec.rules.as_dict(),
        "recipe": params.values_of(params.build(Recipe, "recipe", settings_for(spec, "recipe"))),
        "device": device,
        "precision": precision,
        "threads": THREADS,
        "datasets": {d.name: {"image_size": d.prepared.image_size, **d.prepared.hashes} for d in datasets},
    }
    return Plan(tuple(jobs), tuple(datasets), fixed)


def _jobs(
    spec: RunSpec,
    dataset: ChosenDataset,
    methods: list[ChosenMethod],
    seed: int,
    out: Path,
    device: str,
    precision: str,
) -> Iterator[Job]:
    """Jobs of one dataset and seed: methods that explain the same training share one."""
    hashes = dataset.prepared.hashes
    n_train = len(dataset.prepared.manifest.of("train"))
    drafts: dict[str, tuple[_Trained | None, ResolvedRecipe, list[Cell]]] = {}
    for method in methods:
        trained = _trained_by(method)
        recipe = recipe_for(spec, dataset.suggested, trained.recipe if trained else {"epochs": 0}, n_train, precision)
        # The images are prepared at one size; a network's own suggestion cannot change that.
        recipe = replace(recipe, image_size=dataset.prepared.image_size)
        parts = _training_parts(trained, recipe, hashes, seed, device, spec.rules)
        training_key = digest(parts)
        cell = _cell(dataset, method, seed, parts, spec.rules)
        draft = drafts.setdefault(training_key if trained else cell.key, (trained, recipe, []))
        draft[2].append(cell)
    for training_key, (trained, recipe, cells) in drafts.items():
        yield Job(
            folder=str(dataset.prepared.folder.absolute()),  # a method may change the working directory
            out=str(out.absolute()),
            trained_by=(trained.kind, trained.name, trained.params) if trained else None,
            recipe=recipe,
            seed=seed,
            training_key=training_key,
            start_seed=start_seed(hashes["train"], trained.identity() if trained else None, _plain(recipe), seed),
            order_seed=order_seed(hashes["train"], seed),
            device=device,
            threads=THREADS,
            cost=_cost(trained, recipe, dataset, len(cells)),
            rules=spec.rules,
            cells=tuple(cells),
        )


@dataclass(frozen=True)
class _Trained:
    """What a training trains: a method's own network, or a registered one."""

    kind: str
    name: str
    params: dict[str, Value]
    fingerprint: dict[str, Value]
    recipe: Mapping[str, Any]
    relative_cost: float
    source: str

    def identity(self) -> list[Any]:
        return [self.kind, self.name, self.fingerprint]


def _trained_by(method: ChosenMethod) -> _Trained | None:
    component: Method = params.build(method.entry.cls, method.name, method.params)
    if isinstance(component, TrainedMethod):
        # A variant with the base's parameters and recipe is the base: they share the training.
        base = registry.discover("method").get(method.entry.of or method.name)
        return _network(component, "method", base.name, base.source_hash(), method.entry.recipe)
    if isinstance(component, PostHocMethod):
        entry = registry.discover("network").get(component.trained_as)
        network: Network = params.build(entry.cls, entry.name, component.network_params())
        return _network(network, "network", entry.name, entry.source_hash(), method.entry.recipe)
    return None


def _network(network: Network, kind: str, name: str, source: str, variant: Mapping[str, Any]) -> _Trained:
    return _Trained(
        kind, name, params.values_of(network), params.fingerprint(network), {**network.recipe, **variant},
        network.relative_cost, source,
    )  # fmt: skip


def _cost(trained: _Trained | None, recipe: ResolvedRecipe, dataset: ChosenDataset, n_cells: int) -> float:
    """Images of the common network that a job is worth: training, then a few passes a cell."""
    manifest = dataset.prepared.manifest
    relative = trained.relative_cost if trained else 0.0
    held_out = len(manifest.samples) - len(manifest.of("train"))
    evaluation = n_cells * (relative + 0.5) * held_out
    return relative * recipe.epochs * (len(manifest.of("train")) + 0.3 * held_out) + evaluation


def _training_parts(
    trained: _Trained | None,
    recipe: ResolvedRecipe,
    hashes: Mapping[str, str],
    seed: int,
    device: str,
    rules: Rules,
) -> dict[str, Any]:
    """Everything that could change a training. No hash of test, none of any ground truth."""
    return {
        "trained": None if trained is None else [*trained.identity(), trained.source],
        "recipe": _plain(recipe),
        "train": hashes["train"],
        "val": hashes["val"],
        "seed": seed,
        "device": device,
        "threads": THREADS,
        "keeps": rules.checkpoint,
        "source": shared_source(),
    }


def _cell(dataset: ChosenDataset, method: ChosenMethod, seed: int, training: dict[str, Any], rules: Rules) -> Cell:
    component = params.build(method.entry.cls, method.name, method.params)
    parts = {
        "training": training,
        "method": [method.name, params.fingerprint(component), method.entry.source_hash()],
        "rules": rules.as_dict(),
        "dataset": dict(dataset.prepared.hashes),
    }
    key = digest(parts)
    readable = re.sub(r"[^A-Za-z0-9.=_-]+", "_", f"{dataset.name}--{method.name}--seed{seed}")
    return Cell(dataset.name, method.name, method.params, method.shown, seed, parts, key, f"{readable}--{key[:12]}")


def made_by_other_code(key_parts: Mapping[str, Any]) -> bool:
    """Whether a cell was computed with other source, ours or a plug-in's, than now.

    A component that is not there any more cannot be compared and counts as unchanged. Maps from files depend on
    what counts them alone.
    """
    if "external" in key_parts:
        return bool(key_parts["counted_by"] != counted_by())
    training = key_parts["training"]
    if training["source"] != shared_source():
        return True
    parts = [("method", key_parts["method"][0], key_parts["method"][2])]
    if training["trained"] is not None:
        kind, name, _, source = training["trained"]
        parts.append((kind, name, source))
    for kind, name, source in parts:
        entry = registry.discover(cast(registry.Kind, kind)).available.get(name)
        if entry is not None and entry.source_hash() != source:
            return True
    return False


def shared_source() -> str:
    """sha256 of the source that every result depends on."""
    return source_sha256(*_SHARED_SOURCE)


def counted_by() -> str:
    """sha256 of the source on which the figures of maps from files depend."""
    return source_sha256("protocol", "metrics", "data", "external")


def _check_located(spec: RunSpec, dataset: ChosenDataset) -> None:
    """Refuse what could train for hours and then give no table."""
    spec.rules.check_located(dataset.name, dataset.prepared.n_located("val"), fitted=VAL in spec.thresholds)
    if not dataset.prepared.n_located("test"):
        raise UsageError(
            f"{dataset.name}: expected located positives in the test split, found none, so nothing can be "
            "measured. Give boxes or masks to test images, or another split."
        )


def _plain(recipe: ResolvedRecipe) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(json.dumps(vars(recipe))))
