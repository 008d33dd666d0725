"""Errors a user may see: each says where, what was expected, what was found and what to do."""

from __future__ import annotations

from functools import partial
from typing import Any


class WslBenchError(Exception):
    """Base of all errors meant for the user; the command line prints its text, never a traceback."""

    exit_code = 1


class UsageError(WslBenchError):
    """The command, a parameter or a study file is wrong."""

    exit_code = 2


class DataError(WslBenchError):
    """A file or table given by the user is wrong.

    Args:
        where: the file (and line, column or image) at fault.
        expected: what a valid input has there.
        found: what is there.
        fix: what the user can do about it.
    """

    exit_code = 2

    def __init__(self, where: object, *, expected: str, found: str, fix: str) -> None:
        self.where, self._said = str(where), {"expected": expected, "found": found, "fix": fix}
        super().__init__(f"{where}: expected {expected}, found {found}. {fix}")

    def __reduce__(self) -> tuple[Any, ...]:
        """From one process to another."""
        return partial(DataError, self.where, **self._said), ()


class NothingToDraw(WslBenchError):
    """A run has nothing that a certain figure could show."""

    exit_code = 2


class MethodError(WslBenchError):
    """A method broke its contract (shape, range, non-finite map); its cell fails, the others go on."""


class StoreError(WslBenchError):
    """A record or artefact on disk does not verify."""
