"""What a user asks for: the run spec, from the command line or a study file (TOML)."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from wsl_bench.errors import UsageError
from wsl_bench.metrics.grid import threshold_index
from wsl_bench.params import did_you_mean, split_selectors
from wsl_bench.protocol.rules import Rules

VAL = "val"
_MOST_SEEDS = 10_000  # of a count, which is written out
_MOST_DIGITS = 18  # of a seed
# Fields of `Rules` that a user chooses.
_RULES = ("checkpoint", "criterion", "max_fnr", "min_val_located")


@dataclass(frozen=True)
class RunSpec:
    """A run: the matrix and how its trainings are made.

    Attributes:
        methods: selectors: names, groups, `all`, NAME[param=value|value].
        datasets: selectors: names, NAME[param=value], or paths to a directory.
        seeds: training seeds.
        thresholds: "val" and/or numbers k / 1000, as text.
        settings: `--set` values by "component.parameter"; "recipe.*" reaches every training.
        rules: the protocol's choices.
        device: auto, cpu or cuda.
        skip_corrupt: leave out images that cannot be read, and list them.
    """

    methods: tuple[str, ...] = ("paper",)
    datasets: tuple[str, ...] = ("phantom",)
    seeds: tuple[int, ...] = (0, 1, 2)
    thresholds: tuple[str, ...] = (VAL,)
    settings: Mapping[str, str] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    device: str = "auto"
    skip_corrupt: bool = False

    def to_toml(self) -> str:
        """A study file that runs this again."""
        content: dict[str, Any] = {
            "methods": list(self.methods),
            "datasets": list(self.datasets),
            "seeds": list(self.seeds),
            "thresholds": list(self.thresholds),
            "device": self.device,
            "skip_corrupt": self.skip_corrupt,
            "checkpoint": self.rules.checkpoint,
            "criterion": self.rules.criterion,
            "min_val_located": self.rules.min_val_located,
            "set": dict(self.settings),
        }
        if self.rules.max_fnr is not None:  # TOML has no word for "not given"
            content["max_fnr"] = self.rules.max_fnr
        return tomli_w.dumps(content)


def parse_seeds(text: str) -> tuple[int, ...]:
    """ "3" -> (0, 1, 2); "0,7,11" -> those seeds.

    Raises:
        UsageError: anything else.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and len(part) <= _MOST_DIGITS for part in parts):
        raise UsageError(f"--seeds {text!r}: expected a count (5) or a list of numbers (0,7,11).")
    numbers = tuple(map(int, parts))
    if "," not in text:
        if numbers[0] < 1:
            raise UsageError("--seeds 0: expected at least one seed. A single seed 0 is written '0,'.")
        if numbers[0] > _MOST_SEEDS:
            raise UsageError(f"--seeds {text}: expected at most {_MOST_SEEDS} seeds.")
        return tuple(range(numbers[0]))
    if len(set(numbers)) != len(numbers):
        raise UsageError(f"--seeds {text!r}: expected each seed once.")
    return numbers


def parse_thresholds(text: str) -> tuple[str, ...]:
    """ "val,0.3,0.5" -> ("val", "0.3", "0.5"); numbers must be multiples of 0.001 in (0, 1].

    Raises:
        UsageError: anything else.
    """
    rules = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        if part == VAL:
            rules.append(VAL)
            continue
        try:
            number = float(part)
        except ValueError:
            raise UsageError(f"--thresholds {part!r}: expected 'val' or a number such as 0.5.") from None
        rules.append(f"{threshold_index(number) / 1000:g}")
    if not rules:
        raise UsageError("--thresholds: expected 'val' and/or numbers such as 0.3,0.5.")
    return tuple(dict.fromkeys(rules))


def parse_settings(items: list[str]) -> dict[str, str]:
    """["infomask.alpha=0.003"] -> {"infomask.alpha": "0.003"}.

    Raises:
        UsageError: an item that is not COMPONENT.PARAMETER=VALUE.
    """
    settings = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or "." not in key.strip("."):
            raise UsageError(f"--set {item!r}: expected COMPONENT.PARAMETER=VALUE, such as infomask.alpha=0.003.")
        settings[key.strip()] = value.strip()
    return settings


def read_study(path: Path) -> dict[str, Any]:
    """The fields of a study file, as arguments for `RunSpec` plus `rules` fields.

    Raises:
        UsageError: no such file, not TOML, an unknown field or a value that the field cannot have.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, numbers or nesting beyond what Python takes
        raise UsageError(f"--config {path}: expected TOML, found {error}.") from None
    known = ("methods", "datasets", "seeds", "thresholds", "device", "skip_corrupt", *_RULES, "set")
    for key in content:
        if key not in known:
            raise UsageError(f"--config {path}: unknown field {key!r}{did_you_mean(key, known)}")
    try:
        fields = {key: _field(key, value) for key, value in content.items()}
        with_fields(RunSpec(), fields)  # what its rules refuse is the file's fault, too
    except UsageError as error:
        raise UsageError(f"--config {path}: {error}") from None
    except (ValueError, OverflowError, RecursionError) as error:  # a number too large to be text or a float
        raise UsageError(f"--config {path}: expected values that can be meant, found {error}.") from None
    return fields


def _field(key: str, value: Any) -> Any:
    """One field in the form the command line would have given it."""
    if key in ("methods", "datasets") and isinstance(value, str):
        return tuple(split_selectors(value))
    if key in ("methods", "datasets") and isinstance(value, list):
        return tuple(map(str, value))
    if key == "seeds" and isinstance(value, int) and not isinstance(value, bool):
        return parse_seeds(str(value))
    if key == "seeds" and isinstance(value, list):
        return parse_seeds(",".join(map(str, value)) + ",")
    if key == "thresholds" and isinstance(value, list):
        return parse_thresholds(",".join(map(str, value)))
    if key in ("device", "checkpoint", "criterion") and isinstance(value, str):
        return value
    if key == "skip_corrupt" and isinstance(value, bool):
        return value
    if key == "min_val_located" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if key == "max_fnr" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if key == "set" and isinstance(value, dict):
        return {str(k): str(v) for k, v in _flat(value).items()}
    raise UsageError(f"{key} has a value of the wrong type: {value!r}.")


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """[set] recipe.width = 0.5 and [set] "recipe.width" = 0.5 mean the same."""
    out: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def with_fields(spec: RunSpec, fields: Mapping[str, Any]) -> RunSpec:
    """`spec` with some fields replaced; those of its rules and `set` reach inside."""
    rules = dataclasses.replace(spec.rules, **{k: fields[k] for k in _RULES if k in fields})
    settings = {**spec.settings, **fields.get("set", {})}
    plain = {k: v for k, v in fields.items() if k not in (*_RULES, "set")}
    return dataclasses.replace(spec, rules=rules, settings=settings, **plain)
