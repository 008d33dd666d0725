"""What notebooks show of a run and of a comparison: small tables, every name and note escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from wsl_bench.leaderboard.build import Leaderboard
from wsl_bench.leaderboard.compare import LOWER_IS_BETTER, RESAMPLES, Comparison
from wsl_bench.leaderboard.export import interval_text, rank_text, row_name, status_text
from wsl_bench.leaderboard.rows import RANK_SEEDS, Values

_LEFT = ' style="text-align: left; padding-right: 1em"'
_GREY = ' style="opacity: 0.6"'
_HEADER = ("method", "status", "rank", "iou", "iop", "auc")


def leaderboard_html(title: str, board: Leaderboard) -> str:
    """One table a dataset, at the first threshold rule that it has rows of, then the notes.

    Args:
        title: a line above, plain text.
    """
    parts = [f"<p>{escape(title)}</p>"]
    for dataset in dict.fromkeys(row["dataset"] for row in board.rows):
        ours = [row for row in board.rows if row["dataset"] == dataset]
        rules = list(dict.fromkeys(row["threshold_rule"] for row in ours))
        more = f"; rows of {', '.join(rules[1:])}: leaderboard(rule=...)" if rules[1:] else ""
        fitted = "fitted on validation" if rules[0] == "val" else f"fixed at {rules[0]}"
        caption = f"{dataset}, threshold {fitted}: mean [95 % interval]{more}"
        parts.append(_table(caption, [row for row in ours if row["threshold_rule"] == rules[0]]))
    if not board.rows:
        parts.append("<p>No cell has finished.</p>")
    if board.notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in board.notes)
        parts.append(f"<details><summary>Notes ({len(board.notes)})</summary><ul>{items}</ul></details>")
    return f"<div>{''.join(parts)}</div>"


def comparison_html(c: Comparison, figure: bytes) -> str:
    """A comparison as a table of what was found, and its figure.

    Args:
        figure: PNG.
    """
    better = "lower" if c.metric in LOWER_IS_BETTER else "higher"
    caption = f"{c.dataset}, {c.metric} ({better} is better) at threshold {c.rule}: {c.a} minus {c.b}"
    lines = "".join(
        f"<tr><th{_LEFT}>{escape(name)}</th><td{_LEFT}>{escape(text)}</td></tr>" for name, text in _findings(c)
    )
    image = base64.b64encode(figure).decode()
    return (
        f"<div><table><caption{_LEFT}>{escape(caption)}</caption><tbody>{lines}</tbody></table>"
        f'<img alt="{escape(caption)}" width="520" src="data:image/png;base64,{image}"></div>'
    )


def p_text(p: float) -> str:
    """p = 0.0123, as the command prints it."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"


def _findings(c: Comparison) -> list[tuple[str, str]]:
    """Names and values of the lines; an interval that is not defined says what it lacks."""
    m = c.method
    means = [
        (name, f"{mean:.4f} ({seeds} seed{'s' if seeds > 1 else ''})")
        for name, mean, seeds in zip((c.a, c.b), c.means, c.seeds, strict=True)
    ]
    if m.p != m.p:
        method = [("difference", f"{m.difference:+.4f}; no interval: it needs two seeds of each and two patients")]
    else:
        method = [
            ("difference", f"{m.difference:+.4f} [{m.low:+.4f}, {m.high:+.4f}], {p_text(m.p)}"),
            ("of all pairs", _corrected(c)),
            ("could have shown", f"a difference of {c.smallest:.4f} or more, in four of five repetitions"),
        ]
    fixed = "no interval: it needs two patients"
    if c.p_fixed == c.p_fixed:
        fixed = f"[{c.percentile[0]:+.4f}, {c.percentile[1]:+.4f}], {p_text(c.p_fixed)}; {RESAMPLES:,} resamples"
    patients = f"{c.n_groups} patient{'s' if c.n_groups > 1 else ''}"
    images = f"{len(c.parts)} test images of {patients}" if c.by_image else f"test images of {patients}"
    return [*means, *method, ("these trainings", fixed), ("measured on", images)]


def _corrected(c: Comparison) -> str:
    if c.p_holm != c.p_holm:
        return "not corrected: only pairs of complete rows are"
    few = "" if min(c.seeds) >= RANK_SEEDS else f"; of fewer than {RANK_SEEDS} seeds it promises too much"
    return f"{p_text(c.p_holm)} corrected for {c.n_pairs} pairs (Holm){few}"


def _table(caption: str, rows: Sequence[Values]) -> str:
    head = "".join(f"<th{_LEFT}>{name}</th>" for name in _HEADER)
    return (
        f"<table><caption{_LEFT}>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(map(_line, rows))}</tbody></table>"
    )


def _line(row: Values) -> str:
    figures = (interval_text(row, "iou"), *("" if row[name] is None else f"{row[name]:.3f}" for name in ("iop", "auc")))
    cells = "".join(f"<td{_LEFT}>{escape(text)}</td>" for text in (status_text(row), rank_text(row), *figures))
    faint = _GREY if row["status"] == "sanity" else ""
    return f"<tr{faint}><th{_LEFT}>{escape(row_name(row))}</th>{cells}</tr>"
