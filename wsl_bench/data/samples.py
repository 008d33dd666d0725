"""What a dataset is: samples, their images and their ground truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from wsl_bench.errors import UsageError
from wsl_bench.params import Component

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Sample:
    """One image of a dataset, without its pixels.

    Attributes:
        image_id: unique within the dataset.
        group: patient or acquisition; a group never crosses splits.
        label: 1 if the image shows the disease or defect, else 0.
        located: the image has ground truth. A positive without counts for classification only.
        height, width: pixels of the stored image, the resolution of its ground truth.
        split: the dataset's own split, or None to have it drawn from a hash of the group.
        metadata: further columns (view, sex, age, ...), carried to the records.
    """

    image_id: str
    group: str
    label: int
    located: bool
    height: int
    width: int
    split: Split | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Truth:
    """Ground truth of one image, at the resolution of the stored image.

    Attributes:
        boxes: (K, 4) float64: x, y, width, height in pixels, origin top left; may be fractional.
        mask: (H, W) bool, or None. A mask wins over boxes in every pixel metric.
    """

    boxes: npt.NDArray[np.float64]
    mask: npt.NDArray[np.bool_] | None = None

    def pixels(self, height: int, width: int) -> npt.NDArray[np.bool_]:
        """Ground-truth pixels (height, width): the mask, or the union of the boxes."""
        if self.mask is not None:
            return self.mask
        from wsl_bench.metrics.truth import rasterize_boxes

        return rasterize_boxes(self.boxes, height, width)


@dataclass(frozen=True)
class TwinRequest:
    """What `Dataset.write_twin` is asked for.

    Attributes:
        labels: the published label table.
        headers: a published table of header fields, or None.
        output: folder to write.
        size: side of the images, pixels.
        most: images to draw, evenly from the table; None: all.
        n_workers: processes that draw.
        progress: called with (images there, images in all).
    """

    labels: Path
    headers: Path | None
    output: Path
    size: int
    most: int | None
    n_workers: int
    progress: Callable[[int, int], None]


class Dataset(Component):
    """Base of a registered dataset. Subclasses give samples, images and ground truth.

    Class attributes:
        recipe: what this dataset suggests for a training (image_size, epochs, ...).
        licence, citation, url: shown by `wslbench datasets NAME`, with what to unpack where and how many images,
            patients and boxes to expect.
        verified: whether this loader has been run on the publisher's own files.
        selects: parameters that only say which images take part, how they are divided or what they count as, and
            change the pixels of none: datasets that differ in these alone share decoded images.
    """

    recipe: ClassVar[dict[str, Any]] = {}
    licence: ClassVar[str] = ""
    citation: ClassVar[str] = ""
    url: ClassVar[str] = ""
    unpack: ClassVar[str] = ""
    expect: ClassVar[str] = ""
    verified: ClassVar[bool] = True
    selects: ClassVar[frozenset[str]] = frozenset()

    def samples(self) -> list[Sample]:
        """All images, in a fixed order."""
        raise NotImplementedError

    def image(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Pixels of one image: (height, width) uint8."""
        raise NotImplementedError

    def source(self, sample: Sample) -> Path | None:
        """The one file that `image` and `details` read; None if there is none, and then nothing is kept for later."""
        return None

    def truth(self, sample: Sample) -> Truth:
        """Ground truth of one located image."""
        raise NotImplementedError

    def details(self, sample: Sample) -> dict[str, str]:
        """Further metadata that only the image's file holds (view, sex, age); read when it is decoded."""
        return {}

    @classmethod
    def write_twin(cls, request: TwinRequest) -> dict[str, int]:
        """Write drawn images with these labels in the publisher's layout; what was written, counted, by name.

        Raises:
            UsageError: this dataset has no twin.
        """
        raise UsageError(f"{cls.__name__} has no twin: it is not drawn from a published label table. Try rsna.")

    def remarks(self) -> list[str]:
        """What a reader of the results has to know of these files, one sentence each; shown and recorded."""
        return []
