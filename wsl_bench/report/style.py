"""Colours and line styles that every figure shares.

Okabe and Ito's colours, told apart with any colour vision; line styles carry it into grey print.
"""

from __future__ import annotations

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE = "#000000"
LONGEST = 60  # letters of a name in a figure
Style = str | tuple[int, tuple[int, ...]]
_STYLES: tuple[Style, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))


def plain(text: str) -> str:
    """A name as it is: no mathematics between dollar signs, and shown in legends even if it begins with `_`.

    Of a very long one, its beginning: a legend must leave room for the figure.
    """
    shown = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    shown = shown.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def line_style(i: int) -> tuple[str, Style]:
    """Colour and line style of the i-th curve; from the eighth on a colour comes again with another style."""
    return COLOURS[i % len(COLOURS)], _STYLES[(i + i // len(COLOURS)) % len(_STYLES)]
