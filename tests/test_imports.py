"""What must stay quick stays quick: names and help need no torch."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import run_python

HEAVY = ("torch", "torchvision", "timm", "captum", "numba", "matplotlib", "scipy", "pandas")

IMPORT = "import wsl_bench"
REGISTRY = "import wsl_bench.registry, wsl_bench.params, wsl_bench.spec, wsl_bench.training.recipe"
HELP = """
from wsl_bench.cli.main import main
sys.argv = ["wslbench", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def _loaded(code: str, folder: Path) -> tuple[list[str], str]:
    """Heavy packages in sys.modules after running `code`, and what it printed."""
    report = f"\nprint('LOADED', [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    done = run_python("-c", f"import sys\n{code}{report}", cwd=folder)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stderr.splitlines() if line.startswith("LOADED"))
    return [name for name in HEAVY if repr(name) in line], done.stdout


@pytest.mark.parametrize("code", [IMPORT, REGISTRY], ids=["wsl_bench", "registry"])
def test_importing_names_loads_no_heavy_package(code: str, tmp_path: Path) -> None:
    assert _loaded(code, tmp_path)[0] == []


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]], ids=" ".join)
def test_help_loads_no_heavy_package(arguments: list[str], tmp_path: Path) -> None:
    loaded, shown = _loaded(HELP.format(arguments=arguments), tmp_path)
    assert loaded == []
    assert "wslbench" in shown


def test_a_method_file_is_what_loads_torch(tmp_path: Path) -> None:
    code = "from wsl_bench.registry import discover\ndiscover('method')"
    assert "torch" in _loaded(code, tmp_path)[0]
