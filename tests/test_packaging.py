"""What is built carries every method and dataset (STYLE.md: two layouts lost them without a word)."""

from __future__ import annotations

import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, run_python

BUILD = """
import sys
from hatchling.builders.wheel import WheelBuilder
print(next(WheelBuilder(sys.argv[1]).build(directory=sys.argv[2], versions=["standard"])))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout, built without network or isolation."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; it comes with the dev extra")
    folder = tmp_path_factory.mktemp("dist")
    done = run_python("-c", BUILD, str(ROOT), str(folder), cwd=folder)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "wsl_bench").rglob("*.py")}
    sources |= {f"wsl_bench/{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob("methods/*.py")}
    sources |= {f"wsl_bench/{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob("datasets/*.py")}
    assert sources - held == set()
    assert "wsl_bench/py.typed" in held
    assert not [name for name in held if name.startswith(("methods/", "datasets/", "tests/"))]


def test_the_wheel_finds_its_datasets_and_methods_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import sys; sys.path[:] = [sys.argv[1], *(p for p in sys.path if p != sys.argv[2])]\n"
        "from wsl_bench import registry\n"
        "assert registry.__file__.startswith(sys.argv[1]), registry.__file__\n"
        "assert not registry.discover('dataset').unavailable, registry.discover('dataset').unavailable\n"
        "print(sorted(registry.discover('dataset').available))"
    )
    done = run_python("-c", code, str(tmp_path / "site"), str(ROOT), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(sorted(path.stem for path in ROOT.glob("datasets/*.py")))


def test_the_plugin_folders_are_no_packages() -> None:
    # With an __init__.py the folder `datasets` would shadow Hugging Face's package.
    assert not (ROOT / "methods/__init__.py").exists()
    assert not (ROOT / "datasets/__init__.py").exists()


def test_the_project_file_names_what_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    import wsl_bench

    assert project["version"] == wsl_bench.__version__
    assert (ROOT / project["readme"]).is_file()
    assert all((ROOT / name).is_file() for name in project["license-files"])
    assert project["scripts"] == {"wslbench": "wsl_bench.cli.main:main"}
