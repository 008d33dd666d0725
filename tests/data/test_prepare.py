"""A dataset decoded once: what its hashes cover, what its files hold, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest

from wsl_bench.data.decode import How
from wsl_bench.data.prepare import PreparedDataset, prepare
from wsl_bench.data.prepared import load_truth, load_weak
from wsl_bench.data.samples import SPLITS, Dataset, Sample, Truth
from wsl_bench.errors import DataError

WEAK_ARRAYS = {"image_ids", "groups", "labels", "pixels", "rows", "crc32", "size", "shapes", "sha256"}


@dataclass
class Made:
    """A dataset in memory; the ground truth of a training image must not be asked for."""

    items: dict[str, Sample] = field(default_factory=dict)
    pixels: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    truths: dict[str, Truth] = field(default_factory=dict)
    corrupt: set[str] = field(default_factory=set)

    def samples(self) -> list[Sample]:
        return list(self.items.values())

    def image(self, sample: Sample) -> npt.NDArray[np.uint8]:
        if sample.image_id in self.corrupt:
            raise DataError(sample.image_id, expected="an image", found="noise", fix="Replace it.")
        return self.pixels[sample.image_id]

    def source(self, sample: Sample) -> Path | None:
        return None

    def truth(self, sample: Sample) -> Truth:
        assert sample.split != "train", "the ground truth of a training image was read"
        return self.truths[sample.image_id]

    def details(self, sample: Sample) -> dict[str, str]:
        return {"view": f"seen in {sample.image_id}"}

    def remarks(self) -> list[str]:
        return ["made in memory"]


def _made() -> Made:
    """18 images of 12 x 16: six a split, positives with a box or a mask in turn."""
    made, draw = Made(), np.random.default_rng(0)
    for i in range(18):
        name = f"im{i:02d}"
        label = i % 2
        made.items[name] = Sample(name, f"g{i:02d}", label, bool(label), 12, 16, SPLITS[i // 6])
        made.pixels[name] = draw.integers(0, 256, (12, 16), dtype=np.uint8)
        mask = np.zeros((12, 16), bool)
        mask[2:5, 3:9] = True
        boxes = np.array([[1.5, 2.25, 4.0, 5.0], [8.0, 1.0, 3.0, 3.5]])
        made.truths[name] = Truth(boxes) if i % 4 == 1 else Truth(np.zeros((0, 4)), mask)
    return made


def _prepared(made: Made, root: Path, image_size: int = 32, skip_corrupt: bool = False) -> PreparedDataset:
    return prepare("made", cast(Dataset, made), image_size, root, how=How(skip_corrupt=skip_corrupt))


def _hashes(tmp_path: Path, change: Callable[[Made], None] = lambda made: None, image_size: int = 32) -> dict[str, str]:
    made = _made()
    change(made)
    return _prepared(made, tmp_path, image_size).hashes


def _pixel(name: str) -> Callable[[Made], None]:
    def change(made: Made) -> None:
        made.pixels[name][0, 0] ^= 1

    return change


def _field(name: str, **values: object) -> Callable[[Made], None]:
    def change(made: Made) -> None:
        made.items[name] = replace(made.items[name], **values)  # type: ignore[arg-type]

    return change


def _box(name: str) -> Callable[[Made], None]:
    def change(made: Made) -> None:
        made.truths[name].boxes[0, 0] += 0.25

    return change


def _mask(name: str) -> Callable[[Made], None]:
    def change(made: Made) -> None:
        mask = made.truths[name].mask
        assert mask is not None
        mask[11, 15] = True

    return change


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (_pixel("im00"), {"train"}),
        (_pixel("im06"), {"val"}),
        (_pixel("im12"), {"test"}),
        (_field("im00", label=1), {"train", "manifest"}),
        (_field("im06", label=1), {"val", "manifest"}),
        (_field("im00", group="other"), {"train", "manifest"}),
        (_field("im01", located=False), {"manifest"}),
        (_field("im07", located=False), {"val_truth", "manifest"}),
        (_field("im00", metadata={"age": "50"}), set()),
        (_box("im01"), set()),
        (_box("im09"), {"val_truth"}),
        (_box("im13"), {"test_truth"}),
        (_mask("im07"), {"val_truth"}),
        (_mask("im15"), {"test_truth"}),
    ],
    ids=[
        "pixel of train", "pixel of val", "pixel of test", "label of train", "label of val", "group",
        "located in train", "located in val", "metadata", "box of train", "box of val", "box of test",
        "mask of val", "mask of test",
    ],
)  # fmt: skip
def test_a_change_reaches_exactly_the_hashes_it_concerns(
    change: Callable[[Made], None], parts: set[str], tmp_path: Path
) -> None:
    before, after = _hashes(tmp_path), _hashes(tmp_path, change)
    assert {part for part in before if before[part] != after[part]} == parts


def test_the_hashes_do_not_depend_on_the_image_size(tmp_path: Path) -> None:
    assert _hashes(tmp_path) == _hashes(tmp_path, image_size=48)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2  # one folder a size


def test_the_hashes_do_not_depend_on_the_order_of_the_samples(tmp_path: Path) -> None:
    def turn(made: Made) -> None:
        made.items = dict(reversed(made.items.items()))

    assert _hashes(tmp_path) == _hashes(tmp_path, turn)


def test_what_is_stored_is_what_was_given(tmp_path: Path) -> None:
    made = _made()
    prepared = _prepared(made, tmp_path)
    for split in SPLITS:
        weak = load_weak(prepared.folder, split)
        samples = prepared.manifest.of(split)
        assert weak.image_ids == tuple(s.image_id for s in samples)
        assert weak.groups == tuple(s.group for s in samples)
        assert weak.labels.tolist() == [s.label for s in samples]
        assert weak.sha256 == prepared.hashes[split]
        for image, frame, sample in zip(weak.images, weak.frames, samples, strict=True):
            np.testing.assert_array_equal(image, frame.apply(made.pixels[sample.image_id]))
    for split in ("val", "test"):
        truth = load_truth(prepared.folder, split)
        for name, located, found in zip(truth.image_ids, truth.located, truth.truths, strict=True):
            assert located == made.items[name].located
            wanted = made.truths[name] if located else Truth(np.zeros((0, 4)))
            if wanted.mask is None:
                np.testing.assert_array_equal(found.boxes, wanted.boxes)
                assert found.mask is None
            else:
                np.testing.assert_array_equal(found.mask, wanted.mask)
                np.testing.assert_array_equal(found.boxes, [[3, 2, 6, 3]])  # of the mask's component
        assert truth.sha256 == prepared.hashes[f"{split}_truth"]
        assert truth.n_boxes() == prepared.n_boxes[split]


def test_weak_files_hold_no_ground_truth(tmp_path: Path) -> None:
    first = _prepared(_made(), tmp_path / "first").folder
    made = _made()
    for name in made.truths:
        made.truths[name] = Truth(np.array([[0.0, 0.0, 2.0, 2.0]]))
    second = _prepared(made, tmp_path / "second").folder
    assert {path.name for path in first.glob("*.npz")} == {
        "train.npz", "val.npz", "test.npz", "val-truth.npz", "test-truth.npz",
    }  # fmt: skip
    for split in SPLITS:
        with np.load(first / f"{split}.npz", allow_pickle=False) as arrays:
            assert set(arrays.files) == WEAK_ARRAYS
        assert (first / f"{split}.npz").read_bytes() == (second / f"{split}.npz").read_bytes()


def test_the_ground_truth_of_training_images_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="never read"):
        load_truth(_prepared(_made(), tmp_path).folder, "train")


def test_a_prepared_folder_is_used_again(tmp_path: Path) -> None:
    folder = _prepared(_made(), tmp_path).folder
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert _prepared(_made(), tmp_path).folder == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_folder_left_half_written_is_completed(tmp_path: Path) -> None:
    folder = _prepared(_made(), tmp_path).folder
    (folder / "hashes.json").unlink()
    (folder / "test.npz").unlink()
    assert len(load_weak(_prepared(_made(), tmp_path).folder, "test")) == 6


def test_progress_counts_every_image(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    prepare(
        "made", cast(Dataset, _made()), 32, tmp_path, how=How(progress=lambda done, total: seen.append((done, total)))
    )
    assert seen == [(i + 1, 18) for i in range(18)]


def test_a_corrupt_image_is_refused_by_default(tmp_path: Path) -> None:
    made = _made()
    made.corrupt = {"im03"}
    with pytest.raises(DataError, match="im03: expected an image, found noise"):
        _prepared(made, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_corrupt_image_may_be_skipped_and_is_listed(tmp_path: Path) -> None:
    made = _made()
    made.corrupt = {"im03", "im13"}
    prepared = _prepared(made, tmp_path, skip_corrupt=True)
    assert prepared.skipped.keys() == made.corrupt
    assert "found noise" in prepared.skipped["im13"]
    assert not {s.image_id for s in prepared.manifest.samples} & made.corrupt
    assert prepared.n_located("test") == 2
    assert prepared.hashes["manifest"] != _hashes(tmp_path)["manifest"]


@pytest.mark.parametrize("label", [0, 1])
def test_skipping_may_not_empty_a_class(label: int, tmp_path: Path) -> None:
    made = _made()
    made.corrupt = {s.image_id for s in made.samples() if s.split == "test" and s.label == label}
    with pytest.raises(DataError, match="positives and negatives in test"):
        _prepared(made, tmp_path, skip_corrupt=True)


def test_the_same_images_as_val_and_test_are_refused(tmp_path: Path) -> None:
    made = _made()
    for i in range(6):
        made.pixels[f"im{12 + i:02d}"] = made.pixels[f"im{6 + i:02d}"]
    with pytest.raises(DataError, match="validation images other than the test images"):
        _prepared(made, tmp_path)


def _wrong_size(made: Made) -> None:
    made.pixels["im00"] = made.pixels["im00"].T


def _wrong_type(made: Made) -> None:
    made.pixels["im00"] = made.pixels["im00"].astype(np.float32)  # type: ignore[assignment]


def _wrong_mask(made: Made) -> None:
    made.truths["im07"] = Truth(np.zeros((0, 4)), np.ones((16, 12), bool))


def _no_truth(made: Made) -> None:
    made.truths["im07"] = Truth(np.zeros((0, 4)), np.zeros((12, 16), bool))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_wrong_size, r"image 'im00': expected uint8 pixels of height x width \(12, 16\)"),
        (_wrong_type, r"found float32 of shape \(12, 16\)"),
        (_wrong_mask, r"image 'im07': expected a mask of height x width \(12, 16\), found \(16, 12\)"),
        (_no_truth, r"image 'im07': expected at least one box or a mask that is not empty"),
    ],
)
def test_images_and_ground_truth_of_a_wrong_form_are_refused(
    change: Callable[[Made], None], said: str, tmp_path: Path
) -> None:
    made = _made()
    change(made)
    with pytest.raises(DataError, match=said):
        _prepared(made, tmp_path)


def test_other_code_that_makes_the_squares_makes_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _prepared(_made(), tmp_path)
    monkeypatch.setattr("wsl_bench.data.prepare.source_sha256", lambda *parts: "other source")
    after = _prepared(_made(), tmp_path)
    assert before.hashes == after.hashes
    assert before.folder != after.folder
    monkeypatch.setattr("wsl_bench.data.prepare.versions", lambda: {"pillow": "0.1"})
    assert _prepared(_made(), tmp_path).folder not in (before.folder, after.folder)


def test_images_that_lie_in_two_splits_are_listed(tmp_path: Path) -> None:
    made = _made()
    train, val = (next(s for s in made.samples() if s.split == split) for split in ("train", "val"))
    made.pixels[val.image_id] = made.pixels[train.image_id]
    assert _prepared(_made(), tmp_path).duplicates == []
    assert _prepared(made, tmp_path).duplicates == [(val.image_id, train.image_id)]


def test_what_files_and_dataset_say_besides_is_kept_and_changes_no_hash(tmp_path: Path) -> None:
    made = _made()
    prepared = _prepared(made, tmp_path, 8)
    assert prepared.remarks == ["made in memory"]
    lines = prepared.manifest.details_csv().splitlines()
    assert lines[0] == "image_id,view"
    assert "im03,seen in im03" in lines
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Made, "details", lambda self, sample: {})
        plain = _prepared(made, tmp_path, 8)
    assert plain.manifest.details_csv() == ""
    assert plain.hashes == prepared.hashes
