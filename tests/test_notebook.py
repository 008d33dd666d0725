"""`load_run`: its numbers against files and plain loops, its pictures pixel by pixel, its pages and its errors."""

from __future__ import annotations

import base64
import csv
import importlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, environment, run_python
from doc_blocks import blocks
from PIL import Image

from wsl_bench import UsageError, load_run
from wsl_bench.cli import main
from wsl_bench.leaderboard.build import write_leaderboard
from wsl_bench.notebook.draw import MASK, TRUTH
from wsl_bench.notebook.run import Run
from wsl_bench.store.atomic import write_arrays
from wsl_bench.store.display import display_file
from wsl_bench.store.records import peek_records, write_record
from wsl_bench.store.run_file import read_run

PAGE = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")
TUTORIAL = ROOT / "docs" / "tutorial.ipynb"
SIDE, INSIDE = 16, (2, 0, 12, 16)  # of the square, and where the 12 x 16 images lie in it
THRESHOLDS = {0: 0.4, 1: 0.7, 2: 0.25}
HOSTILE = "<img src=x onerror=alert(1)>"
METRICS = ("iop", "fpr", "fnr", "iou", "dice")


@pytest.fixture(scope="module")
def made_up() -> Iterator[Any]:
    """The helper of tests/leaderboard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tests" / "leaderboard"))
        yield importlib.import_module("made_up_run")


def maps_of(made_up: Any, method: str, seed: int) -> Any:
    """(30, 12, 16) maps of a made-up training; the first located one is blank."""
    maps = made_up.random_maps(30, 10 * len(method) + seed, blank=(3,))
    if method == "infomask":  # brighter on the lesions
        for i, mask in enumerate(made_up.images("test").masks):
            if i != 3:
                maps[i][mask] = np.minimum(maps[i][mask] + np.float32(0.4), 1)
    return maps


def probabilities(method: str, seed: int) -> Any:
    return np.random.default_rng([len(method), seed]).random(30)


def in_square(values: Any) -> Any:
    """(n, 12, 16) in their squares (n, 16, 16)."""
    out = np.zeros((len(values), SIDE, SIDE), values.dtype)
    out[:, 2:14] = values
    return out


def keep_for_display(root: Path, made_up: Any, dataset: str, kept: list[int], extra: tuple[str, ...]) -> None:
    """Keep square maps of some images only, of infomask with extra ones, and what is shown beside them."""
    test = made_up.images("test")
    for record in peek_records(root):
        content = {k: v for k, v in record.content.items() if k not in ("artefacts", "sha256")}
        if content["dataset"] != dataset:
            continue
        maps = {"image_ids": np.array(test.ids)[kept], "score": in_square(record.maps()["score"])[kept]}
        if content["method"] == "infomask":
            for number, name in enumerate(extra):
                maps[name] = maps["score"] * np.float16(2 * 2**number)  # exact in half precision
        artefacts = {"test": record.test.to_arrays(), "val": record.val.to_arrays(), "maps": maps}
        write_record(root, record.slug, content, artefacts)
    images = np.random.default_rng(1).integers(30, 200, (len(kept), 12, 16), dtype=np.uint8)
    arrays = {
        "image_ids": np.array(test.ids)[kept],
        "labels": np.array(test.labels)[kept],
        "images": in_square(images),
        "truth": np.packbits(in_square(np.array(test.masks)[kept]), axis=None),
        "inside": np.array([INSIDE] * len(kept)),
    }
    write_arrays(display_file(root, dataset), arrays)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, made_up: Any) -> Path:
    """A folder with runs/phantom in it: two methods and a sanity row of three seeds, one method still to be done."""
    place = tmp_path_factory.mktemp("place")
    root = place / "runs" / "phantom"
    made_up.write_run(root, planned=[[name, ""] for name in ("infomask", "gradcam", "prior", "regl1")])
    content = read_run(root)
    content["planned"]["made_up"]["seeds"] = list(THRESHOLDS)
    made_up.store.write_run(root, content)
    for seed, threshold in THRESHOLDS.items():
        for method in ("infomask", "gradcam"):
            made_up.write_cell(root, method, seed, maps_of(made_up, method, seed), threshold=threshold,
                               probability=probabilities(method, seed))  # fmt: skip
        made_up.write_cell(root, "prior", seed, np.ones((30, 12, 16), np.float32), sanity=True, val_auc=None,
                           polarity=None, decision=None, threshold=0.5)  # fmt: skip
    keep_for_display(root, made_up, "made_up", [*range(2, 30, 2), 3, 5], ("mu", "sigma"))
    write_leaderboard(root)
    return place


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    return load_run(place / "runs" / "phantom")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, made_up: Any) -> Path:
    """Two datasets, names that are HTML, and names that pandas would take for numbers or missing values."""
    root = tmp_path_factory.mktemp("hostile")
    made_up.write_run(root, ("0.5",), planned=[["nan", ""]])
    for dataset in ("made_up", "<script>alert(1)"):
        for method in ("nan", "123", HOSTILE):
            made_up.write_cell(root, method, 0, maps_of(made_up, method, 0), dataset=dataset, threshold=None)
    return root


# --- tables ---


@pytest.mark.parametrize("rule", ["val", "0.5"])
def test_the_leaderboard_is_the_file(run: Run, rule: str) -> None:
    whole = pd.read_csv(run.folder / "leaderboard.csv")
    assert whole.threshold_rule.nunique() == 2
    expected = whole[whole.threshold_rule == rule].reset_index(drop=True)
    pd.testing.assert_frame_equal(run.leaderboard(rule), expected, rtol=1e-14)
    assert list(expected.method) == ["infomask", "gradcam", "prior", "regl1"]
    assert expected.iou.isna().tolist() == [False, False, False, True]  # regl1 is not done


def test_a_rule_may_be_a_number(run: Run) -> None:
    pd.testing.assert_frame_equal(run.leaderboard(0.5), run.leaderboard("0.5"))


def test_the_cells_are_the_file(run: Run) -> None:
    expected = pd.read_csv(run.folder / "cells.csv")
    pd.testing.assert_frame_equal(run.cells(), expected, rtol=1e-14)
    assert len(expected) == 2 * 3 * 3


def test_every_field_is_that_of_the_file(hostile: Path) -> None:
    """To the last bit, and names stay names."""
    found = load_run(hostile).leaderboard("0.5")
    write_leaderboard(hostile)
    with (hostile / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(found.columns) == list(rows[0])
    assert set(found.method) == {"nan", "123", HOSTILE}
    assert set(found.threshold_rule) == {"0.5"}
    n_numbers = 0
    for name in found.columns:
        for text, value in zip([row[name] for row in rows], found[name], strict=True):
            if text == "":
                assert value != value
            elif isinstance(value, str):
                assert value == text
            else:
                assert value == float(text)
                n_numbers += 1
    assert n_numbers > 6 * 40


def test_images_by_plain_loops(run: Run, made_up: Any) -> None:
    test = made_up.images("test")
    for seed, threshold in THRESHOLDS.items():
        found = run.per_image("infomask", seed).set_index("image_id")
        assert found.index.tolist() == test.ids
        assert found.label.tolist() == test.labels
        assert found.located.tolist() == test.located
        assert found.group.tolist() == test.groups
        assert found.probability.tolist() == probabilities("infomask", seed).tolist()
        assert (found.threshold == threshold).all()
        for i, scores in enumerate(maps_of(made_up, "infomask", seed)):
            line, truth = found.iloc[i], test.masks[i]
            predicted = scores >= np.float32(threshold)
            assert line.predicted == predicted.sum() / 192
            if not test.located[i]:
                assert line[list(METRICS)].isna().all()
                continue
            both, either = (predicted & truth).sum(), (predicted | truth).sum()
            expected = {
                "area": truth.sum() / 192, "iou": both / either, "fnr": (truth & ~predicted).sum() / truth.sum(),
                "iop": both / predicted.sum() if predicted.any() else 0,
                "fpr": (predicted & ~truth).sum() / (~truth).sum(),
                "dice": 2 * both / (predicted.sum() + truth.sum()),
            }  # fmt: skip
            assert {name: line[name] for name in expected} == pytest.approx(expected, abs=1e-15)


def test_a_blank_map_found_nothing(run: Run) -> None:
    line = run.per_image("gradcam", 0).iloc[3]
    assert (line.located, line.iou, line.iop, line.fnr, line.predicted) == (True, 0, 0, 1, 0)


def test_means_of_images_are_the_cells(run: Run) -> None:
    images, cells = run.per_image("infomask", seed=None), run.cells()
    assert len(images) == 90
    means = images[images.located].groupby("seed")[list(METRICS)].mean()
    ours = cells[(cells.method == "infomask") & (cells.threshold_rule == "val")].set_index("seed")
    np.testing.assert_allclose(means, ours.loc[means.index, list(METRICS)], rtol=0, atol=1e-14)
    assert means.iou.nunique() == 3


def test_images_at_a_fixed_threshold(run: Run) -> None:
    fixed, cells = run.per_image("infomask", 1, rule=0.5), run.cells()
    line = cells[(cells.method == "infomask") & (cells.threshold_rule == "0.5") & (cells.seed == 1)]
    assert fixed.iou.mean() == pytest.approx(line.iou.item(), abs=1e-14)
    assert fixed.iou.mean() != pytest.approx(run.per_image("infomask", 1).iou.mean(), abs=1e-3)


# --- comparisons ---


@pytest.mark.parametrize(("metric", "sign"), [("iou", "+"), ("fnr", "-"), ("auc", "")])
def test_a_comparison_says_what_the_command_says(
    run: Run, metric: str, sign: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["infomask", "gradcam", "--metric", metric, "--output", str(tmp_path / "figure.png")]
    assert main._guarded(["compare", str(run.folder), *arguments]) == 0
    said = capsys.readouterr().out
    found = run.compare("infomask", "gradcam", metric)
    assert f"difference: {found.difference:+.4f}" in said
    assert f"{found.difference:+.4f}".startswith(sign)
    assert f"interval {found.low:+.4f} to {found.high:+.4f}, {_p(found.p)}" in said
    assert f"{_p(found.p_holm)} corrected for all {found.n_pairs} pairs" in said
    assert f"difference of {found.smallest:.4f} or more" in said
    assert f"interval {found.fixed[0]:+.4f} to {found.fixed[1]:+.4f} (percentile)" in said
    assert f", {_p(found.p_fixed)}" in said.splitlines()[-3]
    assert f"infomask: {found.means[0]:.4f} (seeds: 3)   gradcam: {found.means[1]:.4f}" in said


def _p(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"


def test_the_difference_is_that_of_the_images(run: Run) -> None:
    means = [run.per_image(method, seed=None).iou.mean() for method in ("infomask", "gradcam")]
    assert run.compare("infomask", "gradcam").difference == pytest.approx(means[0] - means[1], abs=1e-14)
    assert run.compare("gradcam", "infomask").difference == pytest.approx(means[1] - means[0], abs=1e-14)


# --- maps ---


def test_maps_are_those_of_the_record(run: Run, made_up: Any) -> None:
    test = made_up.images("test")
    for seed, threshold in THRESHOLDS.items():
        maps = run.maps("infomask", "test005", seed)
        written = maps_of(made_up, "infomask", seed)[5]
        assert (maps.dataset, maps.method, maps.image_id, maps.seed) == ("made_up", "infomask", "test005", seed)
        assert (maps.label, maps.threshold) == (1, threshold)
        assert (maps.score.shape, maps.score.dtype) == ((SIDE, SIDE), np.float32)
        np.testing.assert_array_equal(maps.score[2:14], written.astype(np.float16).astype(np.float32))
        assert (maps.image.dtype, maps.image.shape) == (np.uint8, (SIDE, SIDE))
        assert (maps.truth.dtype, maps.mask.dtype) == (np.bool_, np.bool_)
        np.testing.assert_array_equal(maps.truth[2:14], test.masks[5])
        # These scores are multiples of 0.1: half precision moves none of them over the threshold.
        np.testing.assert_array_equal(maps.mask[2:14], written >= np.float32(threshold))
        assert not maps.mask[[0, 1, 14, 15]].any()
        assert list(maps.extra) == ["mu", "sigma"]
        np.testing.assert_array_equal(maps.extra["sigma"], maps.score * 4)
        line = run.per_image("infomask", seed).set_index("image_id").loc["test005"]
        assert {name: maps.measured[name] for name in METRICS} == {name: line[name] for name in METRICS}
        assert maps.mask.sum() / 192 == maps.measured["predicted"]


def test_maps_at_a_fixed_threshold_and_without_ground_truth(run: Run) -> None:
    maps = run.maps("gradcam", "test004", 2, rule=0.5)
    assert (maps.threshold, maps.label, maps.extra, maps.truth.any()) == (0.5, 0, {}, False)
    assert maps.mask.sum() / 192 == run.per_image("gradcam", 2, rule=0.5).predicted[4]
    assert "no ground truth" in repr(maps)


def test_a_coarse_map_is_enlarged_before_it_is_thresholded() -> None:
    from wsl_bench.notebook.maps import thresholded

    score = np.array([[0, 1], [0, 1]], np.float32)
    # Cell centres at 1.5 and 5.5 of 8 pixels, straight between: 0.5 is reached at pixel 4, whose centre is at 0.625.
    found = thresholded(score, 0.5, 8, np.array([1, 0, 6, 7]))
    expected = np.zeros((8, 8), bool)
    expected[1:7, 4:7] = True
    np.testing.assert_array_equal(found, expected)


def panels_of(png: bytes, n: int) -> list[Any]:
    """The picture cut into its n panels, RGB."""
    with Image.open(io.BytesIO(png)) as image:
        return np.array_split(np.asarray(image.convert("RGB")), n, axis=1)


def pixels_of(panel: Any, colour: str) -> int:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(panel.astype(int) - rgb).max(-1) <= 4).sum())


def test_the_picture_has_its_panels(run: Run) -> None:
    maps = run.maps("infomask", "test005")
    titles = ["input", "ground truth", "map (16x16), 0 to 1", "mask, threshold 0.4"]
    axes = maps.figure().axes
    assert [axis.get_title() for axis in axes[:4]] == titles
    assert [axis.get_title().split(",")[0] for axis in axes[4:]] == ["mu", "sigma"]
    panels = panels_of(maps._repr_png_(), 6)
    assert all(panel[60:].std() > 10 for panel in panels)
    assert [pixels_of(panel, TRUTH) > 50 for panel in panels] == [False, True, True, True, False, False]
    assert [pixels_of(panel, MASK) > 50 for panel in panels] == [False, False, False, True, False, False]
    assert maps._repr_png_() == maps._repr_png_()


def test_the_picture_of_a_healthy_image_outlines_no_truth(run: Run) -> None:
    panels = panels_of(run.maps("gradcam", "test004")._repr_png_(), 4)
    assert [pixels_of(panel, TRUTH) for panel in panels] == [0, 0, 0, 0]
    assert pixels_of(panels[3], MASK) > 50
    assert pixels_of(panels_of(run.maps("gradcam", "test003")._repr_png_(), 4)[3], MASK) == 0  # a blank map


def test_outlines_run_along_the_edges_of_pixels() -> None:
    from matplotlib.figure import Figure

    from wsl_bench.notebook.draw import _outline

    axis, mask = Figure().subplots(), np.zeros((4, 5), bool)
    mask[0, 0] = mask[2:4, 1:4] = True  # one pixel in a corner; 2 x 3 at the lower border
    _outline(axis, mask, "red")
    lines = {tuple(map(tuple, line)) for line in axis.collections[0].get_segments()}
    assert len(lines) == 4 + 10
    assert {((-0.5, -0.5), (0.5, -0.5)), ((0.5, 1.5), (1.5, 1.5)), ((3.5, 2.5), (3.5, 3.5))} <= lines


def test_a_map_is_drawn_into_the_axes_that_are_given(run: Run) -> None:
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    maps, axis = run.maps("infomask", "test005"), Figure().subplots()
    assert maps.plot(axis) is axis
    assert len(axis.images) == 2
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["mask", "ground truth"]
    pyplot.switch_backend("agg")
    before = pyplot.get_fignums()
    own = maps.plot()
    assert len(pyplot.get_fignums()) == len(before) + 1
    pyplot.close(own.figure)


# --- what a notebook shows ---


class Page(HTMLParser):
    """Tags, and the texts of table cells by row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self.captions: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.tags[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if self.tags[-1] == "caption":
            self.captions.append(data)


def test_a_run_shows_its_table(run: Run) -> None:
    page = Page(run._repr_html_())
    board = run.leaderboard().set_index("method")
    assert page.rows[0] == ["method", "status", "rank", "iou", "iop", "auc"]
    assert [row[:3] for row in page.rows[1:]] == [
        ["infomask", "ok", ""], ["gradcam", "ok", ""], ["prior", "sanity", ""], ["regl1", "incomplete", ""]
    ]  # fmt: skip
    ours = board.loc["infomask"]
    interval = f"{ours.iou:.3f} [{ours.iou_low:.3f}, {ours.iou_high:.3f}]"
    assert page.rows[1][3:] == [interval, f"{ours.iop:.3f}", f"{ours.auc:.3f}"]
    assert page.rows[3][5] == ""  # a prior does not classify
    assert page.rows[4][3:] == ["", "", ""]
    assert "rows of 0.5" in page.captions[0]


def test_a_run_says_what_it_is_in_one_line(run: Run, tmp_path: Path, made_up: Any) -> None:
    assert repr(run) == f"<Run {str(run.folder)!r}: made_up; 4 methods, 9 of 12 cells finished; thresholds val, 0.5>"
    made_up.write_run(tmp_path, planned=[["infomask", ""]])
    made_up.write_failed(tmp_path, "infomask", 0)
    assert "1 method, 0 of 1 cells finished, 1 failed" in repr(load_run(tmp_path))


def test_names_cannot_bring_html(hostile: Path) -> None:
    run = load_run(hostile)
    page = Page(run._repr_html_())
    assert not {"script", "img"} & set(page.tags)
    assert HOSTILE in [row[0] for row in page.rows]
    assert any(caption.startswith("<script>alert(1)") for caption in page.captions)
    found = Page(run.compare(HOSTILE, "123", dataset="<script>alert(1)", rule=0.5)._repr_html_())
    assert [tag for tag in found.tags if tag in ("script", "img")] == ["img"]  # its own figure
    assert found.rows[0][0] == HOSTILE
    assert "onerror" not in re.sub(r"&lt;.*?&gt;", "", run._repr_html_())


def test_a_comparison_shows_its_numbers_and_figure(run: Run) -> None:
    found = run.compare("infomask", "gradcam")
    text = found._repr_html_()
    rows = dict(row for row in Page(text).rows)
    assert rows["difference"] == f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}], {_p(found.p)}"
    assert rows["of all pairs"].startswith(f"{_p(found.p_holm)} corrected for 1 pairs (Holm); of fewer than 5 seeds")
    assert f"[{found.fixed[0]:+.4f}, {found.fixed[1]:+.4f}], {_p(found.p_fixed)}" in rows["these trainings"]
    assert rows["measured on"] == "14 test images of 8 patients"
    encoded = re.search(r"data:image/png;base64,([^\"]+)", text)
    assert encoded is not None
    with Image.open(io.BytesIO(base64.b64decode(encoded[1]))) as image:
        assert (np.asarray(image.convert("L")) < 200).mean() > 0.02
    assert repr(found).startswith("<infomask minus gradcam, iou on made_up: +")


