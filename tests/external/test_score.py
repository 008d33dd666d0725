"""Maps from files: every form gives the same table, fitted on validation alone; a bad set is refused whole."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from conftest import tiny_folder
from in_process import Done, run_here
from PIL import Image
from safetensors.numpy import save_file

from wsl_bench import study
from wsl_bench.cli.score import _spec
from wsl_bench.data.geometry import Letterbox
from wsl_bench.errors import DataError
from wsl_bench.external.check import check_maps
from wsl_bench.external.read import open_maps
from wsl_bench.leaderboard.build import build_leaderboard
from wsl_bench.localize import _without_start
from wsl_bench.metrics.grid import THRESHOLDS
from wsl_bench.metrics.truth import rasterize_boxes
from wsl_bench.spec import RunSpec
from wsl_bench.store.records import write_record

Maps = dict[str, npt.NDArray[np.float32]]
Command = Callable[..., "Done"]
SIZE = (32, 40)  # height, width of the images of tiny_folder


@pytest.fixture
def wslbench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in this process."""

    def run(*arguments: str, cwd: Path) -> Done:
        return run_here(arguments, cwd, capsys, monkeypatch)

    return run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def truths(data: Path) -> dict[str, npt.NDArray[np.bool_]]:
    """Masks of the positive images."""
    boxes = {r["image_id"]: np.array([[float(r[c]) for c in "xywh"]]) for r in rows(data / "boxes.csv")}
    return {name: rasterize_boxes(box, *SIZE) for name, box in boxes.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, and 16-bit maps of all its images in a folder: noise, brighter on the ground truth."""
    place = tmp_path_factory.mktemp("score")
    data = tiny_folder(place / "data")
    rng, inside = np.random.default_rng(0), truths(data)
    (place / "maps").mkdir()
    for row in rows(data / "labels.csv"):
        scores = rng.random(SIZE) * 0.7 + 0.3 * inside.get(row["image_id"], np.zeros(SIZE, np.bool_))
        levels = np.rint(scores * 65535).astype(np.uint16)
        np.save(place / "maps" / f"{row['image_id']}.npy", (levels / 65535).astype(np.float32))
        (place / "png").mkdir(exist_ok=True)
        Image.fromarray(levels).save(place / "png" / f"{row['image_id']}.png")
    return place


def maps_of(place: Path) -> Maps:
    return {path.stem: np.load(path) for path in sorted((place / "maps").glob("*.npy"))}


def split_of(place: Path, split: str) -> list[str]:
    return [r["image_id"] for r in rows(place / "data" / "labels.csv") if r["split"] == split]


def mean_iou(maps: Maps, inside: dict[str, Any], names: list[str], threshold: np.float32) -> float:
    each = []
    for name in (n for n in names if n in inside):
        predicted = maps[name] >= threshold
        each.append((predicted & inside[name]).sum() / (predicted | inside[name]).sum())
    return float(np.mean(each))


def external_row(out: Path, name: str, rule: str = "val") -> dict[str, str]:
    found = [r for r in rows(out / "leaderboard.csv") if r["method"] == name and r["threshold_rule"] == rule]
    assert len(found) == 1
    return found[0]


def test_the_threshold_is_the_best_on_val_and_the_figures_are_those_of_test(wslbench: Command, place: Path) -> None:
    done = wslbench("score", "maps", "--datasets", "data", "--map-scale", "none", "--out", "plain", cwd=place)
    assert done.returncode == 0, done.stderr
    row, maps, inside = external_row(place / "plain", "maps"), maps_of(place), truths(place / "data")
    assert row["status"] == "external"
    assert row["rank_low"] == row["auc"] == row["n_parameters"] == ""
    curve = [mean_iou(maps, inside, split_of(place, "val"), t) for t in THRESHOLDS[1:]]
    k = int(np.argmax(curve)) + 1
    assert float(row["threshold"]) == k / 1000
    assert float(row["iou"]) == pytest.approx(mean_iou(maps, inside, split_of(place, "test"), THRESHOLDS[k]), abs=1e-12)
    board = build_leaderboard(place / "plain")
    assert {"center_box", "mean_box", "random_map"} < {r["method"] for r in board.rows if r["status"] == "sanity"}
    assert any("external" in note for note in board.notes)


def as_npz(place: Path) -> Path:
    np.savez(place / "archive.npz", **maps_of(place))  # type: ignore[arg-type]
    return place / "archive.npz"


def as_safetensors(place: Path) -> Path:
    save_file(maps_of(place), place / "tensors.safetensors")
    return place / "tensors.safetensors"


def as_single_npz(place: Path) -> Path:
    (place / "single").mkdir()
    for name, scores in maps_of(place).items():
        np.savez_compressed(place / "single" / f"{name}.npz", cam=scores)
    return place / "single"


def as_float_tif(place: Path) -> Path:
    (place / "tif").mkdir()
    for name, scores in maps_of(place).items():
        Image.fromarray(scores).save(place / "tif" / f"{name}.tif")
    return place / "tif"


def as_png(place: Path) -> Path:
    return place / "png"


@pytest.mark.parametrize("form", [as_npz, as_safetensors, as_single_npz, as_float_tif, as_png])
def test_every_form_gives_the_same_maps(place: Path, form: Callable[[Path], Path]) -> None:
    source, maps = open_maps(form(place)), maps_of(place)
    assert set(source.readers) == set(maps)
    for name, scores in maps.items():
        np.testing.assert_array_equal(source.read(name), scores, strict=True)


def test_a_fixed_threshold_needs_test_maps_alone(wslbench: Command, place: Path) -> None:
    maps, names = maps_of(place), split_of(place, "test")
    np.savez(place / "test_only.npz", **{name: maps[name] for name in names})  # type: ignore[arg-type]
    refused = wslbench("score", "test_only.npz", "--datasets", "data", "--out", "fixed", cwd=place)
    assert refused.returncode == 2
    assert "no map for 48 images" in refused.stderr
    assert "With --threshold T" in refused.stderr
    done = wslbench("score", "test_only.npz", "--datasets", "data", "--threshold", "0.6", "--out", "fixed", cwd=place)
    assert done.returncode == 0, done.stderr
    row = external_row(place / "fixed", "test_only", "0.6")
    expected = mean_iou(maps, truths(place / "data"), names, np.float32(0.6))
    assert float(row["iou"]) == pytest.approx(expected, abs=1e-12)
    assert row["ap_30"] != ""
    assert row["n_val_boxes"] == "0"
    assert not [r for r in rows(place / "fixed" / "leaderboard.csv") if r["threshold_rule"] == "val"]


def test_seeds_make_one_row_and_the_same_seed_again_replaces(wslbench: Command, place: Path) -> None:
    np.savez(place / "squared.npz", **{n: scores**2 for n, scores in maps_of(place).items()})  # type: ignore[arg-type]
    for seed, source in (("0", "maps"), ("1", "squared.npz"), ("1", "png")):
        done = wslbench(
            "score", source, "--datasets", "data", "--name", "theirs", "--seed", seed, "--out", "plain", cwd=place
        )
        assert done.returncode == 0, done.stderr
    assert "takes the place" in done.stdout
    assert external_row(place / "plain", "theirs")["n_seeds"] == "2"
    assert len(list((place / "plain" / "records" / "superseded").glob("*.json"))) == 1
    assert {r["status"] for r in rows(place / "plain" / "leaderboard.csv")} == {"sanity", "external"}


def test_one_row_holds_one_way_of_reading_maps(wslbench: Command, place: Path) -> None:
    before = (place / "plain" / "leaderboard.csv").read_text()
    for extra in (("--threshold", "0.5"), ("--map-scale", "image")):
        done = wslbench(
            "score",
            "maps",
            "--datasets",
            "data",
            "--name",
            "theirs",
            "--seed",
            "2",
            *extra,
            "--out",
            "plain",
            cwd=place,
        )
        assert done.returncode == 2
        assert "one row holds one way of reading maps" in done.stderr
    assert (place / "plain" / "leaderboard.csv").read_text() == before


def test_a_method_of_the_run_keeps_its_name(wslbench: Command, place: Path) -> None:
    """A plug-in's method, say, where the plug-in is not loaded now."""
    path = place / "plain" / "run.json"
    content = json.loads(path.read_text())
    content["planned"]["data"]["methods"].append(["theirs_trained", ""])
    path.write_text(json.dumps(content))
    done = wslbench("score", "maps", "--datasets", "data", "--name", "theirs_trained", "--out", "plain", cwd=place)
    assert done.returncode == 2
    assert "the run has a method of that name" in done.stderr
    content["planned"]["data"]["methods"].pop()
    path.write_text(json.dumps(content))


def test_cells_of_other_code_are_not_pushed_out_of_a_run(
    wslbench: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "made_by_other_code", lambda parts: "external" not in parts)
    shutil.copytree(place / "plain", place / "old")
    (record,) = (place / "old" / "records").glob("*--center_box--*.json")
    content = json.loads(record.read_text())
    write_record(place / "old", "trained", {**content, "method": "gone"}, _artefacts(place / "old", content))
    done = wslbench("score", "maps", "--datasets", "data", "--out", "old", cwd=place)
    assert done.returncode == 2
    assert "made by another version" in done.stderr
    assert (place / "old" / "records" / "trained.json").is_file()


def _artefacts(root: Path, content: dict[str, Any]) -> dict[str, dict[str, npt.NDArray[Any]]]:
    out = {}
    for name, named in content["artefacts"].items():
        with np.load(root / named["file"]) as arrays:
            out[name] = {key: arrays[key] for key in arrays.files}
    return out


def test_seeds_are_those_of_the_dataset_and_its_settings_stay(place: Path, tmp_path: Path) -> None:
    """A folder may hold datasets of different seeds; scoring one must not plan the other's for it."""
    path = place / "plain" / "run.json"
    content = json.loads(path.read_text())
    content["planned"]["other"] = {**content["planned"]["data"], "seeds": [0, 1, 2, 3]}
    (tmp_path / "run.json").write_text(json.dumps(content))
    toml = RunSpec(seeds=(0, 1, 2, 3), settings={"folder.split_column": "true", "infomask.tau": "0.4"}).to_toml()
    (tmp_path / "study.toml").write_text(toml)
    spec = _spec(tmp_path, str(place / "data"), None, {}, [], False)
    assert spec.seeds == (0,)
    assert spec.settings == {"folder.split_column": "true"}


def test_the_default_name_is_the_folders_whole_name(wslbench: Command, place: Path) -> None:
    shutil.copytree(place / "maps", place / "cam_v1.5")
    done = wslbench("score", "cam_v1.5", "--datasets", "data", "--threshold", "0.6", "--out", "fixed", cwd=place)
    assert done.returncode == 0, done.stderr
    assert external_row(place / "fixed", "cam_v1.5", "0.6")["status"] == "external"


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((32, 40), True),
        ((8, 10), True),
        ((7, 9), True),
        ((64, 80), True),
        ((7, 7), False),
        ((1, 1), True),
        ((5, 40), False),
    ],
)
def test_a_map_has_the_aspect_of_its_image(tmp_path: Path, shape: tuple[int, int], fits: bool) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    source, wanted = open_maps(tmp_path), {"a": Letterbox.fit(*SIZE, 32)}
    if fits:
        assert check_maps(source, wanted, ["a"])
    else:
        with pytest.raises(DataError, match="or its aspect"):
            check_maps(source, wanted, ["a"])


