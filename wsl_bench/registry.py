"""Who is there: methods, datasets and networks, built in or plugged in.

Built-in folders come first, then the folders named in WSLBENCH_PLUGINS (each holding `methods/`
and/or `datasets/`), then entry points. A plug-in that cannot be used is listed with the reason;
it never stops the others.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import os
import pkgutil
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from wsl_bench import params
from wsl_bench.contained import contained
from wsl_bench.errors import UsageError
from wsl_bench.params import Component, did_you_mean, expanded, is_folder

Kind = Literal["method", "dataset", "network"]
KINDS: tuple[Kind, ...] = ("method", "dataset", "network")
C = TypeVar("C", bound=type[Component])

_PACKAGES: dict[Kind, str] = {
    "method": "wsl_bench.methods",
    "dataset": "wsl_bench.datasets",
    "network": "wsl_bench.nets.registered",
}


@dataclass(frozen=True)
class Entry:
    """One registered component.

    Attributes:
        name: what the user types.
        cls: its class; for a variant, the class it varies.
        file: the file that registered it.
        defaults: parameter values a variant sets in place of the class's own.
        summary: one line.
        groups: names under which `--methods` takes it too.
        of: for a variant, the name of what it varies.
        recipe: for a variant, what it needs different from the recipe of what it varies.
    """

    kind: Kind
    name: str
    cls: type[Component]
    file: str
    summary: str
    groups: tuple[str, ...]
    defaults: dict[str, Any] = field(default_factory=dict)
    of: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def source_hash(self) -> str:
        """sha256 over the source of the component and, for a variant, of what it varies.

        A component of an installed package: every file of that package. Else its file, those of its base
        classes, and the files beside them whose names start with one underscore, where helpers belong.
        """
        sha = hashlib.sha256()
        # By name and content, not by path: a plug-in is the same wherever it lies.
        for name, content in sorted((file.name.encode(), file.read_bytes()) for file in self._files()):
            sha.update(name + b"\0" + content)
        return sha.hexdigest()

    def _files(self) -> set[Path]:
        package = self.cls.__module__.partition(".")[0]
        if package != "wsl_bench" and hasattr(sys.modules[package], "__path__"):
            own = {file for folder in sys.modules[package].__path__ for file in Path(folder).rglob("*.py")}
            return {file for file in own if file.is_file()} | {Path(self.file)}
        modules = [sys.modules.get(cls.__module__) for cls in self.cls.__mro__]
        named = {Path(file) for m in modules if (file := getattr(m, "__file__", None))}
        own = {file for file in named if not _is_engine_or_library(file)} | {Path(self.file)}
        # Not those of which there is but a name: a link to a file that is gone.
        return own | {helper for file in own for helper in file.parent.glob("_[!_]*.py") if helper.is_file()}


def _is_engine_or_library(file: Path) -> bool:
    """Whether a file is of the engine, whose source is in every key, or of a library, which is in none."""
    engine, resolved = Path(__file__).resolve().parent, file.resolve()
    if resolved.is_relative_to(engine):
        return resolved.parent not in (engine / "methods", engine / "datasets")
    paths = sysconfig.get_paths()
    return any(resolved.is_relative_to(Path(paths[name]).resolve()) for name in ("purelib", "platlib", "stdlib"))


@dataclass(frozen=True)
class Unavailable:
    """A plug-in that was found but cannot be used, and why."""

    name: str
    file: str
    reason: str


@dataclass(frozen=True)
class _Variant:
    name: str
    of: str
    file: str
    summary: str
    groups: tuple[str, ...]
    recipe: Mapping[str, Any]
    defaults: dict[str, Any]


_registered: dict[Kind, dict[str, Entry]] = {"method": {}, "dataset": {}, "network": {}}
_variants: dict[str, _Variant] = {}


class _NameTaken(Exception):
    """Raised inside a plug-in whose name another file holds already."""


def register_method(name: str) -> Callable[[C], C]:
    """Class decorator: make a method known as `name`."""
    return _register("method", name)


def register_dataset(name: str) -> Callable[[C], C]:
    """Class decorator: make a dataset known as `name`."""
    return _register("dataset", name)


def register_network(name: str) -> Callable[[C], C]:
    """Class decorator: make a classifier network known as `name`, for methods that explain one."""
    return _register("network", name)


def register_variant(
    name: str,
    *,
    of: str,
    summary: str,
    groups: tuple[str, ...] = (),
    recipe: Mapping[str, Any] | None = None,
    **defaults: Any,
) -> None:
    """Make a row of its own from another method with other defaults (no class needed), perhaps trained otherwise."""
    file = sys._getframe(1).f_code.co_filename
    _refuse_taken("method", name, file)
    _variants[name] = _Variant(name, of, file, summary, groups, recipe or {}, defaults)


def _register(kind: Kind, name: str) -> Callable[[C], C]:
    def decorate(cls: C) -> C:
        file = str(getattr(sys.modules.get(cls.__module__), "__file__", cls.__module__))
        _refuse_taken(kind, name, file)
        summary = (cls.__doc__ or "").strip().split("\n")[0]
        groups = tuple(getattr(cls, "groups", ()))
        _registered[kind][name] = Entry(kind, name, cls, file, summary, groups)
        return cls

    return decorate


def _refuse_taken(kind: Kind, name: str, file: str) -> None:
    holder = _registered[kind].get(name) or (_variants.get(name) if kind == "method" else None)
    if holder is not None:
        raise _NameTaken(f"the name {name!r} is already taken: registered by {holder.file}, again by {file}")


def plugin_dirs(kind_folder: str) -> list[str]:
    """Folders to append to the `__path__` of wsl_bench.methods or wsl_bench.datasets.

    In a checkout that is the top-level folder (an installed wheel has the files in the package
    itself), then the `methods/` or `datasets/` of each folder in WSLBENCH_PLUGINS.
    """
    root = Path(__file__).resolve().parent.parent
    folders = [root / kind_folder] if (root / "pyproject.toml").is_file() else []
    for entry in os.environ.get("WSLBENCH_PLUGINS", "").split(os.pathsep):
        if entry.strip():
            folders.append(expanded(entry).resolve() / kind_folder)
    return [str(folder) for folder in folders if is_folder(folder)]


@dataclass(frozen=True)
class Registry:
    """All components of one kind."""

    kind: Kind
    available: dict[str, Entry]
    unavailable: list[Unavailable]

    def get(self, name: str, also: Iterable[str] = ()) -> Entry:
        """The entry called `name`; `also` are other words that could have been meant.

        Raises:
            UsageError: no such name, or it is unavailable; the text says why or what was meant.
        """
        if name in self.available:
            return self.available[name]
        for broken in self.unavailable:
            if broken.name == name:
                raise UsageError(f"{self.kind} {name!r} is unavailable: {broken.reason} ({broken.file}).")
        raise UsageError(
            f"no {self.kind} is called {name!r}{did_you_mean(name, [*self.available, *also])} "
            f"`wslbench {'doctor' if self.kind == 'network' else f'{self.kind}s'}` lists all."
        )

    def in_group(self, group: str) -> list[str]:
        """Names of the available entries of one group, sorted."""
        return sorted(name for name, entry in self.available.items() if group in entry.groups)

    def groups(self) -> set[str]:
        """Every group name in use."""
        return {group for entry in self.available.values() for group in entry.groups}


@functools.cache
def discover(kind: Kind) -> Registry:
    """Find every component of one kind; import errors become `Unavailable` entries."""
    if kind == "network":
        discover("method")  # a plug-in's network lies in the file of its method
        return Registry(kind, dict(sorted(_registered[kind].items())), list(_networks()))
    if kind == "method":
        _networks()  # before any plug-in, so that none takes the name of a built-in network
    unavailable = list(_import_all(kind))
    available = dict(_registered[kind])
    if kind == "method":
        for entry in _registered["method"].values():
            explained = getattr(entry.cls, "trained_as", None)
            if explained is not None and explained not in list(_registered["network"]):
                reason = f"it explains the network {explained!r}, which is not registered"
                unavailable.append(Unavailable(entry.name, entry.file, reason))
                del available[entry.name]
        for variant in _variants.values():
            base = available.get(variant.of)
            if base is None:
                reason = f"it varies {variant.of!r}, which is not registered"
                unavailable.append(Unavailable(variant.name, variant.file, reason))
            else:
                available[variant.name] = Entry(
                    "method", variant.name, base.cls, variant.file, variant.summary, variant.groups,
                    variant.defaults, variant.of, variant.recipe,
                )  # fmt: skip
        for entry in list(available.values()):
            if (said := _cannot_be_made(entry)) is not None:
                unavailable.append(Unavailable(entry.name, entry.file, said))
                del available[entry.name]
    return Registry(kind, dict(sorted(available.items())), unavailable)


def _cannot_be_made(entry: Entry) -> str | None:
    """Why a method and the network it explains cannot be made with their defaults; None: they can."""
    try:
        with contained():
            method = params.build(entry.cls, entry.name, entry.defaults)
            explained = getattr(method, "trained_as", None)
            if explained is not None:
                params.build(_registered["network"][explained].cls, explained, method.network_params())
    except (Exception, SystemExit) as error:
        return _said(error)
    return None


@functools.cache
def _networks() -> tuple[Unavailable, ...]:
    """Import the built-in networks, then those of entry points; what could not be."""
    return tuple(_import_all("network"))


def _import_all(kind: Kind) -> Iterator[Unavailable]:
    package = importlib.import_module(_PACKAGES[kind])
    # Folder by folder: iter_modules over the whole __path__ would silently hide a user's file
    # that has the stem of a built-in one.
    seen: dict[str, Path] = {}
    for folder in getattr(package, "__path__", []):
        for module in sorted(pkgutil.iter_modules([folder]), key=lambda m: m.name):
            file = Path(folder) / f"{module.name}.py"
            if module.name.startswith("_"):
                continue
            if module.name in seen:
                if seen[module.name].resolve() != file.resolve():
                    reason = f"a file of that name is already there: {seen[module.name]}; rename {file}"
                    yield Unavailable(module.name, str(file), reason)
                continue
            seen[module.name] = file
            yield from _try(module.name, str(file), _importer(f"{_PACKAGES[kind]}.{module.name}"))
    for point in _entry_points(f"wsl_bench.{kind}s"):
        yield from _try(point.name, f"entry point {point.value}", point.load)


def _importer(module: str) -> Callable[[], Any]:
    return lambda: importlib.import_module(module)


def _entry_points(group: str) -> Iterable[importlib.metadata.EntryPoint]:
    return sorted(importlib.metadata.entry_points(group=group), key=lambda point: point.name)


def _try(name: str, file: str, load: Callable[[], Any]) -> Iterator[Unavailable]:
    """Load one plug-in; what a failing one has registered by then is taken back."""
    tables: list[dict[str, Any]] = [*_registered.values(), _variants]
    before = [set(table) for table in tables]
    try:
        with contained():
            load()
        return
    except (Exception, SystemExit) as error:
        reason = _said(error)
    for table, names in zip(tables, before, strict=True):
        for added in table.keys() - names:
            del table[added]
    yield Unavailable(name, file, reason)


def _said(error: BaseException) -> str:
    """What an error says; in front of it, where it is not of our own, its kind."""
    ours = isinstance(error, _NameTaken | UsageError)
    return str(error) if ours else traceback.format_exception_only(error)[-1].strip()
