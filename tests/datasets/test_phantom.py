"""The phantom: always the same image, exact ground truth, RSNA-like boxes, a chest that looks like one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from conftest import SHARED_DATA, run_python
from sklearn.metrics import roc_auc_score
from wsl_bench.datasets.phantom import Phantom

from wsl_bench import UsageError, params
from wsl_bench.data.radiograph import scene, streams
from wsl_bench.data.radiograph.anatomy import Thorax, draw_thorax
from wsl_bench.registry import discover

RSNA = SHARED_DATA / "labels/kaggle_stage_2_train_labels.csv.zip"
DISEASED = [i for i in range(60) if streams.label(0, i) == 1]
HEALTHY = [i for i in range(60) if streams.label(0, i) == 0]


FINGERPRINT = """
import hashlib
def fingerprint(phantom):
    parts = [phantom.image(s).tobytes() + phantom.truth(s).boxes.tobytes() for s in phantom.samples()]
    return hashlib.sha256(b"".join(parts)).hexdigest()
"""


def fingerprint(phantom: Phantom) -> str:
    """The same here as in a fresh process."""
    names: dict[str, Any] = {}
    exec(FINGERPRINT, names)
    return str(names["fingerprint"](phantom))


def test_registered_with_enough_images() -> None:
    assert discover("dataset").get("phantom").cls is Phantom
    samples = Phantom().samples()
    counts = {split: sum(s.split == split for s in samples) for split in ("train", "val", "test")}
    assert counts["train"] >= 1000
    assert counts["val"] >= 300
    assert counts["test"] >= 300
    assert sum(s.located for s in samples if s.split == "test") >= 150
    assert sum(s.located for s in samples if s.split == "val") >= 100
    assert len({s.image_id for s in samples}) == len({s.group for s in samples}) == len(samples)


def test_counts_change_no_image() -> None:
    few, many = Phantom(n_train=3, n_val=2, n_test=2), Phantom(n_train=40, n_val=2, n_test=5)
    known = {s.image_id: s for s in many.samples()}
    for sample in few.samples():
        assert known[sample.image_id] == sample
        np.testing.assert_array_equal(few.image(sample), many.image(sample))


def test_order_and_process_change_no_image(tmp_path: Path) -> None:
    phantom = Phantom(n_train=8, n_val=2, n_test=2)
    forward = [phantom.image(s) for s in phantom.samples()]
    backward = [phantom.image(s) for s in reversed(phantom.samples())]
    np.testing.assert_array_equal(forward, backward[::-1])
    script = f"""{FINGERPRINT}
from wsl_bench.datasets.phantom import Phantom
print(fingerprint(Phantom(n_train=8, n_val=2, n_test=2)))
"""
    fresh = run_python("-c", script, cwd=tmp_path, env={"PYTHONHASHSEED": "4711"})
    assert fresh.stdout.strip() == fingerprint(phantom), fresh.stderr


def test_data_seed_changes_every_image() -> None:
    few = {"n_train": 4, "n_val": 0, "n_test": 0}
    assert fingerprint(Phantom(**few)) != fingerprint(Phantom(**few, data_seed=1))
    assert not np.array_equal(scene.render(0, 0), scene.render(0, 1))


def test_listing_needs_neither_compiler_nor_torch(tmp_path: Path) -> None:
    script = """
