"""Parameters of methods, networks and datasets: typed fields with a default and a meaning."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import itertools
import math
import re
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, dataclass_transform, get_args, get_origin, get_type_hints

from wsl_bench.errors import UsageError, WslBenchError

Value = bool | int | float | str | None


def param(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    is_file: bool = False,
) -> Any:
    """Declare a parameter of a component: its default, what it means in one line, and what it may be.

    Args:
        low, high: bounds that are allowed themselves. above, below: bounds that are not.
        is_file: a path must name a file that is there.
    """
    limits = {"low": low, "high": high, "above": above, "below": below}
    return dataclasses.field(default=default, metadata={"help": help, "limits": limits, "is_file": is_file})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(param,))
class Component:
    """Base of everything that is registered: a frozen dataclass whose fields are its parameters."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        doc = cls.__dict__.get("__doc__")
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        cls.__doc__ = doc  # a class without one gets its signature from dataclass, which is no summary


@dataclasses.dataclass(frozen=True)
class ParamInfo:
    """One parameter as `wslbench methods NAME` shows it."""

    name: str
    type: str
    default: Value
    help: str


def describe(cls: type[Component], defaults: Mapping[str, Any]) -> list[ParamInfo]:
    """List the parameters of a component; `defaults` are a variant's own."""
    hints = get_type_hints(cls)
    return [
        ParamInfo(
            name=field.name,
            type=_type_text(hints[field.name]),
            default=_plain(defaults.get(field.name, field.default)),
            help=str(field.metadata.get("help", "")) + _range_text(field.metadata, " ({})"),
        )
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]
    ]


def build(cls: type[Component], name: str, values: Mapping[str, Any]) -> Any:
    """Make a component from parameter values, which may be text from a command line.

    Raises:
        UsageError: an unknown parameter, a value of the wrong type or out of range, a missing file, or any error
            of the component's own.
    """
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    known = list(fields)
    for key in values:
        if key not in known:
            raise UsageError(
                f"{name} has no parameter {key!r}{did_you_mean(key, known)} "
                f"Its parameters: {', '.join(known) or 'none'}."
            )
    coerced = {key: _coerce(f"{name}.{key}", value, hints[key]) for key, value in values.items()}
    for key, value in coerced.items():
        _check_allowed(f"{name}.{key}", value, fields[key].metadata)
    try:
        return cls(**coerced)
    except WslBenchError:
        raise
    except (Exception, SystemExit) as error:
        given = ", ".join(f"{key}={value}" for key, value in coerced.items())
        raise UsageError(
            f"{name} cannot be made{f' with {given}' if given else ''}: {type(error).__name__}: {error}. "
            f"Correct {cls.__name__}, or give it other parameters."
        ) from error


def values_of(component: Component) -> dict[str, Value]:
    """The parameters of a component as plain values, for keys and records."""
    fields = dataclasses.fields(component)  # type: ignore[arg-type]
    return {field.name: _plain(getattr(component, field.name)) for field in fields}


def fingerprint(component: Component) -> dict[str, Value]:
    """Like `values_of`, but a file is represented by the sha256 of its content, not by its path."""
    out = values_of(component)
    for key in out:
        value = getattr(component, key)
        if isinstance(value, Path) and value.is_file():
            out[key] = "sha256:" + hashlib.sha256(value.read_bytes()).hexdigest()
    return out


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A closing ". Did you mean 'x'?" for error messages, or a bare full stop."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f". Did you mean {close[0]!r}?" if close else "."


_LARGEST_GRID = 10_000
_SELECTOR = re.compile(r"^(?P<name>[^\[\]]+?)(?:\[(?P<params>[^\[\]]*)\])?$")


def split_selectors(text: str) -> list[str]:
    """Split "a,b[x=1,y=2|3]" at the commas outside brackets."""
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]


def parse_selector(text: str) -> tuple[str, list[dict[str, str]]]:
    """Parse "infomask[alpha=0.001|0.003,tau=0.5]" into its name and the grid of parameter values.

    Raises:
        UsageError: the text is not of that form.
    """
    match = _SELECTOR.match(text.strip())
    if not match:
        raise UsageError(f"cannot read {text!r}: expected NAME or NAME[param=value|value,param=value].")
    axes: list[list[tuple[str, str]]] = []
    for item in filter(None, (match["params"] or "").split(",")):
        key, equals, values = item.partition("=")
        if not equals or not key.strip() or not values.strip():
            raise UsageError(f"cannot read {item!r} in {text!r}: expected param=value or param=value|value.")
        axes.append([(key.strip(), value.strip()) for value in values.split("|")])
    if math.prod(map(len, axes)) > _LARGEST_GRID:
        raise UsageError(
            f"{match['name'].strip()}[...]: expected a grid of at most {_LARGEST_GRID} choices, found more."
        )
    return match["name"].strip(), [dict(choice) for choice in itertools.product(*axes)]


def expanded(path: str | Path) -> Path:
    """A path with the home folder for a leading ~; where that is nobody's, the path as it is, which names nothing."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_folder(path: Path) -> bool:
    """Whether a folder is there; False for what cannot be a name."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _check_allowed(where: str, value: Any, metadata: Mapping[str, Any]) -> None:
    """Refuse a number out of the declared range and a path that names no file."""
    if metadata.get("is_file") and isinstance(value, Path) and not value.is_file():
        raise UsageError(f"{where}: expected a file, found none at {value}.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    limits = metadata.get("limits", {})
    outside = (
        (limits.get("low") is not None and value < limits["low"])
        or (limits.get("high") is not None and value > limits["high"])
        or (limits.get("above") is not None and value <= limits["above"])
        or (limits.get("below") is not None and value >= limits["below"])
    )
    if outside:
        raise UsageError(f"{where}: expected a number {_range_text(metadata, '{}')}, found {value}.")


def _range_text(metadata: Mapping[str, Any], form: str) -> str:
    """ "at least 1, below 2" in `form`; nothing where there is no limit."""
    words = {"low": "at least", "above": "above", "high": "at most", "below": "below"}
    limits = metadata.get("limits", {})
    said = [f"{word} {limits[name]:g}" for name, word in words.items() if limits.get(name) is not None]
    return form.format(", ".join(said)) if said else ""


def _plain(value: Any) -> Value:
    return str(value) if isinstance(value, Path) else value


def _type_text(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(_type_text(arm) for arm in get_args(hint))
    return "none" if hint is type(None) else str(getattr(hint, "__name__", hint)).lower()


def _coerce(where: str, value: Any, hint: Any) -> Any:
    """Turn text into the declared type; refuse what does not fit."""
    if get_origin(hint) in (Union, types.UnionType):
        arms = get_args(hint)
        if type(None) in arms and (value is None or (isinstance(value, str) and value.lower() == "none")):
            return None
        return _coerce(where, value, next(arm for arm in arms if arm is not type(None)))
    if get_origin(hint) is Literal:
        for choice in get_args(hint):
            if str(value) == str(choice):
                return choice
    elif hint is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "false", "1", "0", "yes", "no"):
            return str(value).lower() in ("true", "1", "yes")
    elif hint in (int, float) and not isinstance(value, bool):
        try:
            number = hint(value)
        except (TypeError, ValueError):
            number = None
        if number is not None and abs(number) != float("inf") and number == number:
            return number
    elif hint is Path:
        return expanded(value)
    elif hint is str:
        return str(value)
    raise UsageError(f"{where}: expected {_type_text(hint)}, found {value!r}.")
