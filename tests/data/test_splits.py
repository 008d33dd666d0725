"""The manifest: who is in which split, the same everywhere, and what is refused."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import run_python
from hypothesis import given
from hypothesis import strategies as st

from wsl_bench.data.samples import SPLITS, Sample
from wsl_bench.data.splits import hashed_split, make_manifest
from wsl_bench.errors import DataError


def _samples(n: int = 24, **fields: object) -> list[Sample]:
    made = [Sample(f"im{i:02d}", f"g{i // 2}", i % 2, bool(i % 2), 8, 9) for i in range(n)]
    return [replace(sample, **fields) for sample in made]  # type: ignore[arg-type]


# Written out by hand: the split of a group must never change between versions or machines.
GROUPS = {
    "g0": "val", "g1": "test", "g2": "train", "g3": "train", "g4": "test", "g5": "val",
    "g6": "train", "g7": "val", "g8": "train", "g9": "test", "g10": "train", "g11": "train",
}  # fmt: skip
EXPECTED_CSV = "image_id,group,label,located,split\n" + "".join(
    f"im{i:02d},g{i // 2},{i % 2},{i % 2},{GROUPS[f'g{i // 2}']}\n" for i in range(24)
)
EXPECTED_SHA256 = "6c35e4661f9c11726eefe5b384648d69340d458dd80e3de917eea8d1f72dad2b"


def test_the_manifest_of_a_made_up_list_is_known() -> None:
    manifest = make_manifest("made", _samples())
    assert manifest.csv() == EXPECTED_CSV
    assert manifest.sha256() == hashlib.sha256(EXPECTED_CSV.encode()).hexdigest() == EXPECTED_SHA256
    assert manifest.source == "group hash"


@given(st.randoms(use_true_random=False))
def test_the_manifest_does_not_depend_on_the_order(shuffler: random.Random) -> None:
    samples = _samples()
    shuffler.shuffle(samples)
    assert make_manifest("made", samples).sha256() == EXPECTED_SHA256


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_the_manifest_does_not_depend_on_the_process(hash_seed: str, tmp_path: Path) -> None:
    code = (
        "from wsl_bench.data.samples import Sample\n"
        "from wsl_bench.data.splits import make_manifest\n"
        "made = {Sample(f'im{i:02d}', f'g{i // 2}', i % 2, bool(i % 2), 8, 9).image_id: i for i in range(24)}\n"
        "rows = [Sample(k, f'g{i // 2}', i % 2, bool(i % 2), 8, 9) for k, i in\n"
        "        ((k, made[k]) for k in set(made))]\n"
        "print(make_manifest('made', rows).sha256())"
    )
    done = run_python("-c", code, cwd=tmp_path, env={"PYTHONHASHSEED": hash_seed})
    assert done.stdout.strip() == EXPECTED_SHA256


def test_groups_are_split_in_the_stated_shares() -> None:
    drawn = [hashed_split(f"patient {i}") for i in range(4000)]
    shares = {split: drawn.count(split) / len(drawn) for split in SPLITS}
    assert shares == pytest.approx({"train": 0.6, "val": 0.2, "test": 0.2}, abs=0.03)


@given(st.lists(st.tuples(st.text(max_size=4), st.integers(0, 1)), min_size=1, max_size=30))
def test_a_group_never_crosses_splits(rows: list[tuple[str, int]]) -> None:
    samples = [Sample(f"im{i}", group, label, False, 4, 4) for i, (group, label) in enumerate(rows)]
    try:
        manifest = make_manifest("drawn", samples)
    except DataError:
        return  # too few images for two classes in three splits
    home: dict[str, set[str | None]] = {}
    for sample in manifest.samples:
        home.setdefault(sample.group, set()).add(sample.split)
    assert all(len(splits) == 1 for splits in home.values())


def test_the_datasets_own_split_is_kept() -> None:
    samples = [replace(s, split=SPLITS[i // 2 % 3]) for i, s in enumerate(_samples())]
    manifest = make_manifest("made", samples)
    assert manifest.source == "dataset"
    assert {s.image_id: s.split for s in manifest.samples} == {s.image_id: s.split for s in samples}
    assert [s.image_id for s in manifest.of("val")] == [f"im{i:02d}" for i in (2, 3, 8, 9, 14, 15, 20, 21)]


def test_a_group_in_two_splits_is_refused() -> None:
    samples = [replace(s, split=SPLITS[i // 2 % 3]) for i, s in enumerate(_samples())]
    samples[1] = replace(samples[1], split="test")
    with pytest.raises(DataError, match=r"group 'g0' in train \(image 'im00'\) and in test \(image 'im01'\)"):
        make_manifest("made", samples)


def test_a_partly_filled_split_column_is_refused() -> None:
    samples = _samples(split="train")
    samples[3] = replace(samples[3], split=None)
    with pytest.raises(DataError, match=r"23 of 24 images with a split"):
        make_manifest("made", samples)


def test_duplicate_ids_are_refused() -> None:
    with pytest.raises(DataError, match=r"unique image ids, found 'im05' 2 times"):
        make_manifest("made", [*_samples(), _samples()[5]])


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_without_one_of_the_classes_is_refused(split: str) -> None:
    samples = [replace(s, split=SPLITS[i // 2 % 3]) for i, s in enumerate(_samples())]
    samples = [replace(s, label=0, located=False) if s.split == split else s for s in samples]
    with pytest.raises(DataError, match=f"positives and negatives in {split}"):
        make_manifest("made", samples)


def test_ground_truth_on_a_negative_is_refused() -> None:
    samples = _samples()
    samples[3] = replace(samples[3], label=0, located=True)
    with pytest.raises(DataError, match=f"ground truth on positives only.*{samples[3].image_id}"):
        make_manifest("made", samples)


def test_an_empty_dataset_is_refused() -> None:
    with pytest.raises(DataError, match="positives and negatives in train"):
        make_manifest("made", [])
