"""The `folder` dataset: any directory with labels.csv and ground truth, and all that may be wrong with it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED_DATA, tiny_folder
from PIL import Image

from wsl_bench import params, registry
from wsl_bench.data.decode import How
from wsl_bench.data.prepare import prepare
from wsl_bench.data.prepared import load_truth
from wsl_bench.data.samples import Dataset, Sample
from wsl_bench.data.splits import make_manifest
from wsl_bench.errors import DataError

N = 30


def _open(root: Path, **values: object) -> Dataset:
    dataset: Dataset = params.build(registry.discover("dataset").get("folder").cls, "folder", {"root": root, **values})
    return dataset


def _by_id(dataset: Dataset) -> dict[str, Sample]:
    return {sample.image_id: sample for sample in dataset.samples()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A good dataset of N images; odd ones are positive."""
    return tiny_folder(tmp_path / "data", n=N)


Row = dict[str, str]


def _edit(path: Path, change: Callable[[list[Row]], list[Row]]) -> None:
    with path.open(newline="") as file:
        rows = change(list(csv.DictReader(file)))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _without(*columns: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [{k: v for k, v in row.items() if k not in columns} for row in rows]


def _setting(line: int, **values: str) -> Callable[[list[Row]], list[Row]]:
    """Set fields of the row on a line of the file (the header is line 1)."""
    return lambda rows: [{**row, **values} if i + 2 == line else row for i, row in enumerate(rows)]


def _renaming(old: str, new: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [{new if key == old else key: value for key, value in row.items()} for row in rows]


def _adding(**values: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [*rows, {**rows[0], **values}]


def test_a_good_directory(root: Path) -> None:
    dataset = _open(root)
    samples = dataset.samples()
    assert len(samples) == N
    first, second = samples[:2]
    assert (first.label, first.located, first.split) == (0, False, "train")
    assert (second.label, second.located, second.group) == (1, True, "patient001")
    assert (second.width, second.height) == (40, 32)
    assert dataset.image(second).shape == (32, 40)
    assert dataset.truth(second).boxes.shape == (1, 4)
    assert dataset.truth(second).mask is None
    assert make_manifest("tiny", samples).source == "dataset"


def test_several_and_fractional_boxes(root: Path) -> None:
    _edit(root / "boxes.csv", _adding(image_id="case001", x="0.25", y="1.5", w="2.75", h="1e1"))
    truth = _open(root).truth(_by_id(_open(root))["case001"])
    assert truth.boxes.shape == (2, 4)
    np.testing.assert_array_equal(truth.boxes[1], [0.25, 1.5, 2.75, 10.0])


def _mask(root: Path, name: str) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    mask = np.zeros((32, 40), bool)
    mask[3:9, 5:20] = True
    mask[20:22, 30:33] = True
    (root / "masks").mkdir(exist_ok=True)
    Image.fromarray(mask.astype(np.uint8)).save(root / f"masks/{name}.png")  # 1 is inside, not only 255
    return mask


def test_masks_alone(root: Path, tmp_path: Path) -> None:
    (root / "boxes.csv").unlink()
    masks = {f"case{i:03d}": _mask(root, f"case{i:03d}") for i in range(1, N, 2)}
    dataset = _open(root)
    np.testing.assert_array_equal(dataset.truth(_by_id(dataset)["case001"]).mask, masks["case001"])
    truth = load_truth(prepare("tiny", dataset, 32, tmp_path / "prepared").folder, "val")
    located = truth.truths[int(np.flatnonzero(truth.located)[0])]
    np.testing.assert_array_equal(located.boxes, [[5, 3, 15, 6], [30, 20, 3, 2]])


def test_a_mask_wins_over_boxes_and_both_are_kept(root: Path) -> None:
    mask = _mask(root, "case001")
    truth = _open(root).truth(_by_id(_open(root))["case001"])
    np.testing.assert_array_equal(truth.pixels(32, 40), mask)
    assert len(truth.boxes) == 1


def test_images_of_other_shapes_and_colours(root: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (10, 70), dtype=np.uint8)
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(root / "images/case000.png")
    Image.fromarray(grey).convert("RGBA").save(root / "images/case002.png")
    Image.fromarray(grey).convert("P").save(root / "images/case004.png")
    for line in (2, 4, 6):
        _edit(root / "labels.csv", _setting(line, width="70", height="10"))
    dataset = _open(root)
    for name in ("case000", "case002", "case004"):
        np.testing.assert_allclose(dataset.image(_by_id(dataset)[name]).astype(int), grey, atol=1)


def test_optional_columns_may_be_absent(root: Path) -> None:
    before = _by_id(_open(root))
    _edit(root / "labels.csv", _without("width", "height", "group_id", "has_boxes", "split"))
    after = _by_id(_open(root))
    for name, sample in after.items():
        assert (sample.width, sample.height, sample.located) == (40, 32, before[name].located)
        assert (sample.group, sample.split) == (name, None)


@pytest.mark.parametrize("width", ["", "wide", "40.0", "-40", "²"])
def test_a_size_that_is_no_number_is_taken_from_the_image(width: str, root: Path) -> None:
    _edit(root / "labels.csv", _setting(3, width=width))
    assert _by_id(_open(root))["case001"].width == 40


def test_the_split_column_may_be_left_aside(root: Path) -> None:
    assert {s.split for s in _open(root, split_column="false").samples()} == {None}
    manifest = make_manifest("tiny", _open(root, split_column=False).samples())
    assert manifest.source == "group hash"


def test_further_columns_are_carried_along(root: Path) -> None:
    _edit(root / "labels.csv", lambda rows: [{**row, "view": "PA"} for row in rows])
    assert _open(root).samples()[0].metadata == {"file": "images/case000.png", "view": "PA"}


def test_a_positive_without_boxes_counts_for_classification_only(root: Path) -> None:
    _edit(root / "boxes.csv", lambda rows: [row for row in rows if row["image_id"] != "case001"])
    _edit(root / "labels.csv", _setting(3, has_boxes="0"))
    sample = _by_id(_open(root))["case001"]
    assert (sample.label, sample.located) == (1, False)


def test_a_byte_order_mark_is_read_over(root: Path) -> None:
    path = root / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(_open(root).samples()) == N


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("labels.csv", _without("label"), r"labels.csv: expected the columns .*Add label\."),
        ("labels.csv", _without("image_id", "file"), r"Add image_id, file\."),
        ("boxes.csv", _without("w", "h"), r"boxes.csv: expected the columns .*Add w, h\."),
        ("labels.csv", _setting(4, label="2"), r"labels.csv, line 4: expected label to be one of 0, 1, found '2'"),
        ("labels.csv", _setting(4, label=""), r"line 4: expected label"),
        ("labels.csv", _setting(4, has_boxes="yes"), r"line 4: expected has_boxes"),
        ("labels.csv", _setting(4, split="dev"), r"line 4: expected split to be one of train, val, test, found 'dev'"),
        ("labels.csv", _setting(4, file="../x.png"), r"line 4: expected .* a file inside the directory"),
        ("labels.csv", _setting(4, file="/etc/hostname"), r"line 4: expected .* a file inside the directory"),
        ("labels.csv", _setting(4, file="images/../../x.png"), r"line 4: expected .* a file inside the directory"),
        ("labels.csv", _setting(4, image_id="../case002"), r"line 4: expected an image_id without slashes"),
        ("labels.csv", _setting(4, image_id="a/b"), r"line 4: expected an image_id without slashes"),
        ("labels.csv", _setting(2, has_boxes="1"), r"line 2: expected boxes or a mask, as has_boxes is 1"),
        ("labels.csv", _setting(4, file="images\\\\x.png"), r"line 4: expected / between folders, found 'images"),
        (
            "labels.csv",
            _renaming("group_id", "PatientID"),
            r"expected patients in the column group_id, found",
        ),
        ("labels.csv", _renaming("label", "Label"), r"expected a column 'label'.*found 'Label'\. Rename it to label"),
        ("boxes.csv", _renaming("w", "x2"), r"Add w\. w and h are the size of a box: x2 - x1, y2 - y1\."),
        ("boxes.csv", _setting(2, x="0.2", y="0.3", w="0.4", h="0.2"), r"line 2: expected x, y, w, h in pixels"),
        ("boxes.csv", _setting(2, x="left"), r"boxes.csv, line 2: expected numbers .* found left"),
        ("boxes.csv", _setting(2, y="nan"), r"line 2: expected numbers"),
        ("boxes.csv", _setting(2, x="inf"), r"line 2: expected numbers"),
        ("boxes.csv", _setting(2, w="0"), r"line 2: expected numbers x, y and positive w, h"),
        ("boxes.csv", _setting(2, h="-3"), r"line 2: expected numbers x, y and positive w, h"),
        ("boxes.csv", _setting(2, x=""), r"line 2: expected numbers"),
        ("boxes.csv", _setting(2, x="200"), r"boxes.csv, line 2: expected a box inside its image of 40 x 32 pixels"),
        ("boxes.csv", _setting(2, y="-1.01"), r"line 2: .*reaches 1.01 pixels out"),
        ("boxes.csv", _setting(2, x="31", w="10.5"), r"line 2: .*reaches 1.5 pixels out"),
        ("boxes.csv", _adding(image_id="stranger"), r"boxes.csv: expected only images of labels.csv, found 'stranger'"),
    ],
)
def test_a_bad_table_is_refused_naming_the_line(
    table: str, change: Callable[[list[Row]], list[Row]], said: str, root: Path, tmp_path: Path
) -> None:
    _edit(root / table, change)
    with pytest.raises(DataError, match=said):
        prepare("tiny", _open(root), 32, tmp_path / "prepared")


def test_another_separator_is_named(root: Path) -> None:
    for mark, said in ((";", "found ';'"), ("\t", "found tabs")):
        (root / "labels.csv").write_text("image_id,file,label\n".replace(",", mark))
        with pytest.raises(DataError, match=f"expected commas between the columns, {said}"):
            _open(root).samples()


def test_what_spreadsheets_and_pandas_leave_is_read(root: Path) -> None:
    before = [(s.image_id, s.label) for s in _open(root).samples()]
    _edit(root / "labels.csv", lambda rows: [row | {"label": f"{row['label']}.0"} for row in rows])
    with (root / "labels.csv").open("a") as file:
        file.write(",,,,,,,\n\n")
    assert [(s.image_id, s.label) for s in _open(root).samples()] == before


def test_a_reader_is_told_that_patients_are_not_known(root: Path) -> None:
    assert _open(root).remarks() == []
    _edit(root / "labels.csv", _without("group_id"))
    assert _open(root).remarks() == ["labels.csv has no group_id: every image counts as a patient of its own."]


def test_masks_that_name_no_image_are_refused(root: Path) -> None:
    _mask(root, "case001_mask")
    with pytest.raises(DataError, match=r"masks: expected masks named IMAGE_ID.png.*'case001_mask.png' and 0"):
        _open(root).samples()


def test_a_mask_without_a_background_of_0_is_refused(root: Path, tmp_path: Path) -> None:
    _mask(root, "case001")
    path = root / "masks" / "case001.png"
    with Image.open(path) as image:
        values = np.asarray(image)
    Image.fromarray(np.where(values > 0, 255, 1).astype(np.uint8)).save(path)
    with pytest.raises(DataError, match=r"case001.png: expected 0 outside the lesion, found values from 1 to"):
        _open(root).truth(_by_id(_open(root))["case001"])
    Image.fromarray(np.full_like(values, 255)).save(path)  # all of it may be lesion
    mask = _open(root).truth(_by_id(_open(root))["case001"]).mask
    assert mask is not None
    assert mask.all()


def test_a_box_may_reach_out_by_a_pixel(root: Path, tmp_path: Path) -> None:
    _edit(root / "boxes.csv", _setting(2, x="31", w="10", y="-1"))
    prepare("tiny", _open(root), 32, tmp_path / "prepared")
    assert _open(root).truth(_by_id(_open(root))["case001"]).boxes[0][:3].tolist() == [31, -1, 10]


def test_an_empty_table_is_refused(root: Path) -> None:
    path = root / "labels.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match=r"labels.csv: expected one row an image, found a header alone"):
        _open(root).samples()


def test_rows_of_another_length_are_refused(root: Path) -> None:
    path = root / "labels.csv"
    good = path.read_text()
    for row, n in (("case900,images/case000.png", 2), ("case900,a.png,1,1,0,g,0,train,more,", 10)):
        path.write_text(good + row + "\n")
        with pytest.raises(DataError, match=f"labels.csv, line 32: expected 8 fields, found {n}\\."):
            _open(root).samples()


@pytest.mark.parametrize("name", ["labels.csv", "boxes.csv"])
def test_a_missing_table_is_named(name: str, root: Path) -> None:
    (root / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: expected a CSV table, found no such file"):
        _open(root).samples()


def test_a_table_that_is_no_text_is_refused(root: Path) -> None:
    (root / "labels.csv").write_bytes(b"image_id,file,label\n\xff\xfe,x,1\n")
    with pytest.raises(DataError, match="expected a CSV table in UTF-8"):
        _open(root).samples()


def test_a_missing_image_is_named(root: Path, tmp_path: Path) -> None:
    (root / "images/case003.png").unlink()
    with pytest.raises(DataError, match=r"case003.png: expected a readable 8-bit image, found no such file"):
        prepare("tiny", _open(root), 32, tmp_path / "prepared")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_a_truncated_image_is_refused_or_skipped(suffix: str, share: float, root: Path, tmp_path: Path) -> None:
    picture = root / f"images/case003.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (32, 40), dtype=np.uint8)
    Image.fromarray(noise).save(picture)
    content = picture.read_bytes()
    picture.write_bytes(content[: int(share * len(content))])
    _edit(root / "labels.csv", _setting(5, file=f"images/case003.{suffix}"))
    with pytest.raises(DataError, match=rf"case003.{suffix}: expected a readable 8-bit image"):
        prepare("tiny", _open(root), 32, tmp_path / "prepared")
    prepared = prepare("tiny", _open(root), 32, tmp_path / "prepared", how=How(skip_corrupt=True))
    assert list(prepared.skipped) == ["case003"]


def test_a_wrong_size_in_the_table_is_refused(root: Path, tmp_path: Path) -> None:
    _edit(root / "labels.csv", _setting(3, width="41"))
    with pytest.raises(DataError, match=r"image 'case001': expected uint8 pixels of height x width \(32, 41\)"):
        prepare("tiny", _open(root), 32, tmp_path / "prepared")


@pytest.mark.parametrize("values", [{"x": "500"}, {"x": "3.6", "w": "0.3"}], ids=["outside", "between centres"])
def test_a_box_that_covers_no_pixel_is_refused(values: dict[str, str], root: Path, tmp_path: Path) -> None:
    line = 2 + 10  # of an image in val
    _edit(root / "boxes.csv", _setting(line, **values))
    with pytest.raises(DataError, match=r"case021|boxes\.csv, line 12"):
        prepare("tiny", _open(root), 32, tmp_path / "prepared")


@pytest.mark.parametrize(
    ("name", "images", "positive", "located", "boxes"),
    [("bccd364", 364, 201, 201, 361), ("mtd1344", 1344, 392, 386, 444)],
)
def test_the_real_datasets(name: str, images: int, positive: int, located: int, boxes: int) -> None:
    root = SHARED_DATA / name
    if not root.is_dir():
        pytest.skip(f"{name} is not beside this checkout (../shared/data)")
    dataset = _open(root)
    samples = dataset.samples()
    assert len(samples) == images
    assert sum(s.label for s in samples) == positive
    with_truth = [s for s in samples if s.located]
    assert len(with_truth) == located
    truths = [dataset.truth(s) for s in with_truth]
    assert sum(len(t.boxes) for t in truths) == boxes
    assert all(t.pixels(s.height, s.width).any() for t, s in zip(truths, with_truth, strict=True))
    assert all((t.mask is not None) == (name == "mtd1344") for t in truths)
    assert dataset.image(samples[0]).shape == (samples[0].height, samples[0].width)
    make_manifest(name, samples)


def test_skip_corrupt_reaches_images_whose_size_is_not_in_the_table(tmp_path: Path) -> None:
    root = tiny_folder(tmp_path / "data", n=30)
    text = (root / "labels.csv").read_text().replace(",40,32,", ",,,")
    (root / "labels.csv").write_text(text)
    (root / "images/case003.png").write_bytes(b"broken")
    prepared = prepare("tiny", _open(root), 32, tmp_path / "prepared", how=How(skip_corrupt=True))
    assert list(prepared.skipped) == ["case003"]


def test_more_than_8_bits_are_refused_not_clipped(root: Path) -> None:
    ramp = np.linspace(0, 65535, 32 * 40).astype(np.uint16).reshape(32, 40)
    Image.fromarray(ramp).save(root / "images/case000.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        _open(root).image(_by_id(_open(root))["case000"])


def test_blank_masks_of_healthy_images_are_no_ground_truth(root: Path) -> None:
    (root / "masks").mkdir()
    (root / "boxes.csv").unlink()
    text = (root / "labels.csv").read_text().splitlines()
    kept = [line.split(",") for line in text]
    column = kept[0].index("has_boxes")
    (root / "labels.csv").write_text("\n".join(",".join(f[:column] + f[column + 1 :]) for f in kept) + "\n")
    for i in range(N):
        mask = np.zeros((32, 40), np.uint8)
        mask[4:9, 5:15] = 255 * (i % 2)
        Image.fromarray(mask).save(root / "masks" / f"case{i:03d}.png")
    samples = _open(root).samples()
    assert [s.located for s in samples] == [s.label == 1 for s in samples]


def test_ground_truth_on_a_negative_is_refused(root: Path) -> None:
    text = (root / "labels.csv").read_text().replace(",1,patient001,", ",0,patient001,")
    (root / "labels.csv").write_text(text)
    with pytest.raises(DataError, match="whose label is 0"):
        _open(root).samples()


def test_an_exif_rotation_is_refused_as_boxes_and_pixels_would_disagree(root: Path, tmp_path: Path) -> None:
    labels = (root / "labels.csv").read_text().splitlines()
    name = labels[1].split(",")[labels[0].split(",").index("file")]
    with Image.open(root / name) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.convert("L").save(root / name, exif=exif)
    with pytest.raises(DataError, match="EXIF rotation; save the image upright"):
        prepare("made", _open(root), 32, tmp_path)
