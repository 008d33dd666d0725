"""The leaderboard as one JSON document, and the JSON Schema that such documents obey."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from wsl_bench.leaderboard.columns import NAMES, Column, columns, required_columns
from wsl_bench.leaderboard.rows import Values
from wsl_bench.store.records import Failure

SCHEMA_VERSION = 1  # a column or field that changes its meaning or goes away makes another; new ones do not
_ROUNDING = 1e-9  # sums of floating-point numbers may step over a bound by their last digits
_BOUNDS: dict[str, dict[str, float]] = {
    "text": {},
    "count": {"minimum": 0},
    "share": {"minimum": -_ROUNDING, "maximum": 1 + _ROUNDING},
    "number": {"minimum": -_ROUNDING},
}
_STATUSES = ("ok", "inverted", "at_chance", "incomplete", "failed", "contaminated", "external", "sanity")
_FAILURE = ("dataset", "method", "method_params", "seed", "error")


def to_json(rows: Sequence[Values], notes: Sequence[str], failures: Sequence[Failure]) -> str:
    """The rows with every digit of leaderboard.csv, the footer's notes, and the cells that failed.

    Missing and undefined figures are null; an infinite one is the text "Infinity", for JSON has no number for it.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "rows": [{name: _plain(value) for name, value in row.items()} for row in rows],
        "notes": list(notes),
        "failures": [{name: failure.content[name] for name in _FAILURE} for failure in failures],
    }
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def leaderboard_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the document; docs/schema/leaderboard.schema.json is this."""
    row = {name: _property(name, column) for name, column in columns().items()}
    failure: dict[str, Any] = {name: {"type": "string"} for name in _FAILURE} | {"seed": {"type": "integer"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Leaderboard of a wsl_bench run",
        "description": "What `wslbench leaderboard RUN --format json` prints. Every figure has the digits of "
        "leaderboard.csv; missing and undefined ones are null.",
        **_object(
            {
                "schema_version": {"const": SCHEMA_VERSION, "description": "version of this schema"},
                "rows": {
                    "description": "one a (dataset, method with its parameters, threshold rule), best first",
                    "type": "array",
                    "items": _object(row, required_columns()),
                },
                "notes": {"description": "the footer", "type": "array", "items": {"type": "string"}},
                "failures": {
                    "description": "cells that failed, and what they said",
                    "type": "array",
                    "items": _object(failure),
                },
            }
        ),
    }


def schema_text() -> str:
    """The schema as the file holds it."""
    return json.dumps(leaderboard_schema(), indent=1) + "\n"


def _object(properties: dict[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    names = list(properties if required is None else required)
    return {"type": "object", "additionalProperties": False, "required": names, "properties": properties}


def _property(name: str, column: Column) -> dict[str, Any]:
    described: dict[str, Any] = {"description": column.text}
    if name == "status":
        return described | {"enum": list(_STATUSES)}
    if name == "cnr_median":
        return described | {"anyOf": [{"type": ["number", "null"], "minimum": 0}, {"const": "Infinity"}]}
    kind = {"text": "string", "count": "integer", "share": "number", "number": "number"}[column.kind]
    return {**described, "type": kind if name in NAMES else [kind, "null"], **_BOUNDS[column.kind]}


def _plain(value: Any) -> Any:
    """A value that JSON can hold."""
    if hasattr(value, "item"):  # numpy's own kinds of numbers
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity"
    return value
