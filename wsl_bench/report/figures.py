"""All figures of a run by name, and how they are written: pictures, tables, and a caption each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from wsl_bench.errors import NothingToDraw, UsageError, WslBenchError
from wsl_bench.params import did_you_mean
from wsl_bench.report import lesion_size, metric_density, threshold_curves
from wsl_bench.report.comparison import draw_comparison
from wsl_bench.report.intervals import draw_intervals
from wsl_bench.report.source import Drawn, Source
from wsl_bench.report.spread_figure import draw_spread
from wsl_bench.report.style import FORMATS, rendered
from wsl_bench.report.table1 import draw_table1
from wsl_bench.report.training_curves import draw_training
from wsl_bench.store.atomic import atomic_write

Draw = Callable[[Source, str], list[Drawn]]
FIGURES: dict[str, Draw] = {
    **{f"density_{metric}": partial(metric_density.draw_density, metric) for metric in metric_density.METRICS},
    "comparison": draw_comparison,
    "spread": draw_spread,
    **{
        f"thresholds_{metric}": partial(threshold_curves.draw_thresholds, metric) for metric in threshold_curves.METRICS
    },
    "intervals": draw_intervals,
    "training": draw_training,
    **{f"lesion_size_{metric}": partial(lesion_size.draw_lesion_size, metric) for metric in lesion_size.METRICS},
    "table1": draw_table1,
}
# A family's name stands for all of its figures.
FAMILIES = ("density", "comparison", "spread", "thresholds", "intervals", "training", "lesion_size", "table1")


@dataclass
class Written:
    """What became of the figures.

    Attributes:
        files: that were written, in order.
        skipped: figure and dataset of what the run has nothing to show for, with the reason.
        broken: the same of what it should have had.
    """

    files: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def chosen_figures(only: str | None) -> list[str]:
    """Names of figures from names and families separated by commas; None: all.

    Raises:
        UsageError: there is no such name, or none at all.
    """
    if only is None:
        return list(FIGURES)
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    chosen = []
    for name in wanted:
        found = [one for one in FIGURES if one == name or (name in FAMILIES and one.startswith(f"{name}_"))]
        if not found:
            close = did_you_mean(name, [*FAMILIES, *FIGURES])
            raise UsageError(f"--only {name}: no such figure{close} There are {', '.join(FAMILIES)}.")
        chosen += found
    if not chosen:
        raise UsageError(f"--only: expected names of figures, found none. There are {', '.join(FAMILIES)}.")
    return [name for name in FIGURES if name in chosen]


def chosen_formats(format: str) -> list[str]:
    """Formats from a text like png,svg.

    Raises:
        UsageError: there is no such format, or none at all.
    """
    wanted = list(dict.fromkeys(name.strip().lower() for name in format.split(",") if name.strip()))
    unknown = [name for name in wanted if name not in FORMATS]
    if unknown or not wanted:
        raise UsageError(f"--format {format}: expected some of {', '.join(FORMATS)}, separated by commas.")
    return wanted


def write_figures(source: Source, output: Path, names: Sequence[str], formats: Sequence[str]) -> Written:
    """Draw and write the figures of every dataset; one that cannot be drawn does not keep the others from it."""
    written = Written()
    for name in names:
        for dataset in source.datasets:
            try:
                drawn = FIGURES[name](source, dataset)
            except NothingToDraw as reason:
                written.skipped.append(f"{name}: {reason}" if name not in str(reason) else str(reason))
                continue
            except WslBenchError as error:  # a file that is missing or damaged
                written.broken.append(f"{name}: {error}")
                continue
            for one in drawn:
                written.files += _write(one, output, formats)
    return written


def _write(drawn: Drawn, output: Path, formats: Sequence[str]) -> list[Path]:
    contents = {suffix: text.encode() for suffix, text in (drawn.texts or {}).items()}
    if drawn.figure is not None:
        contents |= {suffix: rendered(drawn.figure, suffix) for suffix in formats}
    contents["txt"] = (drawn.caption + "\n").encode()
    paths = []
    for suffix, content in contents.items():
        paths.append(output / f"{drawn.name}.{suffix}")
        atomic_write(paths[-1], content)
    return paths