import sys
from wsl_bench.datasets.phantom import Phantom
Phantom(n_train=3).samples()
sys.exit(any(name in sys.modules for name in ("numba", "torch", "scipy")))
"""
    assert run_python("-c", script, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("size", [64, 150])
def test_leaving_out_the_lesion_changes_nothing_else(size: int) -> None:
    phantom = Phantom(size=size)
    for index in DISEASED[:20]:
        support = scene.lesions(0, index, size).density.sum(axis=0) > 0.0
        with_lesion, without = phantom.render(index), phantom.render(index, lesion=False)
        np.testing.assert_array_equal(with_lesion[~support], without[~support])
        assert (with_lesion != without).any()
        assert 0.0 < support.mean() < 0.6
    for index in HEALTHY[:10]:
        np.testing.assert_array_equal(phantom.render(index), phantom.render(index, lesion=False))


def test_a_quarter_of_the_dose_is_twice_the_noise() -> None:
    few = {"n_train": 8, "n_val": 0, "n_test": 0}
    usual, low, clean = Phantom(**few), Phantom(**few, dose=0.25), Phantom(**few, dose=1e9)
    ratios = []
    for sample in usual.samples():
        without_noise = clean.image(sample).astype(float)
        noise, more = usual.image(sample) - without_noise, low.image(sample) - without_noise
        seen = (without_noise > 40) & (without_noise < 215)  # where the film neither saturates nor is black
        ratios.append(more[seen].std() / noise[seen].std())
        np.testing.assert_array_equal(usual.truth(sample).mask, low.truth(sample).mask)
    assert np.mean(ratios) == pytest.approx(2.0, abs=0.1)


def test_mask_is_above_a_tenth_of_the_peak() -> None:
    for index in DISEASED:
        lesions = scene.lesions(0, index)
        expected = np.zeros((64, 64), np.bool_)
        for density, (x, y, w, h) in zip(lesions.density, lesions.boxes.astype(int), strict=True):
            own = density > 0.1 * density.max()
            expected |= own
            assert own[y : y + h, x : x + w].sum() == own.sum()
            assert own[y].any()
            assert own[y + h - 1].any()
            assert own[:, x].any()
            assert own[:, x + w - 1].any()
        np.testing.assert_array_equal(lesions.mask, expected)


def test_mask_follows_what_is_seen() -> None:
    """In the pixels, not in the drawing's own numbers: the change lies in the mask, brightest in its core."""
    inside, outside = [], []
    for index in DISEASED:
        change = scene.render(0, index).astype(int) - scene.render(0, index, lesion=False)
        mask = scene.lesions(0, index).mask
        assert mask.ravel()[change.argmax()]
        inside.append(change[mask].mean())
        outside.append(np.abs(change[~mask]).mean())
    assert np.mean(inside) > 25.0
    assert np.mean(outside) < 1.0


def test_lesions_exactly_where_the_label_says() -> None:
    phantom = Phantom(n_train=200, n_val=0, n_test=0)
    for sample in phantom.samples():
        truth = phantom.truth(sample)
        assert truth.mask is not None
        assert sample.label == sample.located == truth.mask.any() == (len(truth.boxes) > 0)
        assert len(truth.boxes) <= 3
        assert truth.boxes.dtype == np.float64
        assert (truth.boxes[:, :2] >= 0).all()
        assert (truth.boxes[:, :2] + truth.boxes[:, 2:] <= 64).all()


@pytest.fixture(scope="module")
def boxes() -> list[npt.NDArray[np.float64]]:
    """The boxes of about 2,000 positives, as fractions of the image side."""
    found = (scene.lesions(0, index).boxes / 64 for index in range(4000))
    return [each for each in found if len(each)]


