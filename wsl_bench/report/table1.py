"""The InfoMask paper's Table 1, measured here beside what the paper reports; Markdown and LaTeX."""

from __future__ import annotations

from wsl_bench.leaderboard.export import row_name, status_text
from wsl_bench.leaderboard.latex import escaped
from wsl_bench.leaderboard.rows import Values
from wsl_bench.report.source import Drawn, Source

COLUMNS = {"iop": "IoP", "fpr": "FPR", "fnr": "FNR", "accuracy": "Acc."}
ELSEWHERE = "reported elsewhere (RSNA, other networks)"
# In the order of the paper (Taghanaki et al., MICCAI 2019, Table 1): IoP, FPR, FNR, Acc.
REPORTED: dict[str, tuple[str, tuple[str, str, str, str]]] = {
    "gradcam": ("GradCAM", ("0.12", "0.196", "0.20", "0.8221")),
    "featuremask": ("FeatureMask", ("0.19", "0.095", "0.81", "0.8236")),
    "regl1": ("RegL1", ("0.11", "0.010", "0.99", "0.8170")),
    "chexcam": ("CheXCAM", ("0.34", "0.077", "0.71", "0.8400")),
    "infomask": ("InfoMask", ("0.44", "0.025", "0.80", "0.8248")),
}
NOTE = (
    f'The columns marked "{ELSEWHERE}" are copied from the paper, which names its images NIH ChestX-ray8: other '
    "images, other networks and another choice of threshold, so they are no target to meet or to miss. The paper "
    "prints a +- after IoP, FPR and FNR (2.0e-04 and the like) and does not say what it is; it is not repeated here, "
    "and no interval is made of it."
)
_NONE = "-"


def draw_table1(source: Source, dataset: str) -> list[Drawn]:
    """Rows: the paper's methods in its order, whether the run has them or not; then the run's others, best first."""
    found = {row_name(values): values for values, _ in source.shown(dataset)}
    names = [*REPORTED, *(name for name in found if name not in REPORTED)]
    rows = [_cells(name, found.get(name)) for name in names]
    pairs = source.shown(dataset) or source.rows(dataset)
    about = (
        "Measured: means over located positives (Acc.: over all test images, at the decision threshold frozen on "
        "validation), with 95 % intervals for the method (seeds random, crossed with patients); of one seed there is "
        f"none. {source.about(dataset, pairs)}"
    )
    texts = {"md": _markdown(dataset, rows, about), "tex": _latex(rows, about)}
    return [Drawn(source.file_name("table1", dataset), f"{about} {NOTE}", texts=texts)]


def _cells(name: str, values: Values | None) -> list[str]:
    """Method, status, measured and reported figures."""
    shown, reported = REPORTED.get(name, (name, (_NONE,) * len(COLUMNS)))
    if values is None:
        return [shown, "not in this run", *[_NONE] * len(COLUMNS), *reported]
    return [shown, status_text(values), *(_measured(values, metric) for metric in COLUMNS), *reported]


def _measured(values: Values, metric: str) -> str:
    mean, low, high = values[metric], values[f"{metric}_low"], values[f"{metric}_high"]
    if mean is None:
        return _NONE
    return f"{mean:.3f}" if low is None or high is None else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def _markdown(dataset: str, rows: list[list[str]], about: str) -> str:
    header = ["method", "status", *COLUMNS.values(), *(f"{title}, {ELSEWHERE}" for title in COLUMNS.values())]
    lines = [header, ["---"] * len(header), *rows]
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([f"# Table 1, {dataset}", "", *table, "", about, "", NOTE, ""])


def _latex(rows: list[list[str]], about: str) -> str:
    """Needs booktabs, as `leaderboard --format latex` does; intervals stand below their means."""
    n = len(COLUMNS)
    head = " & ".join(COLUMNS.values())
    short, _, where = ELSEWHERE.removesuffix(")").partition(" (")
    lines = [
        r"{\noindent\scriptsize\setlength{\tabcolsep}{2pt}",
        r"\begin{tabular}{ll" + "r" * 2 * n + "}",
        r"\toprule",
        rf" & & \multicolumn{{{n}}}{{c}}{{measured}} & \multicolumn{{{n}}}{{c}}{{{short}$^*$}} \\",
        rf"\cmidrule(lr){{3-{2 + n}}}\cmidrule(lr){{{3 + n}-{2 + 2 * n}}}",
        rf"method & status & {head} & {head} \\",
        r"\midrule",
        *(line for row in rows for line in _tex_lines(row)),
        r"\bottomrule",
        rf"\multicolumn{{{2 + 2 * n}}}{{l}}{{\tiny $^*$ {where}}}",
        r"\end{tabular}}",
    ]
    notes = [f"% {text}" for text in (r"Needs \usepackage{booktabs}.", about, NOTE)]
    return "\n".join([*notes, *lines, ""])


def _tex_lines(row: list[str]) -> list[str]:
    """The row, and its intervals in small print below it, if it has any."""
    cells = [cell.partition(" [") for cell in row[2:]]
    lines = [" & ".join(map(escaped, [*row[:2], *(mean for mean, _, _ in cells)])) + r" \\"]
    if any(bounds for _, _, bounds in cells):
        small = [rf"{{\tiny {bounds[:-1].replace(', ', '--')}}}" if bounds else "" for _, _, bounds in cells]
        small = ["", "", *small]
        lines.append(" & ".join(small) + r" \\[2pt]")
    return lines
