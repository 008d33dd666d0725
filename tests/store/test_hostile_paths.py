"""No name in a file leads out of its folder: records, indexes, tables, study files, plug-ins, names of rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import run_python, tiny_folder
from PIL import Image
from safetensors.torch import save

from wsl_bench import params, registry, study
from wsl_bench.cli import main
from wsl_bench.cli.folder import default_out
from wsl_bench.data.samples import Dataset
from wsl_bench.errors import DataError, UsageError
from wsl_bench.localize import _checkpoint
from wsl_bench.selection import choose_methods, find_dataset
from wsl_bench.spec import RunSpec, read_study, with_fields
from wsl_bench.store.records import Record, _content_sha256, peek_records, set_aside, write_record
from wsl_bench.store.trainings import _sha256, load_training, save_training
from wsl_bench.training.loop import Checkpoint, Epoch, Training

LEAVES_A_MARK = "import pathlib\npathlib.Path({marker!r}).touch()\n"


def _files(root: Path) -> set[Path]:
    return set(root.rglob("*"))


def _record(root: Path, slug: str = "cell", **content: Any) -> Path:
    arrays = {"values": np.arange(3.0)}
    write_record(root, slug, {"seed": 0, **content}, dict.fromkeys(("val", "test", "maps"), arrays))
    return root / "records" / f"{slug}.json"


@pytest.mark.parametrize("file", ["../secret.npz", "records/../../secret.npz", "{outside}/secret.npz", "secret.npz"])
def test_a_record_with_the_right_hashes_still_names_no_file_elsewhere(file: str, tmp_path: Path) -> None:
    path = _record(tmp_path / "run")
    secret = path.with_name("cell.test.npz").read_bytes()
    for folder in (tmp_path, tmp_path / "run"):
        (folder / "secret.npz").write_bytes(secret)
    content = json.loads(path.read_text())
    content["artefacts"]["test"]["file"] = file.format(outside=tmp_path)  # the sha256 is the file's
    path.write_text(json.dumps(content | {"sha256": _content_sha256(content)}))
    said: list[str] = []
    assert peek_records(tmp_path / "run", said.append) == []
    assert said[0].startswith(f"{path}: a record names an artefact outside its folder")


@pytest.mark.parametrize("file", ["../secret.safetensors", "trainings/../../secret.safetensors", "{outside}/secret", "",
                                  "trainings/../secret", "trainings/a/b/c", "trainings/a\0/b"])  # fmt: skip
def test_a_record_names_no_checkpoint_elsewhere(file: str, tmp_path: Path) -> None:
    secret = save({"a": torch.zeros(1)})
    for path in (tmp_path / "secret.safetensors", tmp_path / "secret", tmp_path / "run" / "secret"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(secret)
    (tmp_path / "run" / "trainings").mkdir()
    checkpoint = {"file": file.format(outside=tmp_path), "sha256": hashlib.sha256(secret).hexdigest()}
    with pytest.raises(UsageError):
        _checkpoint(Record("cell", {"checkpoint": checkpoint}, tmp_path / "run"))


def test_a_checkpoint_below_trainings_is_read(tmp_path: Path) -> None:
    (tmp_path / "trainings/abc").mkdir(parents=True)
    (tmp_path / "trainings/abc/epoch-001.safetensors").write_bytes(b"weights")
    checkpoint = {"file": "trainings/abc/epoch-001.safetensors", "sha256": hashlib.sha256(b"weights").hexdigest()}
    assert _checkpoint(Record("cell", {"checkpoint": checkpoint}, tmp_path)) == b"weights"


@pytest.mark.parametrize("file", ["../secret.safetensors", "{outside}/secret.safetensors", "..", ""])
def test_an_index_with_the_right_hash_names_no_file_elsewhere(file: str, tmp_path: Path) -> None:
    epoch, folder = Epoch(1, 0.5, 0.5, 0.5, 0.5), tmp_path / "training"
    save_training(folder, Training((Checkpoint(epoch, {"a": torch.zeros(1)}),), (epoch,)))
    (folder / "epoch-001.safetensors").rename(tmp_path / "secret.safetensors")
    index = json.loads((folder / "training.json").read_text())
    index["candidates"][0]["file"] = file.format(outside=tmp_path)
    del index["sha256"]
    (folder / "training.json").write_text(json.dumps(index | {"sha256": _sha256(index)}))
    assert load_training(folder) is None


def test_a_record_whose_name_is_a_pattern_moves_no_other(tmp_path: Path) -> None:
    for slug in ("a--1", "b--2", "[ab]*", "*"):
        _record(tmp_path, slug)
    set_aside(tmp_path, ["*", "[ab]*"], "superseded")
    assert [record.slug for record in peek_records(tmp_path)] == ["a--1", "b--2"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A dataset, and beside it what is none of its business."""
    Image.fromarray(np.full((32, 40), 99, np.uint8)).save(tmp_path / "secret.png")
    (tmp_path / "secret.csv").write_text("image_id,file,label\n")
    (tmp_path / "elsewhere").mkdir()
    Image.fromarray(np.full((32, 40), 99, np.uint8)).save(tmp_path / "elsewhere" / "case001.png")
    return tiny_folder(tmp_path / "data", n=15)


