"""`wslbench compare`: two methods of a run, images paired."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from wsl_bench.cli.console import out as console


def compare(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    a: Annotated[str, typer.Argument(help="A row, as the table names it: infomask, gradcam\\[symmetric_start=none].")],
    b: Annotated[str, typer.Argument(help="The row it is compared with.")],
    metric: Annotated[
        str, typer.Option(help="iou (default), iop, fpr, fnr, dice, empty_rate, fpr_negative, accuracy, auc, pxap.")
    ] = "iou",
    dataset: Annotated[str | None, typer.Option(help="Which dataset, where the run has several.")] = None,
    threshold: Annotated[str, typer.Option(help="Threshold rule of the rows: val or a number of the run.")] = "val",
    output: Annotated[Path | None, typer.Option(help="Figure (PNG). Default: in the run's figures/.")] = None,
) -> None:
    """Compare two methods: difference, intervals, p-values, what the test set could have shown; and a figure."""
    from wsl_bench.leaderboard.build import build_leaderboard
    from wsl_bench.leaderboard.compare import compare as compared
    from wsl_bench.report.paired import write_paired

    found = compared(build_leaderboard(run), a, b, metric, dataset=dataset, rule=threshold)
    for line in _lines(found):
        console.print(escape(line), soft_wrap=True)
    name = re.sub(r"[^A-Za-z0-9.=_-]+", "_", f"{found.dataset}--{a}--{b}--{metric}--{threshold}")
    path = output if output is not None else run / "figures" / f"paired--{name}.png"
    write_paired(found, path)
    console.print(f"\nFigure: {escape(str(path))}", soft_wrap=True)


def _lines(c: Any) -> list[str]:
    """The comparison in sentences."""
    m = c.method
    lines = [
        f"{c.dataset}, {c.metric} at threshold {c.rule}: {_units(c)}",
        f"{c.a}: {c.means[0]:.4f} (seeds: {c.seeds[0]})   {c.b}: {c.means[1]:.4f} (seeds: {c.seeds[1]})",
        f"difference: {m.difference:+.4f}",
        "",
        "The method (seeds random, patients paired):",
    ]
    if m.p != m.p:
        lines += ["  no interval: it needs two seeds of each and two patients"]
    else:
        lines += [
            f"  95 % interval {m.low:+.4f} to {m.high:+.4f}, p = {_p(m.p)} (two-sided, {m.df:.1f} degrees of freedom)",
            _corrected(c),
            f"  this study would have found a difference of {c.smallest:.4f} or more in four of five repetitions",
        ]
    lines += [
        "These trainings (seeds fixed, patients resampled 10,000 times):",
        f"  95 % interval {c.percentile[0]:+.4f} to {c.percentile[1]:+.4f} (percentile), "
        f"{c.bca[0]:+.4f} to {c.bca[1]:+.4f} (BCa), p = {_p(c.p_fixed)}",
    ]
    return lines


def _units(c: Any) -> str:
    return f"{len(c.parts)} test images of {c.n_groups} patients" if c.by_image else f"{c.n_groups} test patients"


def _corrected(c: Any) -> str:
    """What is left of the p-value when every pair of the table is looked at."""
    if c.p_holm != c.p_holm:
        return "  one comparison by itself: only ranked rows are corrected for the number of pairs"
    return f"  p = {_p(c.p_holm)} corrected for all {c.n_pairs} pairs of ranked rows (Holm)"


def _p(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"
