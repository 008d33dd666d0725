"""Mean and standard deviation of a variational code on test images (InfoMask paper, Figure 4)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from wsl_bench.errors import NothingToDraw
from wsl_bench.leaderboard.export import row_name
from wsl_bench.report.examples import Examples, choose_examples
from wsl_bench.report.pictures import LINE_HEIGHT, Sheet, fitted, inside, show_image, show_map, wrapped
from wsl_bench.report.source import Drawn, Maps, Pair, Source, seeds_of
from wsl_bench.report.spread import (
    MEANS,
    PLACES,
    SPREADS,
    STUCK_SHARE,
    STUCK_WITHIN,
    Spread,
    code_names,
    measure_spread,
    median_negative,
    sigma_of,
)
from wsl_bench.report.style import COLUMN, LINE, MAPS, TEXT, MethodStyle, dress
from wsl_bench.store.display import Display

_LABELS, _GAP, _HEAD, _BAR, _DOTS = 0.42, 0.04, 0.18, 0.34, 1.0  # inches


def draw_spread(source: Source, dataset: str) -> list[Drawn]:
    """For each method that keeps such maps: pictures of them, and mean sigma inside, outside and on negatives.

    Raises:
        NothingToDraw: no method of the dataset does.
        StoreError: the run keeps no pictures of the dataset.
    """
    having = [pair for pair in source.shown(dataset) if code_names(source.maps(pair[1].records[0])) is not None]
    if not having:
        raise NothingToDraw(
            f"spread: no method of {dataset} keeps maps of a mean and a standard deviation ({'/'.join(MEANS)} and "
            f"{'/'.join(SPREADS)}) beside its score maps."
        )
    examples = choose_examples(source, dataset)
    return [_one(source, dataset, pair, examples) for pair in having]


def _one(source: Source, dataset: str, pair: Pair, examples: Examples) -> Drawn:
    values, row = pair
    display, name, seeds = source.display(dataset), row_name(values), seeds_of(row)
    spreads = [measure_spread(record, source.maps(record), display) for record in row.records]
    shown = examples.seed if examples.seed in seeds else seeds[0]
    record = row.records[seeds.index(shown)]
    maps = source.maps(record)
    rows = [(f"{100 * q:.0f} %", j) for q, j in zip(examples.quantiles, examples.at, strict=True)]
    negative = median_negative(sigma_of(record, maps), display)
    said = [f"{name}, seed {shown}. {examples.rule()}"]
    if negative is not None:
        rows.append(("neg.", negative))
        said.append("neg.: the negative of median mean sigma.")
    rule, flag = " ".join(said), _flag(seeds, spreads)
    sheet = _pictures(maps, display, rows, f"{rule} {flag}")
    _dots(sheet.axes(0.55, sheet.below + 0.44, COLUMN - 0.65, _DOTS), spreads, seeds, source.styles[name])
    caption = f"{flag} {_decided(seeds, spreads)} {_caption(rule, seeds, spreads, display)}"
    return Drawn(
        source.file_name(f"spread_{name}", dataset), f"{caption} {source.about(dataset, [pair])}", sheet.figure
    )


def _pictures(maps: Maps, display: Display, rows: list[tuple[str, int]], text: str) -> Sheet:
    """The maps, their colour bars, room for the dots, and the text under it all."""
    names = code_names(maps)
    assert names is not None
    scales = {"score": (0.0, 1.0)} | {name: _scale(maps[name]) for name in names}
    lines = wrapped(text)
    width = (COLUMN - _LABELS - 0.04) / (1 + len(scales)) - _GAP
    tallest = max(h / w for _, _, h, w in display.inside[[j for _, j in rows]].tolist())
    height = width * min(2.0, tallest)
    below = _HEAD + len(rows) * (height + _GAP)
    sheet = Sheet(below + _BAR + _DOTS + 0.4 + LINE_HEIGHT * len(lines) + 0.06, below)
    for column, title in enumerate(["input, truth", *scales]):
        left = _LABELS + column * (width + _GAP)
        sheet.text(left + width / 2, 0.03, title, ha="center")
        if column:
            _colour_bar(sheet.axes(left + 0.03, below + 0.04, width - 0.06, 0.07), *scales[title])
    for i, (label, j) in enumerate(rows):
        top = _HEAD + i * (height + _GAP)
        sheet.text(0.03, top + height / 2, label, va="center")
        show_image(sheet.axes(_LABELS, top, width, height), display, j, outlined=True)
        for column, (name, scale) in enumerate(scales.items(), 1):
            axis = sheet.axes(_LABELS + column * (width + _GAP), top, width, height)
            show_map(axis, fitted(maps[name][j], display, j), *scale, display.truth[j][inside(display, j)])
    sheet.text(0.05, below + _BAR + _DOTS + 0.4, "\n".join(lines))
    return sheet


def _scale(values: npt.NDArray[np.generic]) -> tuple[float, float]:
    """From the 1st to the 99th percentile of the maps of all images."""
    low, high = np.quantile(values.astype(np.float32), [0.01, 0.99]).tolist()
    return low, high if high > low else low + 1e-3


def _colour_bar(axis: Axes, low: float, high: float) -> None:
    axis.imshow(np.linspace(0, 1, 64)[None], cmap=MAPS, aspect="auto", extent=(0, 1, 0, 1))
    axis.set_yticks([])
    axis.set_xticks([0, 1], [f"{low:.2g}", f"{high:.2g}"])
    axis.tick_params(labelsize=TEXT, length=2, pad=1)
    left, right = axis.get_xticklabels()  # centred, those of two bars beside each other would meet
    left.set_horizontalalignment("left")
    right.set_horizontalalignment("right")


def _dots(axis: Axes, spreads: list[Spread], seeds: list[int], style: MethodStyle) -> None:
    """Mean sigma by place, one line a training."""
    places = np.arange(len(PLACES))
    for seed, spread in zip(seeds, spreads, strict=True):
        axis.plot(places, spread.means, color=style.colour, marker=style.marker, markersize=3.5, linewidth=0.7,
                  markerfacecolor="white" if spread.stuck else style.colour, label=f"seed {seed}")  # fmt: skip
    start = next((spread.start for spread in spreads if spread.start is not None), None)
    if start is not None:
        axis.axhline(start, color=LINE, linewidth=0.8, linestyle="--", label="start")
        axis.text(2.45, start, "start", fontsize=TEXT, va="bottom", ha="right")
    axis.set_xticks(places, PLACES)
    axis.set_xlim(-0.35, 2.45)
    axis.margins(y=0.2)
    axis.set_ylabel("mean sigma", fontsize=TEXT)
    dress(axis)


def _flag(seeds: list[int], spreads: list[Spread]) -> str:
    """One sentence."""
    known = [(seed, spread) for seed, spread in zip(seeds, spreads, strict=True) if spread.stuck is not None]
    stuck = [str(seed) for seed, spread in known if spread.stuck]
    if not known:
        return "Whether sigma left its start is not known: the records have no log_variance_start."
    if not stuck:
        return f"Sigma left its start in all of {len(known)} trainings."
    return f"FLAG: sigma never left its start in {len(stuck)} of {len(known)} trainings (seed {', '.join(stuck)})."


def _decided(seeds: list[int], spreads: list[Spread]) -> str:
    """How the flag was come by."""
    start = next((spread.start for spread in spreads if spread.start is not None), None)
    if start is None:
        return ""
    shares = ", ".join(
        f"seed {seed} {100 * spread.near_start:.1f} %"
        for seed, spread in zip(seeds, spreads, strict=True) if spread.near_start is not None
    )  # fmt: skip
    return (
        f"A map counts as never having left its start where {100 * STUCK_SHARE:.0f} % or more of the pixels of the "
        f"display maps are within {100 * STUCK_WITHIN:.0f} % of exp(log_variance_start / 2) = {start:.4f}; there are: "
        f"{shares}."
    )


def _caption(rule: str, seeds: list[int], spreads: list[Spread], display: Display) -> str:
    lines = "; ".join(
        f"seed {seed}: " + ", ".join(f"{place} {value:.4f}" for place, value in zip(PLACES, spread.means, strict=True))
        for seed, spread in zip(seeds, spreads, strict=True)
    )
    located, negative = int(display.truth.any((1, 2)).sum()), int((display.labels == 0).sum())
    return (
        f"{rule} Columns: input with the ground truth's outline; score map, 0 to 1; mean; standard deviation (colours "
        "from the 1st to the 99th percentile over the images). Below: mean sigma inside and outside the ground truth "
        f"of {located} located positives and on {negative} negatives, one line a seed (open: flagged; dashed: the "
        f"start): {lines}. Sigma is in no tally: these means are from the display maps."
    )
