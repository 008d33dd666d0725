"""NIH ChestX-ray14 (ChestX-ray8 with its later labels), as published: 112,120 PNGs of 30,805 patients.

Labels were mined from reports; 984 boxes on 880 images, for eight findings, were drawn by radiologists. Boxes and
files have 1024 x 1024 pixels; the sizes in the label table are those of the hospital's own images.

An image is positive if its labels hold the finding (any: if they hold one at all); negative if they are "No Finding",
or, with `negatives=rest`, if they do not hold it. Images that are neither are left out.

Split: no image of a patient with a box of the finding is ever in train. `official` keeps the published division: its
train and validation list is train, its test list is divided, by a hash of the patient, into validation and test, since
thresholds need boxes and the boxes are there; a patient of the first list with a box goes to validation. `hash` divides
all patients by hash, those with a box into halves.
"""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from wsl_bench import DataError, Dataset, Sample, Truth, param, register_dataset
from wsl_bench.data.images import read_grey
from wsl_bench.data.samples import Split
from wsl_bench.data.splits import hashed_split
from wsl_bench.data.tables import find_file, number, read_list, read_rows

SIDE = 1024
ENTRIES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
BOXES = ("BBox_List_2017.csv",)
LISTS: dict[str, str] = {"train_val_list.txt": "train", "test_list.txt": "test"}
HEALTHY = "No Finding"
_COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")
# "Bbox [x,y,w,h]" stands unquoted in the header, so its parts are the names of four columns.
_BOX_COLUMNS = ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")
# The table of boxes shortens one name.
_SPELLINGS = {"Infiltrate": "Infiltration"}

Finding = Literal[
    "any", "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
    "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
]  # fmt: skip


