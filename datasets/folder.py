"""Any directory with `labels.csv` and ground truth as `boxes.csv` and/or `masks/`.

labels.csv: image_id, file, label; optional: width, height, group_id, has_boxes, split (train, val,
test); every further column is carried along as metadata. boxes.csv: image_id, x, y, w, h (pixels
of the stored image, origin top left; fractions allowed; several rows an image). masks/: one PNG an
image, named IMAGE_ID.png, non-zero = inside. Nothing outside the directory is read, not even through
links, unless `follow_links` is set.
"""

from __future__ import annotations

import difflib
import functools
import math
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from wsl_bench import DataError, Dataset, Sample, Truth, param, register_dataset
from wsl_bench.data.images import opened, read_grey
from wsl_bench.data.samples import SPLITS, Split
from wsl_bench.data.tables import read_lines

_SLACK = 1.0  # pixels that a box may reach out of its image: rounding, or a border drawn on the last pixel
_LONGEST_ID = 250  # bytes; with a suffix it has to be the name of a file
_MOST_DIGITS = 9  # of a width or height; more are no size
_PATIENT = ("patient", "patientid", "patientnumber", "subject", "subjectid")  # what a group_id is called elsewhere
_CORNERS = ("x1", "x2", "y2", "xmin", "xmax", "ymax", "right", "bottom")
_KNOWN = ("image_id", "file", "width", "height", "label", "group_id", "has_boxes", "split")


