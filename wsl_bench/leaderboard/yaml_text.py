"""Plain values as YAML that versions 1.1 and 1.2 read alike: texts quoted, numbers never mistaken for texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")  # that are no texts to YAML 1.1


def to_yaml(value: Any) -> str:
    """Mappings with text keys, sequences, texts, numbers, booleans and None, as a block of YAML.

    Raises:
        TypeError: anything else.
    """
    return "\n".join(_block(value, "")) + "\n"


def _block(value: Any, indent: str) -> list[str]:
    if isinstance(value, Mapping) and value:
        return [line for key, item in value.items() for line in _entry(f"{_key(key)}:", item, indent)]
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return [line for item in value for line in _item(item, indent)]
    return [f"{indent}{_scalar(value)}"]


def _entry(head: str, value: Any, indent: str) -> list[str]:
    """A key with its value beside it or, where that has parts, below it."""
    if _has_parts(value):
        return [f"{indent}{head}", *_block(value, indent + "  ")]
    return [f"{indent}{head} {_scalar(value)}"]


def _item(value: Any, indent: str) -> list[str]:
    """A dash with its value, of which the first line stands beside it."""
    first, *others = _block(value, indent + "  ")
    return [f"{indent}- {first.removeprefix(indent + '  ')}", *others]


def _has_parts(value: Any) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str) and len(value) > 0


def _key(key: str) -> str:
    plain = key.isascii() and key.replace("_", "a").replace("-", "a").isalnum() and key[0].isalpha()
    return key if plain and key.lower() not in _WORDS else _text(key)


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(float(value))
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping) and not value:
        return "{}"
    if isinstance(value, Sequence) and not value:
        return "[]"
    raise TypeError(f"expected a plain value, found {type(value).__name__}")


def _float(value: float) -> str:
    """Every digit; with a point, without which YAML 1.1 takes 1e-05 for a text."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    digits, e, exponent = repr(value).partition("e")
    return f"{digits if '.' in digits else digits + '.0'}{e}{exponent}"


def _text(text: str) -> str:
    """In double quotes, whatever is not printable ASCII escaped."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
    return '"' + "".join(escapes.get(c) or (c if " " <= c <= "~" else f"\\U{ord(c):08X}") for c in text) + '"'
