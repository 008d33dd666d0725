"""Every export is read back by a parser that is not ours, and holds the figures of leaderboard.csv."""

from __future__ import annotations

import contextlib
import copy
import csv
import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results
from made_up_run import images, random_maps, write_cell, write_failed, write_run

from wsl_bench.cli import main
from wsl_bench.cli.console import errors
from wsl_bench.leaderboard.build import Leaderboard, build_leaderboard, render, with_oracle
from wsl_bench.leaderboard.columns import columns
from wsl_bench.leaderboard.json_text import schema_text
from wsl_bench.leaderboard.latex import escaped, to_latex
from wsl_bench.leaderboard.model_index import model_card
from wsl_bench.leaderboard.yaml_text import to_yaml

NASTY = r"a_b=50%,c=#1&{y}$z\q^~[u]<v>|w"
SCHEMA = ROOT / "docs" / "schema" / "leaderboard.schema.json"
CLASSIFIES = {"probability": np.linspace(0, 1, 30)}
PRIOR: dict[str, Any] = {"decision": None, "sanity": True, "val_auc": None, "polarity": None}


def seen(seed: int) -> Any:
    """Maps that find the ground truth."""
    return np.stack(images("test").masks).astype(np.float32) * 0.5 + random_maps(30, seed) * np.float32(0.39)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seeds: one method far ahead, two that look alike, one that was turned over, a sanity row, a failure."""
    root = tmp_path_factory.mktemp("run")
    write_run(root, planned=[["missing", ""]])
    turned = {"value": 0.1, "low": 0.0, "high": 0.2}
    for seed in range(5):
        write_cell(root, "seer", seed, seen(seed), **CLASSIFIES)
        write_cell(root, "noise", seed, random_maps(30, seed), method_params=NASTY, **CLASSIFIES)
        write_cell(root, "turned", seed, random_maps(30, seed + 9), polarity=turned, **CLASSIFIES)
        write_cell(root, "prior", seed, random_maps(30, 1, blank=tuple(range(30))), **PRIOR)
    write_failed(root, "broken", 0)
    return root


@pytest.fixture(scope="module")
def board(run: Path) -> Leaderboard:
    return build_leaderboard(run)


@pytest.fixture(scope="module")
def table(run: Path) -> list[dict[str, str]]:
    """leaderboard.csv as the command writes it, read by the csv module: what the others are compared with."""
    assert main._guarded(["leaderboard", str(run), "--format", "csv", "--output", str(run / "out.csv")]) == 0
    with (run / "out.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def named(row: dict[str, Any]) -> str:
    return row["method"] + (f"[{row['method_params']}]" if row["method_params"] else "")


def three(text: str) -> str:
    """A figure of leaderboard.csv with the three digits that tables print."""
    return f"{float(text):.3f}" if text else ""


def test_csv_is_read_alike_by_pandas(run: Path, board: Leaderboard, table: list[dict[str, str]]) -> None:
    frame = pd.read_csv(run / "out.csv", keep_default_na=False, dtype=str)
    assert frame.to_dict("records") == table
    numbers = pd.read_csv(run / "out.csv")
    for row, found in zip(board.rows, numbers.to_dict("records"), strict=True):
        for metric in ("iou", "iou_low", "fpr", "fnr_fixed_high", "pxap", "threshold", "rank_low"):
            assert (row.get(metric) is None and math.isnan(found[metric])) or row[metric] == found[metric], metric


def by_table(table: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rows in the order of tables for people: one a threshold rule, methods without a result at its end."""
    return sorted(table, key=lambda row: row["threshold_rule"] != "val")


def parsed_markdown(text: str) -> list[dict[str, str]]:
    """The rows of every pipe table, cells by header, escaped pipes undone."""
    rows: list[dict[str, str]] = []
    header: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            header = []
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
        if not header:
            header = cells
        elif set("".join(cells)) != {"-"}:
            rows.append(dict(zip(header, cells, strict=True)))
    return rows


def test_markdown_holds_the_figures_of_the_csv(board: Leaderboard, table: list[dict[str, str]]) -> None:
    found = parsed_markdown(render(board, "markdown"))
    assert len(found) == len(table) == 12
    for line, row in zip(found, by_table(table), strict=True):
        assert line["method"] == named(row)
        for metric in ("iou", "iop", "fpr", "fnr", "dice", "pxap", "auc", "accuracy"):
            numbers = re.findall(r"[\d.]+", line[metric])
            assert numbers == [three(row[f"{metric}{end}"]) for end in ("", "_low", "_high") if row[f"{metric}{end}"]]


