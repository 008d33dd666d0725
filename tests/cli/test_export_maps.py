"""A cell's exported maps give its own figures back; a Codabench bundle scores them as `wslbench score` does."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shlex
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from conftest import ROOT, run_python, tiny_folder
from doc_blocks import commands
from in_process import Done, run_here
from safetensors.numpy import load_file
from study_helper import whole_run

from wsl_bench.external import submission
from wsl_bench.metrics.truth import rasterize_boxes

NAME = "operating_point.json"
SIZE = (32, 40)  # height, width of the images of tiny_folder
RUN = "runs/my_images"
METHODS = ("infomask", "gradcam", "mean_box", "healthy_difference", "random_map", "random_weights", "center_box")
FIGURES = ("iou", "iop", "fpr", "fnr")
Maps = dict[str, npt.NDArray[np.float32]]
Command = Callable[..., "Done"]


@pytest.fixture
def wslbench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path) -> Command:
    """The command in this process."""

    def run(*arguments: str) -> Done:
        return run_here(arguments, place, capsys, monkeypatch)

    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset directory and a finished run on it, two methods trained and the sanity rows."""
    place = tmp_path_factory.mktemp("place")
    data = tiny_folder(place / "my_images")
    whole_run(data, place / RUN, methods=("infomask", "gradcam"))
    return place


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def record_of(place: Path, method: str) -> Path:
    (found,) = (place / RUN / "records").glob(f"my_images--{method}--seed0--*.json")
    return found


def own_row(place: Path, method: str, out: str = RUN, rule: str = "val") -> dict[str, str]:
    board = rows(place / out / "leaderboard.csv")
    (found,) = [r for r in board if (r["method"], r["threshold_rule"]) == (method, rule)]
    return found


def figures(place: Path, maps: Maps, split: str, threshold: float) -> dict[str, float]:
    """Mean IoU, IoP, FPR and FNR over the positives of a split, by sets of pixels."""
    boxes = {r["image_id"]: np.array([[float(r[c]) for c in "xywh"]]) for r in rows(place / "my_images" / "boxes.csv")}
    wanted = {r["image_id"] for r in rows(place / "my_images" / "labels.csv") if r["split"] == split} & set(boxes)
    each = []
    for name in wanted:
        p, g = maps[name] >= np.float32(threshold), rasterize_boxes(boxes[name], *SIZE)
        iop = (p & g).sum() / p.sum() if p.any() else 0.0
        each.append(((p & g).sum() / (p | g).sum(), iop, (p & ~g).sum() / (~g).sum(), (g & ~p).sum() / g.sum()))
    return dict(zip(FIGURES, np.mean(each, axis=0).tolist(), strict=True))


def maps_in(folder: Path) -> Maps:
    return {file.stem: np.load(file)["map"] for file in folder.glob("*.npz")}


@pytest.mark.parametrize("method", METHODS)
def test_maps_at_the_operating_point_give_the_cell_s_figures(wslbench: Command, place: Path, method: str) -> None:
    done = wslbench("export-maps", record_of(place, method), "--output", f"maps_{method}")
    assert done.returncode == 0, done.stderr
    maps, point = maps_in(place / f"maps_{method}"), json.loads((place / f"maps_{method}" / NAME).read_text())
    assert {(m.shape, m.dtype) for m in maps.values()} == {(SIZE, np.dtype(np.float32))}
    assert all(m.min() >= 0 and m.max() <= 1 for m in maps.values())
    own = own_row(place, method)
    found = figures(place, maps, "test", point["threshold"])
    assert found == pytest.approx({metric: float(own[metric]) for metric in FIGURES}, abs=1e-6)
    (cell,) = [r for r in rows(place / RUN / "cells.csv") if r["method"] == method]
    assert point["threshold"] == float(cell["threshold"])
    on_val = figures(place, maps, "val", point["threshold"])["iou"]
    assert on_val == pytest.approx(float(cell["val_value"]), abs=1e-6)
    labels = {r["image_id"]: r for r in rows(place / "my_images" / "labels.csv")}
    for split in ("val", "test"):
        ids = point["splits"][split]["image_ids"]
        assert sorted(ids) == sorted(name for name, r in labels.items() if r["split"] == split)
    if point["probability"]:
        ids = point["splits"]["test"]["image_ids"]
        predicted = [point["probability"][name] >= point["decision_threshold"] for name in ids]
        right = [p == (labels[name]["label"] == "1") for p, name in zip(predicted, ids, strict=True)]
        assert np.mean(right) == pytest.approx(float(own["accuracy"]), abs=1e-12)
    assert bool(point["probability"]) == (own["auc"] != "")


