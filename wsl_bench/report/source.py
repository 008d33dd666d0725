"""What figures are made from: a run's leaderboard, records and display maps; and what every caption says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from wsl_bench.errors import DataError, UsageError
from wsl_bench.leaderboard.build import Leaderboard, build_leaderboard, criterion_text
from wsl_bench.leaderboard.export import row_name, rule_text, status_text
from wsl_bench.leaderboard.measure import Row
from wsl_bench.leaderboard.rows import Values
from wsl_bench.report.style import MethodStyle, method_styles
from wsl_bench.store.display import Display, display_file, load_display
from wsl_bench.store.records import Record
from wsl_bench.store.run_file import read_run

Pair = tuple[Values, Row]
Maps = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Drawn:
    """One figure or table, not yet written.

    Attributes:
        name: of its files, without a suffix.
        caption: what it shows, of what, and by which rules.
        figure: None for a table.
        texts: content by suffix, of a table.
    """

    name: str
    caption: str
    figure: Figure | None = None
    texts: dict[str, str] | None = None


@dataclass(frozen=True)
class Source:
    """A run, read at one threshold rule.

    Attributes:
        root: its folder.
        rule: "val" or a fixed threshold as text.
        run: run.json.
        board: its leaderboard.
    """

    root: Path
    rule: str
    run: dict[str, Any]
    board: Leaderboard

    @cached_property
    def datasets(self) -> list[str]:
        """Names of the datasets that have a row, in the order of the leaderboard."""
        return list(dict.fromkeys(values["dataset"] for values, _ in self._pairs))

    @cached_property
    def styles(self) -> dict[str, MethodStyle]:
        """By name, of every method of the run that is no sanity row: the same in all of its figures."""
        return method_styles(row_name(v) for v, _ in self.board.measured if v["status"] != "sanity")

    def rows(self, dataset: str) -> list[Pair]:
        """A dataset's rows, sanity rows among them, in the order of the leaderboard."""
        return [(values, row) for values, row in self._pairs if values["dataset"] == dataset]

    def shown(self, dataset: str) -> list[Pair]:
        """A dataset's rows without sanity rows."""
        return [(values, row) for values, row in self.rows(dataset) if values["status"] != "sanity"]

    def display(self, dataset: str) -> Display:
        """The shown test images of a dataset.

        Raises:
            StoreError: the run does not keep them, or the file is damaged.
        """
        if dataset not in self._displays:
            self._displays[dataset] = load_display(self.root, dataset)
        return self._displays[dataset]

    def maps(self, record: Record) -> Maps:
        """A record's display maps, without the ids: (n, h, w) each, in the order of the dataset's display.

        Raises:
            DataError: they are of other images than those the run keeps for display.
        """
        maps, dataset = record.maps(), record.content["dataset"]
        ids = tuple(map(str, maps.pop("image_ids", np.array([], np.str_)).tolist()))
        if ids != self.display(dataset).image_ids:
            raise DataError(
                display_file(self.root, dataset), expected=f"the images of the maps of {record.slug}",
                found="others", fix="Delete it and give the command of the run again.",
            )  # fmt: skip
        return maps

    def file_name(self, name: str, dataset: str) -> str:
        """A figure's name; with the dataset's where the run has several."""
        whole = name if len(self.datasets) == 1 else f"{name}--{dataset}"
        return "".join(c if c.isalnum() or c in "._=-" else "_" for c in whole)

    def about(self, dataset: str, pairs: list[Pair]) -> str:
        """What every caption ends with: images, threshold rule, seeds, status."""
        values = pairs[0][0]
        first = pairs[0][1].first
        return " ".join([
            f"Dataset {dataset}: {values['n_images']} test images of {len(set(first.groups.tolist()))} patients or "
            f"groups, {values['n_located']} located positives and {values['n_negative']} negatives.",
            self.rule_sentence(), _seeds(pairs), _statuses(pairs),
        ])  # fmt: skip

    def rule_sentence(self) -> str:
        """How the thresholds were come by."""
        if self.rule != "val":
            return f"Threshold rule {self.rule}: {rule_text(self.rule)} for every method."
        criterion = criterion_text(self.run["fixed"]["rules"])
        return f"Threshold rule val: fitted on validation ({criterion}), frozen before test was read."

    @cached_property
    def _pairs(self) -> list[Pair]:
        return [(values, row) for values, row in self.board.measured if values["threshold_rule"] == self.rule]

    @cached_property
    def _displays(self) -> dict[str, Display]:
        return {}


def open_source(root: Path, rule: str) -> Source:
    """Read a run for its figures.

    Raises:
        UsageError: it is no run, none of its cells has finished, or it has no such threshold rule.
    """
    run = read_run(root)
    if rule not in run["thresholds"]:
        raise UsageError(f"--rule {rule}: expected one of the run's threshold rules, {', '.join(run['thresholds'])}.")
    board = build_leaderboard(root)
    if not board.measured:
        raise UsageError(f"{root}: no cell has finished, so there is nothing to draw.")
    source = Source(root, rule, run, board)
    if not source.datasets:
        raise UsageError(f"--rule {rule}: no finished cell has a threshold of this rule; draw another one.")
    return source


def seeds_of(row: Row) -> list[int]:
    """The seeds of a row's trainings."""
    return [record.content["seed"] for record in row.records]


def _seeds(pairs: list[Pair]) -> str:
    by_seeds: dict[str, list[str]] = {}
    for values, row in pairs:
        by_seeds.setdefault(", ".join(map(str, seeds_of(row))), []).append(row_name(values))
    if len(by_seeds) == 1:
        return f"Seeds of every method: {next(iter(by_seeds))}."
    return "Seeds: " + "; ".join(f"{', '.join(names)}: {seeds}" for seeds, names in by_seeds.items()) + "."


def _statuses(pairs: list[Pair]) -> str:
    by_status: dict[str, list[str]] = {}
    for values, _ in pairs:
        by_status.setdefault(status_text(values), []).append(row_name(values))
    return "Status: " + "; ".join(f"{status}: {', '.join(names)}" for status, names in by_status.items()) + "."