def test_without_opencv_nothing_is_begun(wslbench: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    done = wslbench("score", "maps", "--datasets", "data", "--compat", "wsolevaluation", "--out", "never", cwd=place)
    assert done.returncode == 2
    assert "wsl-bench[compat]" in done.stderr
    assert not (place / "never").exists()


def test_a_coarser_map_is_brought_to_its_image(wslbench: Command, place: Path, tmp_path: Path) -> None:
    coarse = {n: scores.reshape(8, 4, 10, 4).mean((1, 3)) for n, scores in maps_of(place).items()}
    np.savez(tmp_path / "coarse.npz", **coarse)  # type: ignore[arg-type]
    done = wslbench(
        "score", str(tmp_path / "coarse.npz"), "--datasets", "data", "--threshold", "0.5", "--out", "fixed", cwd=place
    )
    assert done.returncode == 0, done.stderr
    upright = {n: np.clip(cv2.resize(m, SIZE[::-1], interpolation=cv2.INTER_LINEAR), 0, 1) for n, m in coarse.items()}
    expected = mean_iou(upright, truths(place / "data"), split_of(place, "test"), np.float32(0.5))  # type: ignore[arg-type]
    # OpenCV rounds otherwise in the last bits, which may move a pixel across the threshold.
    assert float(external_row(place / "fixed", "coarse", "0.5")["iou"]) == pytest.approx(expected, abs=2e-3)


def test_wsolevaluations_figures_on_request(wslbench: Command, place: Path) -> None:
    done = wslbench("score", "maps", "--datasets", "data", "--compat", "wsolevaluation", "--out", "plain", cwd=place)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    for name in ("oracle_maxboxacc_v1", "oracle_maxboxacc_30", "oracle_maxboxacc_v2", "pxap"):
        assert f"{name} " in shown
    assert "oracle" not in (place / "plain" / "leaderboard.csv").read_text()


def damaged(place: Path, folder: Path) -> None:
    """One of each fault."""
    folder.mkdir()
    for i, (name, scores) in enumerate(maps_of(place).items()):
        if i == 50:
            continue
        if i == 60:
            (folder / f"{name}.npy").write_bytes(b"junk")
            continue
        if i == 61:
            Image.new("RGB", SIZE[::-1]).save(folder / f"{name}.png")
            continue
        faults: dict[int, npt.NDArray[Any]] = {
            51: scores * 2, 52: np.where(scores > 0.5, np.nan, scores), 53: scores[:5], 54: scores[None],
            55: (scores * 255).astype(np.uint8), 56: scores - 0.5, 57: np.array([object()]),
        }  # fmt: skip
        np.save(folder / f"{name}.npy", faults.get(i, scores), allow_pickle=True)
    np.save(folder / "typo.npy", scores)


def test_everything_wrong_is_named_and_nothing_is_written(wslbench: Command, place: Path) -> None:
    damaged(place, place / "bad")
    done = wslbench("score", "bad", "--datasets", "data", "--out", "refused", cwd=place)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for said in (
        "no map for 1 images: case050", "dataset does not have: typo", "case051: expected scores in [0, 1], found",
        "that are not finite", "case053: expected the shape (32, 40)", "case054: expected an array (height, width)",
        "case055: expected floating-point scores in [0, 1], found uint8",
        "case056: expected scores in [0, 1], found [-",
        "case057: unreadable (ValueError: Object arrays cannot be loaded", "case060: unreadable",
        "case061: expected grey", "nothing was scored",
    ):  # fmt: skip
        assert said in done.stderr, said
    assert not (place / "refused" / "run.json").exists()
    assert not (place / "refused" / "records").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "--datasets", "data"), "found no such file or folder"),
        (("data/labels.csv", "--datasets", "data"), "a file ending in .csv"),
        (("data", "--datasets", "data"), "a folder without such a file"),
        (("maps", "--datasets", "data", "--name", "gradcam"), "a method of this name exists"),
        (("maps", "--datasets", "data", "--name", "a/b"), "expected letters"),
        (("maps", "--datasets", "data", "--threshold", "1.5"), "threshold"),
        (("maps", "--datasets", "data", "--map-scale", "log"), "expected auto, none or image"),
        (("maps", "--datasets", "data", "--compat", "other"), "expected wsolevaluation"),
        (("maps", "--datasets", "data", "--criterion", "best"), "expected one of iou"),
        (("maps", "--datasets", "data", "--max-fnr", "0.3"), "bounds --criterion iop_at_fnr alone"),
        (("maps", "--datasets", "elsewhere"), "elsewhere"),
    ],
)  # fmt: skip
def test_bad_arguments(wslbench: Command, place: Path, arguments: tuple[str, ...], said: str) -> None:
    done = wslbench("score", *arguments, "--out", "bad_arguments", cwd=place)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_two_files_for_one_image_are_refused(wslbench: Command, place: Path, tmp_path: Path) -> None:
    for suffix in ("npy", "png"):
        (tmp_path / f"case000.{suffix}").touch()
    done = wslbench("score", str(tmp_path), "--datasets", "data", "--out", "twice", cwd=place)
    assert done.returncode == 2
    assert "case000.npy and case000.png" in done.stderr


