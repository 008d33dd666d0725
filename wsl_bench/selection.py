"""What the selectors and settings of a run spec mean: methods, datasets, recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from wsl_bench import params, registry
from wsl_bench.data.cache import cache_folder
from wsl_bench.data.decode import How
from wsl_bench.data.prepare import PreparedDataset, prepare
from wsl_bench.data.samples import Dataset
from wsl_bench.errors import UsageError
from wsl_bench.params import Value
from wsl_bench.processes import n_cores
from wsl_bench.spec import RunSpec
from wsl_bench.training.recipe import ResolvedRecipe, resolve

Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]


def unheard(*said: object) -> None:
    """Progress and words that nobody follows."""


@dataclass(frozen=True)
class ChosenMethod:
    """A method with its parameters: one row a dataset and threshold rule."""

    name: str
    entry: registry.Entry
    params: dict[str, Value]
    shown: str


@dataclass(frozen=True)
class ChosenDataset:
    """A prepared dataset under the name tables show."""

    name: str
    selector: str
    entry: registry.Entry
    prepared: PreparedDataset
    suggested: Mapping[str, Any]


def choose_methods(spec: RunSpec) -> list[ChosenMethod]:
    """The methods of a run, with the sanity rows, which stand in every leaderboard.

    Raises:
        UsageError: an unknown name, group or parameter.
    """
    found = registry.discover("method")
    chosen: dict[str, ChosenMethod] = {}
    for selector in spec.methods:
        name, grid = params.parse_selector(selector)
        if name == "all":
            names = sorted(found.available)
        elif name in found.groups() and name not in found.available:
            names = found.in_group(name)
        else:
            names = [found.get(name, also=found.groups() | {"all"}).name]
        for each in names:
            for values in grid:
                method = _choose_method(spec, found.get(each), values)
                chosen.setdefault(f"{method.name}[{method.shown}]", method)
    for each in found.in_group("sanity"):
        if all(method.name != each for method in chosen.values()):
            method = _choose_method(spec, found.get(each), {})
            chosen[f"{method.name}[{method.shown}]"] = method
    return list(chosen.values())


def _choose_method(spec: RunSpec, entry: registry.Entry, values: Mapping[str, Any]) -> ChosenMethod:
    settings = settings_for(spec, entry.name)
    component = params.build(entry.cls, entry.name, {**entry.defaults, **settings, **values})
    own = params.values_of(component)
    default = params.values_of(params.build(entry.cls, entry.name, entry.defaults))
    shown = ",".join(f"{key}={own[key]}" for key in own if own[key] != default[key])
    return ChosenMethod(entry.name, entry, own, shown)


def check_settings(spec: RunSpec, methods: list[ChosenMethod]) -> None:
    """A --set that reaches nothing is a mistake, not a wish."""
    reached = {method.name for method in methods} | {"recipe"}
    reached |= {find_dataset(selector)[0].name for selector in spec.datasets}
    for key in spec.settings:
        component = key.partition(".")[0]
        if component not in reached:
            raise UsageError(
                f"--set {key}: {component!r} takes no part in this run{params.did_you_mean(component, reached)} "
                "Set parameters of its methods, its datasets or `recipe`."
            )


def settings_for(spec: RunSpec, component: str) -> dict[str, str]:
    """The `--set` values of one component, by parameter."""
    prefix = f"{component}."
    return {k.removeprefix(prefix): v for k, v in spec.settings.items() if k.startswith(prefix)}


def find_dataset(selector: str) -> tuple[registry.Entry, Mapping[str, str], str, str]:
    """What a dataset selector names: the entry, its parameters, its name in tables, a selector good anywhere.

    Raises:
        UsageError: no such dataset or directory, or a grid of values.
    """
    found = registry.discover("dataset")
    path = params.expanded(selector)
    if params.is_folder(path) and selector not in found.available:
        return found.get("folder"), {"root": str(path)}, path.resolve().name, str(path.resolve())
    if "/" in selector.partition("[")[0]:
        raise UsageError(f"--datasets {selector}: expected a dataset's name or a directory, found no such directory.")
    bare, grid = params.parse_selector(selector)
    if len(grid) != 1:
        raise UsageError(f"--datasets {selector}: give a dataset with several values as several datasets.")
    return found.get(bare, also=() if bare in found.available else _folders_here()), grid[0], selector, selector


def _folders_here() -> list[str]:
    """Directories that a mistyped name may mean; what may not be looked into is passed over."""
    try:
        return [path.name for path in Path().iterdir() if params.is_folder(path)]
    except OSError:
        return []


def choose_dataset(
    spec: RunSpec, selector: str, out: Path, progress: Progress = unheard, say: Say = unheard, n_workers: int = 0
) -> ChosenDataset:
    """Prepare one dataset of a run.

    Args:
        out: folder of the run.
        progress: called with (dataset, images decoded, images in all).
        say: called with what the user should know of the decoding.
        n_workers: processes that decode; 0: one a core.
    """
    entry, values, name, found_by = find_dataset(selector)
    values = {**entry.defaults, **settings_for(spec, entry.name), **values}
    dataset = cast(Dataset, params.build(entry.cls, entry.name, values))
    suggested = dict(dataset.recipe)
    size = int(recipe_for(spec, suggested, {}, 1, "fp32").image_size)
    how = How(
        n_workers=n_workers or n_cores(),
        registered=(entry.name, values),
        skip_corrupt=spec.skip_corrupt,
        progress=lambda done, total: progress(name, done, total),
        say=lambda text: say(f"{name}: {text}"),
    )
    cache = cache_folder(entry.name, entry.source_hash(), dataset, size)
    prepared = prepare(name, dataset, size, out / "prepared", cache=cache, how=how)
    return ChosenDataset(name, found_by, entry, prepared, suggested)


def recipe_for(
    spec: RunSpec, suggested: Mapping[str, Any], network: Mapping[str, Any], n_train: int, precision: str
) -> ResolvedRecipe:
    chosen = settings_for(spec, "recipe")
    if network.get("epochs") == 0:
        chosen.pop("epochs", None)  # the untrained network stays untrained whatever the user trains
    return resolve(suggested, network, chosen, n_train=n_train, precision=precision)
