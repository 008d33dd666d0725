"""What a key holds, one component at a time: a change reaches exactly the cells and trainings it can affect."""

from __future__ import annotations

import ast
import copy
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import key_study as do
import pytest
from conftest import ROOT, run_python, tiny_folder
from key_study import ALL, NEAR, NONE, PLUGINS, TRAINED, WITH_NETWORK, Change, Study, reached

import wsl_bench.methods
from wsl_bench import registry, source
from wsl_bench.errors import UsageError
from wsl_bench.plan import _SHARED_SOURCE
from wsl_bench.protocol.job import digest
from wsl_bench.spec import RunSpec, with_fields
from wsl_bench.study import open_study

# case000 to case047 are train, to case095 val, the rest test; odd ones are positive and located.
CHANGES = (
    Change("a method's parameter", do.settings(explains__strength="3"), frozenset({"explains"}), NONE),
    Change("a parameter that its network takes", do.settings(explains__symmetric_start="none"),
           frozenset({"explains"}), frozenset({"explains"})),
    Change("a trained method's parameter", do.settings(featuremask__tau="0.4"), frozenset({"featuremask"}),
           frozenset({"featuremask"})),
    Change("the content of a file that a parameter names", do.plugin("weights.bin", "some", "other"),
           frozenset({"elsewhere"}), NONE),
    Change("a method's file", do.plugin("near/methods/explains.py", "self.strength * ", "self.strength + "),
           frozenset({"explains", "varied"}), NONE),
    Change("a variant's file", do.plugin("near/methods/varied.py", "2.0", "4.0"), frozenset({"varied"}), NONE),
    Change("a helper's file", do.plugin("near/methods/_helper.py", ".abs()", ".clamp(min=0)"), NEAR, NEAR),
    Change("a helper's file in another folder", do.plugin("far/methods/_other.py", "1", "2"), frozenset({"elsewhere"}),
           NONE),
    Change("a network's file", do.plugin("near/methods/small_net.py", "A network", "The network"), NEAR, NEAR),
    *(
        Change(f"source: {name}", do.engine(name), ALL, WITH_NETWORK)
        for name in ("method.py", "jit.py", "nets/cam.py", "training/loop.py", "protocol/score_maps.py",
                     "metrics/box.py", "data/geometry.py", "stats/bootstrap.py", "stats/crossed.py")
    ),
    Change("epochs", do.settings(recipe__epochs="4"), TRAINED, TRAINED),
    # A record tells the recipe of its run, so these reach priors and the untrained network too.
    Change("learning rate", do.settings(recipe__learning_rate="0.004"), ALL, WITH_NETWORK),
    Change("image size", do.settings(recipe__image_size="48"), ALL, WITH_NETWORK),
    Change("precision", do.settings(recipe__precision="bf16"), ALL, WITH_NETWORK),
    Change("what automatic precision is", do.settings(precision="bf16"), ALL, WITH_NETWORK),
    Change("device", do.settings(device="cuda"), ALL, WITH_NETWORK),
    Change("threads", do.patched("wsl_bench.plan.THREADS", 2), ALL, WITH_NETWORK),
    Change("a pixel of train", do.pixel("case011"), ALL, WITH_NETWORK),
    Change("a pixel of val", do.pixel("case051"), ALL, WITH_NETWORK),
    Change("a pixel of test", do.pixel("case101"), ALL, NONE),
    Change("a label of train", do.label("case010", label="1"), ALL, WITH_NETWORK),
    Change("a label of val", do.label("case050", label="1"), ALL, WITH_NETWORK),
    Change("a label of test", do.label("case100", label="1"), ALL, NONE),
    Change("a patient of test", do.label("case100", group_id="patient102"), ALL, NONE),
    Change("a box of val", do.box("case051"), ALL, NONE),
    Change("a box of test", do.box("case101"), ALL, NONE),
    Change("an image of test moved to train", do.label("case100", split="train"), ALL, WITH_NETWORK),
    Change("the seed", do.settings(seeds=(1,)), ALL, WITH_NETWORK),
    Change("criterion", do.settings(criterion="dice"), ALL, NONE),
    Change("fewest located", do.settings(min_val_located=10), ALL, NONE),
    Change("checkpoint rule", do.settings(checkpoint="last"), ALL, WITH_NETWORK),
    Change("version of the protocol", do.patched("wsl_bench.protocol.rules.PROTOCOL_VERSION", 99), ALL, NONE),
)  # fmt: skip
WITHOUT_EFFECT = tuple(
    Change(name, act, NONE, NONE)
    for name, act in (
        ("times of files", do.touched),
        ("order of rows", do.in_other_order),
        ("a README and a column beside the data", do.noted),
        ("images stored anew", do.stored_anew),
        ("a box of train", do.box("case011")),
        ("name of the dataset", do.renamed),
        ("a relative path from another directory", do.from_elsewhere),
        ("another folder for the run", do.in_another_folder),
        ("place of a file that a parameter names", do.another_file),
        ("a default given", do.settings(recipe__clip="1.0")),
        ("thresholds", do.settings(thresholds=("val", "0.5"))),
        ("order of methods", do.settings(methods=("elsewhere", *sorted(TRAINED, reverse=True)))),
        ("another method", do.settings(methods=("regl1", *sorted(TRAINED), "elsewhere"))),
        ("other parameters of another row", do.settings(
            methods=("gradcam", *sorted(TRAINED - {"gradcam"}), "elsewhere", "regl1[weight=0.5|0.7]"))),
        ("another seed", do.settings(seeds=(0, 1))),
        ("order of seeds", do.settings(seeds=(1, 0))),
        ("another dataset", do.beside_another),
        ("versions of libraries", do.patched("wsl_bench.versions.versions", lambda: {"torch": "99.0"})),
        ("version of the library that reads images", do.patched("wsl_bench.data.prepare.versions",
                                                                lambda: {"pillow": "99.0"})),
        ("the commit", do.patched("wsl_bench.versions.commit", lambda: "0123456789ab")),
        *((f"source: {name}", do.engine(name)) for name in (
            "cli/run.py", "executors/local.py", "leaderboard/build.py", "report/density.py", "store/records.py",
            "stats/ranking.py", "plan.py", "registry.py")),
    )
)  # fmt: skip
# Modules that a worker runs and that compute no number of a record.
COMPUTE_NOTHING = {"contained.py", "errors.py", "params.py", "registry.py", "versions.py",
                   "store/atomic.py", "store/migrate.py", "store/records.py", "store/trainings.py"}  # fmt: skip
