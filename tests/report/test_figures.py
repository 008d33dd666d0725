"""Figures of a run: what is drawn is what an independent computation gives; bad input is told; nothing is cut off."""

from __future__ import annotations

import math
import re
import shlex
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import ROOT, run_python
from doc_blocks import commands
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import figure_run as made

from wsl_bench.cli.main import _guarded
from wsl_bench.errors import NothingToDraw
from wsl_bench.report.examples import nearest_to_quantiles
from wsl_bench.report.figures import FAMILIES, FIGURES, chosen_figures
from wsl_bench.report.pictures import MASK
from wsl_bench.report.source import Drawn, Source, open_source
from wsl_bench.report.style import COLUMN, GREY, TEXT, method_styles
from wsl_bench.report.table1 import _tex_lines
from wsl_bench.store.records import peek_records

Float = npt.NDArray[np.float64]
TEST = made.images("test", made.N)
LOCATED = np.flatnonzero(TEST.located)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write_figure_run(tmp_path_factory.mktemp("figures") / "runs" / "phantom")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One method on 30 images."""
    return made.write_figure_run(tmp_path_factory.mktemp("small") / "run", ("infomask",), 30, ("val",))


@pytest.fixture(scope="module")
def source(run: Path) -> Source:
    return open_source(run, "val")


@pytest.fixture(scope="module")
def drawn(source: Source) -> Callable[[str], list[Drawn]]:
    return lru_cache(maxsize=None)(lambda name: FIGURES[name](source, "made_up"))


def figure_of(drawn: list[Drawn]) -> Figure:
    assert drawn[0].figure is not None
    return drawn[0].figure


@cache
def on_test(metric: str, method: str, seed: int) -> Float:
    """One value a located test image, at the frozen threshold."""
    return brute(metric, made.maps_of(method, seed), TEST, made.THRESHOLDS[method][seed])


def brute(metric: str, maps: npt.NDArray[np.float32], split: made.Any, threshold: float) -> Float:
    """One value a located image, pixel by pixel."""
    out = []
    for i in np.flatnonzero(split.located):
        p, g = maps[i] >= np.float32(threshold), split.masks[i]
        both, either = (p & g).sum(), (p | g).sum()
        out.append({
            "iop": both / p.sum() if p.any() else 0.0, "fpr": (p & ~g).sum() / (~g).sum(),
            "fnr": (g & ~p).sum() / g.sum(), "iou": both / either, "dice": 2 * both / (p.sum() + g.sum()),
        }[metric])  # fmt: skip
    return np.array(out)


def of_method(metric: str, method: str) -> Float:
    """(seeds, located images) at the frozen thresholds."""
    return np.stack([on_test(metric, method, seed) for seed in made.SEEDS])


def line(axis: Axes, label: str) -> tuple[Float, Float]:
    (found,) = [one for one in axis.get_lines() if one.get_label() == label]
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


@pytest.mark.parametrize("metric", ["iop", "fpr", "fnr", "iou", "dice"])
def test_density_curves_and_blank_bars(drawn: Callable[[str], list[Drawn]], metric: str) -> None:
    (one,) = drawn(f"density_{metric}")
    bars, axis = figure_of([one]).axes
    assert axis.get_ylabel() == f"density (n = {2 * len(LOCATED)} each)"
    for i, method in enumerate(row for row, _ in _ranked()):
        values = of_method(metric, method).ravel()
        blank = np.concatenate([
            [not (made.maps_of(method, s)[j] >= np.float32(made.THRESHOLDS[method][s])).any() for j in LOCATED]
            for s in made.SEEDS
        ])  # fmt: skip
        assert bars.patches[i].get_height() == pytest.approx(blank.mean(), abs=1e-12)  # type: ignore[attr-defined]
        at, curve = next(
            (np.asarray(x.get_xdata(), float), np.asarray(x.get_ydata(), float))
            for x in axis.get_lines() if str(x.get_label()).startswith(f"{method} ({values.mean():.2f}")
        )  # fmt: skip
        kept = values[~blank]
        sd, quartiles = kept.std(), np.quantile(kept, [0.25, 0.75])
        width = max(0.02, 0.9 * min(sd, (quartiles[1] - quartiles[0]) / 1.349) * len(kept) ** -0.2)
        mirrored = np.concatenate([kept, -kept, 2 - kept])
        kernel = np.exp(-0.5 * ((at[:, None] - mirrored) / width) ** 2).sum(1) / (width * math.sqrt(2 * math.pi))
        assert curve == pytest.approx(kernel / len(values), abs=0.02 * kernel.max() / len(values))
        assert np.trapezoid(curve, at) == pytest.approx(1 - blank.mean(), abs=5e-3)
        assert f"{method} {len(values)} values, {blank.sum()} blank" in one.caption
    assert blank_count("gradcam") == 5


def blank_count(method: str) -> int:
    return sum(int(made.maps_of(method, s)[j].max() == 0) for s in made.SEEDS for j in LOCATED)


def _ranked() -> list[tuple[str, float]]:
    means = {method: float(of_method("iou", method).mean()) for method in made.METHODS}
    return sorted(means.items(), key=lambda item: -item[1])


def test_quantile_rule_by_hand() -> None:
    values = np.array([0.5, 0.0, 0.1, 0.1, 1.0, 0.1])
    # Quantiles .0, .1, .1, .4, 1.: of the three of 0.1 the first, then the second; the last target's nearest is taken.
    assert nearest_to_quantiles(values, (0.0, 0.4, 0.5, 0.8, 1.0)) == [1, 2, 3, 0, 4]
    assert nearest_to_quantiles(np.array([0.2, 0.2]), (0.5, 0.5)) == [0, 1]


def test_comparison_shows_the_images_of_the_rule(drawn: Callable[[str], list[Drawn]]) -> None:
    (one,) = drawn("comparison")
    iou = {m: on_test("iou", m, 0) for m in made.METHODS}
    means = np.mean(list(iou.values()), axis=0)
    expected: list[int] = []
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        rest = [i for i in range(len(means)) if i not in expected]
        expected.append(min(rest, key=lambda i: (abs(means[i] - np.quantile(means, q)), i)))
    for q, i in zip((5, 25, 50, 75, 95), expected, strict=True):
        assert f"{q} %: {TEST.ids[LOCATED[i]]} ({means[i]:.3f})" in one.caption
    figure = figure_of([one])
    texts = [text.get_text() for text in figure.texts]
    printed = " ".join(texts[-1].split())
    assert "nearest the 5, 25, 50, 75, 95 % quantiles of the mean IoU over the 3 methods" in printed
    assert "seed 0; 84 located" in printed
    order = [name for name, _ in _ranked()]
    numbers = [f"{iou[m][i]:.2f}".removeprefix("0") for i in expected for m in order]
    assert [text for text in texts if re.fullmatch(r"1?\.\d\d|1\.00", text)] == numbers


def test_comparison_masks_are_the_thresholded_maps(drawn: Callable[[str], list[Drawn]]) -> None:
    (one,) = drawn("comparison")
    ids = re.findall(r"\d %: (test\d+) ", one.caption)
    pictures = [axis.get_images()[0] for axis in figure_of([one]).axes]
    columns = 2 * (1 + len(made.METHODS))
    order = [name for name, _ in _ranked()]
    for row, image_id in enumerate(ids):
        i = TEST.ids.index(image_id)
        shown = pictures[row * columns : (row + 1) * columns]
        plain = pixels(shown[0])
        for m, method in enumerate(order, 1):
            values = made.maps_of(method, 0)[i].astype(np.float16)
            assert np.array_equal(pixels(shown[2 * m]), values)
            assert (shown[2 * m].norm.vmin, shown[2 * m].norm.vmax) == (0, 1)
            mask = values >= made.THRESHOLDS[method][0]
            coloured = pixels(shown[2 * m + 1])
            assert np.array_equal(coloured[~mask], plain[~mask])
            assert coloured[mask] == pytest.approx(0.4 * plain[mask] + 0.6 * np.array(to_rgb(MASK)))
            assert mask.any()
            assert not mask.all()


def pixels(picture: AxesImage) -> npt.NDArray[Any]:
    return np.asarray(picture.get_array())


def test_spread_means_and_flag(drawn: Callable[[str], list[Drawn]]) -> None:
    (one,) = drawn("spread")
    assert one.name == "spread_infomask"
    dots = figure_of([one]).axes[-1]
    for seed in made.SEEDS:
        sigma = made.sigma_of(seed)[:, made.TOP : made.TOP + 12].astype(float)
        inside = np.mean([sigma[i][TEST.masks[i]].mean() for i in LOCATED])
        outside = np.mean([sigma[i][~TEST.masks[i]].mean() for i in LOCATED])
        negative = np.mean([sigma[i].mean() for i in range(made.N) if TEST.labels[i] == 0])
        assert line(dots, f"seed {seed}")[1] == pytest.approx([inside, outside, negative], rel=1e-5)
        assert f"seed {seed}: inside {inside:.4f}, outside {outside:.4f}, negatives {negative:.4f}" in one.caption
    assert line(dots, "start")[1] == pytest.approx([math.exp(-2)] * 2)
    assert "FLAG: sigma never left its start in 1 of 2 trainings (seed 0)." in one.caption
    assert "seed 0 96.0 %, seed 1 94.0 %" in one.caption
    assert "FLAG" in figure_of([one]).texts[-1].get_text()


def test_no_flag_where_sigma_moved_and_none_where_its_start_is_not_known(small: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(small, tmp_path / "run"))
    infomask = peek_records(root)
    for record in infomask:
        made.rewrite(root, record, {"params": {"log_variance_start": -3.0}})
    assert "Sigma left its start in all of 2 trainings." in captions(root, "spread")
    for record in infomask:
        made.rewrite(root, record, {"params": {}})
    caption = captions(root, "spread")
    assert "FLAG" not in caption
    assert "Whether sigma left its start is not known" in caption


def captions(root: Path, name: str) -> str:
    return FIGURES[name](open_source(root, "val"), "made_up")[0].caption


@pytest.mark.parametrize("metric", ["iou", "iop", "fpr", "fnr"])
def test_threshold_curves_and_chosen_points(drawn: Callable[[str], list[Drawn]], metric: str) -> None:
    axes = figure_of(drawn(f"thresholds_{metric}")).axes
    val = made.images("val")
    for axis, (method, _) in zip(axes, _ranked(), strict=False):
        assert axis.get_title(loc="left") == method
        for seed in made.SEEDS:
            splits = {"test": (made.maps_of(method, seed), TEST), "val": (made.random_maps(30, seed + 1000), val)}
            for split, (maps, images) in splits.items():
                at, curve = line(axis, f"{split} {seed}")
                for k in (1, 300, 500, 501, 1000):
                    assert at[k - 1] == pytest.approx(k / 1000)
                    assert curve[k - 1] == pytest.approx(brute(metric, maps, images, k / 1000).mean(), abs=1e-12)
                chosen = made.THRESHOLDS[method][seed]
                x, y = line(axis, f"chosen {split} {seed}")
                assert x == pytest.approx([chosen])
                assert y == pytest.approx([brute(metric, maps, images, chosen).mean()], abs=1e-12)


def test_intervals_are_the_leaderboards_and_sanity_is_grey(source: Source, drawn: Callable[[str], list[Drawn]]) -> None:
    axis, right = figure_of(drawn("intervals")).axes
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == [*(name for name, _ in _ranked()), "center_box"]
    for y, name in enumerate(names):
        values = of_method("iou", name)
        assert line(axis, f"{name} mean")[0] == pytest.approx([values.mean()])
        assert line(axis, f"{name} mean")[1] == pytest.approx([y])
        row = next(v for v, _ in source.board.measured if v["method"] == name and v["threshold_rule"] == "val")
        assert line(axis, f"{name} interval")[0] == pytest.approx([row["iou_low"], row["iou_high"]])
        assert row["iou_low"] < values.mean() < row["iou_high"]
    colours = [label.get_color() for label in axis.get_yticklabels()]
    assert colours == ["black"] * 3 + [GREY]
    assert [label.get_text() for label in right.get_yticklabels()] == ["-", "-", "-", ""]  # two seeds: no ranks


def test_rank_ranges_are_printed(source: Source) -> None:
    pairs = source.shown("made_up")
    before = [dict(values) for values, _ in pairs]
    try:
        for (values, _), (low, high) in zip(pairs, [(1, 2), (1, 3), (3, 3)], strict=True):
            values.update(rank_low=low, rank_high=high)
        right = figure_of(FIGURES["intervals"](source, "made_up")).axes[1]
        assert [label.get_text() for label in right.get_yticklabels()] == ["1-2", "1-3", "3", ""]
    finally:
        for (values, _), old in zip(pairs, before, strict=True):
            values.update(old)


def test_training_curves_and_chosen_epochs(drawn: Callable[[str], list[Drawn]]) -> None:
    axes = figure_of(drawn("training")).axes
    trained = [name for name, _ in _ranked() if name != "other"]
    assert [axis.get_title(loc="left") for axis in axes[::2]] == trained
    for i, method in enumerate(trained):
        for axis, field in zip(axes[2 * i : 2 * i + 2], ("loss", "accuracy"), strict=True):
            for seed in made.SEEDS:
                history = made.history_of(method, seed)
                known = [math.nan if epoch[field] is None else epoch[field] for epoch in history]
                assert line(axis, f"seed {seed}")[1] == pytest.approx(known, nan_ok=True)
                x, y = line(axis, f"chosen {seed}")
                assert (x.tolist(), y.tolist()) == ([3], [known[2]])


@pytest.mark.parametrize("metric", ["iou", "fnr"])
def test_thirds_of_lesion_sizes(drawn: Callable[[str], list[Drawn]], metric: str) -> None:
    axis = figure_of(drawn(f"lesion_size_{metric}")).axes[0]
    share = np.array([TEST.masks[i].mean() for i in LOCATED])
    cuts = np.quantile(share, [1 / 3, 2 / 3])
    bands = [share <= cuts[0], (share > cuts[0]) & (share <= cuts[1]), share > cuts[1]]
    assert min(band.sum() for band in bands) >= 20
    labels = [label.get_text() for label in axis.get_xticklabels()]
    assert [label.split("n = ")[1] for label in labels] == [str(band.sum()) for band in bands]
    for method in made.METHODS:
        values = of_method(metric, method)
        x, y = line(axis, method)
        assert np.rint(x).tolist() == [0, 1, 2]
        assert y == pytest.approx([values[:, band].mean() for band in bands])
        ends = [one.get_ydata() for one in axis.get_lines() if one.get_label() == f"_{method} interval"]
        assert len(ends) == 3
        assert all(low <= mean <= high for (low, high), mean in zip(ends, y, strict=True))


def test_table1_measured_beside_reported(drawn: Callable[[str], list[Drawn]]) -> None:
    (one,) = drawn("table1")
    assert one.texts is not None
    lines = [row for row in one.texts["md"].splitlines() if row.startswith("|")]
    table = {cells[0]: cells[1:] for cells in ([c.strip() for c in row.strip("|").split("|")] for row in lines)}
    paper = {  # Table 1 of the paper: IoP, FPR, FNR, Acc.
        "GradCAM": [0.12, 0.196, 0.20, 0.8221], "FeatureMask": [0.19, 0.095, 0.81, 0.8236],
        "RegL1": [0.11, 0.010, 0.99, 0.8170], "CheXCAM": [0.34, 0.077, 0.71, 0.8400],
        "InfoMask": [0.44, 0.025, 0.80, 0.8248],
    }  # fmt: skip
    assert list(table)[2:] == [*paper, "other"]
    assert table["method"][5:] == [f"{m}, reported elsewhere (RSNA, other networks)" for m in table["method"][1:5]]
    for name, figures in paper.items():
        assert [float(cell) for cell in table[name][5:]] == figures
    assert table["other"][5:] == ["-"] * 4
    assert table["RegL1"][:5] == ["not in this run", *["-"] * 4]
    for name, method in (("GradCAM", "gradcam"), ("InfoMask", "infomask"), ("other", "other")):
        measured = [float(cell.split()[0]) for cell in table[name][1:5]]
        labels, right = np.array(TEST.labels), []
        for seed in made.SEEDS:
            right.append(((made.probability_of(seed) >= 0.5) == (labels == 1)).mean())
        expected = [of_method(metric, method).mean() for metric in ("iop", "fpr", "fnr")] + [np.mean(right)]
        assert measured == pytest.approx(expected, abs=5.01e-4)
    rows = [[cell.strip() for cell in row.partition(r"\\")[0].split(" & ")] for row in one.texts["tex"].splitlines()]
    tex = {cells[0]: (cells[2:], rows[i + 1][2:]) for i, cells in enumerate(rows) if len(cells) == 10 and cells[0]}
    assert list(tex)[1:] == [*paper, "other"]
    for name in [*paper, "other"]:
        means, below = tex[name]
        assert means == [cell.split()[0] for cell in table[name][1:]]
        bounds = [cell.partition(" [")[2].rstrip("]").replace(", ", "--") for cell in table[name][1:]]
        if any(bounds):
            assert below == [rf"{{\tiny {text}}}" if text else "" for text in bounds]
    for text in one.texts.values():
        table_only = "\n".join(row for row in text.splitlines() if row.startswith("|") or row.endswith(r"\\"))
        assert not re.search(r"±|\+-|\\pm|e-0", table_only)
        assert "does not say what it is" in text


def test_names_in_table1_are_text() -> None:
    first, second = _tex_lines(["m[a=/x [1]/y_z & w]", "ok", "0.500 [0.400, 0.600]", "-"])
    assert first == r"m{[}a=/x {[}1{]}/y\_z \& w{]} & ok & 0.500 & - \\"
    assert second == r" &  & {\tiny 0.400--0.600} &  \\[2pt]"


def test_a_method_has_one_colour_everywhere(source: Source, drawn: Callable[[str], list[Drawn]]) -> None:
    colour = {
        "density": [x for x in figure_of(drawn("density_iou")).axes[1].get_lines() if "infomask" in str(x.get_label())],
        "intervals": [x for x in figure_of(drawn("intervals")).axes[0].get_lines() if x.get_label() == "infomask mean"],
        "thresholds": [x for x in figure_of(drawn("thresholds_iou")).axes[0].get_lines() if x.get_label() == "test 0"],
        "lesion_size": [
            x for x in figure_of(drawn("lesion_size_iou")).axes[0].get_lines() if x.get_label() == "infomask"
        ],
    }
    assert {name: [one.get_color() for one in found] for name, found in colour.items()} == {
        name: [source.styles["infomask"].colour] for name in colour
    }
    names = [f"m{i}" for i in range(16)] + ["infomask", "gradcam"]
    styles = method_styles(names)
    assert styles == method_styles(reversed(names))
    assert styles["infomask"] == method_styles(["infomask"])["infomask"]
    assert len(set(styles.values())) == len(names)


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "table1"])
def test_no_text_is_small_or_cut_off(drawn: Callable[[str], list[Drawn]], name: str) -> None:
    for one in drawn(name):
        assert_texts_fit(figure_of([one]))


def assert_texts_fit(figure: Figure) -> None:
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    assert figure.get_figwidth() == COLUMN
    hidden = labels_not_drawn(figure)
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    assert len(texts) > 3
    for text in texts:
        if id(text) in hidden or (text.axes is not None and not text.axes.get_visible()):
            continue
        assert text.get_fontsize() >= TEXT
        box = text.get_window_extent()
        ends = {"left": box.x0, "right": width - box.x1, "bottom": box.y0, "top": height - box.y1}
        assert min(ends.values()) >= -0.5, (text.get_text(), ends)


def labels_not_drawn(figure: Figure) -> set[int]:
    """Ticks beyond the limits of an axis exist, and are not drawn."""
    hidden: set[int] = set()
    for axis in [one for axes in figure.axes for one in (axes.xaxis, axes.yaxis)]:
        inside = {id(tick) for tick in axis._update_ticks()}  # type: ignore[attr-defined]
        for tick in axis.get_major_ticks():
            hidden |= set() if id(tick) in inside else {id(tick.label1), id(tick.label2)}
    return hidden


@pytest.fixture(scope="module")
def written(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("written")
    assert _guarded(["figures", str(run), "--output", str(out), "--only", "comparison,spread,intervals,table1"]) == 0
    return out


def test_every_format_is_there_and_not_blank(written: Path) -> None:
    pictures = {"comparison", "spread_infomask", "intervals"}
    expected = {f"{name}.{suffix}" for name in pictures for suffix in ("png", "svg", "pdf", "txt")}
    assert {path.name for path in written.iterdir()} == expected | {"table1.md", "table1.tex", "table1.txt"}
    for name in pictures:
        assert_not_blank(written / f"{name}.png")
        pdf = (written / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF-")
        assert b"/FontFile2" in pdf  # its letters are in it
        svg = ElementTree.parse(written / f"{name}.svg").getroot()
        assert len(list(svg.iter("{http://www.w3.org/2000/svg}path"))) > 20
        caption = (written / f"{name}.txt").read_text()
        for part in ("170 test images", "84 located positives", "Threshold rule val: fitted on validation (mean IoU)",
                     "0, 1", "Status: ok:"):  # fmt: skip
            assert part in caption


def assert_not_blank(path: Path) -> None:
    with Image.open(path) as image:
        assert abs(image.width - 300 * COLUMN) <= 1
        grey = np.asarray(image.convert("L"))
        assert 0.005 < (grey < 128).mean() < 0.9


def test_the_same_run_gives_the_same_bytes(run: Path, written: Path, tmp_path: Path) -> None:
    assert _guarded(["figures", str(run), "--output", str(tmp_path), "--only", "intervals"]) == 0
    assert len(list(tmp_path.iterdir())) == 4
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (written / path.name).read_bytes(), path.name


def test_a_fixed_rule_reads_its_own_rows(run: Path, tmp_path: Path) -> None:
    arguments = ["--rule", "0.5", "--only", "intervals,table1", "--format", "png"]
    assert _guarded(["figures", str(run), "--output", str(tmp_path), *arguments]) == 0
    assert "fixed at 0.5 for every method" in (tmp_path / "intervals.txt").read_text()
    mean = np.mean([brute("iop", made.maps_of("infomask", seed), TEST, 0.5) for seed in made.SEEDS])
    assert f"| InfoMask | ok | {mean:.3f} " in (tmp_path / "table1.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "densty"], "--only densty: no such figure. Did you mean 'density'? There are density, comparison"),
        (["--only", ","], "--only: expected names of figures, found none"),
        (["--format", "png,gif"], "--format png,gif: expected some of png, svg, pdf"),
        (["--rule", "0.7"], "--rule 0.7: expected one of the run's threshold rules, val, 0.5"),
    ],
)
def test_bad_options(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert _guarded(["figures", str(run), "--output", str(tmp_path / "out"), *arguments]) == 2
    shown = capsys.readouterr()
    assert said in " ".join(shown.err.split())
    assert not (tmp_path / "out").exists()


def test_bad_places(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    made.write_run(tmp_path / "empty")
    for arguments, said in (
        ([str(tmp_path), "--output", str(tmp_path / "out")], "expected the folder of a run (with run.json)"),
        ([str(run), "--output", str(tmp_path / "file")], "expected a folder, found a file"),
        ([str(tmp_path / "empty"), "--output", str(tmp_path / "out")], "no cell has finished"),
    ):
        assert _guarded(["figures", *arguments]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "file").read_text() == "mine"


def spoil_gone(path: Path) -> None:
    path.unlink()


def spoil_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def spoil_others(path: Path) -> None:
    made.write_pictures(path.parent.parent, 30, [f"x{i}" for i in range(30)])


@pytest.mark.parametrize("spoil", [spoil_gone, spoil_bytes, spoil_others])
def test_pictures_that_are_not_there(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None]
) -> None:
    """The figures that need them are missed, with exit code 2; the others are made."""
    root = Path(shutil.copytree(small, tmp_path / "run"))
    spoil(root / "display" / "made_up.npz")
    out = tmp_path / "out"
    arguments = ["figures", str(root), "--output", str(out), "--format", "png"]
    assert _guarded([*arguments, "--only", "comparison,spread,intervals"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"Error: not all figures were drawn\. comparison: \S+made_up\.npz: expected .* spread: ", said)
    assert "Traceback" not in said
    assert "Internal error" not in said
    assert {path.name for path in out.iterdir()} == {"intervals.png", "intervals.txt"}
    assert _guarded([*arguments, "--only", "table1"]) == 0


def test_what_a_run_does_not_have_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing trained, no sigma maps: the rest is drawn and exit code 0; asked for by name, exit code 2."""
    root = made.write_figure_run(tmp_path / "run", ("other",), 30, ("val",))
    out = tmp_path / "out"
    arguments = ["figures", str(root), "--output", str(out), "--format", "png"]
    assert _guarded(arguments) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "not drawn: training: no method of made_up was trained in this run." in said
    assert "not drawn: spread: no method of made_up keeps maps of a mean and a standard deviation" in said
    assert "not drawn: lesion_size_iou: each third of the located positives of made_up has fewer than 20 images" in said
    assert (out / "comparison.png").is_file()
    assert not (out / "training.png").exists()
    assert _guarded([*arguments, "--only", "training,spread"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"Error: not all figures were drawn\. spread: .* training: ", said)


def test_many_methods_with_long_names_and_two_datasets(tmp_path: Path) -> None:
    """Further figures of the same images; nothing is cut off; each dataset has its files."""
    made.write_run(tmp_path, ("val",))
    names = [f"a_method_with_a_long_name_{i}" for i in range(8)]
    for dataset in ("made_up", "b[x=1]"):
        for i, name in enumerate(names if dataset == "made_up" else names[:1]):
            made.write_cell(tmp_path, name, 0, made.random_maps(30, i), dataset=dataset, history=[],
                            method_params="alpha=0.001,width=0.5" if i == 0 else "",
                            shown={"score": made.squared(made.random_maps(30, i), 0.0)})  # fmt: skip
    made.write_pictures(tmp_path, 30)
    source = open_source(tmp_path, "val")
    for name in ("density_iou", "comparison", "thresholds_iou", "intervals"):
        for one in FIGURES[name](source, "made_up"):
            assert_texts_fit(figure_of([one]))
    first, second = FIGURES["comparison"](source, "made_up")
    assert (first.name, second.name) == ("comparison--made_up", "comparison_2--made_up")
    images = [re.findall(r"\d %: (test\d+)", one.caption) for one in (first, second)]
    assert len(images[0]) == 5
    assert images[0] == images[1]
    assert len(figure_of([first]).axes) == 5 * 2 * (1 + 7)
    assert len(figure_of([second]).axes) == 5 * 2 * (1 + 1)
    assert FIGURES["intervals"](source, "b[x=1]")[0].name == "intervals--b_x=1_"


def test_sanity_rows_alone_give_no_comparison(tmp_path: Path) -> None:
    made.write_run(tmp_path)
    made.write_cell(tmp_path, "center_box", 0, made.maps_of("center_box", 0)[:30], sanity=True)
    source = open_source(tmp_path, "val")
    for name in ("comparison", "density_iou", "thresholds_iou", "training", "spread"):
        with pytest.raises(NothingToDraw, match="made_up"):
            FIGURES[name](source, "made_up")


def test_families_hold_every_figure() -> None:
    assert chosen_figures(",".join(FAMILIES)) == list(FIGURES)
    densities = [f"density_{metric}" for metric in ("iop", "fpr", "fnr", "iou", "dice")]
    assert chosen_figures("table1, density") == [*densities, "table1"]


def test_figures_and_tables_need_no_torch(tmp_path: Path) -> None:
    code = "import sys, wsl_bench.report.figures, wsl_bench.results; assert 'torch' not in sys.modules"
    done = run_python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_commands_of_the_page(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "figures.md").read_text()
    assert commands(page)
    shutil.copytree(run, tmp_path / "runs" / "phantom")
    monkeypatch.chdir(tmp_path)
    for command in commands(page):
        program, *arguments = shlex.split(command)
        assert program == "wslbench"
        # One format: those of the three are tried above.
        assert _guarded([*arguments, "--format", "png"]) == 0
    made_files = {path.name for path in (tmp_path / "figures").iterdir()}
    for name in FIGURES:
        wanted = {"spread": "spread_infomask.png", "table1": "table1.tex"}.get(name, f"{name}.png")
        assert wanted in made_files
        if wanted.endswith(".png"):
            assert_not_blank(tmp_path / "figures" / wanted)
    for family in FAMILIES:
        assert f"| `{family}` |" in page
