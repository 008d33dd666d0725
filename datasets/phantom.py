"""The embedded dataset: phantom chest radiographs, drawn when asked for; nothing is downloaded.

Half of the images carry one to three lung opacities, whose boxes have the statistics of RSNA's
pneumonia boxes. Brightness, histogram, position, noise and sharpness tell little or nothing about the
label: healthy images have benign shadows of the same number, place and attenuation in all, spread out
and streaked where lesions are compact and mottled (wsl_bench/data/radiograph/opacities.py). Masks are
exact: the pixels where a lesion adds more than 10 % of its own peak to the attenuation. Boxes are tight
around each lesion's mask.

Images are numbered: train from 0, val from 2,000,000, test from 4,000,000. So no count changes any
image, and asking for more training images leaves validation and test as they are.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from wsl_bench import Dataset, Sample, Truth, param, register_dataset
from wsl_bench.data.radiograph import streams
from wsl_bench.data.samples import SPLITS, Split

# Among round numbers, a start whose first 400 images are balanced in brightness and pose as well.
_FIRST: dict[Split, int] = {"train": 0, "val": 2_000_000, "test": 4_000_000}
_MOST = _FIRST["val"]  # images in a split; more would run into the numbers of the next
_CONFOUND_SHARE = 0.5  # of val and test images with a tube when it is confounded in train


@register_dataset("phantom")
class Phantom(Dataset):
    """Embedded phantom chest radiographs with lung opacities; any number, any size, no download."""

    recipe: ClassVar[dict[str, Any]] = {"image_size": 64}
    licence: ClassVar[str] = "BSD-3-Clause, as this package"

    size: int = param(64, "image side in pixels", low=32)
    data_seed: int = param(0, "which set of patients; no training seed changes it", low=0)
    n_train: int = param(1600, "training images", low=0, high=_MOST)
    n_val: int = param(320, "validation images", low=0, high=_MOST)
    n_test: int = param(400, "test images", low=0, high=_MOST)
    dose: float = param(1.0, "photons, relative to the usual number; fewer are noisier, and harder to read", above=0)
    confound: Literal["none", "tube"] = param(
        "none",
        "tube: in train all diseased and no healthy patients have a catheter, elsewhere half of either",
    )

    def samples(self) -> list[Sample]:
        """Train, val and test, in the order of their numbers; every image is a patient of its own."""
        counts: dict[Split, int] = {"train": self.n_train, "val": self.n_val, "test": self.n_test}
        return [self._sample(_FIRST[split] + i, split) for split in SPLITS for i in range(counts[split])]

    def image(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Pixels of one image, (size, size) uint8."""
        return self.render(_index(sample))

    def truth(self, sample: Sample) -> Truth:
        """Boxes (K, 4) and mask (size, size) of the lesions; none in a healthy image."""
        from wsl_bench.data.radiograph import scene  # here, as listing datasets needs no compiler

        lesions = scene.lesions(self.data_seed, _index(sample), self.size)
        return Truth(lesions.boxes, lesions.mask)

    def render(self, index: int, *, lesion: bool = True) -> npt.NDArray[np.uint8]:
        """Image number `index`, (size, size) uint8; without its lesions nothing else changes."""
        from wsl_bench.data.radiograph import scene

        return scene.render(self.data_seed, index, self.size, lesion=lesion, tube=self._tube(index), dose=self.dose)

    def _sample(self, index: int, split: Split) -> Sample:
        label = streams.label(self.data_seed, index)
        name = f"phantom-{index:07d}"
        return Sample(
            image_id=name,
            group=name,
            label=label,
            located=label == 1,
            height=self.size,
            width=self.size,
            split=split,
            metadata={"tube": "yes" if self._tube(index) else "no"},
        )

    def _tube(self, index: int) -> bool:
        if self.confound == "none":
            return streams.has_tube(self.data_seed, index)
        if index < _FIRST["val"]:
            return streams.label(self.data_seed, index) == 1
        return streams.has_tube(self.data_seed, index, _CONFOUND_SHARE)


def _index(sample: Sample) -> int:
    return int(sample.image_id.removeprefix("phantom-"))
