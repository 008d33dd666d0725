"""A run as an object."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsl_bench.errors import UsageError
from wsl_bench.leaderboard.build import Leaderboard, build_leaderboard
from wsl_bench.leaderboard.compare import compare
from wsl_bench.leaderboard.export import FIXED_COLUMNS, row_name
from wsl_bench.leaderboard.measure import Row
from wsl_bench.notebook.compared import Compared
from wsl_bench.notebook.html import leaderboard_html
from wsl_bench.notebook.maps import Maps, thresholded
from wsl_bench.notebook.tables import frame, image_columns, image_frame
from wsl_bench.params import did_you_mean
from wsl_bench.status import RunStatus, run_status
from wsl_bench.store.display import load_display
from wsl_bench.store.records import Record, peek_records
from wsl_bench.store.run_file import read_run

if TYPE_CHECKING:
    from pandas import DataFrame

SOME = 5  # names that a message lists of many
_MEASURED = ("located", "area", "iop", "fpr", "fnr", "iou", "dice", "probability", "predicted")


class Run:
    """The finished records of a run; made by `wsl_bench.load_run`.

    Methods are named as the tables name them, parameters included: `gradcam`, `infomask[alpha=0.01]`. `rule` is a
    threshold rule of the run: `val`, or a fixed threshold (0.5). `dataset` may be left out where there is one.
    Nothing is written; but a record that does not verify is set aside when tables are made, as by any command.

    Args:
        folder: of the run.

    Raises:
        UsageError: it is not the folder of a run.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()
        self._thresholds: list[str] = list(map(str, read_run(self.folder)["thresholds"]))

    def leaderboard(self, rule: str | float = "val", dataset: str | None = None) -> DataFrame:
        """leaderboard.csv as a frame: the same columns, values and order; rows of one threshold rule.

        Args:
            dataset: default: all.

        Raises:
            UsageError: no such rule or dataset; pandas is not installed.
        """
        rule, rows = self._rule(rule), self._board.rows
        if dataset is not None:
            _known("dataset", dataset, (row["dataset"] for row in rows))
        wanted = [r for r in rows if r["threshold_rule"] == rule and dataset in (None, r["dataset"])]
        return frame(wanted, list(rows[0]) if rows else FIXED_COLUMNS)

    def cells(self) -> DataFrame:
        """cells.csv as a frame: one line a training and threshold rule.

        Raises:
            UsageError: pandas is not installed.
        """
        return frame(self._board.cells, ("dataset", "method", "seed"))

    def compare(
        self, a: str, b: str, metric: str = "iou", dataset: str | None = None, rule: str | float = "val"
    ) -> Compared:
        """A minus B on the same test images, with the numbers of `wslbench compare`.

        Raises:
            UsageError: no such method, metric, dataset or rule, or a metric that one of the two does not have.
        """
        rule = self._rule(rule)
        try:
            return Compared(compare(self._board, a, b, metric, dataset=dataset, rule=rule))
        except UsageError as error:  # what it says of an option holds for the argument
            raise UsageError(str(error).removeprefix("--")) from None

    def per_image(
        self, method: str, seed: int | None = 0, dataset: str | None = None, rule: str | float = "val"
    ) -> DataFrame:
        """One line a test image, at the frozen threshold.

        Columns: image_id; label (0 or 1); located (has ground truth that is scored); area and predicted (shares of
        the image that are ground truth and that the thresholded map covers); iop, fpr, fnr, iou, dice (NaN where not
        located); probability (NaN where the method gives none); group, seed, threshold; shown (`maps` has it).

        Args:
            seed: of one training; None for all of them, one below the other.

        Raises:
            UsageError: no such method, seed, dataset or rule; pandas is not installed.
        """
        records = self._records(method, dataset)
        chosen = records if seed is None else {seed: self._of_seed(records, method, seed)}
        row = self._row(tuple(chosen.values()), method, rule)
        return image_frame(row, _kept(row.records[0]))

    def maps(
        self, method: str, image_id: str, seed: int = 0, dataset: str | None = None, rule: str | float = "val"
    ) -> Maps:
        """Image, ground truth, map and mask of one test image; the object shows itself as a picture.

        Maps are kept of a fixed, hash-chosen sample of the test images: `shown` in `per_image`.

        Raises:
            UsageError: no such method, seed, dataset or rule; no such image, or one whose map was not kept.
            StoreError: the images that are shown beside the maps are missing or damaged.
        """
        record = self._of_seed(self._records(method, dataset), method, seed)
        row = self._row((record,), method, rule)
        arrays = record.maps()
        place = _place(image_id, arrays["image_ids"].tolist(), row.first.image_ids.tolist())
        columns = image_columns(row)
        at = row.first.image_ids.tolist().index(image_id)
        display = load_display(self.folder, record.content["dataset"])
        i = _place(image_id, list(display.image_ids), row.first.image_ids.tolist())
        score, threshold = arrays["score"][place].astype(np.float32), row.thresholds[0]
        return Maps(
            dataset=record.content["dataset"],
            method=method,
            image_id=image_id,
            seed=seed,
            label=int(row.first.labels[at]),
            image=display.images[i],
            truth=display.truth[i],
            score=score,
            mask=thresholded(score, threshold, display.images.shape[1], display.inside[i]),
            threshold=threshold,
            extra={k: v[place].astype(np.float32) for k, v in arrays.items() if k not in ("image_ids", "score")},
            measured={name: float(columns[name][..., at].item()) for name in _MEASURED},
        )

    def __repr__(self) -> str:
        names, total = list(self._status.rows), self._status.total()
        datasets = ", ".join(dict.fromkeys(dataset for dataset, _, _ in names)) or "no dataset"
        n_rows, n_all = len({name[1:] for name in names}), total.done + total.failed + total.running + total.missing
        wrong = {"failed": total.failed, "damaged": len(self._status.damaged)}
        said = "".join(f", {n} {what}" for what, n in wrong.items() if n)
        return (
            f"<Run {str(self.folder)!r}: {datasets}; {n_rows} method{'s' if n_rows != 1 else ''}, {total.done} of "
            f"{n_all} cells finished{said}; thresholds {', '.join(self._thresholds)}>"
        )

    def _repr_html_(self) -> str:
        return leaderboard_html(repr(self).strip("<>"), self._board)

    @cached_property
    def _board(self) -> Leaderboard:
        return build_leaderboard(self.folder)

    @cached_property
    def _status(self) -> RunStatus:
        return run_status(self.folder, alive=False)

    @cached_property
    def _finished(self) -> list[Record]:
        return sorted(peek_records(self.folder), key=lambda record: record.content["seed"])

    def _rule(self, rule: str | float) -> str:
        name = rule if isinstance(rule, str) else f"{rule:g}"
        _known("rule", name, self._thresholds)
        return name

    def _records(self, method: str, dataset: str | None) -> dict[int, Record]:
        """The finished trainings of a row by seed."""
        datasets = list(dict.fromkeys(str(record.content["dataset"]) for record in self._finished))
        if not datasets:
            raise UsageError(f"{self.folder}: no cell of the run has finished.")
        if dataset is None and len(datasets) > 1:
            raise UsageError(f"dataset: the run has several ({', '.join(datasets)}); say which.")
        chosen = datasets[0] if dataset is None else dataset
        _known("dataset", chosen, datasets)
        ours = [record for record in self._finished if record.content["dataset"] == chosen]
        _known("method", method, (row_name(record.content) for record in ours))
        return {record.content["seed"]: record for record in ours if row_name(record.content) == method}

    def _of_seed(self, records: dict[int, Record], method: str, seed: int) -> Record:
        if seed not in records:
            raise UsageError(f"seed {seed}: no finished training of {method}. There are {_listed(map(str, records))}.")
        return records[seed]

    def _row(self, records: tuple[Record, ...], method: str, rule: str | float) -> Row:
        row = Row(records, self._rule(rule))
        if any(threshold is None for threshold in row.thresholds):
            fixed = _listed(name for name in self._thresholds if name != "val") or "none"
            raise UsageError(f"rule val: no threshold of {method} was fitted on validation. Fixed ones: {fixed}.")
        return row


def _known(what: str, name: str, there: Iterable[str]) -> None:
    """UsageError unless the name is there."""
    names = list(dict.fromkeys(there))
    if name not in names:
        raise UsageError(f"{what} {name!r}: not in the run{did_you_mean(str(name), names)} There are {_listed(names)}.")


def _kept(record: Record) -> list[str]:
    """The test images whose maps a record has."""
    return [str(name) for name in record.maps()["image_ids"].tolist()]


def _place(image_id: str, kept: list[str], test: list[str]) -> int:
    """Where an image lies among those whose maps are kept."""
    if image_id in kept:
        return kept.index(image_id)
    some = f"{', '.join(kept[:SOME])}{', ...' if len(kept) > SOME else ''}"
    if image_id in test:
        raise UsageError(
            f"image {image_id!r}: a test image, but its map was not kept. Maps are kept of {len(kept)} of the "
            f"{len(test)} test images, chosen by their hash: {some} (`shown` in per_image)."
        )
    raise UsageError(
        f"image {image_id!r}: not among the test images{did_you_mean(str(image_id), kept)} "
        f"There are {len(kept)} with maps: {some} (`shown` in per_image)."
    )


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(names)