@register_dataset("nih")
class NIH(Dataset):
    """NIH ChestX-ray14: one finding against none; 984 boxes on 880 of 112,120 radiographs."""

    recipe: ClassVar[dict[str, Any]] = {"image_size": 224}
    selects: ClassVar[frozenset[str]] = frozenset({"finding", "negatives", "view", "split"})
    url: ClassVar[str] = "https://nihcc.app.box.com/v/ChestXray-NIHCC"
    licence: ClassVar[str] = "free to use with attribution to the NIH Clinical Center and a link to the download site"
    citation: ClassVar[str] = (
        "Wang et al., ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks on Weakly-Supervised "
        "Classification and Localization of Common Thorax Diseases, CVPR 2017"
    )
    unpack: ClassVar[str] = (
        "into one folder: images_001.tar.gz to images_012.tar.gz (each unpacks to images/, or leave images_001/images/ "
        "and so on apart), Data_Entry_2017_v2020.csv or Data_Entry_2017.csv, BBox_List_2017.csv, train_val_list.txt, "
        "test_list.txt"
    )
    expect: ClassVar[str] = (
        "112,120 images of 30,805 patients; pneumonia against no finding: 1,431 positives, 120 boxes on 120 of them, "
        "60,361 negatives"
    )
    verified: ClassVar[bool] = False

    root: Path = param(Path(), "where the files lie; `--data-root PATH` sets it")
    finding: Finding = param("Pneumonia", "what is positive; any: any of the fourteen")
    negatives: Literal["no_finding", "rest"] = param("no_finding", "rest: all images without the finding")
    view: Literal["all", "PA", "AP"] = param("all", "views to keep; PA are taken standing, AP often lying")
    split: Literal["official", "hash"] = param("official", "the published lists, or by a hash of the patient")

    def samples(self) -> list[Sample]:
        """The images of the task, in the order of the label table."""
        path = find_file(self.root, ENTRIES, "the label table")
        rows = read_rows(path, _COLUMNS)
        kept = []
        for line, (image, findings, patient, age, sex, view) in rows:
            label = self._label(findings)
            if not label and image in self._boxes:
                raise DataError(
                    f"{path}, line {line}", expected=f"{self.finding} among the findings of {image}, which has its box",
                    found=findings, fix="Use the tables of one release.",
                )  # fmt: skip
            if label is None or self.view not in ("all", view):
                continue
            if not patient:
                raise DataError(
                    f"{path}, line {line}", expected="a patient", found="none", fix="Use the table as published."
                )
            details = {"view": view, "sex": sex, "age": _years(age), "findings": findings}
            kept.append((image, patient, label, details))
        unknown = sorted(self._boxes.keys() - {fields[0] for _, fields in rows})
        if unknown:
            raise DataError(
                self.root / BOXES[0], expected=f"only images of {path.name}", found=f"{unknown[0]!r}",
                fix="Use the tables of one release.",
            )  # fmt: skip
        boxed = {patient for image, patient, label, _ in kept if label and image in self._boxes}
        return [
            Sample(
                image_id=Path(image).stem, group=patient, label=label, located=bool(label and image in self._boxes),
                height=SIDE, width=SIDE, split=self._split(image, patient, patient in boxed), metadata=details,
            )
            for image, patient, label, details in kept
        ]  # fmt: skip

    def image(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """The pixels as 8-bit grey."""
        return read_grey(self.source(sample))

    def source(self, sample: Sample) -> Path:
        """The PNG."""
        name = f"{sample.image_id}.png"
        return self._files.get(name, self.root / "images" / name)

    def truth(self, sample: Sample) -> Truth:
        """The boxes of the finding."""
        return Truth(np.array(self._boxes.get(f"{sample.image_id}.png", []), np.float64).reshape(-1, 4))

    def _label(self, findings: str) -> int | None:
        """1, 0, or None for images that take no part."""
        found = set(findings.split("|"))
        if (self.finding == "any" and found != {HEALTHY}) or self.finding in found:
            return 1
        return 0 if self.negatives == "rest" or found == {HEALTHY} else None

    def _split(self, image: str, patient: str, has_boxes: bool) -> Split:
        if self.split == "hash":
            return _half(patient) if has_boxes else hashed_split(patient)
        listed = self._lists.get(image)
        if listed is None:
            raise DataError(
                self.root, expected=f"{image} in {' or '.join(LISTS)}", found="it in neither",
                fix="Use the lists as published, or nih[split=hash].",
            )  # fmt: skip
        if listed == "test":
            return _half(patient)
        return "val" if has_boxes else "train"

    @functools.cached_property
    def _boxes(self) -> dict[str, list[tuple[float, float, float, float]]]:
        """Boxes of the finding by file name."""
        path = find_file(self.root, BOXES, "the table of boxes")
        found: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
        for line, (image, finding, *numbers) in read_rows(path, _BOX_COLUMNS):
            x, y, w, h = (number(path, line, text) for text in numbers)
            if self.finding in ("any", _SPELLINGS.get(finding, finding)):
                found[image].append((x, y, w, h))
        return dict(found)

    @functools.cached_property
    def _lists(self) -> dict[str, str]:
        """Which published list each file is in."""
        found: dict[str, str] = {}
        for name, split in LISTS.items():
            found |= dict.fromkeys(read_list(find_file(self.root, (name,), "a published list")), split)
        return found

    @functools.cached_property
    def _files(self) -> dict[str, Path]:
        """Image files by name, in images/ or in the folders of the twelve archives."""
        folders = [
            self.root / "images",
            *sorted(self.root.glob("images_*/images")),
            *sorted(self.root.glob("images_*")),
        ]
        return {path.name: path for folder in folders if folder.is_dir() for path in folder.glob("*.png")}


def _half(patient: str) -> Split:
    """Validation or test, by a hash of the patient: the same on every machine."""
    digest = hashlib.sha256(f"wsl_bench nih v1:{patient}".encode()).digest()
    return "val" if digest[0] < 128 else "test"


def _years(text: str) -> str:
    """ "058Y" (first release) and "58" (later): "58". Months and days, of the first release, are less than a year."""
    unit = text[-1:].upper()
    if unit in ("M", "D"):
        return "0"
    digits = text[:-1] if unit == "Y" else text
    return str(int(digits)) if digits.isdecimal() else ""