def _open(root: Path, **values: object) -> Dataset:
    dataset: Dataset = params.build(registry.discover("dataset").get("folder").cls, "folder", {"root": root, **values})
    return dataset


def _linked_image(data: Path) -> None:
    (data / "images/case001.png").unlink()
    (data / "images/case001.png").symlink_to(data.parent / "secret.png")


def _linked_folder(data: Path) -> None:
    (data / "images").rename(data.parent / "images")
    (data / "images").symlink_to(data.parent / "images")


def _linked_mask(data: Path) -> None:
    (data / "masks").mkdir()
    (data / "masks/case001.png").symlink_to("../../secret.png")


def _linked_masks(data: Path) -> None:
    (data / "masks").symlink_to(data.parent / "elsewhere")


def _linked_table(data: Path) -> None:
    (data / "labels.csv").unlink()
    (data / "labels.csv").symlink_to(data.parent / "secret.csv")


def _linked_boxes(data: Path) -> None:
    (data / "boxes.csv").rename(data.parent / "boxes.csv")
    (data / "boxes.csv").symlink_to(data.parent / "boxes.csv")


LINKS = [_linked_image, _linked_folder, _linked_mask, _linked_masks, _linked_table, _linked_boxes]


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.__name__)
def test_a_link_out_of_a_dataset_is_not_followed(link: Callable[[Path], None], data: Path) -> None:
    link(data)
    with pytest.raises(DataError, match=r"expected a file inside the directory, found a link from .*follow_links=true"):
        _open(data).samples()


@pytest.mark.parametrize("link", [_linked_image, _linked_folder, _linked_mask, _linked_boxes])
def test_it_is_where_that_is_asked_for(link: Callable[[Path], None], data: Path) -> None:
    link(data)
    dataset = _open(data, follow_links="true")
    sample = dataset.samples()[1]
    assert dataset.image(sample).shape == (32, 40)
    assert dataset.truth(sample).pixels(32, 40).any()


def test_an_image_that_becomes_a_link_later_is_not_followed(data: Path) -> None:
    dataset = _open(data)
    sample = dataset.samples()[1]
    _linked_image(data)
    with pytest.raises(DataError, match=r"case001\.png: expected a file inside the directory"):
        dataset.image(sample)


def test_links_within_a_dataset_and_to_all_of_it_are_fine(data: Path) -> None:
    (data / "images/case001.png").rename(data / "moved.png")
    (data / "images/case001.png").symlink_to("../moved.png")
    (data.parent / "by another name").symlink_to(data)
    dataset = _open(data.parent / "by another name")
    assert dataset.image(dataset.samples()[1]).shape == (32, 40)


def test_a_link_that_leads_in_a_circle_is_an_image_that_cannot_be_read(data: Path) -> None:
    (data / "images/case001.png").unlink()
    (data / "images/case001.png").symlink_to("case001.png")
    dataset = _open(data)
    sample = dataset.samples()[1]
    with pytest.raises(DataError, match=r"case001\.png: expected a readable 8-bit image"):
        dataset.image(sample)


@pytest.mark.parametrize("name", ["../../evil.py", "../evil", "evil", "{outside}/evil.py", "evil[x=../..]", "..",
                                  "methods.evil", "~nobody-of-that-name/evil"])  # fmt: skip
def test_a_study_names_what_is_registered_and_no_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, name = tmp_path / "was-here", name.format(outside=tmp_path)
    (tmp_path / "evil.py").write_text(LEAVES_A_MARK.format(marker=str(marker)))
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/study.toml").write_text(f'methods = ["{name}"]\ndatasets = ["{name}.py"]\n')
    monkeypatch.chdir(tmp_path / "a/b")
    spec = with_fields(RunSpec(), read_study(Path("study.toml")))
    with pytest.raises(UsageError):
        choose_methods(spec)
    with pytest.raises(UsageError):
        find_dataset(spec.datasets[0])
    assert not marker.exists()


def test_the_command_refuses_such_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place/study.toml").write_text('methods = ["../../evil.py"]\ndatasets = ["../../nowhere"]\n')
    monkeypatch.chdir(tmp_path / "place")
    assert main._guarded(["run", "--config", "study.toml", "--out", "out"]) == 2
    said = capsys.readouterr().err
    assert "no method is called '../../evil.py'" in said
    assert "Traceback" not in said
    assert {path.name for path in _files(tmp_path)} <= {"place", "study.toml", "out", ".lock"}