ROW_END, CELL = r"\\", "&"


def tokens(tex: str) -> list[str]:
    """TeX's tokens as far as tables need them: commands, single characters that mean something, runs of text."""
    tex = re.sub(r"(?<!\\)%.*", "", tex)
    return re.findall(r"\\[A-Za-z]+|\\.|[{}&$^_#~]|[^\\{}&$^_#~]+", tex, flags=re.S)


UNDONE = {
    r"\textbackslash": "\\", r"\textasciitilde": "~", r"\textasciicircum": "^", r"\textless": "<",
    r"\textgreater": ">", r"\textbar": "|", r"\,": " ",
}  # fmt: skip
# All that a document may meet: the kernel of LaTeX, and of booktabs three rules.
KNOWN = {
    r"\begin", r"\end", r"\centering", r"\footnotesize", r"\scriptsize", r"\setlength", r"\tabcolsep", r"\caption",
    r"\toprule", r"\midrule", r"\bottomrule", r"\textbf", r"\dagger", r"\par", r"\smallskip", r"\item", r"\texttt",
    ROW_END, *UNDONE,
}  # fmt: skip


def check_tex(tex: str) -> None:
    """Braces, dollars and environments pair up; no command is unknown; specials stand only where they may."""
    depth, in_math, open_environments = 0, False, []
    stream = tokens(tex)
    for i, token in enumerate(stream):
        depth += (token == "{") - (token == "}")
        assert depth >= 0
        in_math ^= token == "$"
        assert token not in ("#", "~", *(() if in_math else ("^", "_"))), stream[max(0, i - 5) : i + 5]
        if token == "&":
            assert open_environments[-1] == "tabular"
        if re.fullmatch(r"\\[A-Za-z]+|\\\\", token):
            assert token in KNOWN, token
        if token in (r"\begin", r"\end"):
            name = stream[i + 2]
            if token == r"\begin":
                open_environments.append(name)
            else:
                assert open_environments.pop() == name
    assert depth == 0
    assert not in_math
    assert not open_environments


def parsed_latex(tex: str) -> list[list[dict[str, Any]]]:
    """The rows of every tabular: text, whether bold, whether marked with a dagger, cell by cell."""
    found = []
    for body in re.findall(r"\\begin\{tabular\}\{[a-z]+\}(.*?)\\end\{tabular\}", tex, flags=re.S):
        rows: list[list[dict[str, Any]]] = [[{"text": "", "bold": False, "dagger": False}]]
        for token in tokens(body):
            cell = rows[-1][-1]
            if token == ROW_END:
                rows.append([{"text": "", "bold": False, "dagger": False}])
            elif token == CELL:
                rows[-1].append({"text": "", "bold": False, "dagger": False})
            elif token in (r"\textbf", r"\dagger"):
                cell["bold" if token == r"\textbf" else "dagger"] = True
            elif token in UNDONE or (len(token) == 2 and token[0] == "\\"):
                cell["text"] += UNDONE.get(token, token[1:])
            elif token[0] != "\\" and token not in "{}$^":
                cell["text"] += token
        header = [cell["text"].strip() for cell in rows[0]]
        lines = [dict(zip(header, row, strict=True)) for row in rows[1:-1]]
        found += [[{k: v | {"text": v["text"].strip()} for k, v in line.items()} for line in lines]]
    return found


SHOWN = {"IoP": "iop", "FPR": "fpr", "FNR": "fnr", "Dice": "dice", "PxAP": "pxap", "AUC": "auc", "Accuracy": "accuracy"}


def test_latex_holds_the_figures_of_the_csv(board: Leaderboard, table: list[dict[str, str]]) -> None:
    tex = render(board, "latex")
    check_tex(tex)
    lines = [line for rows in parsed_latex(tex) for line in rows]
    assert len(lines) == len(table) == 12
    for line, row in zip(lines, by_table(table), strict=True):
        assert line["Method"]["text"] == named(row)
        assert line["Status"]["text"].startswith(row["status"])
        ranks = [] if not row["rank_low"] else sorted({row["rank_low"], row["rank_high"]})
        assert re.findall(r"\d+", line["Rank"]["text"]) == ranks
        bounds = [three(row[f"iou{end}"]) for end in ("", "_low", "_high")]
        assert re.findall(r"[\d.]+", line["IoU"]["text"]) == [bound for bound in bounds if bound]
        for header, metric in SHOWN.items():
            assert line[header]["text"] == (three(row[metric]) or "--")


