"""A Markdown table of a benchmark run, with the ratio of each peer to ours (the first of its group).

pytest benchmarks --benchmark-enable --benchmark-json=bench.json
python benchmarks/ratios.py bench.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def table(benchmarks: list[dict[str, Any]]) -> str:
    """One row a benchmark, group by group: median milliseconds, and how many times ours that is."""
    lines = ["| what | way | ms | times ours |", "|---|---|---|---|"]
    ours: dict[str, float] = {}
    groups = list(dict.fromkeys(one["group"] or one["name"] for one in benchmarks))
    for one in sorted(benchmarks, key=lambda one: groups.index(one["group"] or one["name"])):
        group, way = one["group"] or one["name"], one["name"].partition("[")[2].rstrip("]") or one["name"]
        median = 1000 * float(one["stats"]["median"])
        first = ours.setdefault(group, median)
        lines.append(f"| {group} | {way} | {median:.3g} | {median / first:.3g} |")
    return "\n".join(lines)


if __name__ == "__main__":
    content = json.loads(Path(sys.argv[1]).read_text())
    print(f"{content['machine_info']['cpu'].get('brand_raw', 'unknown processor')}\n")
    print(table(content["benchmarks"]))