def test_a_study_of_more_than_anybody_can_mean_is_refused(tmp_path: Path) -> None:
    grid = "|".join(map(str, range(10)))
    text = f"infomask[{','.join(f'a{i}={grid}' for i in range(12))}]"  # 10^12 rows
    with pytest.raises(UsageError, match="expected a grid of at most"):
        choose_methods(RunSpec(methods=(text,)))


@pytest.mark.parametrize(
    "selector", ["folder[root={data}]", "folder[root=../../../{data}]", "folder[root=a/../../{data}]"]
)
def test_a_dataset_whose_name_is_a_path_is_written_inside_the_run(
    selector: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "w/x/y/z/out"
    out.mkdir(parents=True)
    (out.parent / "a").mkdir()
    monkeypatch.chdir(out.parent)
    place = str(data) if selector.startswith("folder[root={") else "data"
    up = {"folder[root=../../../{data}]": "w/data", "folder[root=a/../../{data}]": "w/x/y/data"}.get(selector)
    if up is not None:
        (tmp_path / up).symlink_to(data)
    before = _files(tmp_path)
    spec = RunSpec(methods=("center_box",), datasets=(selector.format(data=place),), seeds=(0,), thresholds=("0.5",))
    study.open_study(with_fields(spec, {"set": {"recipe.image_size": "16"}}), out)
    made = _files(tmp_path) - before
    assert made
    assert all(path.resolve().is_relative_to(out) for path in made)
    assert len(list((out / "manifests").glob("*.csv"))) == 1


@pytest.mark.parametrize(
    "selector", ["../../x", "folder[root=a/..]", "/", "..", ".", "~nobody-of-that-name", "a/../.."]
)
def test_the_folder_of_a_run_lies_below_runs(selector: str) -> None:
    out = default_out((selector,))
    assert out.parts[0] == "runs"
    assert len(out.parts) == 2
    assert ".." not in out.parts


@pytest.mark.parametrize("name", ["../x", "/x/y", "a/b", "a\\b", "x\0", "", " ", "a" * 65])
def test_maps_are_scored_under_no_name_that_is_a_path(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "maps").mkdir()
    np.save(tmp_path / "maps" / "case000.npy", np.zeros((32, 40), np.float32))
    monkeypatch.chdir(tmp_path)
    before = _files(tmp_path)
    named = ("--name", name) if name else ("--name=",)
    code = main._guarded(["score", "maps", "--datasets", "data", *named, "--threshold", "0.5", "--out", "out"])
    assert code == 2
    assert "Traceback" not in capsys.readouterr().err
    assert all(path.is_relative_to(tmp_path / "out") for path in _files(tmp_path) - before)


PLUGIN = '''
from wsl_bench import {base}, register_{kind}

@register_{kind}("{name}")
class Plugged({base}):
    """One line."""

    trained_as = {explains}
'''
LIST = """
import json, sys
from wsl_bench.registry import discover
found = {kind: discover(kind) for kind in sys.argv[1:]}
print(json.dumps({
    "available": {n: e.source_hash() for kind in found for n, e in found[kind].available.items()},
    "unavailable": {b.name: b.reason for kind in found for b in found[kind].unavailable},
}))
"""


def test_links_in_a_folder_of_plugins_are_followed_and_broken_ones_named(tmp_path: Path) -> None:
    """A plug-in is code that the user has chosen to run, wherever the file lies; its content is in the keys."""
    own, outside = tmp_path / "plugins/datasets", tmp_path / "checkout"
    for folder in (own, outside, tmp_path / "plugins/methods"):
        folder.mkdir(parents=True)
    text = PLUGIN.format(base="Dataset", kind="dataset", name="{}", explains=None)
    (outside / "linked.py").write_text(text.format("linked"))
    (own / "linked.py").symlink_to(outside / "linked.py")
    (own / "nowhere.py").symlink_to(outside / "nowhere.py")
    (own / "circle.py").symlink_to("circle.py")
    (own / "_private.py").symlink_to(outside / "private.py")
    odd = PLUGIN.format(base="PostHocMethod", kind="method", name="odd", explains=["x"])
    (tmp_path / "plugins/methods/odd.py").write_text(odd)
    env = {"WSLBENCH_PLUGINS": f"{tmp_path / 'plugins'}:~nobody-of-that-name/x:\n:{'x' * 300}"}

    def found(*kinds: str) -> dict[str, Any]:
        done = run_python("-c", LIST, *kinds, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    before = found("dataset", "method")
    assert {"linked", "folder", "infomask"} <= before["available"].keys()
    assert "odd" in before["unavailable"]  # and no other method has gone with it
    assert not before["available"].keys() & {"nowhere", "circle"}
    (outside / "linked.py").write_text(text.format("linked") + "# changed\n")
    assert found("dataset")["available"]["linked"] != before["available"]["linked"]