@register_dataset("folder")
class Folder(Dataset):
    """Your own images: a directory with labels.csv and boxes.csv and/or masks/."""

    recipe: ClassVar[dict[str, Any]] = {"image_size": 128}
    selects: ClassVar[frozenset[str]] = frozenset({"split_column", "follow_links"})

    root: Path = param(Path(), "the directory; `--datasets PATH` sets it")
    split_column: bool = param(True, "use the split column where there is one; false: group hash")
    follow_links: bool = param(False, "read files that lie elsewhere, where links in the directory lead to them")

    def samples(self) -> list[Sample]:
        """One sample for each row of labels.csv."""
        samples = [self._sample(line, row) for line, row in self._labels]
        unknown = sorted(set(self._boxes) - {s.image_id for s in samples})
        if unknown:
            raise DataError(
                self.root / "boxes.csv", expected="only images of labels.csv",
                found=f"{unknown[0]!r} and {len(unknown) - 1} more that are not in it",
                fix="Add them to labels.csv or remove their boxes.",
            )  # fmt: skip
        self._refuse_other_masks({f"{s.image_id}.png" for s in samples})
        return samples

    def _refuse_other_masks(self, expected: set[str]) -> None:
        """A mask whose name is not as expected would be passed over in silence."""
        folder = self.root / "masks"
        names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
        others = [name for name in names if name not in expected and not name.startswith(".")]
        if others:
            raise DataError(
                folder, expected="masks named IMAGE_ID.png, for images of labels.csv",
                found=f"{others[0]!r} and {len(others) - 1} more that are not", fix="Rename or remove them.",
            )  # fmt: skip

    def remarks(self) -> list[str]:
        """Whether patients are known."""
        if "group_id" in self._labels[0][1]:
            return []
        return ["labels.csv has no group_id: every image counts as a patient of its own."]

    def image(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """The pixels as 8-bit grey."""
        return read_grey(self._inside(self.source(sample)))

    def source(self, sample: Sample) -> Path:
        """The image file."""
        return self.root / sample.metadata["file"]

    def truth(self, sample: Sample) -> Truth:
        """Boxes of boxes.csv, and the mask where there is one."""
        boxes = np.array([box for _, box in self._boxes.get(sample.image_id, [])], np.float64).reshape(-1, 4)
        mask_file = self.root / "masks" / f"{sample.image_id}.png"
        if not mask_file.is_file():
            return Truth(boxes)
        values = read_grey(self._inside(mask_file))
        if values.size and 0 < values.min() < values.max():
            raise DataError(
                mask_file, expected="0 outside the lesion", found=f"values from {values.min()} to {values.max()}, no 0",
                fix="Save the mask with 0 as its background.",
            )  # fmt: skip
        return Truth(boxes, values > 0)

    def _sample(self, line: int, row: dict[str, str]) -> Sample:
        where = f"{self.root / 'labels.csv'}, line {line}"
        image_id = row["image_id"]
        file, mask_file = Path(row["file"]), self.root / "masks" / f"{image_id}.png"
        named = image_id == Path(image_id).name and 0 < len(image_id.encode()) <= _LONGEST_ID
        if not named or ".." in file.parts or file.is_absolute() or "\0" in image_id + row["file"]:
            raise DataError(
                where, expected="an image_id without slashes (it names files) and a file inside the directory",
                found=f"{image_id!r}, {row['file']!r}", fix="Use paths relative to the directory.",
            )  # fmt: skip
        if "\\" in row["file"] and not (self.root / file).exists():
            raise DataError(where, expected="/ between folders", found=repr(row["file"]), fix="Replace each \\ by /.")
        for path in (self.root / file, mask_file):
            self._inside(path, where)
        width, height = self._size(row)
        label = _choice(where, "label", row["label"].strip().removesuffix(".0"), {"0": 0, "1": 1})
        if row.get("has_boxes"):
            located = _choice(where, "has_boxes", row["has_boxes"], {"0": 0, "1": 1})
        else:  # many sets have a mask for every image, blank on the healthy ones
            located = int(image_id in self._boxes or bool(label and mask_file.is_file() and read_grey(mask_file).any()))
        if located and image_id not in self._boxes and not mask_file.is_file():
            raise DataError(
                where, expected="boxes or a mask, as has_boxes is 1", found="neither",
                fix="Add the boxes to boxes.csv, or set has_boxes to 0.",
            )  # fmt: skip
        if not label and (located or image_id in self._boxes):
            raise DataError(
                where, expected="ground truth on positives only", found=f"boxes of {image_id!r}, whose label is 0",
                fix="Set its label to 1, or remove its boxes.",
            )  # fmt: skip
        for box_line, box in self._boxes.get(image_id, []):
            _check_inside(f"{self.root / 'boxes.csv'}, line {box_line}", box, width, height)
        split: Split | None = None
        if self.split_column and row.get("split"):
            split = _choice(where, "split", row["split"], dict(zip(SPLITS, SPLITS, strict=True)))
        return Sample(
            image_id=image_id,
            group=row.get("group_id") or image_id,
            label=label,
            located=bool(located),
            height=height,
            width=width,
            split=split,
            metadata={"file": row["file"]} | {k: v for k, v in row.items() if k not in _KNOWN},
        )

    @functools.cached_property
    def _labels(self) -> list[tuple[int, dict[str, str]]]:
        """Line numbers and rows, at least one."""
        return self._rows("labels.csv", ("image_id", "file", "label"))

    @functools.cached_property
    def _boxes(self) -> dict[str, list[tuple[int, tuple[float, ...]]]]:
        """Line numbers and boxes by image id; empty where masks take their place."""
        path = self.root / "boxes.csv"
        if not path.is_file() and (self.root / "masks").is_dir():
            return {}
        boxes: dict[str, list[tuple[int, tuple[float, ...]]]] = defaultdict(list)
        for line, row in self._rows(path.name, ("image_id", "x", "y", "w", "h")):
            boxes[row["image_id"]].append((line, _box(f"{path}, line {line}", row)))
        return dict(boxes)

    def _rows(self, name: str, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
        return _read_csv(self._inside(self.root / name), columns)

    def _inside(self, path: Path, where: str | None = None) -> Path:
        """The same path, unless links lead from it out of the directory."""
        real = os.path.realpath(path)
        if self.follow_links or Path(real).is_relative_to(self._real_root):
            return path
        raise DataError(
            where or path, expected="a file inside the directory", found=f"a link from {path} to {real}",
            fix="Copy the file into the directory, or let links be followed: --set folder.follow_links=true.",
        )  # fmt: skip

    @functools.cached_property
    def _real_root(self) -> str:
        return os.path.realpath(self.root)

    def _size(self, row: dict[str, str]) -> tuple[int, int]:
        sides = row.get("width", ""), row.get("height", "")
        if all(side.isdecimal() and len(side) <= _MOST_DIGITS for side in sides):
            return int(sides[0]), int(sides[1])
        try:
            with opened(self.root / row["file"]) as image:
                return image.size
        except Exception:  # an image that cannot be read is refused, or skipped, when its turn comes
            return 0, 0


def _box(where: str, row: dict[str, str]) -> tuple[float, ...]:
    fields = [row[column] for column in ("x", "y", "w", "h")]
    try:
        x, y, w, h = map(float, fields)
    except ValueError:
        x = y = w = h = math.nan
    if not (all(map(math.isfinite, (x, y, w, h))) and w > 0 and h > 0):
        raise DataError(
            where, expected="numbers x, y and positive w, h", found=", ".join(fields), fix="Correct the row."
        )
    if min(x, y) >= 0 and max(x, y, w, h) <= 1 and min(w, h) < 1:
        raise DataError(
            where, expected="x, y, w, h in pixels", found=f"{', '.join(fields)}, which look like shares of the image",
            fix="Multiply x and w by the image's width, y and h by its height.",
        )  # fmt: skip
    return x, y, w, h


def _check_inside(where: str, box: tuple[float, ...], width: int, height: int) -> None:
    x, y, w, h = box
    out = max(-x, -y, x + w - width, y + h - height)
    if out > _SLACK and width > 0:  # an image that cannot be read has no size; it is refused in its turn
        raise DataError(
            where, expected=f"a box inside its image of {width} x {height} pixels",
            found=f"x {x:g}, y {y:g}, w {w:g}, h {h:g}, which reaches {out:g} pixels out",
            fix="Correct the box (w and h are its size, not its other corner), or width and height in labels.csv.",
        )  # fmt: skip


T = TypeVar("T")


def _choice(where: str, column: str, text: str, known: dict[str, T]) -> T:
    if text.strip() in known:
        return known[text.strip()]
    raise DataError(
        where, expected=f"{column} to be one of {', '.join(known)}", found=repr(text), fix="Correct the row."
    )


def _read_csv(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Rows with their line numbers.

    Raises:
        DataError: no such file, not text, a column missing, a row with too few or many fields.
    """
    missing = "A dataset directory needs labels.csv, and its ground truth as boxes.csv or as masks/IMAGE_ID.png."
    lines = read_lines(path, fix="Save it again as CSV, in UTF-8.", missing=missing)
    header = lines[0][1] if lines else []
    _check_columns(path, columns, header)
    lines = [(line, fields) for line, fields in lines if any(fields)]  # spreadsheets leave empty rows behind
    if len(lines) < 2 and path.name == "labels.csv":
        raise DataError(path, expected="one row an image", found="a header alone", fix="List your images in it.")
    for line, fields in lines[1:]:
        if len(fields) != len(header):
            raise DataError(
                f"{path}, line {line}", expected=f"{len(header)} fields", found=f"{len(fields)}",
                fix="Correct the row; quote fields that hold commas.",
            )  # fmt: skip
    return [(line, dict(zip(header, fields, strict=True))) for line, fields in lines[1:]]


def _check_columns(path: Path, needed: tuple[str, ...], header: list[str]) -> None:
    """Refuse a missing column, and one that is but a misspelt optional one: it would be passed over in silence."""
    known = _KNOWN if path.name == "labels.csv" else needed
    if len(header) == 1 and (mark := next((m for m in (";", "\t", "|") if m in header[0]), None)):
        raise DataError(
            path, expected="commas between the columns", found=f"{'tabs' if mark == chr(9) else repr(mark)}",
            fix="Save it again with commas (in a spreadsheet: CSV, UTF-8, separated by commas).",
        )  # fmt: skip
    for column in header:
        meant = difflib.get_close_matches(column.lower(), [k for k in known if k not in header], n=1, cutoff=0.75)
        if column not in known and meant:
            raise DataError(
                path, expected=f"a column {meant[0]!r}, or none with a name so close to it", found=f"{column!r}",
                fix=f"Rename it to {meant[0]}, or to something else if it is a column of your own.",
            )  # fmt: skip
    _refuse_other_patients(path, header)
    missing = [column for column in needed if column not in header]
    if missing:
        raise DataError(
            path, expected=f"the columns {', '.join(needed)}", found=f"{', '.join(header) or 'none'}",
            fix=f"Add {', '.join(missing)}."
            + (" w and h are the size of a box: x2 - x1, y2 - y1." if set(_CORNERS) & set(header) else ""),
        )  # fmt: skip


def _refuse_other_patients(path: Path, header: list[str]) -> None:
    """Patients under another name would come to lie in two splits, in silence."""
    of_patients = [column for column in header if re.sub("[^a-z]", "", column.lower()) in _PATIENT]
    if path.name == "labels.csv" and "group_id" not in header and of_patients:
        raise DataError(
            path, expected="patients in the column group_id", found=f"{of_patients[0]!r}, and no group_id",
            fix="Rename it to group_id, so that no patient is in two splits; or to something else, if it names none.",
        )  # fmt: skip
