"""A run's methods over all of its datasets: average ranks, how often one beats another, shares of good images.

A method that lacks a finished, complete row on one of the datasets has no average: it is listed with what it lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from wsl_bench.errors import UsageError
from wsl_bench.leaderboard.build import RANKED, Leaderboard, build_leaderboard
from wsl_bench.leaderboard.export import row_name
from wsl_bench.leaderboard.measure import Row
from wsl_bench.leaderboard.rows import RANK_SEEDS, Values
from wsl_bench.stats.several import (
    AverageRanks,
    Estimate,
    average_ranks,
    over_datasets,
    rank_groups,
    share_above,
    win_probability,
)
from wsl_bench.store.run_file import read_run

METRIC = "iou"  # what the tables are ranked by
PROFILE_AT = np.linspace(0, 1, 101)
ORIGINS = ("sanity", "external")  # never ranked, and not missed here


@dataclass(frozen=True)
class Overall:
    """Methods over datasets, at one threshold rule.

    Attributes:
        rule: "val" or a fixed threshold as text.
        datasets: all of the run's that have a row.
        methods: names of the complete ones, best average rank first.
        scores: by method, its mean IoU on each dataset.
        rows: by method, its row on each dataset.
        ranks: average ranks, in the order of `methods`.
        lacking: by name, what a method lacks, one text a dataset.
    """

    rule: str
    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    scores: dict[str, list[float]]
    rows: dict[str, list[Row]]
    ranks: AverageRanks
    lacking: dict[str, list[str]]

    @cached_property
    def groups(self) -> list[tuple[str, ...]]:
        """Sets of methods that the average ranks do not tell apart."""
        found = rank_groups(self.ranks.ranks, self.ranks.critical_difference)
        return [tuple(self.methods[i] for i in group) for group in found]

    def wins(self, a: str, b: str) -> Estimate:
        """Probability that A has the higher IoU on an image; every dataset counts the same."""
        estimates = []
        for one, other in zip(self.rows[a], self.rows[b], strict=True):
            values, groups = one.located(METRIC)
            estimates.append(win_probability(values, other.located(METRIC)[0], groups))
        return over_datasets(estimates)

    def profile(self, method: str) -> list[Estimate]:
        """Share of images with an IoU above each of PROFILE_AT; every dataset counts the same."""
        each = [share_above(*row.located(METRIC), PROFILE_AT) for row in self.rows[method]]
        return [over_datasets(estimates) for estimates in zip(*each, strict=True)]


def together(runs: Sequence[Path]) -> Leaderboard:
    """The leaderboards of runs as one.

    Raises:
        UsageError: a folder is no run, a dataset is in two of them, or they were made by different rules.
    """
    boards = [build_leaderboard(run) for run in runs]
    rules = [read_run(run)["fixed"]["rules"] for run in runs]
    if any(other != rules[0] for other in rules):
        raise UsageError(f"{runs[0]} and {runs[rules.index(next(r for r in rules if r != rules[0]))]}: the runs were "
                         f"made by different rules ({rules}), so their figures do not compare.")  # fmt: skip
    seen: dict[str, Path] = {}
    for run, board in zip(runs, boards, strict=True):
        for dataset in dict.fromkeys(row["dataset"] for row in board.rows):
            if dataset in seen:
                raise UsageError(f"{run}: dataset {dataset} is in {seen[dataset]} too; expected each in one run.")
            seen[dataset] = run
    settings = [read_run(run)["settings"] for run in runs]
    notes = [note for board in boards for note in board.notes]
    if any(other != settings[0] for other in settings):
        notes.append("The runs were made with different settings: " + "; ".join(
            f"{run}: {' '.join(f'{k}={v}' for k, v in sorted(own.items())) or 'none'}"
            for run, own in zip(runs, settings, strict=True)) + ".")  # fmt: skip
    return Leaderboard(
        rows=[row for board in boards for row in board.rows],
        cells=[line for board in boards for line in board.cells],
        measured=[pair for board in boards for pair in board.measured],
        notes=notes,
        failures=[failure for board in boards for failure in board.failures],
    )


def overall(board: Leaderboard, rule: str = "val") -> Overall:
    """Put a run's datasets together.

    Raises:
        UsageError: fewer than two datasets, no such threshold rule, or no method that is complete on all of them.
    """
    values = [row for row in board.rows if row["threshold_rule"] == rule and row["status"] not in ORIGINS]
    datasets = tuple(dict.fromkeys(row["dataset"] for row in board.rows))
    if len(datasets) < 2:
        alone = f"{datasets[0]} alone" if datasets else "none"
        raise UsageError(f"expected a run of several datasets to average over, found {alone}.")
    if not values:
        rules = sorted({row["threshold_rule"] for row in board.rows})
        raise UsageError(f"no rows of threshold {rule}; there are {', '.join(rules) or 'none'}.")
    for dataset in datasets:
        if all(row["dataset"] != dataset for row in values):
            raise UsageError(
                f"{dataset}: no method has a row of threshold {rule} there; an average would leave it out."
            )
    found = {(row_name(v), v["dataset"]): row for v, row in board.measured if _complete(v, rule)}
    status = {(row_name(v), v["dataset"]): v for v in values}
    names = list(dict.fromkeys(row_name(v) for v in values))
    lacking = {
        name: missing
        for name in names
        if (missing := [_lack(status.get((name, d)), d) for d in datasets if (name, d) not in found])
    }
    complete = [name for name in names if name not in lacking]
    if not complete:
        raise UsageError("no method is complete on all datasets: " + "; ".join(_sentences(lacking)) + ".")
    scores = {name: [float(found[name, d].located(METRIC)[0].mean()) for d in datasets] for name in complete}
    ranks = average_ranks(np.array([scores[name] for name in complete]).T)
    order = np.argsort(ranks.ranks, kind="stable")
    methods = tuple(complete[i] for i in order)
    return Overall(
        rule=rule,
        datasets=datasets,
        methods=methods,
        scores=scores,
        rows={name: [found[name, d] for d in datasets] for name in complete},
        ranks=AverageRanks(ranks.ranks[order], ranks.p, ranks.critical_difference),
        lacking=lacking,
    )


def overall_rows(result: Overall) -> list[Values]:
    """One line a method: its average rank, its IoU on each dataset, and how often it beats the next one."""
    lines = []
    for i, name in enumerate(result.methods):
        line: Values = {"method": name, "threshold_rule": result.rule, "average_rank": float(result.ranks.ranks[i])}
        line |= {f"iou_{d}": score for d, score in zip(result.datasets, result.scores[name], strict=True)}
        line |= dict.fromkeys(("beats_next", "beats_next_low", "beats_next_high"))
        if i + 1 < len(result.methods):
            wins = result.wins(name, result.methods[i + 1])
            low, high = _bounds(wins)
            line |= {"beats_next": wins.mean, "beats_next_low": low, "beats_next_high": high}
        lines.append(line)
    unknown = dict.fromkeys(lines[0])
    return lines + [unknown | {"method": name, "threshold_rule": result.rule} for name in result.lacking]


def overall_notes(result: Overall) -> list[str]:
    """What the ranks can and cannot tell."""
    n, k = len(result.datasets), len(result.methods)
    notes = [f"Average ranks of {k} methods by mean IoU over {n} datasets; every dataset counts the same."]
    if k > 1:
        notes.append(
            f"Ranks that differ by less than {result.ranks.critical_difference:.2f} are not told apart (Nemenyi, 95 %)"
            + ("" if result.ranks.p != result.ranks.p else f"; Friedman's p = {result.ranks.p:.3f}")
            + ". "
            + ("; ".join(" = ".join(group) for group in result.groups) or "All are told apart")
            + "."
        )
        if result.ranks.critical_difference >= k - 1:
            notes.append(
                f"With {n} datasets no two of {k} methods can be told apart by rank; {_fewest(k)} datasets could show "
                "that the first beats the last."
            )
    notes.append(
        "beats_next: probability that a training of the method has a higher IoU on a test image than one of the next "
        "method, with its interval for the method (seeds and patients random, datasets fixed)."
    )
    fewest = min(len(row.records) for rows in result.rows.values() for row in rows)
    if fewest < RANK_SEEDS:
        notes.append(
            f"Some rows have {fewest} seeds: with fewer than {RANK_SEEDS} another draw may well give other ranks."
        )
    return notes + [f"Unranked: {sentence}." for sentence in _sentences(result.lacking)]


def _complete(values: Values, rule: str) -> bool:
    return values["threshold_rule"] == rule and values["status"] in RANKED


def _lack(values: Values | None, dataset: str) -> str:
    if values is None:
        return f"{dataset} (not there)"
    return f"{dataset} ({values['status']}, seeds: {values['n_seeds']})"


def _sentences(lacking: dict[str, list[str]]) -> list[str]:
    return [f"{name} lacks {', '.join(missing)}" for name, missing in lacking.items()]


def _fewest(k: int) -> int:
    """The smallest number of datasets on which ranks 1 and k can differ significantly."""
    one = average_ranks(np.zeros((1, k))).critical_difference
    return int(np.floor((one / (k - 1)) ** 2)) + 1


def win_table(result: Overall) -> list[Values]:
    """Every ordered pair: probability that A beats B, with its interval."""
    lines = []
    for a in result.methods:
        for b in result.methods:
            if a != b:
                wins = result.wins(a, b)
                low, high = _bounds(wins)
                lines.append(
                    {"a": a, "b": b, "threshold_rule": result.rule, "probability": wins.mean, "low": low, "high": high}
                )
    return lines


def _bounds(share: Estimate) -> tuple[float | None, float | None]:
    """Bounds of a share, within [0, 1]; None where they are not defined."""
    low, high = (None if bound != bound else min(1.0, max(0.0, bound)) for bound in share.interval())
    return low, high