def test_one_seed_has_no_interval_to_show(hostile: Path) -> None:
    found = load_run(hostile).compare("nan", "123", dataset="made_up", rule=0.5)
    assert "no interval: it needs two seeds" in found._repr_html_()
    assert np.isnan([found.low, found.high, found.p, found.p_holm]).all()
    assert "[" not in repr(found)


# --- errors ---


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected the folder of a run \(with run.json\), found none"):
        load_run(tmp_path)
    with pytest.raises(UsageError, match="expected the folder of a run"):
        load_run(str(tmp_path / "nowhere"))
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="found something else"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda r: r.leaderboard("vall"), r"rule 'vall'.*Did you mean 'val'\? There are val, 0.5\."),
        (lambda r: r.leaderboard(dataset="made"), r"dataset 'made'.*Did you mean 'made_up'\?"),
        (lambda r: r.compare("infomsk", "gradcam"), r"infomsk: no such row\. Did you mean 'infomask'\?"),
        (lambda r: r.compare("infomask", "gradcam", "iuo"), r"^metric iuo: expected one of iop, "),
        (lambda r: r.compare("infomask", "prior", "auc"), r"^metric auc: prior does not classify"),
        (lambda r: r.compare("infomask", "gradcam", rule=0.3), r"rule '0.3'.*There are val, 0.5"),
        (lambda r: r.per_image("infomsk"), r"method 'infomsk'.*Did you mean 'infomask'\? There are gradcam, infomask"),
        (lambda r: r.per_image("gradcam", 7), r"seed 7: no finished training of gradcam\. There are 0, 1, 2\."),
        (lambda r: r.per_image("gradcam", dataset="x"), r"dataset 'x': not in the run\. There are made_up\."),
        (lambda r: r.maps("gradcam", "test005", 9), r"seed 9: no finished training of gradcam"),
        (lambda r: r.maps("gradcam", "tst004"), r"'tst004': not among the test images\. Did you mean 'test004'\?"),
        (
            lambda r: r.maps("gradcam", "test007"),
            r"'test007': a test image, but its map was not kept\. Maps are kept of 16 of the 30 test images, chosen "
            r"by their hash: test002, test004, test006, test008, test010, \.\.\. \(`shown` in per_image\)",
        ),
    ],
)
def test_what_is_not_there_is_said_with_what_is(run: Run, ask: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ask(run)


def test_shown_names_the_images_that_have_maps(run: Run) -> None:
    images = run.per_image("gradcam")
    assert set(images.image_id[images.shown]) == {f"test{i:03d}" for i in [*range(2, 30, 2), 3, 5]}


def test_of_several_datasets_one_has_to_be_named(hostile: Path) -> None:
    run = load_run(hostile)
    for ask in (lambda: run.per_image("nan", rule=0.5), lambda: run.compare("nan", "123", rule=0.5)):
        with pytest.raises(UsageError, match=r"^dataset: the run has several \(.*made_up.*\); say which"):
            ask()
    assert len(run.per_image("nan", dataset="made_up", rule="0.5")) == 30
    assert set(run.leaderboard(0.5).dataset) == {"made_up", "<script>alert(1)"}


def test_a_threshold_that_was_never_fitted(tmp_path: Path, made_up: Any) -> None:
    made_up.write_run(tmp_path)
    made_up.write_cell(tmp_path, "gradcam", 0, maps_of(made_up, "gradcam", 0), threshold=None)
    with pytest.raises(UsageError, match=r"no threshold of gradcam was fitted on validation\. Fixed ones: 0\.5\."):
        load_run(tmp_path).per_image("gradcam")


def test_a_run_of_which_nothing_has_finished(tmp_path: Path, made_up: Any) -> None:
    made_up.write_run(tmp_path)
    run = load_run(tmp_path)
    assert list(run.leaderboard().columns[:3]) == ["dataset", "method", "method_params"]
    assert len(run.leaderboard()) == len(run.cells()) == 0
    assert "No cell has finished." in run._repr_html_()
    with pytest.raises(UsageError, match="no cell of the run has finished"):
        run.per_image("gradcam")


def test_without_pandas_the_extra_is_named_and_the_rest_works(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for ask in (run.leaderboard, run.cells, lambda: run.per_image("gradcam")):
        with pytest.raises(UsageError, match=r'pip install "wsl-bench\[notebook\]"'):
            ask()
    assert run.maps("gradcam", "test005")._repr_png_()[:4] == b"\x89PNG"
    assert "gradcam" in run._repr_html_()


def test_tables_load_no_torch_and_no_drawing(place: Path) -> None:
    code = (
        "import sys; from wsl_bench import load_run; assert 'wsl_bench.leaderboard' not in sys.modules\n"
        "run = load_run('runs/phantom'); run.leaderboard(); run.per_image('gradcam')\n"
        "run.compare('infomask', 'gradcam')\n"
        "print([name for name in ('torch', 'matplotlib', 'typer') if name in sys.modules])"
    )
    done = run_python("-c", code, cwd=place)
    assert done.stdout.strip() == "[]", done.stderr


def test_nothing_is_written(run: Run) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}

    before, again = state(), load_run(run.folder)
    again.leaderboard()
    again.compare("infomask", "gradcam")._repr_html_()
    again.maps("infomask", "test005")._repr_png_()
    assert state() == before


def test_a_damaged_record_is_counted_and_named(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "copy")
    next((tmp_path / "copy" / "records").glob("made_up--gradcam--seed2.test.npz")).write_bytes(b"")
    damaged = load_run(tmp_path / "copy")
    assert "8 of 12 cells finished, 1 damaged;" in repr(damaged)
    with pytest.raises(UsageError, match=r"There are 0, 1\."):
        damaged.per_image("gradcam", 2)
    assert "Set aside: " in damaged._repr_html_()
    assert damaged.leaderboard().set_index("method").status["gradcam"] == "incomplete"


# --- the pages ---


def test_every_block_of_the_page_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    names: dict[str, Any] = {}
    written = blocks(PAGE, "python")
    for block in written:
        exec(compile(block.code, "notebook.md", "exec"), names)
    assert len(written) == 5
    images = names["images"][names["images"].shown & names["images"].located]
    assert names["maps"].image_id == images.image_id[images.iou.idxmax()]
    assert names["found"].difference > 0


def cells_of_the_tutorial(kind: str) -> list[str]:
    cells = json.loads(TUTORIAL.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def test_the_tutorial_is_clean() -> None:
    import nbformat

    notebook = nbformat.read(TUTORIAL, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code] == [[]] * len(code)
    assert {cell.execution_count for cell in code} == {None}
    commands = [text for text in cells_of_the_tutorial("code") if text.startswith("%%bash\n")]
    assert ["wslbench run" in text for text in commands] == [True, True]
    for text in cells_of_the_tutorial("code"):
        if text not in commands:
            compile(text, "tutorial.ipynb", "exec")
    for target in re.findall(r"\]\((?!http)([^)#]+)", "\n".join(cells_of_the_tutorial("markdown"))):
        assert (TUTORIAL.parent / target).is_file(), target


def test_a_command_in_a_notebook_draws_no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from wsl_bench.cli.progress import Preparing

    def shown() -> str:
        console = Console(file=io.StringIO(), force_terminal=True, width=80)
        with Preparing(console) as preparing:
            preparing.update("phantom", 1, 2)
        return str(console.file.getvalue())

    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert "preparing phantom" in shown()
    monkeypatch.setenv("JPY_PARENT_PID", "1")  # as a kernel leaves it to the commands it starts
    assert shown() == ""


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From beginning to end in a kernel, with the command on its path; what it holds at the end is the files."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(TUTORIAL, as_version=4)
    n = len(notebook.cells)
    ending = "board.to_pickle('board.pkl'); images.to_pickle('images.pkl'); print(best, worst, found.difference)"
    notebook.cells.append(nbformat.v4.new_code_cell(ending))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "wslbench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wsl_bench.cli.main "$@"\n')
    (tmp_path / "bin" / "wslbench").chmod(0o755)
    own = {"IPYTHONDIR": "ipython", "JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime"}
    env = environment({name: str(tmp_path / folder) for name, folder in own.items()})
    for name, value in (env | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{env['PATH']}"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WSLBENCH_PLUGINS", raising=False)
    NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    _check_tutorial(tmp_path, notebook.cells[:n], notebook.cells[n].outputs[0].text.split())


def _check_tutorial(folder: Path, cells: list[Any], said: list[str]) -> None:
    root = folder / "runs" / "tutorial"
    written = pd.read_csv(root / "leaderboard.csv")
    assert "saliency" in set(written.method)
    # The frame is from before the new method came.
    board = pd.read_pickle(folder / "board.pkl")
    before = written[written.method != "saliency"].reset_index(drop=True)
    pd.testing.assert_frame_equal(board, before, rtol=1e-14)
    run = load_run(root)
    images = pd.read_pickle(folder / "images.pkl")
    pd.testing.assert_frame_equal(images, run.per_image("infomask"), rtol=1e-14)
    shown = images[images.shown & images.located].set_index("image_id").iou
    assert shown[said[0]] == shown.max() > shown[said[1]] == shown.min()
    means = board.set_index("method").iou
    assert float(said[2]) == pytest.approx(means["infomask"] - means["gradcam"], abs=1e-12)
    for method in ("infomask", "gradcam", "saliency", "mean_box"):
        for image_id in (said[0], said[1]):
            maps = run.maps(method, image_id)  # images are as large as the square: only half precision differs
            assert abs(maps.mask.sum() - maps.measured["predicted"] * maps.mask.size) <= 0.01 * maps.mask.size
    progress = "".join(output.text for output in cells[1].outputs)
    assert "phantom / infomask / seed 1: done" in progress
    assert not re.search(r"\x1b\[(\?|\d*[A-HJK])", progress)  # colours, but no bars that a page cannot draw over
    kinds = [set(output.get("data", {})) for cell in cells for output in cell.get("outputs", [])]
    assert sum("image/png" in kind for kind in kinds) >= 4  # a scatter plot and three maps
    assert sum("text/html" in kind for kind in kinds) >= 4  # the run, two frames, a comparison
    assert not [output for cell in cells for output in cell.get("outputs", []) if output.output_type == "error"]
