"""A table split by lesions or by a column: every figure by plain loops, blanks where there are few images."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from made_up_run import SHAPE, images, random_maps, write_cell, write_run

from wsl_bench.cli import main
from wsl_bench.cli.leaderboard import _own_labels
from wsl_bench.errors import DataError, UsageError
from wsl_bench.leaderboard import strata
from wsl_bench.leaderboard.build import build_leaderboard
from wsl_bench.leaderboard.strata import read_labels, stratified
from wsl_bench.study import DETAILS

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("strata")
    write_run(root, thresholds=("val",))
    for seed in SEEDS:
        write_cell(root, "ours", seed, random_maps(30, seed))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["image_id", "view"], *([f"test{i:03d}", "AP" if i % 3 else "PA"] for i in range(29))]
        )
    return root


def mean_iou(chosen: list[int]) -> float:
    test = images("test")
    each = [
        (predicted & test.masks[i]).sum() / (predicted | test.masks[i]).sum()
        for seed in SEEDS
        for i in chosen
        for predicted in [random_maps(30, seed)[i] >= np.float32(0.4)]
    ]
    return float(np.mean(each))


def located() -> list[int]:
    return [i for i, yes in enumerate(images("test").located) if yes]


def test_thirds_by_the_area_of_the_lesions(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strata, "FEWEST", 1)
    rows = stratified(build_leaderboard(run).measured, "lesion_size")
    area = {i: images("test").masks[i].sum() / np.prod(SHAPE) for i in located()}
    bounds = np.quantile(list(area.values()), [1 / 3, 2 / 3])
    thirds = [
        [i for i in located() if area[i] <= bounds[0]],
        [i for i in located() if bounds[0] < area[i] <= bounds[1]],
        [i for i in located() if area[i] > bounds[1]],
    ]
    assert [row["stratum"].split()[0] for row in rows] == ["small", "middle", "large"]
    for row, chosen in zip(rows, thirds, strict=True):
        assert row["n_images"] == len(chosen)
        assert row["n_seeds"] == len(SEEDS)
        assert row["iou"] == pytest.approx(mean_iou(chosen), abs=1e-12)
        assert row["iop_chance"] == pytest.approx(np.mean([area[i] for i in chosen]), abs=1e-12)
        assert 0 <= row["iou_low"] <= row["iou"] <= row["iou_high"] <= 1


def test_a_column_of_the_labels(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strata, "FEWEST", 1)
    rows = stratified(build_leaderboard(run).measured, "view", read_labels(run / "labels.csv"))
    expected = {
        "(none)": [i for i in located() if i == 29],  # an image that the table does not have
        "AP": [i for i in located() if i % 3 and i < 29],
        "PA": [i for i in located() if not i % 3],
    }
    assert [row["stratum"] for row in rows] == list(expected)
    for row in rows:
        assert row["n_images"] == len(expected[row["stratum"]])
        assert row["iou"] == pytest.approx(mean_iou(expected[row["stratum"]]), abs=1e-12)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("age", ["0 to 19", "20 to 39", "40 to 59", "60 to 79", "(none)"]),
        ("dose", ["to 24", "above 24 to 46", "above 46", "(none)"]),
    ],
)
def test_many_numbers_are_put_into_bands(
    run: Path, monkeypatch: pytest.MonkeyPatch, column: str, expected: list[str]
) -> None:
    monkeypatch.setattr(strata, "FEWEST", 1)
    at = located()
    numbers = {i: 2.0 + 5.5 * place for place, i in enumerate(at[:-1])}  # 2 to 68; the last image has none
    labels = {
        f"test{i:03d}": {"image_id": f"test{i:03d}", column: f"{numbers[i]:g}" if i in numbers else ""} for i in at
    }
    rows = stratified(build_leaderboard(run).measured, column, labels)
    assert [row["stratum"] for row in rows] == expected
    first = [i for i, value in numbers.items() if value < 20] if column == "age" else None
    if first is not None:
        assert rows[0]["n_images"] == len(first)
        assert rows[0]["iou"] == pytest.approx(mean_iou(first), abs=1e-12)
    assert sum(row["n_images"] for row in rows) == len(at)
    assert rows[-1]["n_images"] == 1


def test_few_images_give_no_figure(run: Path) -> None:
    for row in stratified(build_leaderboard(run).measured, "lesion_count"):
        assert row["n_images"] in (len(located()), 0)
        assert row["n_images"] < 20
        assert row["iou"] is row["iou_low"] is row["iop_chance"] is None


def test_mistakes_are_named(run: Path, tmp_path: Path) -> None:
    measured = build_leaderboard(run).measured
    with pytest.raises(UsageError, match="or a column of a label table"):
        stratified(measured, "view")
    with pytest.raises(UsageError, match=r"no such column\. Did you mean 'view'"):
        stratified(measured, "veiw", read_labels(run / "labels.csv"))
    with pytest.raises(UsageError, match="none of made_up's test images"):
        stratified(measured, "view", {"elsewhere": {"image_id": "elsewhere", "view": "PA"}})
    with pytest.raises(DataError, match="No such file"):
        read_labels(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_text("name,view\na,PA\n")
    with pytest.raises(DataError, match="image_id"):
        read_labels(tmp_path / "labels.csv")
    for text, said in (
        ("image_id,view\na,PA\nb\n", r"2 fields in row 3 \(image_id 'b'\)"),
        ("image_id,view\na,PA,3\n", "row 2"),
        ("image_id,view\na,PA\na,AP\n", "each image_id once"),
    ):
        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(DataError, match=said):
            read_labels(tmp_path / "labels.csv")


@pytest.mark.parametrize("format", ["table", "csv", "markdown"])
def test_the_command(run: Path, format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["leaderboard", str(run), "--by", "view", "--labels", str(run / "labels.csv"), "--format", format]
    assert main._guarded(arguments) == 0
    said = capsys.readouterr().out
    assert "view" in said
    assert "AP" in said
    if format != "table":
        assert main._guarded([*arguments, "--output", str(tmp_path / "out")]) == 0
        assert (tmp_path / "out").read_text() == said
    for mistake in (["--by", "age"], ["--by", "lesion_size", "--oracle"], ["--labels", str(run / "labels.csv")]):
        assert main._guarded(["leaderboard", str(run), *mistake]) == 2


def test_labels_are_those_of_the_directory_or_else_what_the_run_has_kept(tmp_path: Path) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    write_run(run)
    content = json.loads((run / "run.json").read_text())
    content["planned"]["made_up"]["selector"] = str(data)
    (run / "run.json").write_text(json.dumps(content))
    assert _own_labels(run) is None
    kept = run / DETAILS / "made_up.csv"
    kept.parent.mkdir(parents=True)
    kept.write_text("image_id,view\nim0,PA\n")
    assert _own_labels(run) == kept
    data.mkdir()
    (data / "labels.csv").write_text("image_id,view,grade\nim0,PA,3\n")
    assert _own_labels(run) == data / "labels.csv"  # it may have columns that came later
