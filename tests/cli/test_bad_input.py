"""Bad input, as a user would have it: one message that names the culprit, exit code 2, nothing lost."""

from __future__ import annotations

import csv
import hashlib
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import tiny_folder

from wsl_bench.cli.main import main

Spoil = Callable[[Path], None]
Capture = pytest.CaptureFixture[str]
OUTSIDE = "threshold: expected a multiple of 0.001 from 0.001 to 1, found"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("good") / "images")


@pytest.fixture
def place(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a good dataset and something of the user's in it."""
    shutil.copytree(good, tmp_path / "images")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("not yours")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    handler = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, handler)


def wslbench(monkeypatch: pytest.MonkeyPatch, capture: Capture, *arguments: str) -> tuple[int, str]:
    """Exit code and everything said."""
    monkeypatch.setattr(sys, "argv", ["wslbench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capture.readouterr()
    return int(ended.value.code or 0), " ".join((said.out + said.err).split())


def rows_of(path: Path, change: Callable[[list[dict[str, str]]], None], drop: str | None = None) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [column for column in rows[0] if column != drop]
    change(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def label(line: int, **values: str) -> Spoil:
    """Change fields of a line of labels.csv (2 is the first after the header)."""
    return lambda root: rows_of(root / "labels.csv", lambda rows: rows[line - 2].update(values))


def box(line: int, **values: str) -> Spoil:
    return lambda root: rows_of(root / "boxes.csv", lambda rows: rows[line - 2].update(values))


def first_line(old: str, new: str) -> Spoil:
    def spoil(root: Path) -> None:
        path = root / "labels.csv"
        path.write_text(path.read_text().replace(old, new, 1))

    return spoil


def truncated(root: Path) -> None:
    path = root / "images" / "case007.png"
    path.write_bytes(path.read_bytes()[:300])


def no_image_at_all(root: Path) -> None:
    (root / "images" / "case007.png").write_text("these are words")


def healthy_test_split(root: Path) -> None:
    def heal(rows: list[dict[str, str]]) -> None:
        rows[:] = [row for row in rows if row["split"] != "test" or row["label"] == "0"]

    rows_of(root / "labels.csv", heal)
    kept = {line.split(",")[0] for line in (root / "labels.csv").read_text().splitlines()}
    rows_of(root / "boxes.csv", lambda rows: rows.__setitem__(slice(None), [r for r in rows if r["image_id"] in kept]))


def box_on_a_negative(root: Path) -> None:
    path = root / "boxes.csv"
    path.write_text(path.read_text() + "case000,3,3,5,5\n")


def header_alone(root: Path) -> None:
    path = root / "labels.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")


@pytest.mark.parametrize(
    ("spoil", "culprit"),
    [
        (truncated, "case007.png"),
        (no_image_at_all, "case007.png"),
        (lambda root: (root / "images" / "case007.png").unlink(), "case007.png"),
        (label(5, label="2"), "labels.csv, line 5: expected label to be one of 0, 1, found '2'"),
        (lambda root: rows_of(root / "labels.csv", lambda rows: None, drop="label"), "Add label."),
        (first_line("label,", "lable,"), "expected a column 'label'"),
        (first_line("has_boxes", "has_box"), "expected a column 'has_boxes'"),
        (header_alone, "labels.csv: expected one row an image, found a header alone"),
        (label(4, image_id="case000"), "case000"),
        (box(3, x="500"), "boxes.csv, line 3: expected a box inside its image"),
        (box(3, w="0"), "boxes.csv, line 3: expected numbers x, y and positive w, h"),
        (box_on_a_negative, "found boxes of 'case000', whose label is 0"),
        (label(3, group_id="patient119"), "patient119"),
        (label(2, has_boxes="1"), "labels.csv, line 2: expected boxes or a mask, as has_boxes is 1"),
        (healthy_test_split, "test"),
    ],
    ids=[
        "truncated image", "unreadable image", "missing image", "label 2", "missing column", "misspelt column",
        "misspelt optional column", "empty table", "duplicate id", "box outside", "box without area",
        "box on a negative", "group in two splits", "has_boxes without a box", "empty class in a split",
    ],
)  # fmt: skip
def test_a_spoilt_dataset(
    spoil: Spoil, culprit: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    spoil(place / "images")
    before = {p: hashlib.sha256(p.read_bytes()).digest() for p in place.rglob("*") if p.is_file()}
    code, said = wslbench(monkeypatch, capsys, "run", "--datasets", "images", "--image-size", "32", "--epochs", "1")
    assert code == 2, said
    assert culprit in said
    assert "Traceback" not in said
    assert "Internal error" not in said
    assert all(hashlib.sha256(p.read_bytes()).digest() == sha for p, sha in before.items())


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (("--methods", "infomusk"), "Did you mean 'infomask'"),
        (("--datasets", "phantum"), "Did you mean 'phantom'"),
        (("--datasets", "phantom[sise=64]"), "Did you mean 'size'"),
        (("--datasets", "phantom[size=many]"), "expected int, found 'many'"),
        (("--set", "infomask.alpha=-1"), "infomask.alpha: expected a number at least 0, found -1.0"),
        (("--device", "gpu"), "expected auto, cpu or cuda"),
        (("--thresholds", "0"), OUTSIDE),
        (("--thresholds", "1.001"), OUTSIDE),
        (("--thresholds", "-0.5"), OUTSIDE),
        (("--thresholds", "nan"), OUTSIDE),
        (("--out", "mine"), "expected a new or empty folder or an earlier run, found other files"),
        (("--out", "mine/notes.txt"), "expected a folder, found a file"),
    ],
)
def test_a_command_that_cannot_be_meant(
    arguments: tuple[str, ...], culprit: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    code, said = wslbench(monkeypatch, capsys, "run", *arguments)
    assert code == 2, said
    assert culprit in said
    assert "Traceback" not in said
    assert "Internal error" not in said
    assert (place / "mine" / "notes.txt").read_text() == "not yours"


def test_a_training_of_no_epochs_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    for arguments in (("--epochs", "0"), ("--set", "recipe.epochs=0")):
        code, said = wslbench(monkeypatch, capsys, "run", "--datasets", "images", "--image-size", "32", *arguments)
        assert code == 2
        assert "recipe.epochs=0: expected at least 1" in said


def test_a_mistyped_directory_is_told_what_lies_there(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    code, said = wslbench(monkeypatch, capsys, "run", "--datasets", "imges")
    assert code == 2
    assert "no dataset is called 'imges'. Did you mean 'images'?" in said
