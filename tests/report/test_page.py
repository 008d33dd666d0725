"""The self-contained page: what it carries, and, in a real browser, that it shows what the records say."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_up_run
import numpy as np
import pytest
from conftest import ROOT, environment, run_python
from doc_blocks import commands
from in_process import run_here

from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.rows import ImageRows
from wsl_bench.data.samples import Truth
from wsl_bench.data.views import TruthView, WeakView
from wsl_bench.leaderboard.build import build_leaderboard, write_leaderboard
from wsl_bench.report.page.build import render, write_page
from wsl_bench.report.page.packing import as_json, pack, shrunk, steps_down
from wsl_bench.store.display import load_display, write_display

HEIGHT, WIDTH = made_up_run.SHAPE
SIDE = 16
METHODS = {"alpha": 1, "beta": 50, "gamma": 99}  # and the seed of their maps
SEEDS = (0, 1, 2)
THRESHOLDS = {"alpha": 0.4, "beta": 0.7, "gamma": 0.301}  # the last is no step of the slider
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


def _maps(method: str, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return made_up_run.random_maps(30, METHODS[method] + seed, blank=(3, 4) if method == "beta" else ())


def _in_square(maps: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, np.ndarray[Any, Any]]:
    """Display maps: (n, 12, 16) maps with the padding of their square, (n, 16, 16)."""
    return {"score": np.pad(maps, ((0, 0), (2, 2), (0, 0))).astype(np.float16)}


def _write(root: Path, dataset: str = "made_up", params: str = "") -> Path:
    """A finished run of three methods and a sanity row, with pictures; images are as wide as their square."""
    made_up_run.write_run(root, thresholds=("val", "0.5"))
    probability = np.linspace(0, 1, 30)
    for method in METHODS:
        for seed in SEEDS:
            made_up_run.write_cell(
                root, method, seed, _maps(method, seed), dataset=dataset, probability=probability,
                threshold=THRESHOLDS[method], method_params=params, shown=_in_square(_maps(method, seed)),
            )  # fmt: skip
    plain = made_up_run.random_maps(30, 7)
    made_up_run.write_cell(root, "plain", 0, plain, dataset=dataset, sanity=True, shown=_in_square(plain))
    test = made_up_run.images("test")
    frames = (Letterbox.fit(HEIGHT, WIDTH, SIDE),) * 30
    pixels = np.random.default_rng(5).integers(0, 256, (30, SIDE, SIDE), np.uint8)
    weak = WeakView(tuple(test.ids), tuple(test.groups), np.array(test.labels), ImageRows.of(pixels), frames, "")
    truths = tuple(Truth(b, m if located else None) for b, m, located in zip(test.boxes, test.masks, test.located,
                                                                             strict=True))  # fmt: skip
    write_display(root, dataset, weak, TruthView(tuple(test.ids), np.array(test.located), truths, ""), list(range(30)))
    write_leaderboard(root)
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("page") / "run")


def _data(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.S)
    assert found is not None
    return json.loads(found[1])


def _unpack(text: str, kind: str) -> Any:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)


def test_packed_arrays_come_back() -> None:
    counts = np.sort(np.random.default_rng(0).integers(0, 10**6, (4, 201)), axis=-1)[:, ::-1]
    drops = _unpack(pack(steps_down(counts)), "<u4").reshape(4, 201)
    np.testing.assert_array_equal(drops[:, ::-1].cumsum(axis=1)[:, ::-1], counts)


@pytest.mark.parametrize(("shape", "side"), [((12, 16), 4), ((10, 7), 4), ((5, 5), 5), ((3, 9), 6), ((224, 224), 56)])
def test_a_reduced_map_holds_the_means_of_its_cells(shape: tuple[int, int], side: int) -> None:
    maps = np.random.default_rng(0).random((2, *shape), np.float32)
    found = shrunk(maps, side)
    fine = maps.repeat(side, axis=1).repeat(side, axis=2)  # every cell is a whole number of these
    rows, columns = min(side, shape[0]), min(side, shape[1])
    cells = fine.reshape(2, rows, -1, columns, fine.shape[2] // columns).mean(axis=(2, 4))
    np.testing.assert_allclose(found, cells, atol=1e-5)


def test_text_cannot_leave_the_data() -> None:
    text = as_json({"a": HOSTILE, "b": float("nan"), "c": np.float32(2.5), "d": np.arange(2)})
    assert "<" not in text
    assert json.loads(text) == {"a": HOSTILE, "b": None, "c": 2.5, "d": [0, 1]}


def test_the_page_carries_the_table_and_the_counts_of_the_records(run: Path) -> None:
    board = build_leaderboard(run)
    page = render(run, board)
    assert page == render(run, build_leaderboard(run))  # a pure function of the folder
    data = _data(page)
    assert [(t["dataset"], t["rule"]) for t in data["tables"]] == [("made_up", "val"), ("made_up", "0.5")]
    with (run / "leaderboard.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["threshold_rule"] == "val"]
    for shown, row in zip(data["tables"][0]["rows"], rows, strict=True):
        assert shown["name"] == row["method"]
        for column in ("iou", "iou_low", "iou_high", "iop", "fnr", "auc"):
            assert (shown[column] is None) == (row[column] == "")
            assert shown[column] is None or shown[column] == pytest.approx(float(row[column]), abs=1e-9)
    explorer, test = data["tables"][0]["explorer"], made_up_run.images("test")
    assert explorer["images"]["ids"] == test.ids
    cell = next(c for c in explorer["cells"] if (c["row"], c["seed"]) == ("beta", 2))
    maps = _maps("beta", 2)
    tp = _unpack(cell["tp"], "<u4").reshape(30, 201)[:, ::-1].cumsum(axis=1)[:, ::-1]
    for step in (1, 60, 140, 200):
        lit = maps >= np.float32(step / 200)
        wanted = [(lit[i] & test.masks[i]).sum() if test.located[i] else 0 for i in range(30)]
        np.testing.assert_array_equal(tp[:, step], wanted)


def test_curves_are_means_over_images_and_seeds(run: Path) -> None:
    table = _data(render(run, build_leaderboard(run)))["tables"][0]
    test = made_up_run.images("test")
    curve = next(c for c in table["against_threshold"] if c["row"] == "alpha")
    assert curve["chosen"] == [0.4] * 3
    for step in (1, 80, 199):
        values = []
        for seed in SEEDS:
            lit = _maps("alpha", seed) >= np.float32(step / 200)
            values += [(lit[i] & test.masks[i]).sum() / (lit[i] | test.masks[i]).sum() for i in range(30)
                       if test.located[i]]  # fmt: skip
        assert curve["test"][step - 1] == pytest.approx(np.mean(values), abs=1e-5)
    density = next(d for d in table["densities"]["iou"] if d["row"] == "alpha")
    assert density["n"] == 3 * sum(test.located)
    assert np.trapezoid(density["density"], dx=1 / 200) == pytest.approx(1, abs=0.02)


def test_six_methods_three_seeds_and_two_hundred_images_stay_below_25_mb() -> None:
    """Maps of pure noise, which no compression helps, and counts with a drop at every step."""
    draw = np.random.default_rng(0)
    from wsl_bench.report.page.explorer import _MOST_BYTES, _SIDES

    side = int(np.clip((_MOST_BYTES / (18 * 200)) ** 0.5, *_SIDES))
    maps = len(pack(draw.integers(0, 201, (200, side, side), np.uint8)))
    lit = len(pack(draw.integers(0, 256, 200 * side**2 // 8, np.uint8)))
    counts = 2 * len(pack(steps_down(np.sort(draw.integers(0, 64**2, (200, 201)), axis=-1)[:, ::-1])))
    from plotly.offline import get_plotlyjs

    pictures = 2 * len(pack(draw.integers(0, 256, (200, 96, 96), np.uint8)))
    assert 18 * (maps + lit + counts) + pictures + len(get_plotlyjs()) < 24.5e6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nosuch",), "expected the folder of a run"),
        (("empty",), "no cell has finished"),
        (("RUN", "--output", "file"), "expected a folder, found a file"),
        (("RUN", "--serve", "--port", "99999999"), "cannot be served on"),
    ],
)
def test_bad_input_is_told(run: Path, arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    made_up_run.write_run(tmp_path / "empty")
    (tmp_path / "file").write_text("mine")
    command = [str(run) if a == "RUN" else a for a in arguments]
    command += [] if "--output" in command else ["--output", "out"]
    done = run_python("-m", "wsl_bench.cli.main", "report", *command, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_the_command_of_the_documentation(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run, tmp_path / "runs" / "phantom")
    (line,) = commands((ROOT / "docs" / "report.md").read_text())
    program, *arguments = line.split()
    assert program == "wslbench"
    assert run_here(tuple(arguments), tmp_path, capsys, monkeypatch).returncode == 0
    assert (tmp_path / "report" / "index.html").stat().st_size > 1_000_000


def test_it_is_served_on_this_machine_alone_until_interrupted(run: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "wsl_bench.cli.main", "report", str(run), "--output", "out", "--serve", "--port", "0"],
        cwd=tmp_path, env=environment({"PYTHONUNBUFFERED": "1"}), stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whoever runs the tests may ignore it
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        address = re.search(r"http://127\.0\.0\.1:\d+/", lines[1])
        assert address is not None, lines
        with urllib.request.urlopen(address[0]) as answer:
            assert answer.read() == (tmp_path / "out" / "index.html").read_bytes()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail("REQUIRE_BROWSER=1, and there is no Chromium")
        pytest.skip("no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page(run: Path, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return _open(browser, write_page(run, tmp_path_factory.mktemp("shown")))


def _open(browser: Any, file: Path, **how: Any) -> Any:
    """The page in a fresh profile, and on it `said` (console and errors) and `asked` (requests)."""
    opened = browser.new_context(viewport={"width": 1200, "height": 900}, **how).new_page()
    opened.said, opened.asked = [], []
    opened.on("console", lambda message: opened.said.append(message.text))
    opened.on("pageerror", lambda error: opened.said.append(str(error)))
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.goto(file.as_uri())
    opened.wait_for_selector("html[data-ready=yes]")
    return opened


def test_no_error_and_no_request(page: Any) -> None:
    for name in ("threshold", "interval-metric", "density-metric"):
        page.focus(f"#{name}")
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert page.said == []
    assert [url for url in page.asked if not url.startswith(("data:", "blob:"))] == [page.url]


def _names(page: Any) -> list[str]:
    return list(page.eval_on_selector_all("#board tbody tr td:first-child", "cells => cells.map(c => c.textContent)"))


def test_the_table_sorts_and_filters(run: Path, page: Any) -> None:
    with (run / "leaderboard.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["threshold_rule"] == "val"]
    assert _names(page) == [row["method"] for row in rows]
    for column, text in (("iop", "IoP"), ("fnr", "FNR")):
        head = page.get_by_role("button", name=text, exact=True)
        head.focus()
        page.keyboard.press("Enter")  # no mouse is needed
        values = {row["method"]: float(row[column]) for row in rows}
        assert _names(page) == sorted(values, key=lambda name: -values[name])
        page.keyboard.press("Enter")
        assert _names(page) == sorted(values, key=lambda name: values[name])
    page.get_by_role("button", name="Rank", exact=True).click()
    page.fill("#table-filter", "bet")
    assert _names(page) == ["beta"]
    page.fill("#table-filter", "")
    page.uncheck("#table-sanity")
    assert "plain" not in _names(page)
    page.check("#table-sanity")


def _brute_force(method: str, seed: int, threshold: float) -> dict[str, tuple[float, float, int]]:
    """IoU, IoP and pixels lit of every located test image."""
    test, found = made_up_run.images("test"), {}
    for i, lit in enumerate(_maps(method, seed) >= np.float32(threshold)):
        if test.located[i]:
            both = (lit & test.masks[i]).sum()
            found[test.ids[i]] = (both / (lit | test.masks[i]).sum(), both / lit.sum() if lit.any() else 0.0, lit.sum())
    return found


def _shots(page: Any, method: str) -> dict[str, tuple[float, float, int]]:
    rows = page.eval_on_selector_all(
        f".shot[data-row={method}]",
        "shots => shots.map(s => [s.closest('.card').dataset.image, Number(s.dataset.iou), Number(s.dataset.iop),"
        " Number(s.querySelector('canvas').dataset.lit)])",
    )
    return {name: (iou, iop, lit) for name, iou, iop, lit in rows}


def test_the_slider_moves_masks_and_numbers_to_what_the_records_say(page: Any) -> None:
    while page.is_visible("#more"):
        page.click("#more")
    for seed in (0, 2):
        page.select_option("#seed", str(seed))
        while page.is_visible("#more"):
            page.click("#more")
        for step in (20, 101, 180, 200):
            page.eval_on_selector(
                "#threshold", "(s, v) => { s.value = v; s.dispatchEvent(new Event('input')); }", str(step)
            )
            for method in METHODS:
                wanted, shown = _brute_force(method, seed, step / 200), _shots(page, method)
                assert shown.keys() == wanted.keys()
                for name, (iou, iop, lit) in wanted.items():
                    assert shown[name][:2] == pytest.approx((iou, iop), abs=1e-12)
                    assert shown[name][2] == lit  # the map is shown at its own size here
    page.click("#operating")
    for method, threshold in THRESHOLDS.items():
        for name, (iou, iop, lit) in _brute_force(method, 2, threshold).items():
            assert _shots(page, method)[name] == (pytest.approx(iou), pytest.approx(iop), lit)


def test_images_are_sorted_by_what_is_asked(page: Any) -> None:
    page.select_option("#seed", "1")
    page.select_option("#sort-metric", "iou")
    page.select_option("#sort-method", "gamma")
    page.select_option("#sort-order", "up")
    shown = page.eval_on_selector_all(".card", "cards => cards.map(c => c.dataset.image)")
    values = {name: iou for name, (iou, _, _) in _brute_force("gamma", 1, THRESHOLDS["gamma"]).items()}
    ordered = sorted(values.values())[: len(shown)]
    assert [values[name] for name in shown] == pytest.approx(ordered)
    page.select_option("#kind", "negative")
    names = page.eval_on_selector_all(".card", "cards => cards.map(c => c.dataset.image)")
    assert names
    assert not set(names) & values.keys()


def test_another_threshold_rule_is_another_table(page: Any) -> None:
    page.select_option("#table-select", "1")
    page.wait_for_function("document.getElementById('table-about').textContent.includes('fixed at 0.5')")
    page.select_option("#kind", "located")
    page.wait_for_selector(".shot[data-row=beta]")  # its images are unpacked meanwhile
    shown = _shots(page, "beta")
    wanted = _brute_force("beta", 0, 0.5)
    assert shown
    assert all(shown[name][0] == pytest.approx(wanted[name][0]) for name in shown)
    page.select_option("#table-select", "0")
    page.wait_for_selector(".card")


def test_hostile_names_stay_text(browser: Any, tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "_")  # names of datasets are names of files
    run = _write(tmp_path / "run", dataset=name, params=HOSTILE)
    page = _open(browser, write_page(run, tmp_path / "out"))
    assert page.evaluate("window.hacked") is None
    assert page.said == []
    assert f"alpha[{HOSTILE}]" in _names(page)
    assert page.evaluate("document.querySelectorAll('img, iframe, object').length") == 0


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (400, "dark"), (1200, "dark")])
def test_it_fits_a_phone_and_follows_the_scheme(
    run: Path, browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    page = _open(browser, write_page(run, tmp_path), color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(255, 255, 255)") == (scheme == "light")
    assert page.said == []


def test_without_pictures_the_table_is_there(run: Path, browser: Any, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "display")
    page = browser.new_page()
    page.goto(write_page(tmp_path / "run", tmp_path / "out").as_uri())
    page.wait_for_function("document.getElementById('explorer-about').textContent.includes('keeps no pictures')")
    assert _names(page)[:3]
    assert load_display(run, "made_up").images.shape == (30, SIDE, SIDE)
