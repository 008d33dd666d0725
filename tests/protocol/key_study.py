"""A study with plug-ins of its own whose keys are taken before and after a change, and the changes."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import write_csv
from PIL import Image
from study_helper import RECIPE

from wsl_bench.plan import make_plan
from wsl_bench.source import source_sha256
from wsl_bench.spec import RunSpec, with_fields

NETWORK = '''
from wsl_bench import register_network
from wsl_bench.nets.registered.baseline import BaselineNetwork


@register_network("small_net")
class SmallNet(BaselineNetwork):
    """A network of a plug-in, in a file of its own."""
'''
EXPLAINS = '''
import os

import torch
from wsl_bench import PostHocMethod, param, register_method
from wsl_bench.methods._helper import evidence


@register_method("NAME")
class Explains(PostHocMethod):
    """Explains the plug-in's network by a helper beside it."""

    trained_as = "small_net"
    strength: float = param(1.0, "factor on the map")
    symmetric_start: str = param("deep", "start of the network")

    def network_params(self):
        return {"symmetric_start": self.symmetric_start}

    def explain(self, net, images):
        with open(os.environ["COUNTER"], "a") as file:
            file.write("NAME\\n")
        return torch.softmax(net(images), 1)[:, 1], self.strength * evidence(images)
'''
HELPER = """
def evidence(images):
    return images[:, 0].abs()
"""
VARIED = """
from wsl_bench import register_variant

register_variant("varied", of="explains", summary="A variant in a file of its own.", strength=2.0)
"""
ELSEWHERE = '''
import os
from pathlib import Path

import torch
from wsl_bench import PriorMethod, param, register_method
from wsl_bench.nets.prior import FixedMap


@register_method("elsewhere")
class Elsewhere(PriorMethod):
    """A prior in another folder of plug-ins, which may read a file."""

    file: Path | None = param(None, "a file", is_file=True)

    def fit(self, task, data):
        with open(os.environ["COUNTER"], "a") as file:
            file.write("elsewhere\\n")
        return FixedMap(torch.ones(task.image_size, task.image_size))

    def localize(self, net, images):
        return net.repeat(images)
