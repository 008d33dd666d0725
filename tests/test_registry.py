"""Who is there: built-in files, WSLBENCH_PLUGINS folders, entry points, and what is wrong with the rest."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, run_python

from wsl_bench import registry
from wsl_bench.errors import UsageError

CLI = ("-m", "wsl_bench.cli.main")
PRIOR = '''
from wsl_bench import PriorMethod, register_method

@register_method("{name}")
class Plugged(PriorMethod):
    """{summary}"""
'''
DATASET = '''
from wsl_bench import Dataset, register_dataset

@register_dataset("{name}")
class Plugged(Dataset):
    """{summary}"""
'''
REPORT = """
import json, sys
from wsl_bench import registry
answer = {}
for kind in sys.argv[1:]:
    found = registry.discover(kind)
    answer[kind] = {
        "available": {name: [entry.file, entry.summary, entry.of] for name, entry in found.available.items()},
        "unavailable": [[broken.name, broken.file, broken.reason] for broken in found.unavailable],
    }
print(json.dumps(answer))
"""
# Dataset files import no torch, so cases that hold for every kind are tried with them.
PLUGINS = {
    "datasets/good.py": DATASET.format(name="good", summary="A plugged dataset."),
    "datasets/syntax.py": "def broken(:\n",
    "datasets/missing.py": "import a_package_that_is_not_there\n",
    "datasets/leaving.py": "import sys\nsys.exit('this plug-in leaves')\n",
    "datasets/raising.py": "raise RuntimeError('first line\\nsecond [line]')\n",
    "datasets/thief.py": DATASET.format(name="folder", summary="Takes a name."),
    "datasets/folder.py": DATASET.format(name="other", summary="Has the stem of a built-in file."),
    "datasets/half.py": DATASET.format(name="half", summary="Fails later.") + "raise OSError('too late')\n",
    "datasets/_private.py": "raise AssertionError('a private file was imported')\n",
    "datasets/notes.txt": "not a module\n",
}
NETWORK = """
from wsl_bench import Network, register_network

@register_network("plugged_network")
class Plugged(Network):
    '''A network in the file of its method.'''
"""
EXPLAINS_NOTHING = """
from wsl_bench import PostHocMethod, register_method

@register_method("explains_nothing")
class Plugged(PostHocMethod):
    '''Explains a network that is not there.'''

    trained_as = "basline"
"""
METHODS = {
    "methods/explains_nothing.py": EXPLAINS_NOTHING,
    "methods/false_baseline.py": NETWORK.replace("plugged_network", "baseline"),
    "methods/with_network.py": PRIOR.format(name="with_network", summary="Brings a network.") + NETWORK,
    "methods/good_method.py": PRIOR.format(name="good_method", summary="A plugged method."),
    "methods/orphan.py": (
        "from wsl_bench import register_variant\n"
        "register_variant('orphan', of='nobody', summary='Varies what is not there.')\n"
    ),
    "methods/child.py": (
        "from wsl_bench import register_variant\n"
        "register_variant('child', of='good_method', summary='Varies a plug-in.')\n"
    ),
}


def _written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def _discovered(kinds: str, plugins: Path, **env: str) -> dict[str, Any]:
    """What a fresh process finds of each kind, asked in that order."""
    done = run_python("-c", REPORT, *kinds.split(), cwd=plugins, env={"WSLBENCH_PLUGINS": str(plugins), **env})
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plug-in folder with good and broken files."""
    return _written(tmp_path_factory.mktemp("plugins"), PLUGINS | METHODS)


@pytest.fixture(scope="module")
def datasets(plugins: Path) -> dict[str, Any]:
    """What discovery says about the datasets, with those plug-ins."""
    found: dict[str, Any] = _discovered("dataset", plugins)["dataset"]
    return found


@pytest.fixture(scope="module")
def networks_first(plugins: Path) -> dict[str, Any]:
    """What discovery says about networks and then methods, with those plug-ins."""
    return _discovered("network method", plugins)


@pytest.fixture(scope="module")
def methods(networks_first: dict[str, Any]) -> dict[str, Any]:
    """What discovery says about the methods."""
    found: dict[str, Any] = networks_first["method"]
    return found


def test_a_good_plugin_is_listed_beside_the_built_in_files(datasets: dict[str, Any], plugins: Path) -> None:
    assert datasets["available"]["good"] == [str(plugins / "datasets/good.py"), "A plugged dataset.", None]
    assert "folder" in datasets["available"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("syntax", "SyntaxError: "),
        ("missing", "ModuleNotFoundError: No module named 'a_package_that_is_not_there'"),
        ("leaving", "SystemExit: this plug-in leaves"),
        ("raising", "RuntimeError: first line"),
        ("half", "OSError: too late"),
    ],
)
def test_a_broken_plugin_is_listed_with_its_reason(
    name: str, reason: str, datasets: dict[str, Any], plugins: Path
) -> None:
    [entry] = [entry for entry in datasets["unavailable"] if entry[0] == name]
    assert entry[1] == str(plugins / f"datasets/{name}.py")
    assert entry[2].startswith(reason)
    assert name not in datasets["available"]


