"""Mistakes of published evaluations, tried on this package; docs/validity.md says which test tries which."""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from conftest import ROOT, tiny_folder, write_csv
from safetensors.torch import save_file
from study_helper import plan_of, run_plan

from wsl_bench import params, registry
from wsl_bench.data.samples import Dataset
from wsl_bench.data.splits import make_manifest
from wsl_bench.errors import UsageError
from wsl_bench.external.read import open_maps
from wsl_bench.external.score import External, MapScaleChoice, check_fit, score_maps
from wsl_bench.leaderboard.build import write_leaderboard
from wsl_bench.method import PriorData, Task
from wsl_bench.metrics.truth import rasterize_boxes
from wsl_bench.protocol.cell import run_job
from wsl_bench.protocol.rules import Rules
from wsl_bench.spec import RunSpec, with_fields
from wsl_bench.stats.ranking import paired_difference
from wsl_bench.study import open_study

SIZE = (32, 40)  # height, width of the images of tiny_folder
PAGE = ROOT / "docs" / "validity.md"
Maps = dict[str, npt.NDArray[np.float32]]
Table = dict[str, dict[str, str]]
# Name of a set of maps, and how it is scaled.
READINGS: tuple[tuple[str, MapScaleChoice], ...] = (
    ("abstains", "none"), ("speck", "none"), ("faint", "none"), ("faint", "image"),
)  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict[str, str]]) -> None:
    write_csv(path, list(rows[0]), [list(row.values()) for row in rows])


def folder(root: Path) -> Dataset:
    dataset: Dataset = params.build(registry.discover("dataset").get("folder").cls, "folder", {"root": root})
    return dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("validity") / "data")


