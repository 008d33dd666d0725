"""The two streams a command writes to."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape

out = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def tell(notes: Iterable[str]) -> None:
    """Things the user should know that are no result."""
    for note in notes:
        errors.print(f"[yellow]{escape(note)}[/]", soft_wrap=True)
