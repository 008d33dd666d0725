"""Which image belongs to which split: by group, from a hash, written as a manifest with its sha256."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wsl_bench.data.samples import SPLITS, Sample, Split
from wsl_bench.errors import DataError

# Shares of the groups when the dataset has no split of its own. Validation is large because its
# boxes fit the threshold: on a few hundred images a tenth would leave too few located positives.
_SHARES: tuple[tuple[Split, float], ...] = (("train", 0.6), ("val", 0.2), ("test", 0.2))
_SALT = "wsl_bench split v1:"


@dataclass(frozen=True)
class Manifest:
    """The samples of a dataset with their splits, in a canonical order.

    Attributes:
        samples: every sample, `split` filled in, sorted by image id.
        source: "dataset" (its own split column) or "group hash".
    """

    samples: tuple[Sample, ...]
    source: str

    def csv(self) -> str:
        """The manifest as CSV: image_id, group, label, located, split."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["image_id", "group", "label", "located", "split"])
        for s in self.samples:
            writer.writerow([s.image_id, s.group, s.label, int(s.located), s.split])
        return out.getvalue()

    def details_csv(self) -> str:
        """The metadata of every sample as CSV, by image_id; no part of the hash. Empty where there is none."""
        names = sorted({name for s in self.samples for name in s.metadata})
        if not names:
            return ""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["image_id", *names])
        writer.writerows([s.image_id, *(s.metadata.get(name, "") for name in names)] for s in self.samples)
        return out.getvalue()

    def sha256(self) -> str:
        """sha256 of the CSV: two runs on the same split have the same."""
        return hashlib.sha256(self.csv().encode()).hexdigest()

    def of(self, split: Split) -> list[Sample]:
        """The samples of one split."""
        return [s for s in self.samples if s.split == split]


def hashed_split(group: str) -> Split:
    """The split of a group: sha256 of its id, so it is the same on every machine and in every order."""
    digest = hashlib.sha256((_SALT + group).encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    for split, share in _SHARES:
        if position < share:
            return split
        position -= share
    return "test"


def make_manifest(name: str, samples: Sequence[Sample]) -> Manifest:
    """Assign splits and check what the protocol demands of them.

    Raises:
        DataError: duplicate image ids, ground truth on a negative, a group in two splits, a partly filled split column,
            or a split that lacks one of the two classes.
    """
    ids = Counter(s.image_id for s in samples)
    doubled = [image_id for image_id, count in ids.items() if count > 1]
    if doubled:
        raise DataError(
            name, expected="unique image ids", found=f"{doubled[0]!r} {ids[doubled[0]]} times",
            fix="Give each image its own id.",
        )  # fmt: skip
    healthy = next((s.image_id for s in samples if s.located and not s.label), None)
    if healthy is not None:
        raise DataError(
            name, expected="ground truth on positives only", found=f"label 0 and located on {healthy!r}",
            fix="Set its label to 1, or located to False.",
        )  # fmt: skip
    with_split = sum(s.split is not None for s in samples)
    if with_split not in (0, len(samples)):
        raise DataError(
            name, expected="a split for every image or for none",
            found=f"{with_split} of {len(samples)} images with a split",
            fix="Fill the split column, or leave it out to split by a hash of the group.",
        )  # fmt: skip
    assigned = list(samples) if with_split else [replace(s, split=hashed_split(s.group)) for s in samples]
    _check_groups(name, assigned)
    check_classes(name, assigned)
    ordered = tuple(sorted(assigned, key=lambda s: s.image_id))
    return Manifest(ordered, "dataset" if with_split else "group hash")


def _check_groups(name: str, samples: Sequence[Sample]) -> None:
    home: dict[str, Sample] = {}
    for s in samples:
        first = home.setdefault(s.group, s)
        if first.split != s.split:
            raise DataError(
                name, expected="every group inside one split",
                found=f"group {s.group!r} in {first.split} (image {first.image_id!r}) and in {s.split} "
                f"(image {s.image_id!r})",
                fix="Correct the split column, or leave it out to split by a hash of the group.",
            )  # fmt: skip


def check_classes(name: str, samples: Sequence[Sample]) -> None:
    """Refuse a split that lacks one of the two classes."""
    for split in SPLITS:
        labels = {s.label for s in samples if s.split == split}
        if labels != {0, 1}:
            raise DataError(
                name, expected=f"positives and negatives in {split}",
                found=f"labels {sorted(labels)} in {split}",
                fix="Use a larger dataset or another split.",
            )  # fmt: skip
