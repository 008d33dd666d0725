"""One HTML file that shows a run: table, charts, an explorer of test images, and how to make it again.

Nothing is loaded from anywhere: data, styles, scripts and the chart library (plotly.js) are in the file. A content
security policy in it forbids every request.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from wsl_bench import __version__
from wsl_bench.errors import UsageError
from wsl_bench.leaderboard.build import Leaderboard, build_leaderboard
from wsl_bench.leaderboard.export import row_name
from wsl_bench.leaderboard.measure import Row
from wsl_bench.leaderboard.rows import Values
from wsl_bench.report.page.curves import AT, against_threshold, densities
from wsl_bench.report.page.explorer import explorer
from wsl_bench.report.page.packing import as_json
from wsl_bench.report.style import method_styles
from wsl_bench.store.atomic import atomic_write, make_folder
from wsl_bench.store.run_file import read_run

Table = Sequence[tuple[Values, Row]]
PAGE = "index.html"
# Columns of the page's table, each with what it is called there and whether it has an interval.
COLUMNS: tuple[tuple[str, str, bool], ...] = (
    ("iou", "IoU", True), ("iop", "IoP", True), ("fpr", "FPR", True), ("fnr", "FNR", True), ("dice", "Dice", True),
    ("pxap", "PxAP", True), ("auc", "AUC", True), ("accuracy", "Accuracy", True), ("empty_rate", "Empty", True),
    ("fpr_negative", "FPR on negatives", True), ("n_parameters", "Parameters", False),
)  # fmt: skip
_SHOWN = (
    "status", "rank_low", "rank_high", "n_seeds", "n_images", "n_located", "n_val_boxes", "chance_iop",
    "threshold", "threshold_low", "threshold_high", "map_scale",
)  # fmt: skip


def write_page(run: Path, output: Path) -> Path:
    """Write the page of a run into a folder; returns its path.

    Raises:
        UsageError: the folder is no run, or nothing in it has finished; the output is a file.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: expected a folder, found a file.")
    board = build_leaderboard(run)
    if not board.measured:
        raise UsageError(f"{run}: no cell has finished, so there is nothing to show. See `wslbench status {run}`.")
    make_folder(output.absolute())
    atomic_write(output / PAGE, render(run, board).encode())
    return output / PAGE


def render(run: Path, board: Leaderboard) -> str:
    """The page as text; a pure function of the run's folder."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    about = read_run(run)
    names = [row_name(values) for values, _ in board.measured if values["status"] != "sanity"]
    colours = {name: style.colour for name, style in method_styles(names).items()}
    content = {"tables": _tables(run, board), "columns": COLUMNS, "colours": colours, "at": AT}
    environment = Environment(
        loader=PackageLoader("wsl_bench.report.page", "assets"), autoescape=True, undefined=StrictUndefined
    )
    assets = files("wsl_bench.report.page") / "assets"
    table, charts, explorer_ = (
        (assets / f"{name}.js").read_text(encoding="utf-8") for name in ("table", "charts", "explorer")
    )
    return environment.get_template("page.html").render(
        title=", ".join(about["planned"]),
        data=as_json(content),
        plotly=get_plotlyjs(),
        style=(assets / "page.css").read_text(encoding="utf-8"),
        first=table,  # the table is there before the browser has read plotly
        then=f"{charts}\n{explorer_}",
        notes=board.notes,
        failures=[f.content for f in board.failures],
        about={"remarks": {}, "platform": "", **about},
        fixed={"rules": {}, "recipe": {}, "datasets": {}, "device": "", "precision": "", **about["fixed"]},
        made_with=_made_with(board),
        study=(run / "study.toml").read_text(encoding="utf-8") if (run / "study.toml").is_file() else "",
        version=__version__,
    )


def _tables(run: Path, board: Leaderboard) -> list[dict[str, Any]]:
    """One entry a dataset and threshold rule, best rows first."""
    groups: dict[tuple[str, str], list[tuple[Values, Row]]] = {}
    for values, row in board.measured:
        groups.setdefault((values["dataset"], values["threshold_rule"]), []).append((values, row))
    tables = []
    for (dataset, rule), table in groups.items():
        tables.append(
            {
                "dataset": dataset,
                "rule": rule,
                "rows": [_shown(values) for values, _ in table],
                "densities": densities(table),
                "against_threshold": against_threshold(table),
                "explorer": explorer(run, dataset, table, 1 / len(groups)),
            }
        )
    return tables


def _shown(values: Values) -> Values:
    """What the page's table needs of a row."""
    shown: Values = {"name": row_name(values)} | {name: values.get(name) for name in _SHOWN}
    for name, _, has_interval in COLUMNS:
        ends = (f"{name}_low", f"{name}_high") if has_interval else ()
        shown |= {column: values.get(column) for column in (name, *ends)}
    return shown


def _made_with(board: Leaderboard) -> dict[str, Any]:
    """Versions, device and commit of the first record, and every record's key, by name."""
    records = [record for _, row in board.measured for record in row.records]
    first = records[0].content
    keys = {record.slug: record.content["key"] for record in records}
    return {name: first.get(name) for name in ("versions", "device_name", "commit")} | {"keys": keys}
