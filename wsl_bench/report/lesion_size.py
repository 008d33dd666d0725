"""A metric by the size of the lesion: thirds of the located positives, with intervals."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsl_bench.errors import NothingToDraw
from wsl_bench.leaderboard.export import row_name
from wsl_bench.leaderboard.rows import Values
from wsl_bench.leaderboard.strata import FEWEST, stratified
from wsl_bench.report.source import Drawn, Source
from wsl_bench.report.style import COLUMN, HEADING, TEXT, MethodStyle, dress, legend_columns, short

METRICS = {"iou": "IoU", "iop": "IoP", "fpr": "FPR", "fnr": "FNR"}


def draw_lesion_size(metric: str, source: Source, dataset: str) -> list[Drawn]:
    """A group of points with 95 % intervals for each band of sizes that has enough images.

    Raises:
        NothingToDraw: none has.
    """
    pairs = source.shown(dataset)
    rows = stratified(pairs, "lesion_size")
    strata = list(dict.fromkeys(row["stratum"] for row in rows if row[metric] is not None))
    if not strata:
        raise NothingToDraw(
            f"lesion_size_{metric}: each third of the located positives of {dataset} has fewer than {FEWEST} images "
            f"on which {metric} is defined, too few for a figure."
        )
    names = [row_name(values) for values, _ in pairs]
    columns = legend_columns(names)
    figure = Figure(figsize=(COLUMN, 1.75 + 0.15 * -(-len(names) // columns)), layout="constrained")
    axis = figure.subplots()
    for i, name in enumerate(names):
        shift = 0.7 * ((i + 0.5) / len(names) - 0.5)
        own = [row for row in rows if row_name(row) == name and row[metric] is not None]
        _points(axis, [strata.index(row["stratum"]) + shift for row in own], own, metric, name, source.styles[name])
    sizes = {row["stratum"]: row["n_images"] for row in rows}
    axis.set_xticks(range(len(strata)), [_label(stratum, sizes[stratum]) for stratum in strata])
    axis.set(xlim=(-0.5, len(strata) - 0.5))
    axis.set_ylim(bottom=0)
    axis.set_ylabel(f"mean {METRICS[metric]}", fontsize=HEADING)
    dress(axis)
    axis.grid(visible=False, axis="x")
    figure.legend(loc="outside lower center", ncols=columns, fontsize=TEXT, frameon=False, columnspacing=1.0)
    counts = "; ".join(f"{stratum}: {n} images" for stratum, n in sizes.items())
    caption = (
        f"Mean {METRICS[metric]} of located positives by the share of the image that is ground truth, in thirds "
        f"({counts}); 95 % intervals for the method (seeds random, crossed with patients), none with one seed. Bands "
        f"of fewer than {FEWEST} images are left out. Larger lesions are easier by chance alone: the IoP of a map "
        f"without information is the mean share itself ({_chance(rows)}). {source.about(dataset, pairs)}"
    )
    return [Drawn(source.file_name(f"lesion_size_{metric}", dataset), caption, figure)]


def _points(axis: Axes, at: list[float], rows: list[Values], metric: str, name: str, style: MethodStyle) -> None:
    for x, row in zip(at, rows, strict=True):
        low, high = row[f"{metric}_low"], row[f"{metric}_high"]
        if low is not None and high is not None:
            axis.plot([x, x], [low, high], color=style.colour, linewidth=1.1, label=f"_{name} interval")
    axis.plot(at, [row[metric] for row in rows], linestyle="none", color=style.colour, marker=style.marker,
              markersize=4, label=short(name, 36))  # fmt: skip


def _label(stratum: str, n: int) -> str:
    """Two or three short lines."""
    name, _, rest = stratum.partition(" (")
    return "\n".join(part for part in (name, rest.removesuffix(")"), f"n = {n}") if part)


def _chance(rows: list[Values]) -> str:
    chance = {row["stratum"]: row["iop_chance"] for row in rows if row["iop_chance"] is not None}
    return ", ".join(f"{stratum.partition(' (')[0]} {value:.3f}" for stratum, value in chance.items())
