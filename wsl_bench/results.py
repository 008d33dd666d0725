"""The tables and figures that a run's folder holds besides its records. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from wsl_bench.errors import UsageError
from wsl_bench.leaderboard.build import Leaderboard, write_leaderboard
from wsl_bench.leaderboard.export import to_csv
from wsl_bench.leaderboard.overall import Overall, overall, overall_rows, win_table
from wsl_bench.report.density import write_densities
from wsl_bench.report.overall import write_overall
from wsl_bench.store.atomic import atomic_write


def write_results(out: Path) -> Leaderboard:
    """Write the tables and figures of a run, from its records alone."""
    board = write_leaderboard(out)
    write_densities(board.measured, out / "figures")
    try:
        write_overall_results(board, out)
    except UsageError:  # one dataset, or no method that is complete on all: what was written before holds no more
        for name in ("overall.csv", "wins.csv", "figures/critical_difference.png", "figures/profiles.png"):
            (out / name).unlink(missing_ok=True)
    return board


def write_overall_results(board: Leaderboard, out: Path, rule: str = "val") -> tuple[Overall, list[str]]:
    """Write overall.csv, wins.csv and their figures; names of rules other than `val` end in it.

    Returns:
        What was written, and the names of the files below `out`.

    Raises:
        UsageError: there is nothing to average over (see `leaderboard.overall.overall`).
    """
    result, end = overall(board, rule), "" if rule == "val" else f"--{rule}"
    atomic_write(out / f"overall{end}.csv", to_csv(overall_rows(result), ()).encode())
    columns = ("a", "b", "threshold_rule", "probability", "low", "high")
    atomic_write(out / f"wins{end}.csv", to_csv(win_table(result), columns).encode())
    figures = [f"figures/{name}" for name in write_overall(result, out / "figures", end)]
    return result, [f"overall{end}.csv", f"wins{end}.csv", *figures]