@pytest.fixture(scope="module")
def scored(place: Path) -> Path:
    """A copy of the run, to add rows to."""
    shutil.copytree(place / RUN, place / "scored")
    return place / "scored"


@pytest.mark.parametrize("method", ["infomask", "gradcam"])
def test_score_finds_the_figures_and_the_threshold_again(
    wslbench: Command, place: Path, scored: Path, method: str
) -> None:
    done = wslbench("export-maps", record_of(place, method), "--output", f"of_{method}")
    assert done.returncode == 0, done.stderr
    printed = shlex.split(" ".join(done.stdout.partition("measure them again: ")[2].split()))
    own = own_row(place, method)
    threshold = own["threshold"]
    assert printed[-4:] == ["--threshold", threshold, "--out", f"of_{method}-scored"]  # not into the run itself
    for arguments, rule in ((printed[1:-2], threshold), ([*printed[1:-4], "--map-scale", "none"], "val")):
        name = f"{method}-{rule}"
        done = wslbench(*arguments, "--name", name, "--out", "scored")
        assert done.returncode == 0, done.stderr
        again = own_row(place, name, "scored", rule)
        for metric in (*FIGURES, "dice", "pxap", "boxacc", "ap_30", "pointing", "fpr_negative"):
            assert float(again[metric]) == pytest.approx(float(own[metric]), abs=1e-6), metric
        assert again["threshold"] == threshold


def test_one_file_and_one_split(wslbench: Command, place: Path) -> None:
    record = record_of(place, "infomask")
    for form in ("npz", "safetensors"):
        done = wslbench("export-maps", record, "--split", "test", "--format", form, "--output", f"as_{form}")
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (place / "as_safetensors").iterdir()) == ["maps.safetensors", NAME]
    assert "as_safetensors/maps.safetensors" in done.stdout
    one, many = load_file(place / "as_safetensors" / "maps.safetensors"), maps_in(place / "as_npz")
    assert len(one) == len(many) == 24
    for name, scores in one.items():
        np.testing.assert_array_equal(scores, many[name], strict=True)
    assert list(json.loads((place / "as_npz" / NAME).read_text())["splits"]) == ["test"]


def test_a_run_without_its_data_is_told_where_they_are(wslbench: Command, place: Path, tmp_path: Path) -> None:
    """The run was moved to where neither its prepared data nor the dataset's directory are."""
    moved = tmp_path / "moved"
    shutil.copytree(place / RUN, moved, ignore=shutil.ignore_patterns("prepared"))
    for name in ("run.json", "study.toml"):
        text = (moved / name).read_text()
        (moved / name).write_text(text.replace(str(place / "my_images"), str(tmp_path / "gone")))
    record = moved / "records" / record_of(place, "infomask").name
    done = wslbench("export-maps", record, "--output", tmp_path / "maps")
    assert done.returncode == 2
    assert "With --data-root say where the files of my_images are" in done.stderr
    other = tiny_folder(tmp_path / "other", seed=1)
    done = wslbench("export-maps", record, "--output", tmp_path / "maps", "--data-root", other)
    assert done.returncode == 2
    assert "expected the data that my_images--infomask" in done.stderr
    assert "differ" in done.stderr
    assert not (tmp_path / "maps").exists()
    done = wslbench("export-maps", record, "--output", tmp_path / "maps", "--data-root", place / "my_images")
    assert done.returncode == 0, done.stderr
    found = figures(place, maps_in(tmp_path / "maps"), "test", float(own_row(place, "infomask")["threshold"]))
    assert found["iou"] == pytest.approx(float(own_row(place, "infomask")["iou"]), abs=1e-6)


