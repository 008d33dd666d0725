"""A run in a notebook: its tables as pandas frames, its comparisons and maps as objects that show themselves.

Everything is read from the records of a run; nothing is trained or written, and no metric is computed in another
way than the command line computes it. Nothing heavy is imported before `load_run` is called.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsl_bench.notebook.run import Run


def load_run(folder: str | os.PathLike[str]) -> Run:
    """The run in a folder that `wslbench run` or `wslbench score` has written.

    It shows what is finished when it is first asked; load it again to see what has been added since.

    Raises:
        UsageError: the folder is not a run.
    """
    from wsl_bench.notebook.run import Run

    return Run(folder)
