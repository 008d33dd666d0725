"""The run spec: from the command line, from a study file, and back."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl_bench.errors import UsageError
from wsl_bench.protocol.rules import Rules
from wsl_bench.spec import RunSpec, parse_seeds, parse_settings, parse_thresholds, read_study, with_fields


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("1", (0,)), ("3", (0, 1, 2)), ("0,", (0,)), ("0,7,11", (0, 7, 11)), (" 5 , 4 ", (5, 4))],
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", ",", "x", "-1", "1.5", "0", "1,1", "1;2", "³"])
def test_bad_seeds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("val", ("val",)),
        ("val,0.3,0.5", ("val", "0.3", "0.5")),
        ("0.50,0.5,.5", ("0.5",)),
        ("1,0.001", ("1", "0.001")),
        (" val , 0.25 ", ("val", "0.25")),
    ],
)
def test_thresholds(text: str, rules: tuple[str, ...]) -> None:
    assert parse_thresholds(text) == rules


@pytest.mark.parametrize("text", ["", ",", "0", "-0.5", "1.001", "0.0005", "nan", "inf", "vla", "0,5x"])
def test_bad_thresholds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="threshold"):
        parse_thresholds(text)


@given(st.integers(1, 1000))
def test_every_threshold_of_the_grid_survives(k: int) -> None:
    [text] = parse_thresholds(str(k / 1000))
    assert round(float(text) * 1000) == k
    assert parse_thresholds(text) == (text,)


def test_settings() -> None:
    given_items = ["infomask.alpha=0.003", " recipe.width = 1 ", "folder.root=a=b", "infomask.alpha=0.1"]
    wanted = {"infomask.alpha": "0.1", "recipe.width": "1", "folder.root": "a=b"}
    assert parse_settings(given_items) == wanted


@pytest.mark.parametrize("item", ["alpha=1", "infomask.alpha", ".alpha=1", "infomask.=1", "", "=1"])
def test_bad_settings_are_refused(item: str) -> None:
    with pytest.raises(UsageError, match=r"COMPONENT\.PARAMETER=VALUE"):
        parse_settings([item])


SPEC = RunSpec(
    methods=("infomask[alpha=0.001|0.003,tau=0.5]", "gradcam"),
    datasets=("phantom[size=96]", 'a folder/with "quotes"'),
    seeds=(0, 7, 11),
    thresholds=("val", "0.3"),
    settings={"recipe.width": "0.5", "infomask.alpha_warmup": "0"},
    rules=Rules(checkpoint="last", min_val_located=5),
    device="cpu",
    skip_corrupt=True,
)


@pytest.mark.parametrize(
    "spec",
    [RunSpec(), SPEC, with_fields(SPEC, {"thresholds": ("0.5",), "seeds": (4,)})],
    ids=["plain", "full", "fixed"],
)
def test_a_study_file_gives_the_same_spec_again(spec: RunSpec, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(spec.to_toml(), encoding="utf-8")
    assert with_fields(RunSpec(), read_study(path)) == spec


def test_a_study_file_may_be_written_as_the_command_line_is(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('methods = "paper,regl1[weight=0.1|0.2]"\nseeds = 2\nthresholds = ["val", 0.3]\n'
                    "[set]\nrecipe.width = 0.5\n\"infomask.tau\" = 0.6\nrecipe.flip = false\n")  # fmt: skip
    spec = with_fields(RunSpec(), read_study(path))
    assert spec.methods == ("paper", "regl1[weight=0.1|0.2]")
    assert spec.seeds == (0, 1)
    assert spec.thresholds == ("val", "0.3")
    assert spec.settings["recipe.width"] == "0.5"
    assert spec.settings["infomask.tau"] == "0.6"
    assert spec.settings["recipe.flip"].lower() == "false"


def test_fields_given_later_win_and_settings_are_merged() -> None:
    first = with_fields(RunSpec(), {"seeds": (1,), "set": {"a.b": "1", "c.d": "2"}})
    second = with_fields(first, {"seeds": (2,), "set": {"a.b": "3"}})
    assert second.seeds == (2,)
    assert second.settings == {"a.b": "3", "c.d": "2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("methods = [", "expected TOML"),
        ("methods = 'a'\nmethods = 'b'", "expected TOML"),
        ("metods = 'infomask'", "unknown field 'metods'. Did you mean 'methods'?"),
        ("seeds = true", "seeds has a value of the wrong type: True"),
        ("seeds = [1, 1]", "each seed once"),
        ("seeds = 0", "at least one seed"),
        ("skip_corrupt = 1", "skip_corrupt has a value of the wrong type"),
        ("min_val_located = 'few'", "min_val_located has a value of the wrong type"),
        ("thresholds = 0.5", "thresholds has a value of the wrong type"),
        ("thresholds = [2]", "threshold"),
        ("set = 'x'", "set has a value of the wrong type"),
        ("methods = 3", "methods has a value of the wrong type"),
    ],
)
def test_bad_study_files_are_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_study(path)
    assert said in str(caught.value)


def test_a_missing_or_binary_study_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_study(tmp_path / "none.toml")
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="expected TOML"):
        read_study(path)


def test_an_unknown_checkpoint_rule_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--checkpoint best: expected one of .*accurate_then_localized"):
        with_fields(RunSpec(), {"checkpoint": "best"})


def test_the_study_file_is_toml() -> None:
    assert tomllib.loads(SPEC.to_toml())["seeds"] == [0, 7, 11]
