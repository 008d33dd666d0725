"""A run for figures, written by hand: known maps, pictures, sigma maps and histories."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent.parent / "leaderboard"))

from made_up_run import SHAPE, images, random_maps, write_cell, write_run

from wsl_bench.store.atomic import write_arrays
from wsl_bench.store.display import FOLDER
from wsl_bench.store.records import write_record

N = 170  # 84 located: 21 or more in each third of their sizes
TOP, SIDE = 2, 16  # the images of 12 x 16 lie in squares of 16
START = float(np.exp(-2.0))
# Of "other" just above and just on a value that maps take: a threshold beside it would give other pixels.
THRESHOLDS = {"infomask": (0.45, 0.65), "gradcam": (0.25, 0.55), "other": (0.301, 0.5), "center_box": (0.5, 0.5)}
METHODS = ("infomask", "gradcam", "other")
SEEDS = (0, 1)
RULES = ("val", "0.5")
Array = npt.NDArray[Any]


@cache
def maps_of(method: str, seed: int) -> npt.NDArray[np.float32]:
    """Test maps (170, 12, 16); gradcam's first seed has blank ones. infomask looks where the truth is, others less."""
    blank = (3, 5, 7, 9, 11) if (method, seed) == ("gradcam", 0) else ()
    maps = random_maps(N, 10 * len(method) + seed, blank)
    truth = np.stack(images("test", N).masks)
    pull = {"infomask": 0.5, "gradcam": 0.2}.get(method, 0.0)
    out = np.round(10 * ((1 - pull) * maps + pull * truth)) / 10
    out[list(blank)] = 0
    return out.astype(np.float32)


def squared(maps: Array, padding: float) -> npt.NDArray[np.float16]:
    """In the square of the input; the padding holds a value that must count nowhere."""
    out = np.full((len(maps), SIDE, SIDE), padding, np.float16)
    out[:, TOP : TOP + SHAPE[0]] = maps
    return out


def sigma_of(seed: int) -> npt.NDArray[np.float16]:
    """Seed 0: 96 % of the pixels are at the start. Seed 1: 94 %. The rest is half of it, where the draw says."""
    draw = np.random.default_rng(50 + seed)
    sigma = START * draw.uniform(0.95, 1.05, (N, *SHAPE))
    order = draw.permutation(sigma.size)
    sigma.ravel()[order[: round(sigma.size * (0.04 if seed == 0 else 0.06))]] = START / 2
    return squared(sigma, 9.0)


def history_of(method: str, seed: int) -> list[dict[str, Any]]:
    """Five epochs, one of them not finite; none of "other", which is not trained."""
    if method not in ("infomask", "gradcam"):
        return []
    draw = np.random.default_rng(len(method) + seed)
    return [
        {"epoch": e, "loss": None if e == 2 else 2 / e + float(draw.random()), "accuracy": 0.5 + 0.08 * e,
         "auc": 0.5, "cross_entropy": 0.7}
        for e in range(1, 6)
    ]  # fmt: skip


def write_figure_run(
    root: Path, methods: tuple[str, ...] = (*METHODS, "center_box"), n: int = N, thresholds: tuple[str, ...] = RULES
) -> Path:
    """The run: three methods, a sanity row, two seeds, pictures; or some of its methods on its first n images."""
    write_run(root, thresholds)
    for method in methods:
        for seed in SEEDS:
            _write_cell(root, method, seed, n)
    write_pictures(root, n)
    return root


def _write_cell(root: Path, method: str, seed: int, n: int) -> None:
    maps, content, sanity = maps_of(method, seed)[:n], {}, method == "center_box"
    shown: dict[str, Array] = {"score": squared(maps, 1.0)}
    if method == "infomask":
        shown |= {"mu": squared(maps - 0.5, 0.0), "sigma": sigma_of(seed)[:n]}
        content["params"] = {"log_variance_start": -4.0}
    write_cell(
        root, method, seed, maps, threshold=THRESHOLDS[method][seed], shown=shown,
        probability=None if sanity else probability_of(seed)[:n], decision=None if sanity else 0.5, sanity=sanity,
        history=history_of(method, seed), **content,
    )  # fmt: skip


def probability_of(seed: int) -> Array:
    """(170,) of disease."""
    return np.asarray(0.6 * np.random.default_rng(seed).random(N) + 0.4 * np.array(images("test", N).labels))


def write_pictures(root: Path, n: int = N, ids: list[str] | None = None) -> None:
    """The shown test images, each a ramp, and their truth."""
    test = images("test", n)
    truth = np.zeros((n, SIDE, SIDE), np.bool_)
    truth[:, TOP : TOP + SHAPE[0]] = np.stack(test.masks)
    ramp = np.broadcast_to(np.arange(SIDE, dtype=np.uint8) * 15, (n, SIDE, SIDE))
    arrays: dict[str, Array] = {
        "image_ids": np.array(test.ids if ids is None else ids), "labels": np.array(test.labels), "images": ramp,
        "truth": np.packbits(truth, axis=None), "inside": np.tile([TOP, 0, *SHAPE], (n, 1)),
    }  # fmt: skip
    write_arrays(root / FOLDER / "made_up.npz", arrays)


def rewrite(root: Path, record: Any, content: dict[str, Any], drop: tuple[str, ...] = ()) -> None:
    """A record again with other content, and without some of its display maps."""
    arrays = {name: record.arrays(name) for name in ("val", "test", "maps")}
    arrays["maps"] = {name: value for name, value in arrays["maps"].items() if name not in drop}
    kept = {k: v for k, v in record.content.items() if k not in ("artefacts", "sha256", "record_version")}
    write_record(root, record.slug, kept | content, arrays)
