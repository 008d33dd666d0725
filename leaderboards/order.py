"""Does an order of methods hold when the data change? Kendall's tau between finished runs.

    python leaderboards/order.py runs/phantom runs/phantom-1 runs/phantom-2 --metric iou

An order is claimed only if tau is at least 0.8 between every two runs, over the methods that all of them rank.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from pathlib import Path

from scipy.stats import kendalltau

CLAIMED_FROM = 0.8
RANKED = ("ok", "inverted", "at_chance")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--metric", default="iou")
    arguments = parser.parse_args()
    print(report({str(run): means(run / "leaderboard.csv", arguments.metric) for run in arguments.runs}))


def means(table: Path, metric: str) -> dict[str, float]:
    """The mean of each method that is ranked, from leaderboard.csv (threshold fitted on validation)."""
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["threshold_rule"] == "val" and row["status"] in RANKED]
    return {row["method"] + row["method_params"]: float(row[metric]) for row in rows}


def taus(runs: dict[str, dict[str, float]]) -> dict[tuple[str, str], float]:
    """Kendall's tau-b between every two runs, over the methods in all of them."""
    shared = sorted(set.intersection(*(set(values) for values in runs.values())))
    return {
        (a, b): float(kendalltau([runs[a][m] for m in shared], [runs[b][m] for m in shared]).statistic)
        for a, b in itertools.combinations(runs, 2)
    }


def report(runs: dict[str, dict[str, float]]) -> str:
    """A Markdown table of the means and the smallest tau."""
    shared = sorted(set.intersection(*(set(values) for values in runs.values())))
    lines = ["| run | order | " + " | ".join(shared) + " |", "|---" * (len(shared) + 2) + "|"]
    for name, values in runs.items():
        order = " > ".join(sorted(shared, key=lambda m: -values[m]))
        lines.append(f"| {name} | {order} | " + " | ".join(f"{values[m]:.3f}" for m in shared) + " |")
    between = taus(runs)
    if between:
        (a, b), lowest = min(between.items(), key=lambda item: item[1])
        verdict = "claimed" if lowest >= CLAIMED_FROM else "not claimed"
        lines += ["", f"Smallest tau of {len(between)} pairs: {lowest:.2f} ({a}, {b}); the order is {verdict}."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
