"""Parameters: declared once, turned from text into their type, refused where they do not fit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import pytest

from wsl_bench.errors import UsageError
from wsl_bench.params import (
    Component,
    build,
    describe,
    did_you_mean,
    fingerprint,
    param,
    parse_selector,
    split_selectors,
    values_of,
)


class Sample(Component):
    """A component with a parameter of every type."""

    count: int = param(3, "a count")
    rate: float = param(0.5, "a rate")
    flag: bool = param(True, "a switch")
    mode: Literal["soft", "hard"] = param("soft", "a choice")
    name: str = param("x", "a word")
    file: Path | None = param(None, "a file or none")
    limit: int | None = param(None, "a number or none")
    share: float = param(0.5, "a share", above=0, high=1)
    sides: int = param(3, "a number of sides", low=3, below=100)
    weights: Path | None = param(None, "a file that must be there", is_file=True)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("count", "7", 7),
        ("count", "-7", -7),
        ("count", " 7 ", 7),
        ("count", 7, 7),
        ("rate", "1e-3", 0.001),
        ("rate", 2, 2.0),
        ("flag", "true", True),
        ("flag", "No", False),
        ("flag", "0", False),
        ("flag", False, False),
        ("mode", "hard", "hard"),
        ("name", "any text", "any text"),
        ("name", 5, "5"),
        ("file", "some/file", Path("some/file")),
        ("file", "none", None),
        ("file", None, None),
        ("limit", "None", None),
        ("limit", "4", 4),
    ],
)
def test_text_becomes_the_declared_type(key: str, text: Any, value: object) -> None:
    built = getattr(build(Sample, "sample", {key: text}), key)
    assert built == value
    assert type(built) is type(value) or isinstance(value, Path)


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("count", "1.5", "int"),
        ("count", "", "int"),
        ("count", "many", "int"),
        ("count", True, "int"),
        ("rate", "nan", "float"),
        ("rate", "inf", "float"),
        ("rate", "-inf", "float"),
        ("rate", "half", "float"),
        ("rate", None, "float"),
        ("flag", "maybe", "bool"),
        ("flag", "2", "bool"),
        ("mode", "medium", "soft | hard"),
        ("limit", "x", "int"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(key: str, text: Any, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(Sample, "sample", {key: text})
    assert str(caught.value) == f"sample.{key}: expected {expected}, found {text!r}."


def test_an_unknown_parameter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        build(Sample, "sample", {"cuont": "1"})
    text = str(caught.value)
    assert "sample has no parameter 'cuont'. Did you mean 'count'?" in text
    assert "count, rate, flag, mode, name, file, limit" in text


def test_describe_shows_type_default_and_help() -> None:
    shown = {info.name: info for info in describe(Sample, {"mode": "hard"})}
    assert (shown["mode"].type, shown["mode"].default, shown["mode"].help) == ("soft | hard", "hard", "a choice")
    assert (shown["file"].type, shown["file"].default) == ("path | none", None)
    assert shown["count"].default == 3


def test_components_are_frozen_and_inherit_parameters() -> None:
    class Child(Sample):
        """One parameter more."""

        extra: int = param(1, "more")

    child = build(Child, "child", {"extra": "2", "count": "4"})
    assert (child.extra, child.count) == (2, 4)
    with pytest.raises(AttributeError):
        child.count = 5


def test_values_are_plain_and_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"content")
    sample = build(Sample, "sample", {"file": str(path)})
    assert values_of(sample)["file"] == str(path)
    assert fingerprint(sample)["file"] == "sha256:" + hashlib.sha256(b"content").hexdigest()
    moved = path.rename(tmp_path / "renamed.bin")
    assert fingerprint(build(Sample, "sample", {"file": str(moved)})) == fingerprint(sample) | {
        "file": "sha256:" + hashlib.sha256(b"content").hexdigest()
    }


@pytest.mark.parametrize(
    ("text", "name", "grid"),
    [
        ("infomask", "infomask", [{}]),
        (" infomask ", "infomask", [{}]),
        ("infomask[]", "infomask", [{}]),
        ("infomask[alpha=0.001]", "infomask", [{"alpha": "0.001"}]),
        ("m[a=1|2]", "m", [{"a": "1"}, {"a": "2"}]),
        ("m[a=1|2,b=x|y]", "m", [{"a": a, "b": b} for a in "12" for b in "xy"]),
        ("m[a = 1 , b = 2]", "m", [{"a": "1", "b": "2"}]),
    ],
)
def test_selectors(text: str, name: str, grid: list[dict[str, str]]) -> None:
    assert parse_selector(text) == (name, grid)


@pytest.mark.parametrize("text", ["", "m[a=1", "m]a=1[", "[a=1]", "m[a]", "m[=1]", "m[a=]", "m[a=1]x", "m[a=[1]]"])
def test_bad_selectors_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"cannot read .* expected"):
        parse_selector(text)


def test_selectors_split_at_commas_outside_brackets() -> None:
    assert split_selectors("a, b[x=1,y=2|3] ,c,,") == ["a", "b[x=1,y=2|3]", "c"]
    assert split_selectors(" ") == []


def test_did_you_mean() -> None:
    assert did_you_mean("gradcm", ["gradcam", "infomask"]) == ". Did you mean 'gradcam'?"
    assert did_you_mean("zzz", ["gradcam", "infomask"]) == "."
    assert did_you_mean("zzz", []) == "."


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("share", "0", r"made\.share: expected a number above 0, at most 1, found 0\.0"),
        ("share", "1.001", "above 0, at most 1"),
        ("sides", "2", "at least 3, below 100, found 2"),
        ("sides", 100, "at least 3, below 100, found 100"),
        ("weights", "no/such.pth", r"made\.weights: expected a file, found none at no/such\.pth"),
    ],
)
def test_values_out_of_range_and_missing_files_are_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(Sample, "made", {key: value})


@pytest.mark.parametrize(("key", "value"), [("share", 1.0), ("share", 1e-9), ("sides", 3), ("sides", 99)])
def test_bounds_are_in_or_out_as_declared(key: str, value: Any) -> None:
    assert getattr(build(Sample, "made", {key: value}), key) == value


def test_the_help_of_a_parameter_shows_its_range() -> None:
    helps = {info.name: info.help for info in describe(Sample, {})}
    assert helps["share"] == "a share (above 0, at most 1)"
    assert helps["count"] == "a count"