def test_a_taken_name_is_refused_naming_both_files(datasets: dict[str, Any], plugins: Path) -> None:
    [entry] = [entry for entry in datasets["unavailable"] if entry[0] == "thief"]
    assert str(ROOT / "datasets/folder.py") in entry[2]
    assert str(plugins / "datasets/thief.py") in entry[2]
    assert datasets["available"]["folder"][0] == str(ROOT / "datasets/folder.py")


def test_a_file_with_the_stem_of_a_built_in_one_is_named_not_hidden(datasets: dict[str, Any], plugins: Path) -> None:
    [entry] = [entry for entry in datasets["unavailable"] if entry[0] == "folder"]
    assert str(ROOT / "datasets/folder.py") in entry[2]
    assert f"rename {plugins / 'datasets/folder.py'}" in entry[2]
    assert "other" not in datasets["available"]


def test_private_files_and_other_files_are_ignored(datasets: dict[str, Any]) -> None:
    named = {entry[0] for entry in datasets["unavailable"]}
    assert named == {"syntax", "missing", "leaving", "raising", "half", "thief", "folder"}


def test_methods_and_variants_of_plugins_are_found(methods: dict[str, Any], plugins: Path) -> None:
    assert methods["available"]["good_method"][1] == "A plugged method."
    assert methods["available"]["child"] == [str(plugins / "methods/child.py"), "Varies a plug-in.", "good_method"]


def test_a_network_in_the_file_of_a_plugged_method_is_found_first(networks_first: dict[str, Any]) -> None:
    # A worker asks for the network before it asks for any method.
    assert "plugged_network" in networks_first["network"]["available"]


def test_a_variant_of_a_missing_method_is_unavailable(methods: dict[str, Any], plugins: Path) -> None:
    reason = "it varies 'nobody', which is not registered"
    assert ["orphan", str(plugins / "methods/orphan.py"), reason] in methods["unavailable"]


def test_a_method_that_explains_a_missing_network_is_unavailable(methods: dict[str, Any], plugins: Path) -> None:
    reason = "it explains the network 'basline', which is not registered"
    assert ["explains_nothing", str(plugins / "methods/explains_nothing.py"), reason] in methods["unavailable"]
    assert "explains_nothing" not in methods["available"]


@pytest.mark.parametrize("order", ["network method", "method network"])
def test_a_plugin_cannot_take_the_place_of_a_built_in_network(plugins: Path, order: str) -> None:
    found = _discovered(order, plugins)
    built_in = str(ROOT / "wsl_bench/nets/registered/baseline.py")
    assert found["network"]["available"]["baseline"][0] == built_in
    [broken] = [entry for entry in found["method"]["unavailable"] if entry[0] == "false_baseline"]
    assert built_in in broken[2]
    assert broken[1] in broken[2]


def test_the_command_line_lists_both(plugins: Path) -> None:
    done = run_python(*CLI, "datasets", cwd=plugins, env={"WSLBENCH_PLUGINS": str(plugins)})
    assert done.returncode == 0
    assert "A plugged dataset." in done.stdout
    for name in ("syntax", "missing", "leaving", "raising", "half", "thief", "folder"):
        assert f"unavailable: {name} (" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_says_why_and_what_was_meant(plugins: Path) -> None:
    env = {"WSLBENCH_PLUGINS": str(plugins)}
    broken = run_python(*CLI, "datasets", "missing", cwd=plugins, env=env)
    assert broken.returncode == 2
    assert "dataset 'missing' is unavailable: ModuleNotFoundError" in broken.stderr
    unknown = run_python(*CLI, "datasets", "fodler", cwd=plugins, env=env)
    assert unknown.returncode == 2
    assert "no dataset is called 'fodler'. Did you mean 'folder'?" in unknown.stderr


def test_several_plugin_folders_and_absent_ones(tmp_path: Path) -> None:
    first = _written(tmp_path / "first", {"datasets/one.py": DATASET.format(name="one", summary="One.")})
    second = _written(tmp_path / "second", {"datasets/two.py": DATASET.format(name="two", summary="Two.")})
    found = _discovered("dataset", tmp_path, WSLBENCH_PLUGINS=f"{first}:{tmp_path / 'absent'}::{second}")["dataset"]
    assert {"one", "two", "folder"} <= set(found["available"])
    assert found["unavailable"] == []


