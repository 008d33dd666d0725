"""The documentation: every block of code runs, every metric and method is there, and the site builds."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, environment, tiny_folder
from dicom_files import radiograph
from doc_blocks import Reader, blocks, commands, examples

from wsl_bench import params, registry
from wsl_bench.leaderboard.columns import columns
from wsl_bench.leaderboard.rows import METRICS
from wsl_bench.training.recipe import EPOCH_BOUNDS, IMAGES_SHOWN, Recipe

PAGES = ("*.md", "docs/**/*.md", "leaderboards/**/*.md", "benchmarks/**/*.md")
RUNNABLE = {"bash", "python", "toml"}
FOLLOWED = ("docs/start.md", "docs/add_method.md", "docs/your_data.md")
# Pages whose blocks are run where a run of their own is at hand.
ELSEWHERE = {
    "README.md": "tests/test_readme.py::test_every_command_runs",
    "CONTRIBUTING.md": "tests/docs/test_pages.py::test_contributors_run_what_is_run_for_every_change",
    "docs/benchmarks.md": "tests/docs/test_pages.py::test_the_benchmarks_that_the_page_runs_are_found",
    "docs/datasets.md": "tests/datasets/test_twin.py::test_the_commands_of_the_page_run",
    "docs/exports.md": "tests/cli/test_export_maps.py::test_every_command_of_the_page_runs",
    "docs/figures.md": "tests/report/test_figures.py::test_the_commands_of_the_page",
    "docs/index.md": "tests/docs/test_pages.py::test_the_first_page_shows_the_command_of_the_readme",
    "docs/metrics.md": "tests/docs/test_pages.py::test_metrics_are_as_worked_out",
    "docs/notebook.md": "tests/test_notebook.py::test_every_block_of_the_page_runs",
    "docs/reliability.md": "tests/docs/test_pages.py::test_the_slow_tests_that_the_page_runs_are_found",
    "docs/report.md": "tests/report/test_page.py::test_the_command_of_the_documentation",
    "docs/rsna.md": "tests/datasets/test_twin.py::test_the_papers_table",
    "docs/scale.md": "tests/benchmarks/test_benchmark_scripts.py::test_the_scale_script_measures_every_step",
    "docs/score.md": "tests/test_readme.py::test_every_command_runs",
    "leaderboards/README.md": "tests/leaderboards/test_publishing.py::test_the_commands",
    "leaderboards/claims.md": "tests/docs/test_pages.py::test_published_studies_run_again",
    "leaderboards/bccd364/README.md": "tests/docs/test_pages.py::test_published_studies_run_again",
    "leaderboards/mtd1344/README.md": "tests/docs/test_pages.py::test_published_studies_run_again",
    "leaderboards/phantom/README.md": "tests/docs/test_pages.py::test_published_studies_run_again",
}
# What the page gives as the source of a method where it is not the first author of its `paper`.
ORIGIN = {"featuremask": "InfoMask paper, section 4 (ii)", "regl1": "InfoMask paper, section 4 (iii)"}
PUBLISHED = sorted(page for page, test in ELSEWHERE.items() if test.endswith("test_published_studies_run_again"))


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def test_every_page_with_code_is_run_somewhere() -> None:
    pages = [path for pattern in PAGES for path in ROOT.glob(pattern)]
    with_code = {
        page.relative_to(ROOT).as_posix()
        for page in pages
        if RUNNABLE & {block.language for block in blocks(page.read_text(encoding="utf-8"))}
    }
    assert with_code == set(FOLLOWED) | set(ELSEWHERE)
    for test in ELSEWHERE.values():
        file, _, name = test.partition("::")
        assert f"\ndef {name}(" in text_of(file), test


def test_every_block_says_its_language() -> None:
    for page in (path for pattern in PAGES for path in ROOT.glob(pattern)):
        text = page.read_text(encoding="utf-8")
        found = blocks(text)
        assert len(re.findall(r"^\s*(?:```|~~~)", text, flags=re.M)) == 2 * len(found), f"{page}: an unusual block"
        for block in found:
            assert block.language in RUNNABLE | {"text"}, f"{page}: {block.code[:60]!r}"


@pytest.fixture
def clinic(tmp_path: Path) -> None:
    """The DICOM files that the page on data speaks of."""
    draw = np.random.default_rng(0)
    (tmp_path / "clinic").mkdir()
    rows: list[list[object]] = []
    for i in range(240):
        pixels = draw.integers(0, 1200, (40, 40), dtype=np.uint16)
        if i % 2:
            pixels[10:25, 5:20] += 2000
        radiograph(pixels, bits=12).save_as(tmp_path / "clinic" / f"{i}.dcm", enforce_file_format=True)
        rows.append([f"{i}.dcm", i, i % 2, *((5, 10, 15, 15) if i % 2 else ("",) * 4)])
    with (tmp_path / "clinic" / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "patient", "label", "x", "y", "w", "h"], *rows])


@pytest.mark.usefixtures("clinic")
@pytest.mark.parametrize("page", FOLLOWED)
def test_a_reader_gets_through(page: str, tmp_path: Path) -> None:
    done = list(Reader(tmp_path).follow(text_of(page)))
    assert sum(line.startswith("wslbench") for line in done) >= 4
    runs = [line for line in done if line.startswith("wslbench run")]
    assert runs
    for run in runs:
        out = tmp_path / run.split("--out ")[1].split()[0]
        assert len((out / "leaderboard.csv").read_text().splitlines()) > 6


def test_the_first_page_shows_the_command_of_the_readme() -> None:
    assert commands(text_of("docs/index.md")) == commands(text_of("README.md"))[:1]


def test_metrics_are_as_worked_out() -> None:
    result = examples(text_of("docs/metrics.md"), "metrics.md")
    assert result.failed == 0
    assert result.attempted > 25


def test_every_column_is_explained() -> None:
    first_cells = re.findall(r"^\| ([^|]*) \|", text_of("docs/metrics.md"), flags=re.M)
    named = {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}
    explained = {name for pattern in named for name in _expanded(pattern)}
    explained |= {f"{metric}{name[1:]}" for name in explained if name.startswith("m_") for metric in METRICS}
    assert set(columns()) <= explained


def _expanded(pattern: str) -> list[str]:
    """`a_{b,c}` as a_b, a_c."""
    found = re.fullmatch(r"([^{]*)\{([^}]*)\}(.*)", pattern)
    return [f"{found[1]}{part}{found[3]}" for part in found[2].split(",")] if found else [pattern]


def test_every_method_is_there_with_its_paper_and_parameters() -> None:
    page = text_of("docs/methods.md")
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", page, flags=re.S | re.M))
    sections |= dict(re.findall(r"^\| `(\w+)` \| (.*)\n", page[page.index("## Sanity rows") :], flags=re.M))
    methods = registry.discover("method").available
    assert sections.keys() == methods.keys()
    for name, entry in methods.items():
        method = params.build(entry.cls, name, entry.defaults)
        if entry.of is not None:  # says what it changes
            assert all(f"{key}={value}" in sections[name] for key, value in entry.defaults.items()), name
            continue
        if method.paper:  # some sanity rows come from none
            assert (ORIGIN.get(name) or method.paper.split(" ")[0]) in sections[name], f"{name}: {method.paper}"
        rows = dict(re.findall(r"^\| `(\w+)` \|(.*?)\|", sections[name], flags=re.M))
        for info in params.describe(entry.cls, entry.defaults):
            in_words = f"(`{info.name}`, default {info.default};" in sections[name]
            assert in_words or rows.pop(info.name, "missing").strip() == str(info.default), f"{name}.{info.name}"
        assert not rows, f"{name} has no {', '.join(rows)}"


def test_the_common_recipe_is_that_of_the_code() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text_of("docs/training.md"), flags=re.M))
    fields = {info.name: info.default for info in params.describe(Recipe, {})}
    assert rows.keys() == fields.keys()
    for name, default in fields.items():
        if name not in ("image_size", "epochs"):  # said in words
            shown = float(rows[name]) if type(default) in (int, float) else rows[name]
            assert shown == (default if isinstance(shown, float) else str(default)), name
    assert f"show {IMAGES_SHOWN:,} images, {EPOCH_BOUNDS[0]} to {EPOCH_BOUNDS[1]}" in rows["epochs"]


@pytest.mark.slow
@pytest.mark.parametrize("page", PUBLISHED)
def test_published_studies_run_again(page: str, tmp_path: Path) -> None:
    tiny_folder(tmp_path / "bccd364")
    tiny_folder(tmp_path / "mtd1344")
    shutil.copytree(ROOT / "leaderboards", tmp_path / "leaderboards")
    lines = commands(text_of(page))
    assert lines
    reader = Reader(tmp_path)
    for line in lines:
        reader.run(line)


def test_the_slow_tests_that_the_page_runs_are_found() -> None:
    (line,) = commands(text_of("docs/reliability.md"))
    assert line.startswith("pytest -m slow ")
    assert _collected(line.split()[1:]) > 40


def test_the_benchmarks_that_the_page_runs_are_found() -> None:
    first, second = commands(text_of("docs/benchmarks.md"))
    assert first == "pytest benchmarks --benchmark-enable --benchmark-json=bench.json"
    assert _collected(["benchmarks"]) > 50
    # It runs in tests/benchmarks, on a file as the first writes it.
    assert second == "python benchmarks/ratios.py bench.json"


def _collected(arguments: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment({}), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return sum("::" in line for line in done.stdout.splitlines())


def test_the_entry_point_of_the_page_is_one_that_is_read() -> None:
    (block,) = blocks(text_of("docs/add_method.md"), "toml")
    (group,) = tomllib.loads(block.code)["project"]["entry-points"]
    assert group == "wsl_bench.methods"  # which tests/test_registry.py reads


def test_contributors_run_what_is_run_for_every_change() -> None:
    asked = commands(text_of("CONTRIBUTING.md"))
    assert asked == [
        'pip install -e ".[dev]"', "ruff check . && ruff format --check .", "mypy", "mkdocs build --strict",
        "pytest -n auto --dist loadfile",
    ]  # fmt: skip
    run = text_of(".ci/run").splitlines()
    run += [part for line in commands(text_of("README.md")) for part in line.split(" && ")]
    for command in (part for line in asked for part in line.split(" && ")):
        assert any(line.startswith(command) for line in run), command


class Requests(HTMLParser):
    """Addresses that a browser fetches by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ("src", "srcset", "poster"):
            self.found.append(given.get(name) or "")
        if tag == "link" and given.get("rel") not in ("prev", "next", "canonical"):
            self.found.append(given.get("href") or "")


def test_the_site_builds_and_asks_nothing_of_other_servers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env=environment({}), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        content, requests = page.read_text(encoding="utf-8"), Requests()
        requests.feed(content)
        assert not [address for address in requests.found if re.match(r"(https?:)?//", address)], page
        assert "arithmatex" not in content, f"{page}: a formula that was not drawn"
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style
    metrics = (tmp_path / "site" / "metrics.html").read_text(encoding="utf-8")
    assert metrics.count("<math") > 20
    assert (tmp_path / "site" / "leaderboards" / "phantom" / "figures" / "density_iop.png").is_file()
