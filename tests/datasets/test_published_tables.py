"""NIH and RSNA from their real label tables, unpacked as their publishers lay them out; no images are needed."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED_DATA, run_python

from wsl_bench import params, registry
from wsl_bench.data.samples import Sample
from wsl_bench.data.splits import make_manifest
from wsl_bench.errors import DataError

LABELS = SHARED_DATA / "labels"
pytestmark = pytest.mark.skipif(not LABELS.is_dir(), reason="needs the published label tables")


def dataset(name: str, root: Path, **values: Any) -> Any:
    """A registered dataset with its files below `root`."""
    return params.build(registry.discover("dataset").get(name).cls, name, {"root": root, **values})


@pytest.fixture(scope="module")
def nih(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of NIH ChestX-ray14, and lists made here: patients with a box and every sixth other are test."""
    root = tmp_path_factory.mktemp("nih")
    for name in ("Data_Entry_2017_v2020.csv", "BBox_List_2017.csv"):
        (root / name).write_bytes(gzip.decompress((LABELS / f"{name}.gz").read_bytes()))
    boxed = {line.split("_")[0] for line in (root / "BBox_List_2017.csv").read_text().splitlines()[1:]}
    images = [line.split(",")[0] for line in (root / "Data_Entry_2017_v2020.csv").read_text().splitlines()[1:]]
    test = [image for image in images if image.split("_")[0] in boxed or int(image.split("_")[0]) % 6 == 0]
    (root / "test_list.txt").write_text("\n".join(test) + "\n")
    (root / "train_val_list.txt").write_text("\n".join(sorted(set(images) - set(test))) + "\n")
    return root