# A component that a key leaves out, and the change that has to tell.
LEFT_OUT = (
    (("method", 1), "a method's parameter"),
    (("method", 2), "a method's file"),
    (("rules",), "criterion"),
    (("dataset", "test"), "a pixel of test"),
    (("dataset", "val_truth"), "a box of val"),
    (("dataset", "test_truth"), "a box of test"),
    (("trained", 2), "a parameter that its network takes"),
    (("trained", 3), "a network's file"),
    (("recipe",), "learning rate"),
    (("train",), "a pixel of train"),
    (("val",), "a pixel of val"),
    (("seed",), "the seed"),
    (("device",), "device"),
    (("threads",), "threads"),
    (("keeps",), "checkpoint rule"),
    (("source",), "source: nets/cam.py"),
)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders of plug-ins that this process knows, for the tests of this file alone."""
    place = tmp_path_factory.mktemp("plugins")
    do.write_plugins(place)
    folders = [str(place / "near/methods"), str(place / "far/methods")]
    for kind in registry.KINDS:
        registry.discover(kind)
    kept = {kind: dict(table) for kind, table in registry._registered.items()}, dict(registry._variants)
    wsl_bench.methods.__path__ += folders
    registry.discover.cache_clear()
    assert registry.discover("method").unavailable == []
    yield place
    for folder in folders:
        wsl_bench.methods.__path__.remove(folder)
    for name in PLUGINS:
        sys.modules.pop(f"wsl_bench.methods.{Path(name).stem}", None)
    registry._registered.update(kept[0])
    registry._variants.clear()
    registry._variants.update(kept[1])
    registry.discover.cache_clear()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package's source."""
    place = tmp_path_factory.mktemp("source") / "wsl_bench"
    return Path(shutil.copytree(ROOT / "wsl_bench", place, ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture
def study(
    plugins: Path, package: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Study]:
    """Everything that a change may reach, as it was before the change."""
    shutil.copytree(images, tmp_path / "images")
    do.write_plugins(plugins)
    before = {path: path.read_bytes() for path in package.rglob("*.py")}
    monkeypatch.setattr(source, "ROOT", package)
    source.source_sha256.cache_clear()
    yield Study(tmp_path, plugins, package, monkeypatch)
    for path, content in before.items():
        if path.read_bytes() != content:
            path.write_bytes(content)
    source.source_sha256.cache_clear()


@pytest.mark.parametrize("change", [*CHANGES, *WITHOUT_EFFECT], ids=lambda change: change.name)
def test_a_change_reaches_exactly_what_it_can_affect(change: Change, study: Study) -> None:
    assert reached(study, change) == (change.cells, change.trainings)


@pytest.mark.parametrize(("part", "name"), LEFT_OUT, ids=[name for _, name in LEFT_OUT])
def test_a_key_that_leaves_a_component_out_is_caught(part: tuple[Any, ...], name: str, study: Study) -> None:
    def without(parts: dict[str, Any]) -> str:
        parts = copy.deepcopy(parts)
        for holder in (parts, parts.get("training", {})):
            for step in part[:-1]:
                holder = (holder.get(step) if isinstance(holder, dict) else None) or {}
            if isinstance(holder, list) or part[-1] in holder:
                holder[part[-1]] = None
        return digest(parts)

    (change,) = (change for change in CHANGES if change.name == name)
    study.monkeypatch.setattr("wsl_bench.plan.digest", without)
    assert reached(study, change) != (change.cells, change.trainings)


def _imported(file: Path) -> set[Path]:
    """Files of the package that one file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    files = {ROOT / f"{name.replace('.', '/')}.py" for name in names if name.startswith("wsl_bench.")}
    return {file for file in files if file.is_file()}


def test_all_that_a_worker_computes_with_is_in_the_key() -> None:
    found, new = set[Path](), {ROOT / "wsl_bench/protocol/cell.py"}
    while new:
        found |= new
        new = {file for one in new for file in _imported(one)} - found
    names = {file.relative_to(ROOT / "wsl_bench").as_posix() for file in found}
    assert {name for name in names if not name.startswith(_SHARED_SOURCE)} == COMPUTE_NOTHING


def test_a_plugin_is_the_same_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = set()
    for place, (first, second) in (("here", ("a", "b")), ("there", ("b", "a"))):  # a base class in another folder
        files = {tmp_path / place / first / "method.py", tmp_path / place / second / "base.py"}
        for file in files:
            file.parent.mkdir(parents=True)
            file.write_text(f"# {file.name}\n")
        monkeypatch.setattr(registry.Entry, "_files", lambda entry, files=files: files)
        hashes.add(registry.discover("method").get("gradcam").source_hash())
    assert len(hashes) == 1


DRIVER = """
import json, sys
from pathlib import Path
from wsl_bench.protocol.cell import run_job
from wsl_bench.spec import RunSpec, with_fields
from wsl_bench.study import open_study, remaining

data, out = sys.argv[1:]
settings = {"recipe.epochs": "1", "recipe.image_size": "32", "recipe.width": "0.1"}
spec = with_fields(RunSpec(), {"methods": ("explains", "explains_too", "elsewhere"), "datasets": (data,), "seeds": (0,),
                               "device": "cpu", "set": settings})
plan, events = open_study(spec, Path(out)), []
todo = remaining(plan, Path(out), retry_failed=False)
for job in todo.jobs:
    run_job(job, events.append)
methods = {cell.slug: cell.method for cell in plan.cells()}
print(json.dumps({"computed": [[methods[e["slug"]], e["status"]] for e in events if e["event"] == "cell"],
                  "epochs": sum(e["event"] == "epoch" for e in events), "finished": todo.n_finished}))
"""


def _run(place: Path, data: str, cwd: Path, hash_seed: str) -> dict[str, Any]:
    """Run the study in a process of its own; what was computed, and how often each plug-in was really called."""
    counter = place / "counter"
    counter.write_text("")
    env = {
        "WSLBENCH_PLUGINS": f"{place / 'near'}:{place / 'far'}",
        "COUNTER": str(counter),
        "PYTHONHASHSEED": hash_seed,
    }
    done = run_python("-c", DRIVER, data, str(place / "out"), cwd=cwd, env=env)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    computed = {method for method, status in found["computed"] if status == "done"}
    assert len(found["computed"]) == len(computed)
    return {**found, "computed": computed, "called": set(counter.read_text().split())}


def test_a_run_after_a_change_computes_what_it_reached(images: Path, tmp_path: Path) -> None:
    do.write_plugins(tmp_path)
    data, every = shutil.copytree(images, tmp_path / "images"), do.SANITY | {"explains", "explains_too", "elsewhere"}
    first = _run(tmp_path, str(data), tmp_path, "1")
    own = {"explains", "explains_too", "elsewhere"}
    assert (first["computed"], first["called"]) == (every, own)
    maps = _artefacts(tmp_path, "explains")

    do.touched(Study(tmp_path, tmp_path / "near", tmp_path / "far", pytest.MonkeyPatch()))
    again = _run(tmp_path, "../images", tmp_path / "near", "2")
    assert again == {"computed": set(), "epochs": 0, "finished": len(every), "called": set()}

    shutil.move(tmp_path / "near", tmp_path / "moved")
    (tmp_path / "near").symlink_to(tmp_path / "moved")
    explains = tmp_path / "near/methods/explains.py"
    explains.write_text(explains.read_text().replace("evidence(images)", "evidence(images).clamp(max=1.0)"))
    edited = _run(tmp_path, str(data), tmp_path, "3")
    assert edited == {"computed": {"explains"}, "epochs": 0, "finished": len(every) - 1, "called": {"explains"}}
    assert _artefacts(tmp_path, "explains") != maps

    do.pixel("case101")(Study(tmp_path, tmp_path, tmp_path, pytest.MonkeyPatch()))
    spec = with_fields(
        RunSpec(),
        {
            "methods": ("center_box",),
            "datasets": (str(data),),
            "seeds": (0,),
            "device": "cpu",
            "set": {"recipe.epochs": "1", "recipe.image_size": "32", "recipe.width": "0.1"},
        },
    )
    with pytest.raises(UsageError, match=r"differs in dataset images \(test\)"):
        open_study(spec, tmp_path / "out")


def _artefacts(place: Path, method: str) -> str:
    """The record of a method's tallies, which names them by their content."""
    (record,) = (place / "out/records").glob(f"images--{method}--*.json")
    return str(json.loads(record.read_text())["artefacts"]["test"]["sha256"])