def test_only_a_first_place_that_is_certain_is_bold(board: Leaderboard) -> None:
    fitted, fixed = parsed_latex(render(board, "latex"))
    assert [line["Method"]["text"] for line in fitted if line["IoU"]["bold"]] == ["seer"]
    assert {row["method"]: (row["rank_low"], row["rank_high"]) for row in board.rows}["seer"] == (1, 1)
    assert not any(cell["dagger"] for line in fitted + fixed for cell in line.values())
    assert not any(line[h]["bold"] for line in fitted + fixed for h in line if h != "IoU")


def test_a_shared_first_place_is_marked_and_nothing_is_bold(board: Leaderboard) -> None:
    others = [row for row in board.rows if row["method"] != "seer" and row["threshold_rule"] == "val"]
    shared = [row | ({"rank_low": 1, "rank_high": 2} if row["rank_low"] else {}) for row in others]
    tex = to_latex(shared, [])
    check_tex(tex)
    (lines,) = parsed_latex(tex)
    assert [line["IoU"]["dagger"] for line in lines] == [row["rank_low"] == 1 for row in shared]
    assert sum(line["IoU"]["dagger"] for line in lines) == 2
    assert not any(line["IoU"]["bold"] for line in lines)
    assert "first place is shared" in tex
    assert "Bold" not in tex


@pytest.mark.parametrize("low", [None, 1], ids=["no ranks", "one method alone"])
def test_without_a_comparison_nothing_is_marked(board: Leaderboard, low: int | None) -> None:
    row = next(row for row in board.rows if row["method"] == "seer")
    tex = to_latex([row | {"rank_low": low, "rank_high": low}], [])
    ((line,),) = parsed_latex(tex)
    assert not line["IoU"]["bold"]
    assert not line["IoU"]["dagger"]


def test_tex_commands_in_names_are_text() -> None:
    tex = escaped("\\input{/etc/passwd} 100% $x$\n[y] a_b")
    assert tex == r"\textbackslash{}input\{/etc/passwd\} 100\% \$x\$ {[}y{]} a\_b"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed: LaTeX was not compiled")
def test_latex_compiles_with_booktabs_alone(board: Leaderboard, tmp_path: Path) -> None:
    document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n%s\\end{document}\n"
    (tmp_path / "t.tex").write_text(document % render(board, "latex"))
    done = subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def of_csv(value: Any) -> str:
    """What leaderboard.csv has for a value of the JSON."""
    return "" if value is None else "inf" if value == "Infinity" else str(value)


def test_json_obeys_its_schema_and_has_every_digit(run: Path, table: list[dict[str, str]], tmp_path: Path) -> None:
    file = tmp_path / "board.json"
    assert main._guarded(["leaderboard", str(run), "--format", "json", "--output", str(file)]) == 0
    document = json.loads(file.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    jsonschema.validate(document, json.loads(SCHEMA.read_text()), jsonschema.Draft202012Validator)
    assert [{k: of_csv(v) for k, v in row.items()} for row in document["rows"]] == table
    assert [failure["method"] for failure in document["failures"]] == ["broken"]
    assert any("Intervals are 95 %" in note for note in document["notes"])


def test_the_committed_schema_is_the_code_s_and_describes_every_column(board: Leaderboard) -> None:
    assert SCHEMA.read_text() == schema_text()
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    described = schema["properties"]["rows"]["items"]["properties"]
    assert list(described) == list(columns()) == list(with_oracle(board).rows[0])
    assert all(len(column["description"]) > 5 for column in described.values())
    jsonschema.validate(json.loads(render(with_oracle(board), "json")), schema)


def test_the_schema_refuses_what_a_leaderboard_never_has(board: Leaderboard) -> None:
    schema, document = json.loads(SCHEMA.read_text()), json.loads(render(board, "json"))
    for change in (
        {"iou": "0.5"}, {"iou": 1.5}, {"fpr": -0.1}, {"status": "fine"}, {"n_seeds": None}, {"invented": 1},
        {"cnr_median": "inf"}, {"rank_low": 1.5},
    ):  # fmt: skip
        broken = copy.deepcopy(document)
        broken["rows"][0] |= change
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema)
    del document["rows"][0]["iou"]
    with pytest.raises(jsonschema.ValidationError, match="'iou' is a required property"):
        jsonschema.validate(document, schema)


