"""`wslbench compare`: two methods of a run, images paired."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from wsl_bench.cli.console import out as console
from wsl_bench.cli.console import tell
from wsl_bench.errors import UsageError


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
    from wsl_bench.leaderboard.export import row_name
    from wsl_bench.report.paired import write_paired

    if a == b:
        raise UsageError(f"{a} {b}: expected two rows, found one.")
    board = build_leaderboard(run)
    found = compared(board, a, b, metric, dataset=dataset, rule=threshold)
    tell(note for note in board.notes if note.startswith("Set aside"))
    tell(f"{row_name(values)}: {values['status']}" for values in board.rows if _to_mind(values, found))
    for line in _lines(found):
        console.print(escape(line), soft_wrap=True)
    path = output if output is not None else run / "figures" / f"{_file_name(found)}.png"
    write_paired(found, path)
    console.print(f"\nFigure: {escape(str(path))}", soft_wrap=True)


def _to_mind(values: Any, c: Any) -> bool:
    """Whether a row that is compared is not simply `ok`."""
    from wsl_bench.leaderboard.export import row_name

    ours = (values["dataset"], values["threshold_rule"]) == (c.dataset, c.rule) and row_name(values) in (c.a, c.b)
    return ours and values["status"] != "ok"


def _file_name(c: Any) -> str:
    """Readable, of this comparison alone, and no longer than a file system takes."""
    whole = f"{c.dataset}--{c.a}--{c.b}--{c.metric}--{c.rule}"
    name = re.sub(r"[^A-Za-z0-9.=_-]+", "_", whole)
    if name != whole or len(name) > 120:
        name = f"{name[:110]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    return f"paired--{name}"


def _lines(c: Any) -> list[str]:
    """The comparison in sentences."""
    from wsl_bench.leaderboard.compare import RESAMPLES

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
        freedom = "" if m.df == math.inf else f", {m.df:.1f} degrees of freedom"
        lines += [
            f"  95 % interval {m.low:+.4f} to {m.high:+.4f}, {_p(m.p)} (two-sided{freedom})",
            _corrected(c),
            f"  this study would have found a difference of {c.smallest:.4f} or more in four of five repetitions",
        ]
    lines += [
        f"These trainings (seeds fixed, patients resampled {RESAMPLES:,} times):",
    ]
    if c.p_fixed != c.p_fixed:
        return [*lines, "  no interval: resamples of one patient are all the same"]
    lines += [
        f"  95 % interval {c.percentile[0]:+.4f} to {c.percentile[1]:+.4f} (percentile), "
        f"{c.bca[0]:+.4f} to {c.bca[1]:+.4f} (BCa), {_p(c.p_fixed)}",
    ]
    if c.n_undefined:
        lines += [f"  {c.n_undefined} resamples without one of the classes are left out"]
    return lines


def _units(c: Any) -> str:
    patients = "1 patient" if c.n_groups == 1 else f"{c.n_groups} patients"
    return f"{len(c.parts)} test images of {patients}" if c.by_image else f"test images of {patients}"


def _corrected(c: Any) -> str:
    """What is left of the p-value when every pair of the table is looked at."""
    from wsl_bench.leaderboard.rows import RANK_SEEDS

    if c.p_holm != c.p_holm:
        return "  one comparison by itself; only pairs of complete rows are corrected for their number"
    few = "" if min(c.seeds) >= RANK_SEEDS else f"; of fewer than {RANK_SEEDS} seeds it promises too much"
    return f"  {_p(c.p_holm)} corrected for all {c.n_pairs} pairs of complete rows (Holm){few}"


def _p(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"