def test_localized_maps_score_as_the_cell_itself(wslbench: Command, place: Path) -> None:
    # Long enough that no map is flat: on a plateau at the threshold the last bits of a batch would decide.
    tiny = ("--epochs", "8", "--image-size", "32", "--set", "recipe.width=0.1")
    # By accuracy alone both rows of GradCAM read one epoch of their training, and one file.
    tiny = (*tiny, "--checkpoint", "best_accuracy")
    done = wslbench(
        "run", "--methods", "infomask,gradcam,gradcam_encoder", "--datasets", "data", "--seeds", "0,", *tiny, "--out",
        "trained", cwd=place,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for method, scale in (("infomask", None), ("gradcam", "none")):
        (record,) = (place / "trained" / "records").glob(f"*--{method}--*.json")
        done = wslbench("localize", str(record), "data/images", "--out", f"of_{method}", cwd=place)
        assert done.returncode == 0, done.stderr
        described = json.loads((place / f"of_{method}" / "localize.json").read_text())
        threshold, scale = described["threshold"], scale or described["map_scale"]
        done = wslbench(
            "score", f"of_{method}", "--datasets", "data", "--threshold", str(threshold), "--map-scale", scale, "--out",
            "trained", cwd=place,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        board = rows(place / "trained" / "leaderboard.csv")
        (own,) = [r for r in board if r["method"] == method and r["threshold_rule"] == "val"]
        again = next(r for r in board if (r["method"], r["threshold_rule"]) == (f"of_{method}", f"{threshold:g}"))
        for metric in ("iou", "iop", "fpr", "fnr", "dice", "pxap", "boxacc", "ap_30", "pointing"):
            assert float(again[metric]) == pytest.approx(float(own[metric]), abs=1e-9), metric
        test_names = split_of(place, "test")
        assert set(test_names) < set(described["probability"])
        # Trained methods of the folder are still complete: the maps' seed is not theirs.
        assert {r["status"] for r in board if r["method"] == method} <= {"ok", "inverted", "at_chance"}


def test_localize_says_what_is_wrong(wslbench: Command, place: Path) -> None:
    (checkpoint,) = {
        json.loads(path.read_text())["checkpoint"]["file"]
        for path in (place / "trained" / "records").glob("*--gradcam*--*.json")
    }
    for arguments, said in (
        ((f"trained/{checkpoint}", "data/images"), "several cells share it (gradcam, gradcam_encoder)"),
        ((f"trained/{checkpoint}", "data/images", "--method", "infomask"), "found none"),
        (("data/labels.csv", "data/images"), "expected RUN/records/CELL.json"),
        ((f"trained/{checkpoint}", "data/labels.csv", "--method", "gradcam"), "8-bit image"),
        ((f"trained/{checkpoint}", "maps", "--method", "gradcam"), "found none"),
        ((f"trained/{checkpoint}", "data/images", "--method", "gradcam", "--format", "gif"), "expected npy or png"),
        ((f"trained/{checkpoint}", "data/images", "--method", "gradcam", "--out", "maps"), "new or empty folder"),
    ):
        out = () if "--out" in arguments else ("--out", "nothing")
        done = wslbench("localize", *arguments, *out, cwd=place)
        assert done.returncode == 2, arguments
        assert said in done.stderr, arguments
    assert not (place / "nothing").exists()
    done = wslbench(
        "localize", f"trained/{checkpoint}", "data/images/case001.png", "--method", "gradcam", "--format", "png",
        "--out", "one", cwd=place,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with Image.open(place / "one" / "case001.png") as picture:
        assert (picture.size, picture.mode) == (SIZE[::-1], "I;16")


def test_a_file_to_start_from_is_not_needed_any_more(tmp_path: Path) -> None:
    start = tmp_path / "start.pth"
    start.touch()
    values = {"weights": str(start), "input_size": 96}
    assert _without_start(values) == values
    start.unlink()
    assert _without_start(values) == {"input_size": 96}
    assert _without_start({"weights": 0.5}) == {"weights": 0.5}  # a plug-in's parameter of that name


def test_a_damaged_checkpoint_is_noticed(wslbench: Command, place: Path) -> None:
    (record,) = (place / "trained" / "records").glob("*--infomask--*.json")
    file = place / "trained" / json.loads(record.read_text())["checkpoint"]["file"]
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    done = wslbench("localize", str(record), "data/images", "--out", "damaged", cwd=place)
    file.write_bytes(whole)
    assert done.returncode == 2
    assert "its sha256 is not the record's" in done.stderr
