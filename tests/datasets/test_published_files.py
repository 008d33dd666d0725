"""NIH and RSNA as their publishers lay the files out, from rows of the real tables, through the real command."""

from __future__ import annotations

import csv
import gzip
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED_DATA, run_python
from dicom_files import NAME, jpeg, save
from PIL import Image

from wsl_bench import params, registry
from wsl_bench.cli import main
from wsl_bench.data.dicom import read_dicom
from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.prepare import PreparedDataset, prepare
from wsl_bench.data.prepared import load_truth, load_weak

LABELS = SHARED_DATA / "labels"
pytestmark = pytest.mark.skipif(not LABELS.is_dir(), reason="needs the published label tables")
RUN = ("-m", "wsl_bench.cli.main", "run", "--methods", "center_box,mean_box", "--seeds", "1", "--image-size", "32",
       "--device", "cpu", "--jobs", "1", "--set", "recipe.width=0.1")  # fmt: skip


def _pixels(number: int, boxes: list[list[float]]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """A smooth radiograph of 1024 x 1024 pixels, darker below, brighter in the boxes."""
    shade = np.linspace(40 + number % 40, 160, 1024)[:, None] + np.linspace(0, 40, 1024)
    for x, y, w, h in boxes:
        shade[int(y) : int(y + h), int(x) : int(x + w)] += 50
    return shade.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def nih(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 images with a box on pneumonia, some without, and healthy ones, in two of the archives' folders."""
    root = tmp_path_factory.mktemp("nih")
    entries = gzip.decompress((LABELS / "Data_Entry_2017_v2020.csv.gz").read_bytes()).decode().splitlines()
    table = gzip.decompress((LABELS / "BBox_List_2017.csv.gz").read_bytes()).decode().splitlines()
    boxes: dict[str, list[list[float]]] = defaultdict(list)
    for row in csv.reader(table[1:]):
        if row[1] == "Pneumonia" and len(boxes) < 48:
            boxes[row[0]].append([float(v) for v in row[2:6]])
    rows = list(csv.reader(entries[1:]))
    healthy = [row[0] for row in rows if row[1] == "No Finding"][::1200]
    others = [row[0] for row in rows if "Pneumonia" in row[1].split("|")][::60]
    chosen = sorted({*boxes, *healthy, *others})
    (root / "Data_Entry_2017_v2020.csv").write_text(
        "\n".join([entries[0], *(e for e in entries[1:] if e.split(",")[0] in set(chosen))]) + "\n"
    )
    (root / "BBox_List_2017.csv").write_text(
        "\n".join([table[0], *(b for b in table[1:] if b.split(",")[0] in boxes)]) + "\n"
    )
    for number, name in enumerate(chosen):
        folder = root / f"images_{1 + number % 2:03d}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_pixels(number, boxes.get(name, []))).save(folder / name, compress_level=1)
    return root


@pytest.fixture(scope="module")
def rsna(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every two-hundred-and-fiftieth image of stage 2, as baseline JPEG in DICOM."""
    root = tmp_path_factory.mktemp("rsna")
    with zipfile.ZipFile(LABELS / "kaggle_stage_2_train_labels.csv.zip") as archive:
        lines = archive.read(archive.namelist()[0]).decode().splitlines()
    boxes: dict[str, list[list[float]]] = defaultdict(list)
    for image, *box, target in csv.reader(lines[1:]):
        boxes[image] += [[float(v) for v in box]] if target == "1" else []
    chosen = sorted(boxes)[::250]
    kept = [line for line in lines[1:] if line.split(",")[0] in set(chosen)]
    (root / "stage_2_train_labels.csv").write_text("\n".join([lines[0], *kept]) + "\n")
    for number, image in enumerate(chosen):
        view = "AP" if number % 3 else "PA"
        save(jpeg(_pixels(number, boxes[image]), ViewPosition=view), root / "stage_2_train_images" / f"{image}.dcm")
    return root


def _prepared(name: str, root: Path, out: Path, **values: str) -> PreparedDataset:
    dataset = params.build(registry.discover("dataset").get(name).cls, name, {"root": root, **values})
    return prepare(name, dataset, 32, out)


def test_nih_is_prepared_from_its_files(nih: Path, tmp_path: Path) -> None:
    found = _prepared("nih", nih, tmp_path, split="hash")
    assert found.n_located("val") + found.n_located("test") == 48
    assert found.remarks == []
    truth = load_truth(found.folder, "test")
    for box in (box for one in truth.truths for box in one.boxes.tolist()):
        assert ",".join(str(v) for v in box[:1]) in (nih / "BBox_List_2017.csv").read_text()
    assert {"view", "sex", "age"} <= set(found.manifest.details_csv().splitlines()[0].split(","))


def test_rsna_is_prepared_from_its_files_with_what_their_headers_say(rsna: Path, tmp_path: Path) -> None:
    found = _prepared("rsna", rsna, tmp_path)
    views = [s.metadata["view"] for s in found.manifest.samples]
    assert Counter(views)["PA"] == -(-len(views) // 3)
    assert "cannot be verified" in found.remarks[0]
    weak = load_weak(found.folder, "train")
    expected = Letterbox.fit(1024, 1024, 32).apply(
        read_dicom(rsna / "stage_2_train_images" / f"{weak.image_ids[0]}.dcm")
    )
    np.testing.assert_array_equal(weak.images[0], expected)
    assert not [path for path in tmp_path.rglob("*.npz") if NAME.split("^")[0].encode() in path.read_bytes()]


@pytest.mark.slow  # maps are counted at 1024 x 1024, and noise has many components
def test_nih_runs_from_its_files(nih: Path, tmp_path: Path) -> None:
    command = (*RUN, "--datasets", "nih[split=hash]", "--data-root", str(nih), "--out", str(tmp_path / "run"),
               "--min-val-located", "5")  # fmt: skip
    done = run_python(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "run" / "leaderboard.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert float(rows["whole_image"]["iou"]) < 0.2
    assert int(rows["whole_image"]["n_located"]) > 10
    by = run_python("-m", "wsl_bench.cli.main", "leaderboard", "run", "--by", "view", cwd=tmp_path)
    assert by.returncode == 0, by.stderr
    assert "AP" in by.stdout


@pytest.mark.slow
def test_rsna_runs_from_its_files_says_what_it_cannot_know_and_names_nobody(rsna: Path, tmp_path: Path) -> None:
    command = (*RUN, "--datasets", "rsna", "--data-root", str(rsna), "--out", str(tmp_path / "run"),
               "--min-val-located", "5")  # fmt: skip
    done = run_python(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cannot be verified" in " ".join(done.stdout.split())
    assert "cannot be verified" in (tmp_path / "run" / "run.json").read_text()
    details = (tmp_path / "run" / "manifests" / "details" / "rsna.csv").read_text()
    assert {line.split(",")[-1] for line in details.splitlines()[1:]} == {"AP", "PA"}
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not [path for path in written if NAME.split("^")[0].encode() in path.read_bytes()]
    assert NAME not in done.stdout + done.stderr


def test_rsna_keeps_one_view(rsna: Path, tmp_path: Path) -> None:
    cls = registry.discover("dataset").get("rsna").cls
    every = params.build(cls, "rsna", {"root": rsna}).samples()
    frontal = params.build(cls, "rsna", {"root": rsna, "view": "PA"}).samples()
    assert len(frontal) == len(every[::3])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--datasets", "nih"), "expected the label table"),
        (("--datasets", "rsna", "--data-root", "gone"), "expected a folder, found none"),
        (("--datasets", "phantom", "--data-root", "."), "none of the datasets (phantom) reads files from a root"),
        (("--datasets", "nih[finding=Flu]", "--data-root", "."), "Flu"),
    ],
)
def test_wrong_roots_are_told(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main._guarded([*RUN[2:], *arguments]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_missing_image_is_told_by_name(nih: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "root").mkdir()
    for file in nih.glob("*.csv"):
        (tmp_path / "root" / file.name).write_bytes(file.read_bytes())
    where = ("--data-root", str(tmp_path / "root"), "--out", str(tmp_path / "run"))
    assert main._guarded([*RUN[2:], "--datasets", "nih[split=hash]", *where]) == 2
    said = capsys.readouterr().err
    assert "no such file" in said
    assert ".png" in said
