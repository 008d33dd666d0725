"""From a run's folder to its tables."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from wsl_bench.errors import UsageError
from wsl_bench.leaderboard import export
from wsl_bench.leaderboard.json_text import to_json
from wsl_bench.leaderboard.latex import to_latex
from wsl_bench.leaderboard.measure import Row
from wsl_bench.leaderboard.oracle import COLUMNS as ORACLE_COLUMNS
from wsl_bench.leaderboard.oracle import NOTE as ORACLE_NOTE
from wsl_bench.leaderboard.oracle import oracle_columns
from wsl_bench.leaderboard.rows import RANK_SEEDS, Values, cell_rows, leaderboard_row
from wsl_bench.params import build, values_of
from wsl_bench.stats.ranking import paired_difference, rank_ranges, smallest_detectable
from wsl_bench.store.atomic import atomic_write
from wsl_bench.store.records import Failure, Record, read_costs, read_records
from wsl_bench.store.run_file import read_run
from wsl_bench.training.recipe import Recipe
from wsl_bench.versions import differences

RANKED = ("ok", "inverted", "at_chance")


@dataclass(frozen=True)
class Leaderboard:
    """A run's tables.

    Attributes:
        rows: leaderboard.csv, best first within each dataset and threshold rule.
        cells: cells.csv.
        measured: the data behind each row that has any, for figures.
        notes: the footer, one sentence each.
        failures: cells that did not finish.
    """

    rows: list[Values]
    cells: list[Values]
    measured: list[tuple[Values, Row]]
    notes: list[str]
    failures: list[Failure]


def build_leaderboard(root: Path) -> Leaderboard:
    """Make the leaderboard of a run from its records.

    Raises:
        UsageError: the folder is not a run.
    """
    run = read_run(root)
    records, failures, corrupt = read_records(root)
    groups: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: r.content["seed"]):
        groups[_name(record.content)].append(record)
    failed: dict[tuple[str, str, str], list[Failure]] = defaultdict(list)
    for failure in failures:
        failed[_name(failure.content)].append(failure)
    seeds = _seeds_by_dataset(
        run, [r.content for r in records if r.content.get("external") is None] + [f.content for f in failures]
    )
    measured: list[tuple[Values, Row]] = []
    for name in sorted(groups):
        for rule in run["thresholds"]:
            if rule == "val" and any(r.content["operating_point"]["threshold"] is None for r in groups[name]):
                continue
            row = Row(tuple(groups[name]), rule)
            if not row.first.located.any():
                raise UsageError(
                    f"{root}: expected located positives among the test images of {name[0]}, found none: there is "
                    "nothing that a localization could be measured on."
                )
            measured.append((leaderboard_row(row, len(seeds[name[0]]), len(failed[name])), row))
    _rank(measured)
    measured.sort(key=lambda pair: _order(pair[0]))
    rows = [values for values, _ in measured]
    columns = list(rows[0]) if rows else list(export.FIXED_COLUMNS)
    planned = {(dataset, *row) for dataset, plan in run["planned"].items() for row in plan["methods"]}
    for name in sorted((planned | failed.keys()) - groups.keys()):
        status = "failed" if name in failed else "incomplete"
        rows += [_empty_row(columns, name, rule, status) for rule in run["thresholds"]]
    cells = [line for _, row in measured for line in cell_rows(row)]
    notes = _notes(run, rows, failures, corrupt) + _power_notes(measured) + _attempt_notes(root) + _makings(records)
    return Leaderboard(rows, cells, measured, notes, failures)


def with_oracle(board: Leaderboard) -> Leaderboard:
    """The same board with the `oracle_*` columns, which look at test for their thresholds; a run never writes it."""
    found = {id(values): oracle_columns(row) for values, row in board.measured}
    unknown = dict.fromkeys(ORACLE_COLUMNS)
    rows = [values | found.get(id(values), unknown) for values in board.rows]
    return replace(board, rows=rows, notes=[*board.notes, ORACLE_NOTE])


def write_leaderboard(root: Path) -> Leaderboard:
    """Write leaderboard.csv and .md, cells.csv and costs.csv of a run."""
    board = build_leaderboard(root)
    atomic_write(root / "leaderboard.csv", render(board, "csv").encode())
    atomic_write(root / "leaderboard.md", render(board, "markdown").encode())
    atomic_write(root / "cells.csv", export.to_csv(board.cells, ("dataset", "method", "seed")).encode())
    atomic_write(root / "costs.csv", export.to_csv(_costs(root), ("dataset", "method", "seed")).encode())
    return board


def render(board: Leaderboard, format: str) -> str:
    """The board as csv, latex, json or, by default, markdown."""
    if format == "csv":
        return export.to_csv(board.rows, export.FIXED_COLUMNS)
    if format == "latex":
        return to_latex(board.rows, board.notes)
    if format == "json":
        return to_json(board.rows, board.notes, board.failures)
    return export.to_markdown(board.rows, board.notes)


def _rank(measured: list[tuple[Values, Row]]) -> None:
    """Fill rank_low and rank_high by IoU among complete rows of one table with enough seeds."""
    tables: dict[tuple[str, str], list[tuple[Values, Row]]] = defaultdict(list)
    for values, row in measured:
        if values["status"] in RANKED and values["n_seeds"] >= RANK_SEEDS:
            tables[values["dataset"], values["threshold_rule"]].append((values, row))
    for table in tables.values():
        scores = {str(i): row.located("iou")[0] for i, (_, row) in enumerate(table)}
        groups = table[0][1].located("iou")[1]
        for name, (low, high) in rank_ranges(scores, groups).items():
            table[int(name)][0].update(rank_low=low, rank_high=high)


def _order(values: Values) -> tuple[Any, ...]:
    """Datasets and rules together; ranked rows, then incomplete ones, then sanity; best IoU first."""
    tier = 0 if values["status"] in RANKED else 2 if values["status"] == "sanity" else 1
    return (values["dataset"], values["threshold_rule"] != "val", values["threshold_rule"], tier,
            -values["iou"], values["method"], values["method_params"])  # fmt: skip


def _empty_row(columns: list[str], name: tuple[str, str, str], rule: str, status: str) -> Values:
    """A row of which no cell has finished."""
    dataset, method, params = name
    known = {"dataset": dataset, "method": method, "method_params": params, "threshold_rule": rule,
             "status": status, "n_seeds": 0}  # fmt: skip
    return {column: known.get(column) for column in columns}


def _notes(run: dict[str, Any], rows: list[Values], failures: list[Failure], corrupt: list[str]) -> list[str]:
    notes = [
        "Intervals are 95 %, for the method: training seeds random and crossed with patients. "
        "`*_fixed_*` columns hold the seeds fixed (patient-cluster bootstrap of these trainings)."
    ]
    notes += _fitting_notes(run, rows)
    if any(r["status"] in RANKED and (r["n_seeds"] or 0) < RANK_SEEDS for r in rows):
        notes.append(f"No ranks: they need at least {RANK_SEEDS} seeds.")
    if any(r["n_seeds"] == 1 for r in rows):
        notes.append("One seed gives no interval for the method.")
    if any(r["status"] == "sanity" for r in rows):
        notes.append("Rows of status sanity are what a map must beat to say anything; they are never ranked.")
    if any(r["status"] == "external" for r in rows):
        notes.append(
            "Rows of status external are maps scored from files; how they were made is not known here. Unranked."
        )
    if any(r["status"] == "contaminated" for r in rows):
        notes.append(
            "Rows of status contaminated start from weights that have seen images of this dataset, test images "
            "perhaps among them. Unranked."
        )
    for name, remarks in run.get("remarks", {}).items():
        notes += [f"{name}: {remark}" for remark in remarks]
    for name, skipped in run["skipped"].items():
        notes.append(f"{name}: {len(skipped)} unreadable images left out.")
    if failures:
        notes.append(f"{len(failures)} cells failed: " + "; ".join(
            f"{f.content['dataset']} / {f.content['method']} / seed {f.content['seed']}: {f.content['error']}"
            for f in failures[:5]) + ("; ..." if len(failures) > 5 else "") + ".")  # fmt: skip
    notes += [f"Set aside: {line}" for line in corrupt]
    return notes + _disagreements(rows)


def _fitting_notes(run: dict[str, Any], rows: list[Values]) -> list[str]:
    """What was fitted on validation, dataset by dataset where they differ."""
    lowest = run["fixed"]["rules"]["min_val_located"]
    n_val = {r["dataset"]: r["n_val_located"] for r in rows if r.get("n_val_located") is not None}
    fitted = sorted(name for name, n in n_val.items() if n >= lowest)
    notes = []
    if fitted:
        notes.append(
            f"{', '.join(fitted)}: thresholds `val`, checkpoints and map scales were fitted on validation "
            f"({criterion_text(run['fixed']['rules'])}, over located positives) and frozen before test was read."
        )
    for name in sorted(n_val.keys() - fitted):
        notes.append(f"{name}: {n_val[name]} located validation positives are too few to fit on.")
    if others := _other_settings(run):
        notes.append(f"Not the defaults: {', '.join(others)}.")
    if lowest < 20:
        notes.append(f"The bar on located validation positives was lowered to {lowest}.")
    for name, n in {r["dataset"]: r["n_located"] for r in rows if r["n_located"] is not None}.items():
        if n < 20:
            notes.append(f"{name}: only {n} located test positives; its figures are rough.")
    for name, pairs in run["duplicates"].items():
        notes.append(f"{name}: {len(pairs)} images are pixel for pixel in two splits (first: {' = '.join(pairs[0])}).")
    return notes


def _other_settings(run: dict[str, Any]) -> list[str]:
    """The run's recipe and datasets where they are not as they come; the image size is the datasets' own matter."""
    usual = values_of(build(Recipe, "recipe", {}))
    recipe = {key: value for key, value in run["fixed"].get("recipe", {}).items() if key != "image_size"}
    # A setting that this version does not know is no default, either.
    others = [f"recipe.{key}={value}" for key, value in recipe.items() if key not in usual or value != usual[key]]
    return others + [f"{key}={value}" for key, value in run["settings"].items() if not key.startswith("recipe.")]


def criterion_text(rules: dict[str, Any]) -> str:
    """What thresholds were fitted to, in words."""
    return {
        "iou": "mean IoU",
        "dice": "mean Dice",
        "boxacc": "mean box accuracy at IoU .3, .5, .7",
        "iop_at_fnr": f"mean IoP where the mean FNR is at most {rules['max_fnr']}",
    }[rules["criterion"]]


def _disagreements(rows: list[Values]) -> list[str]:
    """Say where the threshold-free check puts another method first than the ranked metric."""
    notes = []
    tables = dict.fromkeys((r["dataset"], r["threshold_rule"]) for r in rows if r["status"] in RANKED)
    for dataset, rule in tables:
        table = [r for r in rows if (r["dataset"], r["threshold_rule"]) == (dataset, rule) and r["status"] in RANKED]
        best = {metric: export.row_name(max(table, key=lambda r: r[metric])) for metric in ("iou", "pxap", "pixel_ap")}
        if len(set(best.values())) > 1:
            notes.append(
                f"{dataset}, threshold {rule}: the best mean is {best['iou']} by iou, {best['pxap']} by pxap and "
                f"{best['pixel_ap']} by pixel_ap (threshold-free)."
            )
    return notes


def _power_notes(measured: list[tuple[Values, Row]]) -> list[str]:
    """Of each table, the difference in IoU that it could have shown: what it leaves open says little below that."""
    tables: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for values, row in measured:
        if values["status"] in RANKED and values["n_seeds"] > 1:
            tables[values["dataset"], values["threshold_rule"]].append(row)
    notes = []
    for (dataset, rule), rows in tables.items():
        pairs = combinations([row.located("iou") for row in rows], 2)
        found = [smallest_detectable(paired_difference(a, b, groups)) for (a, groups), (b, _) in pairs]
        found = [size for size in found if size == size]  # one patient has no error that could be known
        if found:
            notes.append(
                f"{dataset}, threshold {rule}: a difference of {np.median(found):.3f} in IoU between two methods "
                "(median over pairs, each by itself) is what this many seeds and images find in four of five studies."
            )
    return notes


def _attempt_notes(root: Path) -> list[str]:
    """Cells that were done on another attempt: what kills a process may well depend on the cell."""
    again = [slug for slug, cost in read_costs(root).items() if cost.get("attempts", 1) > 1]
    return [f"Done after a worker process had died: {', '.join(again)}."] if again else []


def _makings(records: list[Record]) -> list[str]:
    """What should have been the same for all records and was not."""
    found = differences([record.content for record in records])
    return [f"Not all records were made with the same: {'; '.join(found)}."] if found else []


def _costs(root: Path) -> list[Values]:
    """One line a cell; cells of one training repeat its cost, under the training's name."""
    costs = read_costs(root)
    lines = []
    for record in read_records(root)[0]:
        own = costs.get(record.slug)
        if own is None:
            continue
        training = own.get("training")
        trained = costs.get(training or "", {})
        lines.append(
            {k: record.content[k] for k in ("dataset", "method", "method_params", "seed", "device")}
            | {"training": training, "train_seconds": trained.get("seconds"),
               "train_peak_memory_mib": trained.get("peak_memory_mib"), "evaluate_seconds": own.get("seconds"),
               "evaluate_peak_memory_mib": own.get("peak_memory_mib")}
        )  # fmt: skip
    return lines


def _seeds_by_dataset(run: dict[str, Any], contents: list[dict[str, Any]]) -> dict[str, set[int]]:
    """The seeds that a complete row has."""
    seeds = defaultdict(set, {name: set(planned["seeds"]) for name, planned in run["planned"].items()})
    for content in contents:
        seeds[content["dataset"]].add(content["seed"])
    return seeds


def _name(content: dict[str, Any]) -> tuple[str, str, str]:
    return content["dataset"], content["method"], content["method_params"]