def union_areas(boxes: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    grid = (np.arange(128) + 0.5) / 128
    areas = []
    for each in boxes:
        lit = np.zeros((128, 128), np.bool_)
        for x, y, w, h in each:
            lit |= ((grid >= y) & (grid < y + h))[:, None] & ((grid >= x) & (grid < x + w))
        areas.append(lit.mean())
    return np.array(areas)


def test_boxes_have_the_statistics_of_rsna(boxes: list[npt.NDArray[np.float64]]) -> None:
    areas, every = union_areas(boxes), np.concatenate(boxes)
    assert np.mean(areas) == pytest.approx(0.117, abs=0.008)
    assert np.median(areas) == pytest.approx(0.087, abs=0.010)
    shares = np.bincount([len(each) for each in boxes], minlength=4) / len(boxes)
    np.testing.assert_allclose(shares, [0.0, 0.44, 0.54, 0.02], atol=0.03)
    assert np.median(every[:, 3] / every[:, 2]) == pytest.approx(1.45, abs=0.1)


@pytest.mark.skipif(not RSNA.exists(), reason="RSNA's table is not here")
def test_boxes_against_the_table_of_rsna(boxes: list[npt.NDArray[np.float64]]) -> None:
    table = pd.read_csv(RSNA).dropna()
    columns = ["x", "y", "width", "height"]
    real = [group[columns].to_numpy() / 1024 for _, group in table.groupby("patientId")]
    deciles = np.arange(0.1, 1.0, 0.1)
    ours = np.quantile(union_areas(boxes), deciles)
    np.testing.assert_allclose(ours, np.quantile(union_areas(real), deciles), atol=0.03)
    every, real_every = np.concatenate(boxes), np.concatenate(real)
    for column in (2, 3):
        assert np.median(every[:, column]) == pytest.approx(np.median(real_every[:, column]), abs=0.02)


def test_a_tube_confounds_train_alone() -> None:
    samples = Phantom(confound="tube", n_train=2000, n_val=2000, n_test=2000).samples()
    for split in ("train", "val", "test"):
        tube = {v: [s.metadata["tube"] == "yes" for s in samples if s.split == split and s.label == v] for v in (0, 1)}
        gap = np.mean(tube[1]) - np.mean(tube[0])
        assert gap == (1.0 if split == "train" else pytest.approx(0.0, abs=0.08))
    plain = [s for s in Phantom(n_train=4000).samples() if s.split == "train"]
    share = [np.mean([s.metadata["tube"] == "yes" for s in plain if s.label == v]) for v in (0, 1)]
    np.testing.assert_allclose(share, 0.2, atol=0.04)


def test_the_tube_is_drawn_where_it_is_announced() -> None:
    """A catheter brightens a line; the confounded dataset changes nothing but the catheter."""
    plain, confounded = Phantom(n_train=30), Phantom(n_train=30, confound="tube")
    for ours, theirs in zip(plain.samples()[:30], confounded.samples()[:30], strict=True):
        change = confounded.image(theirs).astype(int) - plain.image(ours)
        if ours.metadata == theirs.metadata:
            assert not change.any()
        else:
            added = theirs.metadata["tube"] == "yes"
            assert 0.01 < (change != 0).mean() < 0.15
            assert (change.max() > 25) if added else (change.min() < -25)
        assert ours.label == theirs.label


@pytest.mark.parametrize("size", [97, 224])
def test_another_size_shows_the_same_patient(size: int) -> None:
    phantom = Phantom(size=size, n_train=12)
    for sample in phantom.samples()[:12]:
        image, small = phantom.image(sample), scene.render(0, int(sample.image_id[-7:]))
        assert image.shape == (size, size)
        assert image.dtype == np.uint8
        at = ((np.arange(64) + 0.5) * size / 64).astype(int)
        assert np.corrcoef(image[np.ix_(at, at)].ravel(), small.ravel())[0, 1] > 0.9
        truth, small_mask = phantom.truth(sample), scene.lesions(0, int(sample.image_id[-7:])).mask
        assert truth.mask is not None
        if sample.label:
            again = truth.mask[np.ix_(at, at)]
            assert (again & small_mask).sum() / (again | small_mask).sum() > 0.6


def test_a_chest_looks_like_a_chest() -> None:
    """Dark lungs between bright heart, abdomen and flanks; air in the upper corners; the heart on its side."""
    mean = np.mean([scene.render(0, i, lesion=False) for i in range(150)], axis=0)
    lungs = mean[20:36, 14:24].mean(), mean[20:36, 42:50].mean()
    midline, abdomen, flank = mean[20:40, 30:34].mean(), mean[56:62, 16:48].mean(), mean[30:40, 4:7].mean()
    corners = max(mean[:4, :5].mean(), mean[:4, -5:].mean())
    assert max(lungs) + 40 < min(midline, abdomen)
    assert max(lungs) + 15 < flank
    assert corners + 10 < min(lungs)
    assert abs(lungs[0] - lungs[1]) < 15
    heart_side, other_side = mean[38:44, 36:42].mean(), mean[38:44, 22:28].mean()
    assert heart_side > other_side + 10


def test_patients_vary() -> None:
    images = np.stack([scene.render(0, i, lesion=False) for i in range(150)]).astype(float)
    assert images.mean(axis=(1, 2)).std() > 12  # exposure
    rows = (images < 90).mean(axis=2)  # dark, mostly lung
    assert np.argmax(rows[:, 8:] > 0.2, axis=1).std() > 1.0  # pose


def test_the_patient_is_independent_of_the_label() -> None:
    """No pose or anatomy parameter ranks the labels: 3,000 patients, four standard errors."""
    labels = [streams.label(0, i) for i in range(3000)]
    drawn = np.array([draw_thorax(streams.stream(0, i, streams.Part.ANATOMY)) for i in range(3000)])
    aucs = np.array([roc_auc_score(labels, column) for column in drawn.T])
    worst = int(np.abs(aucs - 0.5).argmax())
    assert abs(aucs[worst] - 0.5) < 4 * 0.58 / np.sqrt(3000), Thorax._fields[worst]


@pytest.mark.parametrize("wrong", [{"size": 8}, {"data_seed": -1}, {"n_test": -1}, {"n_train": 3_000_000}])
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"phantom\.\w+: expected a number at (least|most).*found"):
        params.build(Phantom, "phantom", wrong)
