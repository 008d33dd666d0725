"""Do the intervals and ranks keep what they promise? Simulated studies with known truth, over a grid.

    python benchmarks/statistics/intervals.py

prints the table of docs/validity.md (2,000 studies a row; half an hour on two cores). A study is six equal methods
on the same patients: Y = 0.4 + seed + patient + patient x seed + image + noise, the patient part skewed as IoU is,
four fifths of its variance and half of an image's shared between methods, 1 to 20 images a patient.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import stats

from wsl_bench.stats.bootstrap import bca_interval, bootstrap_mean, cluster_weights, percentile_interval
from wsl_bench.stats.crossed import crossed_interval
from wsl_bench.stats.ranking import paired_difference, rank_ranges

SEEDS, SHARES, PATIENTS = (3, 5, 10), (0.0, 0.3, 0.7), (60, 600)
METHODS, MEAN = 6, 0.4
PATIENT_SD, PATIENT_SEED_SD, IMAGE_SD, NOISE_SD = 0.15, 0.05, 0.12, 0.08
RESAMPLES = 999
Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """One row of the grid; `share`: of the variance of one training's test mean, the part that its seed brings."""

    n_seeds: int
    share: float
    n_patients: int


@dataclass(frozen=True)
class Study:
    """values (methods, seeds, images), patients (images,), and the true mean of each training (methods, seeds)."""

    values: Float
    patients: npt.NDArray[np.int64]
    trainings: Float


def draw_study(setting: Setting, rng: np.random.Generator) -> Study:
    """Six methods of the same true mean on the same patients."""
    sizes = rng.integers(1, 21, setting.n_patients)
    patients = np.repeat(np.arange(setting.n_patients), sizes)
    n = len(patients)
    own = (PATIENT_SD**2 + PATIENT_SEED_SD**2) * float(np.square(sizes / n).sum()) + (IMAGE_SD**2 + NOISE_SD**2) / n
    seed_sd = math.sqrt(setting.share / (1 - setting.share) * own)
    shape = (METHODS, setting.n_seeds)
    patient = _shared(_skewed(rng, (METHODS + 1, setting.n_patients)), 0.8) * PATIENT_SD
    image = _shared(rng.normal(size=(METHODS + 1, n)), 0.5) * IMAGE_SD
    by_seed = rng.normal(0, PATIENT_SEED_SD, (*shape, setting.n_patients))
    seed = rng.normal(0, seed_sd, shape)
    fixed = (patient[:, patients] + image)[:, None]
    values = MEAN + seed[..., None] + fixed + by_seed[..., patients] + rng.normal(0, NOISE_SD, (*shape, n))
    return Study(values, patients, MEAN + seed)


def outcomes(study: Study) -> dict[str, float]:
    """Of one study, whether each interval held the truth, and whether each test found what is not there."""
    values, patients = study.values, study.patients
    first, images = values[0], values[0].mean(0)
    replicates = bootstrap_mean(first, cluster_weights(patients, RESAMPLES, np.random.default_rng(0)))
    method, these = crossed_interval(first, patients), float(study.trainings[0].mean())
    naive = stats.norm.ppf(0.975) * images.std(ddof=1) / math.sqrt(len(images))
    ranks = rank_ranges({str(m): v for m, v in enumerate(values)}, patients)
    return {
        "method": method.low <= MEAN <= method.high,
        "percentile": _holds(percentile_interval(replicates)[:2], these),
        "bca": _holds(bca_interval(first, patients, replicates), these),
        "naive": abs(images.mean() - MEAN) <= naive,
        "ranked": any(low != 1 or high != METHODS for low, high in ranks.values()),
        "paired": paired_difference(values[0], values[1], patients).p < 0.05,
        "unpaired": float(stats.ttest_ind(images, values[1].mean(0), equal_var=False).pvalue) < 0.05,
    }  # fmt: skip


def shares(setting: Setting, n_studies: int, seed: int = 0) -> dict[str, float]:
    """The share of studies with each outcome."""
    entropy = [seed, setting.n_seeds, round(100 * setting.share), setting.n_patients]
    rng = np.random.default_rng(entropy)
    found = [outcomes(draw_study(setting, rng)) for _ in range(n_studies)]
    return {name: float(np.mean([row[name] for row in found])) for name in found[0]}


def table(results: Mapping[Setting, Mapping[str, float]]) -> str:
    """The Markdown table."""
    head = ("seeds", "share of seeds", "patients", "the method", "these trainings: percentile", "BCa",
            "naive: images", "ranking: family-wise error", "one pair", "unpaired test")  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for s, row in results.items():
        cells = [str(s.n_seeds), f"{s.share:g}", str(s.n_patients), *(f"{100 * value:.1f}" for value in row.values())]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _skewed(rng: np.random.Generator, shape: tuple[int, int]) -> Float:
    """Gamma of shape 2, mean 0 and variance 1."""
    return (rng.gamma(2.0, 1.0, shape) - 2) / math.sqrt(2)


def _shared(parts: Float, share: float) -> Float:
    """(M + 1, n) -> (M, n): the last row is shared; variances stay."""
    return math.sqrt(share) * parts[-1] + math.sqrt(1 - share) * parts[:-1]


def _holds(bounds: tuple[float, float], truth: float) -> bool:
    return bounds[0] <= truth <= bounds[1]


def _one(job: tuple[Setting, int]) -> dict[str, float]:
    return shares(*job)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    grid = [Setting(*combination) for combination in product(SEEDS, SHARES, PATIENTS)]
    jobs = [(setting, arguments.studies) for setting in grid]
    with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool:
        print(table(dict(zip(grid, pool.map(_one, jobs, chunksize=1), strict=True))))


if __name__ == "__main__":
    main()
