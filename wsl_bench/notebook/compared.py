"""Two methods side by side: what `wslbench compare` says, as an object."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsl_bench.leaderboard.compare import Comparison
from wsl_bench.notebook.html import comparison_html, p_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Compared:
    """A minus B; the whole result is `comparison` (see `leaderboard.compare.Comparison`)."""

    comparison: Comparison

    @property
    def difference(self) -> float:
        """Mean of A minus mean of B."""
        return self.comparison.method.difference

    @property
    def low(self) -> float:
        """Lower bound of the method's 95 % interval; NaN with one seed or one patient."""
        return self.comparison.method.low

    @property
    def high(self) -> float:
        """Its upper bound."""
        return self.comparison.method.high

    @property
    def p(self) -> float:
        """Two-sided p-value that belongs to the interval."""
        return self.comparison.method.p

    @property
    def p_holm(self) -> float:
        """`p` corrected for all `n_pairs` pairs of complete rows; NaN where one of the two is not among them."""
        return self.comparison.p_holm

    @property
    def n_pairs(self) -> int:
        """Pairs of complete rows in the table."""
        return self.comparison.n_pairs

    @property
    def smallest(self) -> float:
        """The difference that the study would have found in four of five repetitions."""
        return self.comparison.smallest

    @property
    def means(self) -> tuple[float, float]:
        """Of A and of B."""
        return self.comparison.means

    @property
    def fixed(self) -> tuple[float, float]:
        """95 % interval for these trainings: seeds held fixed, patients resampled (percentiles)."""
        return self.comparison.percentile

    @property
    def p_fixed(self) -> float:
        """Its p-value."""
        return self.comparison.p_fixed

    def figure(self) -> Figure:
        """The figure of `wslbench compare`: the difference of every test image, sorted."""
        from wsl_bench.report.paired import paired_figure

        return paired_figure(self.comparison)

    def __repr__(self) -> str:
        c = self.comparison
        interval = "" if self.p != self.p else f" [{self.low:+.4f}, {self.high:+.4f}], {p_text(self.p)}"
        return f"<{c.a} minus {c.b}, {c.metric} on {c.dataset}: {self.difference:+.4f}{interval}>"

    def _repr_html_(self) -> str:
        buffer = io.BytesIO()
        self.figure().savefig(buffer, format="png", dpi=130, metadata={"Software": None})
        return comparison_html(self.comparison, buffer.getvalue())