@pytest.fixture(scope="module")
def scored(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with maps that each try to look better than they are, read at 0.5."""
    place = tmp_path_factory.mktemp("scored")
    names = [row["image_id"] for row in read(data / "labels.csv") if row["split"] == "test"]
    truth = {
        row["image_id"]: rasterize_boxes(np.array([[float(row[c]) for c in "xywh"]]), *SIZE)
        for row in read(data / "boxes.csv")
        if row["image_id"] in names
    }
    blank = np.zeros(SIZE, np.float32)
    sure = list(truth)[::2]  # every second lesion; of the others nothing is said
    rng = np.random.default_rng(0)
    sets: dict[str, Maps] = {
        "abstains": {n: truth[n].astype(np.float32) if n in sure else blank for n in names},
        "speck": {n: speck(truth[n]) if n in truth else blank for n in names},
        "faint": {n: rng.random(SIZE, dtype=np.float32) / 100 for n in names},
    }
    spec = with_fields(RunSpec(), {"methods": ("center_box",), "datasets": (str(data),), "thresholds": ("0.5",)})
    plan = open_study(spec, place / "run")
    for name, scale in READINGS:
        np.savez(place / f"{name}.npz", **sets[name])  # type: ignore[arg-type]
        source, external = open_maps(place / f"{name}.npz"), External(f"{name}_{scale}", 0, 0.5, scale)
        sha256 = check_fit(source, external, plan.datasets[0])
        score_maps(source, sha256, external, plan.rules, plan.datasets[0], place / "run")
    write_leaderboard(place / "run")
    return place / "run"


def speck(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """One pixel of the ground truth."""
    out = np.zeros(SIZE, np.float32)
    out[tuple(np.argwhere(mask)[0])] = 1
    return out


@pytest.fixture(scope="module")
def table(scored: Path) -> Table:
    return {row["method"]: row for row in read(scored / "leaderboard.csv")}


def test_the_labels_of_test_change_no_checkpoint_threshold_or_map(data: Path, tmp_path: Path) -> None:
    """Neither may the best epoch on test be taken, nor the class that is explained be the true one."""
    first, second = "case096", "case097"  # of test: a healthy one and a positive one, now the other way round
    other = tiny_folder(tmp_path / "other")
    labels = read(other / "labels.csv")
    assert all(row["split"] == "test" for row in labels if row["image_id"] in (first, second))
    new = {first: "1", second: "0"}
    write(
        other / "labels.csv",
        [r | {"label": new[r["image_id"]], "has_boxes": "0"} if r["image_id"] in new else r for r in labels],
    )
    write(other / "boxes.csv", [row for row in read(other / "boxes.csv") if row["image_id"] != second])
    before, after = (
        run_plan(plan_of(root, tmp_path / name, methods=("gradcam",)), tmp_path / name)[0]
        for root, name in ((data, "a"), (other, "b"))
    )
    assert before.keys() == after.keys()
    assert before["gradcam", 0].content["n_val_boxes"] == 24  # what the choice has cost
    for name in before:
        a, b = before[name], after[name]
        for key in ("checkpoint", "operating_point", "history"):
            assert a.content[key] == b.content[key]
        for key, maps in a.maps().items():
            np.testing.assert_array_equal(maps, b.maps()[key])
        np.testing.assert_array_equal(a.test.probability, b.test.probability)
        assert int((a.test.labels != b.test.labels).sum()) == 2


def test_a_prior_gets_no_boxes_that_it_does_not_declare(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, bool] = {}
    found = registry.discover("method")

    def watched(name: str) -> Callable[[Any, Task, PriorData], Any]:
        fit = found.get(name).cls.fit

        def watching(self: Any, task: Task, prior: PriorData) -> Any:
            seen[name] = prior.validation_truth is not None
            return fit(self, task, prior)

        return watching

    for name in ("center_box", "mean_box"):
        monkeypatch.setattr(found.get(name).cls, "fit", watched(name))
    records, _ = run_plan(plan_of(data, tmp_path, methods=("center_box", "mean_box"), thresholds=("0.5",)), tmp_path)
    assert seen == {"center_box": False, "mean_box": True}
    assert all(records[name, 0].content["sanity"] for name in seen)  # and neither is ever ranked


def test_abstaining_raises_no_mean(table: Table) -> None:
    """Perfect on every second lesion and silent on the others: 1 for whoever leaves out blank maps, 0.5 here."""
    row = table["abstains_none"]
    assert (row["n_located"], row["n_nonempty"]) == ("12", "6")
    for metric in ("iou", "dice", "iop", "fnr", "empty_rate", "pointing", "t_iou_50"):
        assert float(row[metric]) == pytest.approx(0.5), metric
    assert float(row["iop_nonempty"]) == 1


def test_a_speck_in_the_lesion_is_no_good_map(table: Table, scored: Path) -> None:
    """IoP and IoBB alone call it perfect."""
    row = table["speck_none"]
    assert float(row["iop"]) == float(row["t_iobb_90"]) == float(row["pointing"]) == 1
    assert float(row["fnr"]) == pytest.approx(0.99, abs=0.01)
    assert float(row["iou"]) == pytest.approx(0.01, abs=0.01)
    header = next(line for line in (scored / "leaderboard.md").read_text().splitlines() if line.startswith("| method"))
    columns = [column.strip() for column in header.strip("|").split("|")]
    assert columns.index("iou") < columns.index("iop")
    assert {"fnr", "fpr", "iop / chance", "empty_rate"} <= set(columns)


def test_no_criterion_fits_a_bare_iop() -> None:
    for criterion in ("iop", "iobb"):
        with pytest.raises(UsageError, match="--criterion"):
            Rules(criterion=criterion)  # type: ignore[arg-type]


def test_a_faint_map_blown_up_image_by_image_shows_on_negatives(table: Table) -> None:
    """Noise of at most 0.01: as it is, nothing was found; over its own maximum it lights healthy images as well."""
    plain, blown_up = table["faint_none"], table["faint_image"]
    assert (plain["map_scale"], blown_up["map_scale"]) == ("none", "image")
    assert (float(plain["fpr_negative"]), float(plain["empty_rate"])) == (0, 1)
    assert float(blown_up["fpr_negative"]) == pytest.approx(0.5, abs=0.05)
    assert float(blown_up["empty_rate"]) == 0


def test_copies_of_the_same_patients_are_no_more_evidence() -> None:
    rng = np.random.default_rng(0)
    # What tells the methods apart differs from patient to patient, and hardly from seed to seed.
    a, b = (mean + rng.normal(0, 0.2, 40) + rng.normal(0, 0.002, (5, 40)) for mean in (0.5, 0.52))
    once = paired_difference(a, b, range(40))
    many = paired_difference(np.repeat(a, 250, 1), np.repeat(b, 250, 1), np.repeat(np.arange(40), 250))
    assert once.p > 0.05
    assert (many.p, many.low, many.high) == pytest.approx((once.p, once.low, once.high))
    pretended = paired_difference(np.repeat(a, 250, 1), np.repeat(b, 250, 1), range(40 * 250))
    assert pretended.p < 1e-4  # what it would be with images as units


def test_an_id_that_begins_like_another_takes_none_of_its_boxes(tmp_path: Path) -> None:
    root = tiny_folder(tmp_path / "data", n=30)
    for name in ("labels.csv", "boxes.csv"):
        renamed = {"case001": "case1", "case003": "case10"}
        write(root / name, [r | {"image_id": renamed.get(r["image_id"], r["image_id"])} for r in read(root / name)])
    write(
        root / "boxes.csv", [*read(root / "boxes.csv"), {"image_id": "case10", "x": "1", "y": "1", "w": "2", "h": "2"}]
    )
    dataset = folder(root)
    boxes = {s.image_id: len(dataset.truth(s).boxes) for s in dataset.samples() if s.image_id in ("case1", "case10")}
    assert boxes == {"case1": 1, "case10": 2}


def test_weights_that_saw_the_images_are_named_and_unranked(data: Path, tmp_path: Path) -> None:
    entry = registry.discover("network").get("densenet121")
    torch.manual_seed(0)
    start = params.build(entry.cls, "densenet121", {}).build(Task(1, 32, 0.25, "batch", 0)).state_dict()
    file = tmp_path / "w.safetensors"
    save_file(start, file)
    settings = {"recipe.epochs": "1"}
    with pytest.raises(UsageError, match="expected trained_on with it"):
        plan_of(data, tmp_path / "refused", methods=(f"chexcam[weights={file}]",), set=settings)
    statuses = {}
    for seen in ("imagenet+data", "imagenet"):
        out = tmp_path / seen
        methods = (f"chexcam[weights={file},trained_on={seen}]",)
        spec = with_fields(RunSpec(), {"datasets": (str(data),), "methods": methods, "seeds": (0,), "set": settings})
        for job in open_study(spec, out).jobs:
            run_job(job, lambda event: None)
        board = write_leaderboard(out)
        statuses[seen] = board.rows[0]["status"]
        assert any("have seen images of this dataset" in note for note in board.notes) == (seen == "imagenet+data")
    assert statuses["imagenet+data"] == "contaminated"
    assert statuses["imagenet"] in ("ok", "at_chance", "inverted")


def test_leaving_out_a_view_is_another_split(data: Path) -> None:
    samples = folder(data).samples()
    whole, filtered = make_manifest("data", samples), make_manifest("data", samples[:-6])  # as if those were AP
    assert len(whole.samples) == len(samples) == len(read(data / "labels.csv"))  # nothing is left out unasked
    assert whole.sha256() != filtered.sha256()


def rows_of_the_page() -> dict[int, list[tuple[str, str]]]:
    """The tests that each row of the page's table names."""
    rows = {}
    mistakes = PAGE.read_text().split("## What the intervals and ranks hold")[0]
    for line in mistakes.splitlines():
        if found := re.match(r"\| (\d+) \|", line):
            rows[int(found[1])] = re.findall(r"`(tests/[^`:]+\.py)::(\w+)`", line)
    return rows


def test_every_test_that_the_page_names_exists() -> None:
    rows = rows_of_the_page()
    assert rows
    for number, tests in rows.items():
        assert tests, f"row {number} names no test"
    named = {test for tests in rows.values() for test in tests}
    functions: dict[str, set[str]] = {}
    for path in {path for path, _ in named}:
        tree = ast.parse((ROOT / path).read_text())
        functions[path] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert [f"{path}::{name}" for path, name in sorted(named) if name not in functions[path]] == []
    # Outside the table too: whatever looks like a test has to be one that the table names.
    assert set(re.findall(r"(tests/[\w/]+\.py)::(\w+)", PAGE.read_text())) == named


def test_every_mistake_stands_in_the_table_or_in_the_list() -> None:
    listed = {int(n) for n in re.findall(r"^- \*\*(\d+)\*\*", PAGE.read_text(), re.MULTILINE)}
    assert set(rows_of_the_page()) | listed == set(range(1, 23))