'''
PLUGINS = {
    "near/methods/small_net.py": NETWORK,
    "near/methods/explains.py": EXPLAINS.replace("NAME", "explains"),
    "near/methods/explains_too.py": EXPLAINS.replace("NAME", "explains_too"),
    "near/methods/varied.py": VARIED,
    "near/methods/_helper.py": HELPER,
    "far/methods/elsewhere.py": ELSEWHERE,
    "far/methods/_other.py": "X = 1\n",
    "weights.bin": "some numbers",
}
NEAR = frozenset({"explains", "explains_too", "varied"})
TRAINED = NEAR | {"gradcam", "featuremask"}
WITH_NETWORK = TRAINED | {"random_weights"}
SANITY = frozenset({"center_box", "mean_box", "healthy_difference", "random_map", "whole_image", "random_weights"})
ALL = TRAINED | SANITY | {"elsewhere"}
NONE: frozenset[str] = frozenset()
Keys = dict[str, tuple[str, str | None]]


def write_plugins(folder: Path) -> None:
    """Write the plug-ins below a folder, or write them anew where they were changed."""
    for name, text in PLUGINS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


@dataclass(frozen=True)
class Study:
    """Where the files lie that a change may reach.

    Attributes:
        root: of a dataset `images` and of whatever a test writes.
        plugins: of the folders of plug-ins.
        engine: of a copy of the package, whose source is the one that enters keys.
    """

    root: Path
    plugins: Path
    engine: Path
    monkeypatch: pytest.MonkeyPatch

    def keys(self, fields: Mapping[str, Any]) -> Keys:
        """Key of the cell and of the training, by method, of the first dataset and of seed 0 or the only one."""
        own: dict[str, Any] = {"device": "cpu", "precision": "fp32", "out": self.root / "out"}
        own |= {name: fields[name] for name in own if name in fields}
        weights = {"elsewhere.file": str(self.plugins / "weights.bin")}
        asked = {
            "methods": (*sorted(TRAINED), "elsewhere"), "seeds": (0,), "datasets": (str(self.root / "images"),),
            **{name: value for name, value in fields.items() if name not in own},
            "set": {**RECIPE, **weights, **fields.get("set", {})},
        }  # fmt: skip
        plan = make_plan(with_fields(RunSpec(), asked), **own)
        seeds = {cell.seed for cell in plan.cells()}
        seed = 0 if 0 in seeds else min(seeds)
        return {
            cell.method: (cell.key, job.training_key if job.trained_by else None)
            for job in plan.jobs
            for cell in job.cells
            if cell.seed == seed and cell.dataset == plan.datasets[0].name
        }

    def edit(self, path: Path, old: str, new: str) -> None:
        """Replace a text that a file holds once."""
        text = path.read_text()
        assert text.count(old) == 1, path
        path.write_text(text.replace(old, new))

    def edit_csv(self, name: str, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
        """Change the rows of a table of the dataset."""
        path = self.root / "images" / name
        with path.open(newline="") as file:
            rows = change(list(csv.DictReader(file)))
        write_csv(path, list(rows[0]), [list(row.values()) for row in rows])


@dataclass(frozen=True)
class Change:
    """What is changed, and whose keys that has to reach, those of cells and those of trainings, and no others.

    Attributes:
        act: does it; gives the fields of the plan that are other than before.
    """

    name: str
    act: Callable[[Study], Mapping[str, Any] | None]
    cells: frozenset[str]
    trainings: frozenset[str]


def reached(study: Study, change: Change) -> tuple[set[str], set[str]]:
    """Methods whose cell, and methods whose training, has another key after a change."""
    before = study.keys({})
    assert before.keys() == ALL
    after = study.keys(change.act(study) or {})
    cells = {method for method in before if after[method][0] != before[method][0]}
    return cells, {method for method in before if after[method][1] != before[method][1]}


def settings(**fields: Any) -> Callable[[Study], Mapping[str, Any]]:
    """A change of what is asked for; `a__b` sets the parameter a.b."""
    chosen = {key.replace("__", "."): value for key, value in fields.items() if "__" in key}
    plain = {key: value for key, value in fields.items() if "__" not in key}
    return lambda study: {**plain, "set": chosen}


def plugin(name: str, old: str, new: str) -> Callable[[Study], None]:
    """An edit of a plug-in's file."""
    return lambda study: study.edit(study.plugins / name, old, new)


def engine(name: str) -> Callable[[Study], None]:
    """One byte of a file of the package, its last."""

    def act(study: Study) -> None:
        path = study.engine / name
        path.write_bytes(path.read_bytes()[:-1] + b" ")
        source_sha256.cache_clear()  # a process takes it once

    return act


def patched(target: str, value: Any) -> Callable[[Study], None]:
    """A constant or function of the package."""
    return lambda study: study.monkeypatch.setattr(target, value)


def pixel(image_id: str) -> Callable[[Study], None]:
    """One grey level of one pixel of an image."""

    def act(study: Study) -> None:
        path = study.root / "images" / "images" / f"{image_id}.png"
        with Image.open(path) as image:
            changed = image.copy()
        grey = changed.getpixel((3, 5))
        assert isinstance(grey, int)
        changed.putpixel((3, 5), grey + 1)
        changed.save(path)

    return act


def label(image_id: str, **values: str) -> Callable[[Study], None]:
    """Fields of one row of labels.csv."""
    return lambda study: study.edit_csv(
        "labels.csv", lambda rows: [row | values if row["image_id"] == image_id else row for row in rows]
    )


def box(image_id: str) -> Callable[[Study], None]:
    """A box that is one pixel less wide."""
    return lambda study: study.edit_csv(
        "boxes.csv",
        lambda rows: [row | {"w": str(int(row["w"]) - 1)} if row["image_id"] == image_id else row for row in rows],
    )


def touched(study: Study) -> None:
    """Other times on every file there is."""
    for folder in (study.root / "images", study.plugins, study.engine):
        for number, path in enumerate(sorted(folder.rglob("*"))):
            os.utime(path, (1e9 + number, 1e9 + number))


def stored_anew(study: Study) -> None:
    """Every image in a file of another name and other bytes, with the same pixels."""
    folder = study.root / "images" / "images"
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            image.save(folder / f"again_{path.name}", compress_level=1, pnginfo=None)
        assert (folder / f"again_{path.name}").read_bytes() != path.read_bytes()
        path.unlink()
    study.edit_csv("labels.csv", lambda rows: [row | {"file": f"images/again_{row['image_id']}.png"} for row in rows])


def noted(study: Study) -> None:
    """A file and a column beside the data that nothing reads."""
    (study.root / "images" / "README.md").write_text("# How these were taken\n")
    study.edit_csv("labels.csv", lambda rows: [row | {"remark": str(n)} for n, row in enumerate(rows)])


def in_other_order(study: Study) -> None:
    """Rows of both tables from the last to the first."""
    study.edit_csv("labels.csv", lambda rows: rows[::-1])
    study.edit_csv("boxes.csv", lambda rows: rows[::-1])


def from_elsewhere(study: Study) -> Mapping[str, Any]:
    """The same dataset by a relative path, from another working directory."""
    (study.root / "here").mkdir()
    study.monkeypatch.chdir(study.root / "here")
    return {"datasets": ("../images",), "out": Path("runs")}


def renamed(study: Study) -> Mapping[str, Any]:
    """The dataset under another name."""
    shutil.move(study.root / "images", study.root / "pictures")
    return {"datasets": (str(study.root / "pictures"),)}


def in_another_folder(study: Study) -> Mapping[str, Any]:
    """Another place for the run."""
    return {"out": study.root / "another"}


def beside_another(study: Study) -> Mapping[str, Any]:
    """A second dataset in the same run."""
    shutil.copytree(study.root / "images", study.root / "more")
    return {"datasets": (str(study.root / "images"), str(study.root / "more"))}


def another_file(study: Study) -> Mapping[str, Any]:
    """A parameter that names another file of the same content."""
    shutil.copy(study.plugins / "weights.bin", study.root / "copy.bin")
    return {"set": {"elsewhere.file": str(study.root / "copy.bin")}}