def test_what_cannot_be_exported_is_said(wslbench: Command, place: Path, scored: Path, tmp_path: Path) -> None:
    record = record_of(place, "infomask")
    blank = {r["image_id"]: np.zeros(SIZE, np.float32) for r in rows(place / "my_images" / "labels.csv")}
    np.savez(tmp_path / "theirs.npz", **blank)  # type: ignore[arg-type]
    done = wslbench("score", tmp_path / "theirs.npz", "--datasets", "my_images", "--out", "scored")
    assert done.returncode == 0, done.stderr
    (external,) = (scored / "records").glob("my_images--theirs--*.json")
    gone = tmp_path / "gone"
    shutil.copytree(place / RUN, gone, ignore=shutil.ignore_patterns("trainings"))
    new = ("--output", tmp_path / "new")
    for arguments, said in (
        ((external, *new), "found maps scored from files"),
        ((gone / "records" / record.name, *new), "Run the study again to train it anew"),
        ((place / "my_images" / "labels.csv", *new), "expected RUN/records/CELL.json"),
        ((record.with_name("none.json"), *new), "expected RUN/records/CELL.json"),
        ((record, "--output", place / "my_images"), "expected a new or empty folder"),
        ((record, *new, "--split", "train"), "expected val or test"),
        ((record, *new, "--format", "png"), "expected one of npz, safetensors"),
        ((record, *new, "--device", "tpu"), "expected auto, cpu or cuda"),
        ((record, *new, "--data-root", tmp_path / "nowhere"), "found no such directory"),
    ):
        done = wslbench("export-maps", *arguments)
        assert done.returncode == 2, said
        assert said in " ".join(done.stderr.split()), done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_damaged_record_is_named(wslbench: Command, place: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(place / RUN, damaged)
    record = damaged / "records" / record_of(place, "infomask").name
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    done = wslbench("export-maps", record, "--output", tmp_path / "maps")
    assert done.returncode == 2
    assert "its own sha256 was taken of" in done.stderr


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def bundle(wslbench: Command, place: Path) -> dict[str, bytes]:
    """The files of the run's bundle."""
    done = wslbench("export", RUN, "--format", "codabench", "--output", "bundle.zip")
    assert done.returncode == 0, done.stderr
    assert "for organizers only" in done.stdout
    return members((place / "bundle.zip").read_bytes())


def test_every_file_that_the_competition_names_is_there(
    wslbench: Command, place: Path, bundle: dict[str, bytes]
) -> None:
    competition = yaml.safe_load(bundle["competition.yaml"])
    assert competition["version"] == 2
    (task,), (phase,), (board,) = (competition[part] for part in ("tasks", "phases", "leaderboards"))
    files = [competition["image"], competition["terms"], *(page["file"] for page in competition["pages"])]
    files += [task["scoring_program"], task["reference_data"], phase["public_data"]]
    assert set(files) | {"competition.yaml"} == set(bundle)
    assert all(bundle[name] for name in files)
    assert bundle["logo.png"].startswith(b"\x89PNG")
    assert phase["tasks"] == [task["index"]]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", phase["start"])
    assert [column["index"] for column in board["columns"]] == list(range(len(board["columns"])))
    better = {column["key"]: column["sorting"] for column in board["columns"]}
    assert next(iter(better)) == "iou"
    assert {key for key, order in better.items() if order == "asc"} == {"fpr", "fnr"}
    program = members(bundle["scoring_program.zip"])
    command = yaml.safe_load(program["metadata.yaml"])["command"].split()
    assert command == ["python3", "/app/program/scoring.py", "/app/input", "/app/output"]
    compile(program["scoring.py"], "scoring.py", "exec")
    again = (place / "bundle.zip").read_bytes()
    wslbench("export", RUN, "--format", "codabench", "--output", "bundle.zip", "--docker-image", "theirs:1")
    theirs = yaml.safe_load(members((place / "bundle.zip").read_bytes())["competition.yaml"])
    assert theirs == competition | {"docker_image": "theirs:1"}
    wslbench("export", RUN, "--format", "codabench", "--output", "bundle.zip")
    assert (place / "bundle.zip").read_bytes() == again


def test_participants_see_no_label_of_a_test_image(place: Path, bundle: dict[str, bytes]) -> None:
    public = members(bundle["public_data.zip"])
    assert list(public) == ["manifest.csv"]
    found = {r["image_id"]: r for r in csv.DictReader(io.StringIO(public["manifest.csv"].decode()))}
    for row in rows(place / "my_images" / "labels.csv"):
        shown = found.pop(row["image_id"])
        assert shown["split"] == row["split"]
        expected = ("", "", "") if row["split"] == "test" else (row["group_id"], row["label"], row["has_boxes"])
        assert (shown["group"], shown["label"], shown["located"]) == expected
    assert not found
    # A hash over test labels would let guesses at them be confirmed.
    run = json.loads((place / RUN / "run.json").read_text())
    secret = set(run["fixed"]["datasets"]["my_images"].values())
    for name in set(bundle) - {"reference_data.zip", "logo.png"}:
        parts = members(bundle[name]) if name.endswith(".zip") else {name: bundle[name]}
        for part, content in parts.items():
            text = content.decode()
            assert not [hash for hash in secret if isinstance(hash, str) and hash in text], part
            assert not re.search(r"case\d+", text) or part == "manifest.csv", part
    assert hashlib.sha256(public["manifest.csv"]).hexdigest() in bundle["data.md"].decode()


def container(folder: Path, bundle: dict[str, bytes]) -> Path:
    """The folders that a scoring container has, without a submission."""
    for part, archive in (("input/ref", "reference_data.zip"), ("program", "scoring_program.zip")):
        for name, content in members(bundle[archive]).items():
            (folder / part).mkdir(parents=True, exist_ok=True)
            (folder / part / name).write_bytes(content)
    (folder / "input" / "res").mkdir()
    (folder / "output").mkdir()
    return folder


def test_the_scoring_program_gives_the_figures_of_score(
    wslbench: Command,
    place: Path,
    scored: Path,
    bundle: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = container(tmp_path / "app", bundle)
    done = wslbench("export-maps", record_of(place, "infomask"), "--output", app / "input" / "res" / "maps")
    assert done.returncode == 0, done.stderr
    program = [str(app / "program" / "scoring.py"), str(app / "input"), str(app / "output")]
    ended = run_python(*program, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    scores = json.loads((app / "output" / "scores.json").read_text())
    columns = [c["key"] for c in yaml.safe_load(bundle["competition.yaml"])["leaderboards"][0]["columns"]]
    assert list(scores) == columns
    done = wslbench(
        "score", app / "input" / "res" / "maps", "--datasets", "my_images", "--name", "sent", "--out", "scored"
    )
    assert done.returncode == 0, done.stderr
    row = own_row(place, "sent", "scored")
    assert scores == {key: float(row[key]) for key in columns}
    assert len(set(scores.values())) > 5

    (app / "output" / "scores.json").unlink()
    next(iter((app / "input" / "res" / "maps").glob("*.npz"))).unlink()
    capsys.readouterr()
    assert submission.main(app / "input", app / "output") == 2  # what the program calls, for a start takes seconds
    assert "no map for 1 images: case" in capsys.readouterr().err
    assert not (app / "output" / "scores.json").exists()


def test_a_bundle_needs_the_prepared_data(wslbench: Command, place: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(place / RUN, bare, ignore=shutil.ignore_patterns("prepared"))
    for arguments, said in (((bare,), "expected the prepared data of my_images"),
                            ((RUN, "--dataset", "other"), "expected one of my_images")):  # fmt: skip
        done = wslbench("export", *arguments, "--format", "codabench", "--output", tmp_path / "b.zip")
        assert done.returncode == 2
        assert said in done.stderr
    assert not (tmp_path / "b.zip").exists()


def test_every_command_of_the_page_runs(wslbench: Command, place: Path) -> None:
    lines = commands((ROOT / "docs" / "exports.md").read_text())
    assert len(lines) >= 9
    for line in lines:
        assert line.startswith("wslbench ")
        words = shlex.split(line.replace(f"{RUN}/records/CELL.json", str(record_of(place, "infomask"))))
        done = wslbench(*words[1:])
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        written = place / words[words.index("--output") + 1]
        assert written.is_dir() or written.stat().st_size > 500, line