def test_entry_points_are_found_and_broken_ones_listed(tmp_path: Path) -> None:
    info = {
        "third-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: third\nVersion: 1.0\n",
        "third-1.0.dist-info/entry_points.txt": (
            "[wsl_bench.datasets]\npointed = third_party\ngone = third_party_gone\n"
        ),
        "third_party.py": DATASET.format(name="pointed", summary="From an entry point."),
    }
    found = _discovered("dataset", tmp_path, PYTHONPATH=str(_written(tmp_path / "site", info)))["dataset"]
    assert found["available"]["pointed"][1] == "From an entry point."
    [broken] = found["unavailable"]
    assert broken[:2] == ["gone", "entry point third_party_gone"]
    assert broken[2] == "ModuleNotFoundError: No module named 'third_party_gone'"


def test_an_unknown_name_suggests_a_close_one() -> None:
    with pytest.raises(UsageError, match=r"no method is called 'infomsk'\. Did you mean 'infomask'\?"):
        registry.discover("method").get("infomsk")
    with pytest.raises(UsageError, match=r"no method is called 'zzzz'\. `wslbench methods` lists all\."):
        registry.discover("method").get("zzzz")


@pytest.mark.parametrize("kind", ["method", "dataset"])
def test_every_file_is_registered_under_its_own_stem(kind: registry.Kind) -> None:
    found = registry.discover(kind)
    assert found.unavailable == []
    files = {path.stem: str(path) for path in (ROOT / f"{kind}s").glob("*.py")}
    assert {name: entry.file for name, entry in found.available.items()} == files


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("methods/*.py"), *ROOT.glob("datasets/*.py")]), ids=lambda path: path.stem
)
def test_a_plugin_file_imports_no_sibling(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            assert not f"{name}.".startswith(("wsl_bench.methods.", "wsl_bench.datasets.")), name
            assert name.partition(".")[0] not in ("methods", "datasets"), name


def test_the_engine_imports_no_method_or_dataset_by_name() -> None:
    for path in sorted((ROOT / "wsl_bench").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert not node.module.startswith(("wsl_bench.methods", "wsl_bench.datasets")), path


def test_groups() -> None:
    found = registry.discover("method")
    paper = {"infomask", "infomask_asis", "featuremask", "regl1", "gradcam", "gradcam_encoder", "chexcam"}
    assert set(found.in_group("paper")) == paper
    sanity = {"center_box", "mean_box", "healthy_difference", "random_map", "whole_image", "random_weights"}
    assert set(found.in_group("sanity")) == sanity
    assert found.groups() >= {"paper", "sanity"}


HASHES = """
import json, sys
from wsl_bench import registry
print(json.dumps({name: entry.source_hash() for name, entry in registry.discover("method").available.items()}))
"""


def test_the_source_hash_covers_helpers_base_classes_and_the_whole_of_a_package(tmp_path: Path) -> None:
    helped = PRIOR.format(name="helped", summary="Uses a helper beside it.")
    heir = "from base_of_all import Base\nfrom wsl_bench import register_method\n" + (
        '@register_method("heir")\nclass Heir(Base):\n    """Has a base elsewhere."""\n'
    )
    packed = {
        "site/packed-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: packed\nVersion: 1.0\n",
        "site/packed-1.0.dist-info/entry_points.txt": "[wsl_bench.methods]\npacked = packed.method\n",
        "site/packed/__init__.py": "",
        "site/packed/deep.py": "X = 1\n",
        "site/packed/method.py": PRIOR.format(name="packed", summary="In a package."),
        "site/base_of_all.py": "from wsl_bench import PriorMethod\nclass Base(PriorMethod):\n    pass\n",
    }
    files = packed | {"plugins/methods/helped.py": helped, "plugins/methods/_helper.py": "X = 1\n",
                      "plugins/methods/heir.py": heir}  # fmt: skip
    _written(tmp_path, files)

    def hashes() -> dict[str, str]:
        env = {"WSLBENCH_PLUGINS": str(tmp_path / "plugins"), "PYTHONPATH": str(tmp_path / "site")}
        found: dict[str, str] = json.loads(run_python("-c", HASHES, cwd=tmp_path, env=env).stdout)
        return found

    before = hashes()
    for file, touched in (
        ("site/base_of_all.py", {"heir"}),
        ("site/packed/deep.py", {"packed"}),
        ("plugins/methods/_helper.py", {"helped", "heir"}),
    ):
        with (tmp_path / file).open("a") as handle:
            handle.write("# changed\n")
        after = hashes()
        assert {name for name in before if before[name] != after[name]} == touched, file
        before = after


def test_the_source_hash_of_a_variant_covers_what_it_varies() -> None:
    found = registry.discover("method").available
    assert found["gradcam"].source_hash() != found["gradcam_encoder"].source_hash()
    assert found["gradcam"].source_hash() == found["gradcam"].source_hash()
