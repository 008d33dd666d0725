"""The leaderboard in a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wsl_bench.leaderboard.build import Leaderboard
from wsl_bench.leaderboard.export import rank_text, row_name, status_text
from wsl_bench.leaderboard.oracle import COLUMNS as ORACLE_COLUMNS
from wsl_bench.leaderboard.overall import Overall, overall_rows
from wsl_bench.leaderboard.rows import Values
from wsl_bench.leaderboard.strata import FEWEST


def print_leaderboard(board: Leaderboard, console: Console) -> None:
    """Print the tables of a run and their notes."""
    for dataset, rule in dict.fromkeys((row["dataset"], row["threshold_rule"]) for row in board.rows):
        table = [row for row in board.rows if (row["dataset"], row["threshold_rule"]) == (dataset, rule)]
        console.print(_table(table, dataset, rule))
        if beside := _accuracies(table):
            console.print(f"[dim]{escape(beside)}[/]")
        if ORACLE_COLUMNS[0] in table[0]:
            console.print(_oracle_table(table))
    for note in board.notes:
        console.print(f"[dim]{escape(note)}[/]")


def _table(rows: Sequence[Values], dataset: str, rule: str) -> Table:
    rule_text = "fitted on val" if rule == "val" else f"fixed at {rule}"
    table = Table(title=f"{escape(dataset)}, threshold {rule_text}: mean (95 % interval)", box=None,
                  pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")  # fmt: skip
    ranked = any(row["rank_low"] is not None for row in rows)
    # Where the terminal is narrow, a long method with its parameters goes on in a second line; figures stay whole.
    table.add_column("method", overflow="fold")
    if ranked:
        table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("IoU", no_wrap=True)
    for name in ("IoP", "FPR", "FNR", "pxap", "AUC", "acc"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row, ranked), style="dim" if row["status"] == "sanity" else "")
    return table


def print_strata(rows: Sequence[Values], console: Console) -> None:
    """Print a table split by strata: IoU with its interval, and what it is made of."""
    for dataset, rule in dict.fromkeys((row["dataset"], row["threshold_rule"]) for row in rows):
        table = Table(title=f"{escape(dataset)}, threshold {rule}, by {escape(rows[0]['by'])}", box=None,
                      pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")  # fmt: skip
        table.add_column("method", overflow="fold")
        table.add_column("stratum", overflow="fold")
        for name in ("n", "IoU", "IoP", "FPR", "FNR"):
            table.add_column(name, justify="left" if name == "IoU" else "right", no_wrap=True)
        for row in rows:
            if (row["dataset"], row["threshold_rule"]) == (dataset, rule):
                others = [_short(row[metric]) for metric in ("iop", "fpr", "fnr")]
                table.add_row(
                    escape(row_name(row)), escape(row["stratum"]), str(row["n_images"]), _iou(row), *others,
                    style="dim" if row["status"] == "sanity" else "",
                )  # fmt: skip
        console.print(table)
    console.print(f"[dim]Located positives; no figure on fewer than {FEWEST} of them.[/]")


def print_overall(result: Overall, console: Console) -> None:
    """Print the methods' average ranks, their IoU on each dataset and how often each beats the next."""
    rule_text = "fitted on val" if result.rule == "val" else f"fixed at {result.rule}"
    table = Table(title=f"over {len(result.datasets)} datasets, threshold {rule_text}", box=None, pad_edge=False,
                  padding=(0, 1, 0, 0), title_justify="left")  # fmt: skip
    table.add_column("method", overflow="fold")
    table.add_column("average rank", justify="right")
    for dataset in result.datasets:
        table.add_column(f"IoU {escape(dataset)}", justify="right", overflow="fold")
    table.add_column("beats the next (95 % interval)", justify="left")
    for row in overall_rows(result):
        if row["average_rank"] is None:
            continue
        beats = _short(row["beats_next"])
        if row["beats_next_low"] is not None:
            beats += f" ({_short(row['beats_next_low'])}-{_short(row['beats_next_high'])})"
        scores = [_short(row[f"iou_{dataset}"], 3) for dataset in result.datasets]
        table.add_row(escape(row["method"]), f"{row['average_rank']:.2f}", *scores, beats)
    console.print(table)


def _oracle_table(rows: Sequence[Values]) -> Table:
    """What thresholds chosen on test would give, apart from the table that is ranked."""
    table = Table(title="thresholds chosen on test: upper bounds, never ranked", box=None, pad_edge=False,
                  padding=(0, 1, 0, 0), title_justify="left")  # fmt: skip
    table.add_column("method", overflow="fold")
    for column in ORACLE_COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(escape(row_name(row)), *(_short(row[column], 3) for column in ORACLE_COLUMNS))
    return table


def _accuracies(rows: Sequence[Values]) -> str:
    """What the column of accuracies is to be read beside: the usual threshold and no classifier at all."""
    known = [row for row in rows if row["accuracy"] is not None and row["status"] != "sanity"]
    if not known:
        return ""
    at_half = ", ".join(f"{row_name(row)} {_short(row['accuracy_at_half'])}" for row in known)
    majority = _short(known[0]["accuracy_majority"])
    return f"acc at the threshold chosen on val; at 0.5: {at_half}; majority class {majority}."


def _cells(row: Values, ranked: bool) -> list[str]:
    others = [_short(row[m]) for m in ("iop", "fpr", "fnr", "pxap", "auc", "accuracy")]
    return [escape(row_name(row)), *([rank_text(row)] if ranked else []), _iou(row), *others, status_text(row)]


def _iou(row: Values) -> str:
    iou = _short(row["iou"], 3)
    return iou if row["iou_low"] is None else f"{iou} ({_short(row['iou_low'], 3)}-{_short(row['iou_high'], 3)})"


def _short(value: float | None, digits: int = 2) -> str:
    """.51; 1.0 for one; empty where missing."""
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0") else text[: digits + 1]
