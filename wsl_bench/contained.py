"""Running a plug-in's code so that what it changes of the process by the way does not reach what runs after it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import numpy as np


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Afterwards the working directory, the filters of warnings and numpy's handling of errors are as before.

    What torch keeps for a whole process is put back by `training.device.set_up_process`.
    """
    filters = list(warnings.filters)
    with contextlib.chdir("."), np.errstate():
        try:
            yield
        finally:
            if list(warnings.filters) != filters:  # left alone otherwise: to set them anew repeats every warning
                warnings.filters = filters
