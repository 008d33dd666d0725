"""What publishes a leaderboard: shape of masks, strata and orders, against plain computations."""

from __future__ import annotations

import csv
import importlib
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, run_python, tiny_folder
from doc_blocks import commands
from study_helper import RECIPE

from wsl_bench.data.prepared import load_truth, load_weak
from wsl_bench.leaderboard.build import build_leaderboard
from wsl_bench.spec import RunSpec, with_fields
from wsl_bench.store.records import read_records
from wsl_bench.study import open_study, remaining, run_study

STRATA = ["even=subclass:even", "odd=subclass:odd|none", "few=subclass:few"]


@pytest.fixture(scope="module")
def scripts() -> Any:
    """The modules of leaderboards/, which are scripts and no package."""
    sys.path.insert(0, str(ROOT / "leaderboards"))
    try:
        yield {name: importlib.import_module(name) for name in ("shape", "order", "differences", "publish")}
    finally:
        sys.path.remove(str(ROOT / "leaderboards"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two seeds on images with a column of kinds."""
    place = tmp_path_factory.mktemp("published")
    folder = tiny_folder(place / "images", n=520)
    path = folder / "labels.csv"
    lines = path.read_text().splitlines()
    kinds = [("few" if i > 510 else "odd" if i % 4 == 1 else "even") for i in range(len(lines) - 1)]
    path.write_text("\n".join([lines[0] + ",subclass", *(f"{a},{b}" for a, b in zip(lines[1:], kinds, strict=True))]))
    fields = {"methods": ("infomask", "gradcam"), "seeds": (0, 1), "datasets": (str(folder),), "set": RECIPE}
    spec = with_fields(RunSpec(), fields)
    plan = open_study(spec, place / "run")
    run_study(remaining(plan, place / "run", retry_failed=False), place / "run", n_workers=2, on_event=lambda e: None)
    return place / "run"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_largest_component(scripts: Any) -> None:
    share = scripts["shape"].largest_component_share
    lit = np.zeros((5, 6), np.bool_)
    assert math.isnan(share(lit))
    lit[0, :3] = lit[4, 5] = True
    assert share(lit) == 0.75
    lit[1, 3] = True  # a diagonal neighbour belongs to it
    assert share(lit) == 0.8


def test_shapes_are_those_of_the_records(scripts: Any, run: Path) -> None:
    found = {(r["method"], r["quantity"]): r for r in scripts["shape"].shape_rows(run)}
    folder = next((run / "prepared").iterdir())
    weak, truth = load_weak(folder, "test"), load_truth(folder, "test")
    inside, negatives, components = [], [], []
    for record in read_records(run)[0]:
        if record.content["method"] != "infomask":
            continue
        maps = record.maps()
        for name, sigma in zip(maps["image_ids"], maps["sigma"].astype(np.float32), strict=True):
            i = weak.image_ids.index(str(name))
            stored = weak.frames[i].to_stored(sigma)
            if truth.located[i]:
                inside.append(stored[truth.truths[i].pixels(*stored.shape)].mean())
            elif weak.labels[i] == 0:
                negatives.append(stored.mean())
        k = round(record.content["operating_point"]["threshold"] * 1000)
        components.append(record.test.components[record.test.located, k])
    assert found["infomask", "sigma_inside"]["mean"] == pytest.approx(np.mean(inside), rel=1e-5)
    assert found["infomask", "sigma_on_negatives"]["mean"] == pytest.approx(np.mean(negatives), rel=1e-5)
    lit = np.stack(components)[:, (np.stack(components) > 0).all(0)]
    assert found["infomask", "components"]["mean"] == pytest.approx(lit.mean())
    assert ("gradcam", "sigma_inside") not in found
    difference = found["infomask", "sigma_inside_minus_outside"]
    assert difference["low"] <= difference["mean"] <= difference["high"]


def test_iou_by_brightness_is_that_of_the_records(scripts: Any, run: Path) -> None:
    found = {(r["method"], r["quantity"]): r for r in scripts["shape"].shape_rows(run)}
    folder = next((run / "prepared").iterdir())
    weak, truth = load_weak(folder, "test"), load_truth(folder, "test")
    records = [r for r in read_records(run)[0] if r.content["method"] == "gradcam"]
    test = records[0].test
    grey = {}
    for name, image, frame, own in zip(weak.image_ids, weak.images, weak.frames, truth.truths, strict=True):
        stored = frame.to_stored(image.astype(np.float32))
        grey[name] = stored[~own.pixels(*stored.shape)].mean()
    rows_of = sorted(np.flatnonzero(test.located), key=lambda i: grey[str(test.image_ids[i])])
    ious = []
    for record in records:
        k = round(record.content["operating_point"]["threshold"] * 1000)
        tp, fp = record.test.true_positives[:, k].astype(float), record.test.false_positives[:, k]
        ious.append(tp / np.maximum(test.truth_area + fp, 1))
    brightest = rows_of[-(len(rows_of) // 3) :]
    expected = np.mean([[iou[i] for i in brightest] for iou in ious])
    assert found["gradcam", "iou_brightest_third"]["mean"] == pytest.approx(expected)
    thirds = [found["gradcam", f"iou_{name}_third"]["n_images"] for name in ("darkest", "middle", "brightest")]
    assert sum(thirds) == test.located.sum()


def test_differences_pair_the_images_of_two_methods(scripts: Any, run: Path) -> None:
    differences = scripts["differences"]
    lines = {line["metric"]: line for line in differences.difference_rows(build_leaderboard(run))}
    assert lines.keys() >= {"iou", "iop", "share_iop_from_0.5", "share_fpr_to_0.1", "accuracy"}
    assert {line["other"] for line in lines.values()} == {"gradcam"}
    iop = {}
    for name in ("infomask", "gradcam"):
        values = []
        for record in (r for r in read_records(run)[0] if r.content["method"] == name):
            test, k = record.test, round(record.content["operating_point"]["threshold"] * 1000)
            tp, fp = test.true_positives[test.located, k].astype(float), test.false_positives[test.located, k]
            values.append(np.where(tp + fp > 0, tp / np.maximum(tp + fp, 1), 0))
        iop[name] = np.stack(values)
    for metric, of in {"iop": lambda v: v, "share_iop_from_0.5": lambda v: v >= 0.5}.items():
        line = lines[metric]
        assert line["mean"] == pytest.approx(of(iop["infomask"]).mean())
        assert line["difference"] == pytest.approx(of(iop["infomask"]).mean() - of(iop["gradcam"]).mean())
        assert line["low"] <= line["difference"] <= line["high"]
        assert line["p_holm"] is None  # two seeds
    assert lines["accuracy"]["n_images"] > lines["iou"]["n_images"]
    if "components" in lines:  # images on which no training of either is blank
        assert 0 < lines["components"]["n_images"] <= lines["iou"]["n_images"]
        assert min(lines["components"]["mean"], lines["components"]["other_mean"]) >= 1


def test_what_is_published(scripts: Any, run: Path, tmp_path: Path) -> None:
    labels = run.parent / "images" / "labels.csv"
    scripts["publish"].publish(run, tmp_path, labels, STRATA)
    for name in ("leaderboard.csv", "leaderboard.md", "cells.csv", "costs.csv"):
        assert (tmp_path / name).read_bytes() == (run / name).read_bytes()
    assert (tmp_path / "figures" / "density_iop.png").stat().st_size > 5000
    study = (tmp_path / "study.toml").read_text()
    assert str(run.parent) not in study
    assert '"images"' in study
    assert {"versions", "platform", "fixed", "commit"} <= json.loads((tmp_path / "environment.json").read_text()).keys()
    assert {r["other"] for r in rows(tmp_path / "differences.csv")} == {"gradcam"}
    strata = {(r["stratum"], r["method"]): r for r in rows(tmp_path / "strata.csv")}
    even, odd, few = (strata[name, "infomask"] for name in ("even", "odd", "few"))
    whole = next(r for r in rows(tmp_path / "leaderboard.csv") if r["method"] == "infomask")
    n = [int(r["n_images"]) for r in (even, odd, few)]
    assert sum(n) == int(whole["n_located"])
    assert n[2] < 20
    assert few["iou"] == few["iop_chance"] == ""
    assert float(odd["iou_low"]) <= float(odd["iou"]) <= float(odd["iou_high"])
    kinds = {row["image_id"]: row["subclass"] for row in rows(labels)}
    values = []
    for record in (r for r in read_records(run)[0] if r.content["method"] == "infomask"):
        test, k = record.test, round(record.content["operating_point"]["threshold"] * 1000)
        for i in np.flatnonzero(test.located):
            if kinds[str(test.image_ids[i])] == "even":
                tp, fp = int(test.true_positives[i, k]), int(test.false_positives[i, k])
                values.append(tp / (int(test.truth_area[i]) + fp))
    assert float(even["iou"]) == pytest.approx(np.mean(values))
    assert int(even["n_images"]) == len(values) / 2


def test_orders(scripts: Any) -> None:
    order = scripts["order"]
    base = {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}
    swapped = base | {"a": 0.25}  # one of six pairs changes places
    assert order.taus({"x": base, "y": {k: 2 * v for k, v in base.items()}}) == {("x", "y"): pytest.approx(1)}
    assert order.taus({"x": base, "y": swapped}) == {("x", "y"): pytest.approx(2 / 3)}
    assert "0.67 (x, y); the order is not claimed" in order.report({"x": base, "y": swapped})
    assert "a > b > c | 0.400" in order.report({"x": base, "y": {"a": 3, "b": 2, "c": 1}})
    assert "the order is claimed" in order.report({"x": base, "y": base})


def test_orders_are_read_from_leaderboards(scripts: Any, run: Path) -> None:
    means = scripts["order"].means(run / "leaderboard.csv", "iou")
    assert means.keys() == {"infomask", "gradcam"}
    expected = next(r for r in rows(run / "leaderboard.csv") if r["method"] == "gradcam")
    assert means["gradcam"] == float(expected["iou"])


def test_the_commands(run: Path, tmp_path: Path) -> None:
    """Those of leaderboards/README.md, on three copies of one run."""
    for name in ("phantom", "phantom-1", "phantom-2"):
        shutil.copytree(run, tmp_path / "runs" / name)
    (tmp_path / "leaderboards").mkdir()
    for script in (ROOT / "leaderboards").glob("*.py"):
        shutil.copy(script, tmp_path / "leaderboards")
    publish, order = (line.split() for line in commands((ROOT / "leaderboards" / "README.md").read_text()))
    assert publish[0] == order[0] == "python"
    published = run_python(*publish[1:], cwd=tmp_path)
    assert published.returncode == 0, published.stderr
    out = tmp_path / "leaderboards" / "phantom"
    assert (out / "shape.csv").is_file()
    assert not (out / "strata.csv").exists()
    ordered = run_python(*order[1:], cwd=tmp_path)
    assert ordered.returncode == 0, ordered.stderr
    assert "Smallest tau of 3 pairs: 1.00" in ordered.stdout
