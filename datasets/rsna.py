"""RSNA Pneumonia Detection Challenge, as published: chest radiographs as DICOM files, boxes on lung opacities.

Stage 1 has 25,684 training images (those of the InfoMask paper), stage 2 has 26,684, with 6,012 positives and 9,555
boxes. The images are a part of NIH ChestX-ray14, and `patientId` names an image, not a patient: only with the
organisers' mapping file (JSON) are images of one patient known to stay in one split.

The labels of the challenge's own test images were never part of these files, so the split is by a hash of the group.
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from wsl_bench import DataError, Dataset, Sample, Truth, param, register_dataset
from wsl_bench.data import twin
from wsl_bench.data.dicom import read_dicom, read_fields
from wsl_bench.data.samples import TwinRequest
from wsl_bench.data.tables import find_file, number, read_rows

SIDE = 1024
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
_LABELS = ("patientId", "Target", "x", "y", "width", "height")
_LABEL_HEADER = ("patientId", "x", "y", "width", "height", "Target")
NORMAL = "Normal"


@register_dataset("rsna")
class RSNA(Dataset):
    """RSNA pneumonia challenge: 25,684 (stage 1) or 26,684 (stage 2) radiographs with boxes on opacities."""

    recipe: ClassVar[dict[str, Any]] = {"image_size": 224}
    selects: ClassVar[frozenset[str]] = frozenset({"negatives", "view"})
    url: ClassVar[str] = (
        "https://www.rsna.org/artificial-intelligence/ai-image-challenge/rsna-pneumonia-detection-challenge-2018"
    )
    licence: ClassVar[str] = "the challenge's terms of use (research and education, no identification of patients)"
    citation: ClassVar[str] = (
        "Shih et al., Augmenting the National Institutes of Health Chest Radiograph Dataset with Expert Annotations of "
        "Possible Pneumonia, Radiology: Artificial Intelligence 1(1), 2019"
    )
    unpack: ClassVar[str] = (
        "into one folder, for stage 2 (stage 1 alike): stage_2_train_images.zip to stage_2_train_images/, "
        "stage_2_train_labels.csv, stage_2_detailed_class_info.csv; beside them, for real patients, "
        f"{MAPPING}. Reading DICOM needs the extra wsl-bench[dicom]"
    )
    expect: ClassVar[str] = (
        "stage 2: 26,684 images, 6,012 positives, 9,555 boxes (counted in the published table); stage 1: 25,684 images"
    )
    verified: ClassVar[bool] = False

    root: Path = param(Path(), "where the files lie; `--data-root PATH` sets it")
    stage: Literal["2", "1"] = param("2", "1: the first release, the InfoMask paper's")
    negatives: Literal["all", "normal"] = param("all", "normal: leave out negatives with another abnormality")
    view: Literal["all", "PA", "AP"] = param("all", "views to keep, from the files' headers; AP are often lying")
    side: int = param(1024, "pixels a side of the images; those of a twin may be smaller", low=1)

    def samples(self) -> list[Sample]:
        """One sample an image, in the order of the label table."""
        kept = [image for image in self._targets if self._takes_part(image)]
        return [
            Sample(
                image_id=image, group=self._patients.get(image, image), label=self._targets[image],
                located=bool(self._targets[image]), height=self.side, width=self.side,
                metadata={"class": self._classes[image]} if image in self._classes else {},
            )
            for image in kept
        ]  # fmt: skip

    def image(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """The pixels as 8-bit grey."""
        return read_dicom(self.source(sample))

    def source(self, sample: Sample) -> Path:
        """The DICOM file."""
        return self._file(sample.image_id)

    def details(self, sample: Sample) -> dict[str, str]:
        """View, sex and age, from the header."""
        fields = read_fields(self.source(sample))
        return {name: fields[name] for name in ("view", "sex", "age")}

    def truth(self, sample: Sample) -> Truth:
        """The boxes."""
        return Truth(np.array(self._boxes[sample.image_id], np.float64).reshape(-1, 4))

    @classmethod
    def write_twin(cls, request: TwinRequest) -> dict[str, int]:
        """Stage 2 with drawn images: DICOM files, the label table at their size, and the detailed classes.

        Negatives are all drawn as normal. The header table, if given, tells sex, age, view and pixel spacing.
        """
        table = twin.read_published(request.labels, _LABELS)
        images = list(dict.fromkeys(image for _, (image, *_) in table))
        number_of = {image: i for i, image in enumerate(images)}  # the same patient however many are drawn
        strange = next((image for image in images if image != Path(image).name or not image), None)
        if strange is not None:
            raise DataError(
                request.labels, expected="patientIds, which name files", found=repr(strange),
                fix="Use the table as published.",
            )  # fmt: skip
        kept = dict.fromkeys(images[:: max(1, len(images) // request.most)][: request.most] if request.most else images)
        rows = [row for row in table if row[1][0] in kept]
        boxes: dict[str, list[tuple[float, ...]]] = {image: [] for image in kept}
        for line, (image, target, *texts) in rows:
            if target == "1":
                boxes[image].append(tuple(number(request.labels, line, text) for text in texts))
        twin.open_output(request.output, request.size, [request.labels, request.headers])
        scale, folder = request.size / SIDE, request.output / "stage_2_train_images"
        headers = {} if request.headers is None else _headers(request.headers)
        todo = [
            twin.TwinImage(
                folder / f"{image}.dcm", number_of[image], tuple(tuple(v / SIDE for v in box) for box in boxes[image]),
                {"PatientID": image, **headers.get(image, {})},
            )
            for image in kept
        ]  # fmt: skip
        twin.write_images(todo, request.size, request.n_workers, request.progress)
        labels = [
            (image, *(repr(v * scale) for v in box), "1") if box else (image, "", "", "", "", "0")
            for image in kept
            for box in boxes[image] or [()]
        ]
        classes = [(image, "Lung Opacity" if boxes[image] else NORMAL) for image in kept]
        twin.write_table(request.output / "stage_2_train_labels.csv", _LABEL_HEADER, labels)
        twin.write_table(request.output / "stage_2_detailed_class_info.csv", ("patientId", "class"), classes)
        return {
            "images": len(kept), "positives": sum(map(bool, boxes.values())), "boxes": sum(map(len, boxes.values())),
        }  # fmt: skip

    def remarks(self) -> list[str]:
        """What cannot be known from these files."""
        if self._mapping is not None:
            return []
        return [
            f"patientId names an image, not a patient: without {MAPPING} it cannot be verified that no patient is in "
            "two splits."
        ]

    def _takes_part(self, image: str) -> bool:
        if self.negatives == "normal" and not self._targets[image] and self._classes[image] != NORMAL:
            return False
        return self.view == "all" or read_fields(self._file(image))["view"] == self.view

    def _file(self, image: str) -> Path:
        return self.root / f"stage_{self.stage}_train_images" / f"{image}.dcm"

    @functools.cached_property
    def _table(self) -> tuple[dict[str, int], dict[str, list[tuple[float, ...]]]]:
        path = find_file(self.root, (f"stage_{self.stage}_train_labels.csv",), "the label table")
        targets: dict[str, int] = {}
        boxes: dict[str, list[tuple[float, ...]]] = defaultdict(list)
        for line, (image, target, *numbers) in read_rows(path, _LABELS):
            if target not in ("0", "1") or targets.setdefault(image, int(target)) != int(target):
                raise DataError(
                    f"{path}, line {line}", expected=f"one Target, 0 or 1, for {image}", found=repr(target),
                    fix="Use the table as published.",
                )  # fmt: skip
            if image != Path(image).name or not image:
                raise DataError(
                    f"{path}, line {line}", expected="a patientId, which names a file", found=repr(image),
                    fix="Use the table as published.",
                )  # fmt: skip
            if (target == "1") != any(numbers):
                raise DataError(
                    f"{path}, line {line}", expected="a box where Target is 1 and none elsewhere",
                    found=f"Target {target} and {', '.join(numbers) or 'no box'}", fix="Use the table as published.",
                )  # fmt: skip
            if target == "1":
                boxes[image].append(tuple(number(path, line, text) for text in numbers))
        return targets, dict(boxes)

    @property
    def _targets(self) -> dict[str, int]:
        return self._table[0]

    @property
    def _boxes(self) -> dict[str, list[tuple[float, ...]]]:
        return self._table[1]

    @functools.cached_property
    def _classes(self) -> dict[str, str]:
        """Normal, Lung Opacity, or No Lung Opacity / Not Normal; empty where the file is not there and not needed."""
        name = f"stage_{self.stage}_detailed_class_info.csv"
        if self.negatives == "all" and not (self.root / name).is_file():
            return {}
        path = find_file(self.root, (name,), "the detailed classes")
        found = {image: kind for _, (image, kind) in read_rows(path, ("patientId", "class"))}
        missing = next((image for image in self._targets if image not in found), None)
        if missing is not None:
            raise DataError(
                path, expected="a class for every image of the label table", found=f"none for {missing}",
                fix="Use the tables of one stage.",
            )  # fmt: skip
        return found

    @functools.cached_property
    def _mapping(self) -> Any:
        path = self.root / MAPPING
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(path, expected="the mapping as JSON", found=str(error), fix="Download it again.") from None

    @functools.cached_property
    def _patients(self) -> dict[str, str]:
        """The NIH patient of each image: the digits before the underscore in the name of the NIH image."""
        if self._mapping is None:
            return {}
        try:
            found = {str(one["subset_img_id"]): str(one["img_id"]).partition("_")[0] for one in self._mapping}
        except (KeyError, TypeError):
            found = {}
        missing = next((image for image in self._targets if not found.get(image, "").isdecimal()), None)
        if missing is not None:
            raise DataError(
                self.root / MAPPING, expected="subset_img_id and img_id for every image", found=f"none for {missing}",
                fix="Use the organisers' mapping, or take the file away to split by image.",
            )  # fmt: skip
        return {image: str(int(patient)) for image, patient in found.items()}


def _headers(path: Path) -> dict[str, dict[str, Any]]:
    """Header fields of each image from a table of them."""
    columns = ("PatientID", "PatientSex", "PatientAge", "ViewPosition", "PixelSpacing")
    return {
        image: {
            "PatientSex": sex, "PatientAge": f"{int(number(path, line, age.rstrip('Yy') or '0')):03d}Y",
            "ViewPosition": view, "PixelSpacing": [number(path, line, spacing)] * 2,
        }
        for line, (image, sex, age, view, spacing) in twin.read_published(path, columns)
    }  # fmt: skip