@pytest.fixture(scope="module")
def rsna(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of stage 2."""
    root = tmp_path_factory.mktemp("rsna")
    with zipfile.ZipFile(LABELS / "kaggle_stage_2_train_labels.csv.zip") as archive:
        (root / "stage_2_train_labels.csv").write_bytes(archive.read(archive.namelist()[0]))
    return root


def _home(samples: list[Sample]) -> dict[str, set[str]]:
    """Splits each patient is in."""
    found: dict[str, set[str]] = defaultdict(set)
    for sample in make_manifest("test", samples).samples:
        found[sample.group].add(str(sample.split))
    return found


def test_nih_has_the_published_counts(nih: Path) -> None:
    pneumonia = dataset("nih", nih).samples()
    assert Counter(s.label for s in pneumonia) == {1: 1431, 0: 60361}
    assert sum(s.located for s in pneumonia) == 120
    everything = dataset("nih", nih, finding="any").samples()
    assert len(everything) == 112_120
    assert len({s.group for s in everything}) == 30_805
    assert sum(s.located for s in everything) == 880
    rest = dataset("nih", nih, negatives="rest").samples()
    assert Counter(s.label for s in rest) == {1: 1431, 0: 112_120 - 1431}
    effusion = dataset("nih", nih, finding="Infiltration").samples()
    assert sum(s.located for s in effusion) == 123  # "Infiltrate" in the table of boxes


def test_nih_boxes_are_those_of_the_table(nih: Path) -> None:
    every = dataset("nih", nih, finding="any")
    located = [s for s in every.samples() if s.located]
    assert sum(len(every.truth(s).boxes) for s in located) == 984
    first = next(s for s in located if s.image_id == "00013118_008")
    assert every.truth(first).boxes[0].tolist() == [
        225.084745762712,
        547.019216763771,
        86.7796610169491,
        79.1864406779661,
    ]
    boxes = [box for s in located for box in every.truth(s).boxes]
    assert all(x >= -1 and y >= -1 and x + w <= 1025 and y + h <= 1025 for x, y, w, h in boxes)


@pytest.mark.parametrize("values", [{}, {"split": "hash"}, {"finding": "Mass", "split": "hash", "negatives": "rest"}])
def test_nih_keeps_patients_apart_and_boxes_out_of_train(nih: Path, values: dict[str, str]) -> None:
    samples = dataset("nih", nih, **values).samples()
    home = _home(samples)
    assert max(map(len, home.values())) == 1
    manifest = make_manifest("nih", samples)
    boxed = {s.group for s in samples if s.located}
    assert boxed.isdisjoint(s.group for s in manifest.of("train"))
    counts = Counter(s.split for s in manifest.samples if s.located)
    assert min(counts["val"], counts["test"]) > 20  # enough to fit on and to report
    if "split" not in values:
        listed = set((nih / "test_list.txt").read_text().split())
        assert all((f"{s.image_id}.png" in listed) == (s.split != "train") for s in manifest.samples)


def test_nih_refuses_a_box_on_an_image_whose_labels_lack_it(nih: Path, tmp_path: Path) -> None:
    for file in nih.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    table = tmp_path / "Data_Entry_2017_v2020.csv"
    boxed = next(s.image_id for s in dataset("nih", nih).samples() if s.located)
    for findings in ("No Finding", "Mass"):
        lines = [line.split(",") for line in table.read_text().splitlines()]
        changed = [[f[0], findings, *f[2:]] if f[0] == f"{boxed}.png" else f for f in lines]
        table.write_text("\n".join(map(",".join, changed)) + "\n")
        with pytest.raises(DataError, match="Pneumonia among the findings of"):
            dataset("nih", tmp_path).samples()


def test_nih_views_and_details(nih: Path) -> None:
    frontal = dataset("nih", nih, finding="any", view="PA").samples()
    assert len(frontal) == 67_310
    assert {s.metadata["view"] for s in frontal} == {"PA"}
    one = next(s for s in frontal if s.image_id == "00000001_000")
    assert one.metadata == {"view": "PA", "sex": "M", "age": "57", "findings": "Cardiomegaly"}


def test_nih_reads_the_spelling_of_the_first_release(nih: Path, tmp_path: Path) -> None:
    for file in nih.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    lines = (tmp_path / "Data_Entry_2017_v2020.csv").read_text().splitlines()
    fields = [line.split(",") for line in lines[1:]]
    first = [",".join([*f[:4], f"{int(f[4]):03d}Y", *f[5:], ""]) for f in fields]
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join([lines[0] + ",", *first]) + "\n")
    (tmp_path / "Data_Entry_2017_v2020.csv").unlink()
    assert dataset("nih", tmp_path).samples() == dataset("nih", nih).samples()


def test_rsna_has_the_published_counts(rsna: Path) -> None:
    found = dataset("rsna", rsna)
    samples = found.samples()
    assert Counter(s.label for s in samples) == {1: 6012, 0: 20_672}
    located = [s for s in samples if s.located]
    assert len(located) == 6012
    assert sum(len(found.truth(s).boxes) for s in located) == 9555
    assert found.truth(next(s for s in located if s.image_id.startswith("00436515"))).boxes.tolist() == [
        [264, 152, 213, 379], [562, 152, 256, 453],
    ]  # fmt: skip


def test_rsna_says_that_patients_are_not_known_until_the_mapping_is_there(rsna: Path, tmp_path: Path) -> None:
    found = dataset("rsna", rsna)
    assert "cannot be verified" in found.remarks()[0]
    samples = found.samples()
    assert all(s.group == s.image_id for s in samples)
    (tmp_path / "stage_2_train_labels.csv").write_bytes((rsna / "stage_2_train_labels.csv").read_bytes())
    mapping = [{"subset_img_id": s.image_id, "img_id": f"{i // 3:08d}_{i % 3:03d}.png"} for i, s in enumerate(samples)]
    (tmp_path / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(mapping))
    mapped = dataset("rsna", tmp_path)
    assert mapped.remarks() == []
    assert len({s.group for s in mapped.samples()}) == -(-26_684 // 3)
    assert max(map(len, _home(mapped.samples()).values())) == 1
    (tmp_path / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(mapping[1:]))
    with pytest.raises(DataError, match="none for"):
        dataset("rsna", tmp_path).samples()


def test_rsna_normal_negatives_need_the_classes(rsna: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="stage_2_detailed_class_info"):
        dataset("rsna", rsna, negatives="normal").samples()
    (tmp_path / "stage_2_train_labels.csv").write_bytes((rsna / "stage_2_train_labels.csv").read_bytes())
    samples = dataset("rsna", rsna).samples()
    kinds = ("Normal", "No Lung Opacity / Not Normal")
    lines = [f"{s.image_id},{'Lung Opacity' if s.label else kinds[i % 2]}" for i, s in enumerate(samples)]
    (tmp_path / "stage_2_detailed_class_info.csv").write_text("\n".join(["patientId,class", *lines]) + "\n")
    normal = dataset("rsna", tmp_path, negatives="normal").samples()
    assert {s.metadata["class"] for s in normal} == {"Lung Opacity", "Normal"}
    assert sum(s.label for s in normal) == 6012


@pytest.mark.parametrize("seed", ["0", "4242"])
def test_manifests_are_the_same_whatever_the_hash_seed(nih: Path, rsna: Path, tmp_path: Path, seed: str) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom wsl_bench import params, registry\n"
        "from wsl_bench.data.splits import make_manifest\n"
        "for name, root, values in (('nih', sys.argv[1], {'split': 'hash'}), ('rsna', sys.argv[2], {})):\n"
        "    cls = registry.discover('dataset').get(name).cls\n"
        "    print(make_manifest(name, params.build(cls, name, {'root': Path(root), **values}).samples()).sha256())\n"
    )
    done = run_python("-c", script, str(nih), str(rsna), cwd=tmp_path, env={"PYTHONHASHSEED": seed})
    assert done.returncode == 0, done.stderr
    assert tuple(done.stdout.split()) == COMMITTED


# sha256 of the manifests of the full tables: nih[split=hash], and rsna without the mapping of patients.
COMMITTED = (
    "faabd013b171cb16b06bf66079f774357e26e31da0baa4e570e870de8dd6321c",
    "bda6a3f100cdeba1df4625448fef5bfec239e7f1197e89043a215c1557546f0c",
)
