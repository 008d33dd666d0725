"""A twin of RSNA: the real table's rows, drawn, in the publisher's layout, read by the real loader."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from conftest import ROOT, SHARED_DATA, run_python
from doc_blocks import Reader, commands, small

from wsl_bench import params, registry
from wsl_bench.data.decode import How
from wsl_bench.data.dicom import read_dicom
from wsl_bench.data.prepare import prepare

LABELS = SHARED_DATA / "labels" / "kaggle_stage_2_train_labels.csv.zip"
HEADERS = SHARED_DATA / "labels" / "kaggle_stage_2_train_images_dicom_headers.csv.gz"
SIZE, N = 64, 200
WSLBENCH = ("-m", "wsl_bench.cli.main")
TWIN = (*WSLBENCH, "twin", "rsna", "--labels", str(LABELS), "--headers", str(HEADERS), "--size", str(SIZE), "--images",
        str(N))  # fmt: skip
pytestmark = pytest.mark.skipif(not LABELS.is_file(), reason="needs the published label tables")


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("twin")
    done = run_python(*TWIN, "--output", "rsna", cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{N} images, ") or f"{N} images, " in done.stdout
    return root / "rsna"


def _table() -> pd.DataFrame:
    with zipfile.ZipFile(LABELS) as archive:
        return pd.read_csv(io.BytesIO(archive.read(archive.namelist()[0])))


def test_the_table_is_the_published_one_at_another_size(twin: Path) -> None:
    published, drawn = _table(), pd.read_csv(twin / "stage_2_train_labels.csv")
    assert list(drawn.columns) == list(published.columns)
    kept = published[published.patientId.isin(set(drawn.patientId))]
    assert drawn.patientId.nunique() == N
    assert drawn.patientId.tolist() == kept.patientId.tolist()
    assert drawn.Target.tolist() == kept.Target.tolist()
    columns = ["x", "y", "width", "height"]
    np.testing.assert_array_equal(drawn[columns].to_numpy() * (1024 / SIZE), kept[columns].to_numpy())
    assert 0.1 < drawn.Target.mean() < 0.6
    classes = pd.read_csv(twin / "stage_2_detailed_class_info.csv").set_index("patientId")["class"]
    labels = drawn.groupby("patientId").Target.max()
    assert (classes[labels.index] == np.where(labels == 1, "Lung Opacity", "Normal")).all()


def test_headers_are_those_of_the_published_table(twin: Path) -> None:
    headers = pd.read_csv(HEADERS).set_index("PatientID")
    files = sorted((twin / "stage_2_train_images").glob("*.dcm"))
    assert len(files) == N
    for file in files[::20]:
        data, row = pydicom.dcmread(file), headers.loc[file.stem]
        assert (data.PatientID, data.PatientSex, data.ViewPosition) == (file.stem, row.PatientSex, row.ViewPosition)
        assert int(data.PatientAge[:-1]) == row.PatientAge
        assert (data.Rows, data.Columns, data.BitsStored, data.Modality) == (SIZE, SIZE, 8, "CR")
        assert data.file_meta.TransferSyntaxUID == pydicom.uid.JPEGBaseline8Bit
        assert float(data.PixelSpacing[0]) == pytest.approx(row.PixelSpacing)
        assert "PatientName" not in data


def test_lesions_lie_in_the_boxes(twin: Path) -> None:
    """The same patient with and without its lesions differs in the boxes, by what is brighter, and hardly outside."""
    from wsl_bench.data.radiograph import scene

    drawn = pd.read_csv(twin / "stage_2_train_labels.csv").set_index("patientId")
    order = list(dict.fromkeys(_table().patientId))  # a patient is numbered by its place in the whole table
    positives = [name for name in dict.fromkeys(drawn.index) if drawn.loc[[name]].Target.max() == 1][:12]
    for name in positives:
        boxes = drawn.loc[[name], ["x", "y", "width", "height"]].to_numpy() / SIZE
        number = order.index(name)
        with_lesions = scene.render_at(7_000_000, number, 128, boxes)
        if number == order.index(positives[0]):
            stored = read_dicom(twin / "stage_2_train_images" / f"{name}.dcm").astype(float)
            assert np.abs(stored - scene.render_at(7_000_000, number, SIZE, boxes)).mean() < 4  # JPEG
        faint = np.array([[x, y, w, h] for x, y, w, h in boxes]) * [1, 1, 0, 0] + [0, 0, 1e-3, 1e-3]
        without = scene.render_at(7_000_000, number, 128, faint).astype(float)
        gain = with_lesions.astype(float) - without
        inside = np.zeros((128, 128), bool)
        for x, y, w, h in boxes * 128:
            inside[int(y) : int(np.ceil(y + h)), int(x) : int(np.ceil(x + w))] = True
        assert gain[inside].mean() > 5, name
        assert np.abs(gain[~inside]).mean() < 1.5, name
        assert gain[inside].sum() > 0.9 * gain.clip(0).sum(), name


def test_the_real_loader_reads_it_and_counts_agree(twin: Path, tmp_path: Path) -> None:
    cls = registry.discover("dataset").get("rsna").cls
    dataset = params.build(cls, "rsna", {"root": twin, "side": SIZE})
    prepared = prepare("twin", dataset, 32, tmp_path, cache=tmp_path / "cache", how=How())
    drawn = pd.read_csv(twin / "stage_2_train_labels.csv")
    counts = prepared.counts().values()
    assert sum(c.images for c in counts) == N
    assert sum(c.positives for c in counts) == drawn[drawn.Target == 1].patientId.nunique()
    held = {s.image_id for split in ("val", "test") for s in prepared.manifest.of(split)}
    assert sum(c.boxes or 0 for c in counts) == int((drawn.patientId.isin(held) & (drawn.Target == 1)).sum())
    views = {s.metadata["view"] for s in prepared.manifest.samples}
    assert views == {"AP", "PA"}


def test_the_published_loader_refuses_a_twin_of_another_size(twin: Path, tmp_path: Path) -> None:
    done = run_python(*WSLBENCH, "prepare", "rsna", "--data-root", str(twin), cwd=tmp_path)
    assert done.returncode == 2
    assert "expected uint8 pixels of height x width (1024, 1024)" in " ".join(done.stderr.split())


def test_a_study_runs_on_it(twin: Path, tmp_path: Path) -> None:
    command = (*WSLBENCH, "run", "--methods", "infomask", "--datasets", f"rsna[side={SIZE}]", "--data-root", str(twin),
               "--seeds", "1", "--epochs", "1", "--image-size", "32", "--set", "recipe.width=0.1", "--device", "cpu",
               "--min-val-located", "5", "--out", "run")  # fmt: skip
    done = run_python(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = pd.read_csv(tmp_path / "run" / "leaderboard.csv").set_index("method")
    drawn = pd.read_csv(twin / "stage_2_train_labels.csv")
    manifest = pd.read_csv(tmp_path / "run" / "manifests" / f"rsna[side={SIZE}].csv").set_index("image_id")
    test = manifest[manifest.split == "test"]
    assert rows.loc["infomask", "n_images"] == len(test)
    assert rows.loc["infomask", "n_located"] == test.located.sum() == test.label.sum()
    boxes = drawn[(drawn.Target == 1) & drawn.patientId.isin(set(test.index))]
    union = []
    for name in test.index[test.label == 1]:
        grid = np.zeros((SIZE, SIZE), bool)
        centres = np.arange(SIZE) + 0.5
        for x, y, w, h in boxes[boxes.patientId == name][["x", "y", "width", "height"]].to_numpy():
            grid |= ((centres >= y) & (centres < y + h))[:, None] & ((centres >= x) & (centres < x + w))
        union.append(grid.mean())
    # The whole image as a mask: its IoU is the share of the boxes, whatever the network learnt.
    assert rows.loc["whole_image", "iou"] == pytest.approx(np.mean(union), abs=1e-9)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["remarks"]


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    """docs/datasets.md, with fewer images; what is drawn at the published size stands in for the published files."""
    with zipfile.ZipFile(LABELS) as archive:
        (tmp_path / "stage_2_train_labels.csv").write_bytes(archive.read(archive.namelist()[0]))
    published = [*WSLBENCH, "twin", "rsna", "--labels", str(LABELS), "--output", "RSNA", "--size", "1024", "--images",
                 "64"]  # fmt: skip
    assert run_python(*published, cwd=tmp_path).returncode == 0
    more = {"twin": ("--images", "160"), "prepare": ("--image-size", "64"), "run": ("--image-size", "32", "--epochs",
             "1", "--set", "recipe.width=0.1", "--min-val-located", "5", "--device", "cpu")}  # fmt: skip
    done = []
    for line in commands((ROOT / "docs" / "datasets.md").read_text()):
        program, command, *arguments = shlex.split(line)
        assert program == "wslbench"
        result = run_python(*WSLBENCH, command, *arguments, *more[command], cwd=tmp_path)
        assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"
        done.append(command)
    assert done == ["prepare", "twin", "prepare", "run"]
    assert len(pd.read_csv(tmp_path / "rsna_splits.csv")) == 64


@pytest.mark.slow
def test_the_papers_table(tmp_path: Path) -> None:
    """docs/rsna.md, on a twin in place of the published files; with enough positives for strata by size."""

    def on_the_twin(line: str) -> str:
        for command in ("--datasets rsna ", "prepare rsna "):
            line = line.replace(command, command.replace("rsna", f'"rsna[side={SIZE}]"'))
        return small(line)

    drawn = [str(1600) if word == str(N) else word for word in TWIN]
    assert run_python(*drawn, "--output", "RSNA", cwd=tmp_path).returncode == 0
    done = list(Reader(tmp_path, on_the_twin).follow((ROOT / "docs" / "rsna.md").read_text()))
    assert len(done) == 10
    table = (tmp_path / "rsna_figures" / "table1.md").read_text()
    for method in ("InfoMask", "CheXCAM", "GradCAM", "FeatureMask"):
        assert method in table
    assert "reported" in table
    assert {f"{name}.png" for name in ("density_iop", "comparison", "spread_infomask", "lesion_size_iou")} <= {
        path.name for path in (tmp_path / "rsna_figures").iterdir()
    }
    assert (tmp_path / "rsna_report" / "index.html").is_file()


def test_a_twin_of_other_tables_or_with_paths_in_it_is_refused(tmp_path: Path) -> None:
    header = "patientId,x,y,width,height,Target\n"
    rows = "".join(f"im{i},10.0,20.0,300.0,200.0,1\nno{i},,,,,0\n" for i in range(3))
    (tmp_path / "labels.csv").write_text(header + rows)
    command = (*WSLBENCH, "twin", "rsna", "--labels", "labels.csv", "--size", "32", "--output")
    assert run_python(*command, "twin", "--images", "2", cwd=tmp_path).returncode == 0
    few = {file.name: file.read_bytes() for file in (tmp_path / "twin").glob("*/*.dcm")}
    assert run_python(*command, "twin", cwd=tmp_path).returncode == 0  # more of the same table
    files = sorted((tmp_path / "twin").glob("*/*.dcm"))
    assert few.items() < {file.name: file.read_bytes() for file in files}.items()
    assert len({read_dicom(file).tobytes() for file in files}) == 6  # no patient comes twice
    (tmp_path / "labels.csv").write_text(header + rows.replace("300.0", "310.0"))
    other = run_python(*command, "twin", cwd=tmp_path)
    assert other.returncode == 2
    assert "expected a new or empty folder or this twin begun" in " ".join(other.stderr.split())
    (tmp_path / "labels.csv").write_text(header + rows + "../../out,,,,,0\n")
    hostile = run_python(*command, "third", cwd=tmp_path)
    assert hostile.returncode == 2
    assert "patientIds, which name files" in " ".join(hostile.stderr.split())
    assert not (tmp_path / "third").exists()


def test_an_interrupted_twin_goes_on(tmp_path: Path) -> None:
    command = (*TWIN[:-1], "12", "--output", "twin")
    assert run_python(*command, cwd=tmp_path).returncode == 0
    files = sorted((tmp_path / "twin" / "stage_2_train_images").iterdir())
    before = {file: file.read_bytes() for file in files}
    for file in files[3:7]:
        file.unlink()
    kept = {file: file.stat().st_mtime_ns for file in files if file.exists()}
    assert run_python(*command, cwd=tmp_path).returncode == 0
    assert {file: file.read_bytes() for file in files} == before
    assert {file: file.stat().st_mtime_ns for file in kept} == kept


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("twin", "phantom", "--labels", str(LABELS), "--output", "out"), "has no twin"),
        (("twin", "nosuch", "--labels", str(LABELS), "--output", "out"), "nosuch"),
        (("twin", "rsna", "--labels", "nosuch.csv", "--output", "out"), "nosuch.csv"),
        (("twin", "rsna", "--labels", "junk.csv", "--output", "out"), "the column 'patientId'"),
        (("twin", "rsna", "--labels", "junk.zip", "--output", "out"), "expected a CSV table, plain, .zip or .gz"),
        (("twin", "rsna", "--labels", str(LABELS), "--output", "full"), "expected a new or empty folder"),
        (("twin", "rsna", "--labels", str(LABELS), "--output", "junk.csv"), "found a file"),
        (("twin", "rsna", "--labels", str(LABELS), "--output", "out", "--size", "8"), "--size 8: expected at least 32"),
        (("twin", "rsna", "--labels", str(LABELS), "--output", "out", "--images", "0"), "--images 0"),
    ],
)
def test_bad_input_is_told(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "junk.csv").write_text("a,b\n1,2\n")
    (tmp_path / "junk.zip").write_bytes(b"no archive")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    done = run_python(*WSLBENCH, *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").glob("*/*"))
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
