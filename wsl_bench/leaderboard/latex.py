r"""The leaderboard as LaTeX tables, for a document that loads booktabs and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wsl_bench.leaderboard.export import rank_text, row_name, rule_text, status_text
from wsl_bench.leaderboard.rows import Values

_HEADER = ("Method", "Rank", "IoU", "IoP", "FPR", "FNR", "Dice", "PxAP", "AUC", "Accuracy", "Status")
_MEANS = ("iop", "fpr", "fnr", "dice", "pxap", "auc", "accuracy")
_MISSING = "--"
_BEST = "Bold: significantly better by IoU than every other ranked method."
_SHARED = (
    r"$^{\dagger}$ The first place is shared: no ranked method is significantly better by IoU than these, "
    "and none of them is better than all others."
)
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "[": "{[}", "]": "{]}",  # a bracket after the end of a row would be read as its option
}  # fmt: skip


def to_latex(rows: Sequence[Values], notes: Sequence[str]) -> str:
    """One table a dataset and threshold rule, then the notes as a list.

    The highest IoU is bold only where the ranks say that no other method may be as good; a shared first place is
    marked on all that share it. Means have three digits, IoU with its interval for the method.
    """
    parts = [r"% Needs \usepackage{booktabs}.", ""]
    for dataset, rule in dict.fromkeys((row["dataset"], row["threshold_rule"]) for row in rows):
        table = [row for row in rows if (row["dataset"], row["threshold_rule"]) == (dataset, rule)]
        parts += [*_table(table, dataset, rule), ""]
    if notes:
        parts += [r"\begin{itemize}\footnotesize", *(rf"\item {_prose(note)}" for note in notes), r"\end{itemize}"]
    return "\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text in which nothing is a command to TeX; line breaks become spaces."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))


def _table(table: Sequence[Values], dataset: str, rule: str) -> list[str]:
    ranked = [row for row in table if row["rank_low"] is not None]
    best, shared = _first(ranked)
    lines = [
        r"\begin{table}", r"\centering\scriptsize\setlength{\tabcolsep}{2pt}",
        rf"\caption{{{escaped(dataset)}, threshold {rule_text(rule)}: means, IoU with its 95\,\% interval.}}",
        r"\begin{tabular}{lclrrrrrrrl}", r"\toprule", rf"{' & '.join(_HEADER)} \\", r"\midrule",
    ]  # fmt: skip
    before = None
    for row in table:
        if before is not None and (before["status"] == "sanity") != (row["status"] == "sanity"):
            lines.append(r"\midrule")
        lines.append(rf"{' & '.join(_cells(row, best=row is best, shared=any(row is one for one in shared)))} \\")
        before = row
    lines += [r"\bottomrule", r"\end{tabular}"]
    said = ([_BEST] if best is not None else []) + ([_SHARED] if shared else [])
    return [*lines, *(rf"\par\smallskip {line}" for line in said), r"\end{table}"]


def _first(ranked: Sequence[Values]) -> tuple[Values | None, list[Values]]:
    """The one method that is better than all others, or those that share the first place; a single row is neither."""
    first = [row for row in ranked if row["rank_low"] == 1]
    if len(ranked) < 2:
        return None, []
    alone = next((row for row in first if row["rank_high"] == 1), None)
    return (alone, []) if alone is not None else (None, first)


def _cells(row: Values, *, best: bool, shared: bool) -> list[str]:
    iou = _number(row["iou"])
    iou = rf"\textbf{{{iou}}}" if best else rf"{iou}$^{{\dagger}}$" if shared else iou
    if row["iou_low"] is not None and row["iou_high"] is not None:
        iou += f" {{[}}{row['iou_low']:.3f}, {row['iou_high']:.3f}{{]}}"
    rank = rank_text(row).replace("-", "--") or _MISSING
    means = [_number(row[metric]) for metric in _MEANS]
    return [escaped(row_name(row)), rank, iou, *means, escaped(status_text(row))]


def _number(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.3f}"


def _prose(note: str) -> str:
    """A note, what stands between backticks set as code."""
    parts = re.split(r"`([^`]*)`", note)
    return "".join(rf"\texttt{{{escaped(p)}}}" if i % 2 else _kept(p) for i, p in enumerate(parts))


def _kept(text: str) -> str:
    """Escaped, without losing the spaces at its ends."""
    start, end = text[:1].isspace(), len(text) > 1 and text[-1:].isspace()
    return f"{' ' if start else ''}{escaped(text)}{' ' if end else ''}"