def test_undefined_figures_are_null_and_infinite_ones_a_word(board: Leaderboard) -> None:
    row = board.rows[0] | {"cnr_median": math.inf, "polarity": math.nan}
    document = json.loads(render(Leaderboard([row], [], [], [], []), "json"))
    assert document["rows"][0]["cnr_median"] == "Infinity"
    assert document["rows"][0]["polarity"] is None
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))


ALLOWED = {
    "": {"name", "results"}, "results": {"task", "dataset", "metrics"}, "task": {"type", "name"},
    "dataset": {"type", "name", "split"}, "metrics": {"type", "value", "name", "args"},
}  # fmt: skip


def test_model_index_is_read_back_by_huggingface_hub(run: Path, table: list[dict[str, str]], tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    assert main._guarded(["export", str(run), "--format", "model-index", "--output", str(file)]) == 0
    index = metadata_load(file)["model-index"]
    assert index == yaml.safe_load(file.read_text().split("---\n")[1])["model-index"]
    finished = [row for row in table if row["n_seeds"] != "0" and row["status"] != "sanity"]
    assert [model["name"] for model in index] == list(dict.fromkeys(map(named, finished)))
    count = 0
    for model in index:
        assert set(model) == ALLOWED[""]
        for result in model["results"]:
            assert all(set(result[part]) <= ALLOWED[part] for part in ("task", "dataset"))
            assert all(set(metric) <= ALLOWED["metrics"] for metric in result["metrics"])
        name, results = model_index_to_eval_results([model])
        for found in results:
            rules = [found.metric_args["threshold_rule"]] if found.metric_args else ["val", "0.5"]
            rows = [row for row in finished if named(row) == name and row["threshold_rule"] in rules]
            assert found.dataset_split == "test"
            assert found.metric_value in [float(row[found.metric_type]) for row in rows]
            assert ("inverted (5/5)" in found.metric_name) == (name == "turned")
            count += 1
    assert count == len(finished) * 8 * 3
    assert ModelCard.load(file).data.to_dict()["model-index"]


def test_one_method_makes_a_card_of_its_own(run: Path, board: Leaderboard) -> None:
    name, results = model_index_to_eval_results(
        yaml.safe_load(model_card(board.rows, [], {}, ["seer"]).split("---\n")[1])["model-index"]
    )
    assert name == "seer"
    assert {result.dataset_name for result in results} == {"made_up"}
    for arguments, said in (
        (("--method", "prior"), "no sanity row"),
        (("--method", "sear"), "Did you mean 'seer'?"),
        (("--dataset", "x"), "expected --format codabench"),
    ):
        assert refused(["export", str(run), "--format", "model-index", "--output", str(run / "x"), *arguments], said)
    assert not (run / "x").exists()


def refused(arguments: list[str], said: str) -> bool:
    """Whether a command ends with exit code 2 and says this."""
    with errors.capture() as shown, contextlib.suppress(SystemExit):
        code = main._guarded(arguments)
    return code == 2 and said in " ".join(shown.get().split()) and "Traceback" not in shown.get()


def test_what_cannot_be_exported_is_said(run: Path, tmp_path: Path) -> None:
    to = ("--output", str(tmp_path / "out"))
    for arguments, said in (
        (["export", str(run), "--format", "papers", *to], "expected one of model-index, codabench"),
        (["export", str(run), "--format", "codabench", *to], "has the datasets none"),
        (["export", str(tmp_path), "--format", "model-index", *to], "expected the folder of a run"),
        (["export", str(run), "--format", "model-index", "--output", str(tmp_path)], "expected a file, found a folder"),
        (["leaderboard", str(run), "--format", "latex", "--by", "lesion_size"], "expected one of table, csv, markdown"),
        (["leaderboard", str(run), "--format", "pdf"], "latex, json"),
        (["leaderboard", str(run), "--format", "latex", "--oracle"], "expected another format"),
    ):
        assert refused(arguments, said), said
    assert not (tmp_path / "out").exists()


def test_our_yaml_is_what_pyyaml_reads() -> None:
    value = {
        "a": [{"b": 1, "c": [1, [2, {"d": []}]]}, {}, "- x: y"], "on": "\u00e9\x85\U0001f600 \" \\ : # '\n\t",
        "1": None, "f": [1e-5, 1e20, 0.1, -0.0, 1e16, math.inf], "t": [True, False], "s": "1e-5",
        "no": "null", "\u00fc": "",
    }  # fmt: skip
    assert yaml.safe_load(to_yaml(value)) == value
    with pytest.raises(TypeError, match="plain value"):
        to_yaml({"x": object()})
