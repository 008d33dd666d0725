"""Colours, line styles, sizes and file formats that every figure shares.

Okabe and Ito's colours, told apart with any colour vision; line styles and markers carry it into grey print.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE = "#000000"
GREY = "#8C8C8C"
OUTLINE = "#F0E442"  # ground truth over pictures: Okabe and Ito's yellow, the colour of the paper's boxes
MAPS = "viridis"  # score maps: its lightness grows evenly, so it survives grey print
LONGEST = 60  # letters of a name in a figure
COLUMN = 3.4  # inches: one column of a paper set in two
TEXT = 7.0  # points: nothing is set smaller
HEADING = 8.0
Line = str | tuple[int, tuple[int, ...]]
_LINES: tuple[Line, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "<", ">")
# Places in COLOURS. InfoMask is green as in the paper's Figure 2.
_OWN_COLOUR = {
    "gradcam": 0, "featuremask": 1, "infomask": 2, "chexcam": 3, "regl1": 4, "gradcam_encoder": 5, "infomask_asis": 6,
}  # fmt: skip

# Neither a date nor a version in the files: the same records give the same bytes.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
FORMATS = tuple(_METADATA)


class MethodStyle(NamedTuple):
    """How one method is drawn."""

    colour: str
    line: Line
    marker: str


def plain(text: str) -> str:
    """A name as it is: no mathematics between dollar signs, and shown in legends even if it begins with `_`.

    Of a very long one, its beginning: a legend must leave room for the figure.
    """
    shown = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    shown = shown.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def short(text: str, longest: int) -> str:
    """A name in at most so many letters, its middle left out: parameters, which tell rows apart, stand at its end."""
    tail = (longest - 3) // 2
    return plain(text if len(text) <= longest else f"{text[: longest - 3 - tail]}...{text[-tail:]}")


def legend_columns(labels: Iterable[str]) -> int:
    """As many as fit into one column of a paper: two of short labels, else one."""
    return 2 if max(map(len, labels)) <= 28 else 1


def line_style(i: int) -> tuple[str, Line]:
    """Colour and line style of the i-th curve; from the eighth on a colour comes again with another style."""
    return COLOURS[i % len(COLOURS)], _LINES[(i + i // len(COLOURS)) % len(_LINES)]


def method_styles(names: Iterable[str]) -> dict[str, MethodStyle]:
    """Each method's style, whatever the order of the names.

    The paper's methods have the same in every run; others, in the order of the alphabet, what is left of the
    seven colours, then colours again with other lines and markers.
    """
    wanted = sorted(set(names))
    places = {name: _OWN_COLOUR[name] for name in wanted if name in _OWN_COLOUR}
    free = [i for i in range(len(COLOURS) + len(wanted)) if i not in places.values()]
    places |= dict(zip((name for name in wanted if name not in _OWN_COLOUR), free, strict=False))
    return {name: MethodStyle(*line_style(i), _marker(i)) for name, i in places.items()}


def dress(axis: Axes) -> None:
    """What all axes with numbers have in common."""
    axis.tick_params(labelsize=TEXT, length=2.5, pad=2)
    axis.grid(alpha=0.25, linewidth=0.5)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def rendered(figure: Figure, format: str) -> bytes:
    """The figure as a file's content; the same figure gives the same bytes.

    Args:
        format: one of FORMATS.
    """
    buffer = io.BytesIO()
    # A fixed salt for the names inside an SVG; letters in a PDF as TrueType, as publishers want them.
    with matplotlib.rc_context({"svg.hashsalt": "wsl_bench", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=format, dpi=300, metadata=_METADATA[format])
    return buffer.getvalue()


def _marker(i: int) -> str:
    return _MARKERS[(i + i // len(COLOURS)) % len(_MARKERS)]
