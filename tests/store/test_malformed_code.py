"""Damaged weight files and plug-ins: refused by name or read, never a raw error."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from malformed import ABSENT, FEW, MANY, Crafted, Format, check
from safetensors.torch import save

import wsl_bench.datasets
from wsl_bench import params, registry
from wsl_bench.nets.registered.densenet121 import load_weights


class _Net(torch.nn.Module):
    """A network with layers under the names of timm's densenet121, small enough to be read hundreds of times."""

    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Module()
        self.features.conv0 = torch.nn.Conv2d(1, 4, 3, bias=False)
        self.features.norm0 = torch.nn.BatchNorm2d(4)
        self.classifier = torch.nn.Linear(4, 2)


def _weights(suffix: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        torch.manual_seed(0)
        (root / f"w{suffix}").write_bytes(_packed(_Net().state_dict(), suffix))
        return root / f"w{suffix}"

    return make


def _packed(state: Any, suffix: str) -> bytes:
    if suffix == ".safetensors":
        return save(state)
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def _read_weights(root: Path) -> Any:
    torch.manual_seed(1)
    net = _Net()
    (path,) = root.glob("w.*")
    load_weights(net, path)
    return {name: tensor for name, tensor in net.state_dict().items() if not name.startswith("classifier.")}


def _crafted_weights(suffix: str) -> Crafted:
    state, first = _Net().state_dict(), "features.conv0.weight"
    kernel = state[first]
    changed: dict[str, Any] = {f"no {name}": {k: v for k, v in state.items() if k != name} for name in state}
    tensors = {"NaN": kernel * float("nan"), "complex": kernel + 1j, "whole numbers": kernel.int(),
               "flat": kernel.flatten(), "another kernel": kernel[..., :2], "empty": kernel[:0]}  # fmt: skip
    changed |= {name: state | {first: tensor.contiguous()} for name, tensor in tensors.items()}
    if suffix == ".pth":
        changed |= {"sparse": state | {first: kernel.to_sparse()}, "no content": state | {first: kernel.to("meta")},
                    "numbers as names": {1: kernel}, "a list": [kernel], "a tensor": kernel,
                    "text": state | {first: "kernel"}, "nested": {"state_dict": {"state_dict": state}},
                    "nothing": {"state_dict": None}}  # fmt: skip
    out = {name: _packed(content, suffix) for name, content in changed.items()}
    return out | {"a pickle": pickle.dumps({first: [1.0]})}


WEIGHTS = [
    Format(f"weights ({suffix})", _weights(suffix), _read_weights, False, (),
           lambda whole, suffix=suffix: _crafted_weights(suffix))
    for suffix in (".pth", ".safetensors")
]  # fmt: skip

PLUGIN = '''"""A plug-in."""

from pathlib import Path

from wsl_bench import Dataset, param, register_dataset


@register_dataset("plugged_in")
class Plugged(Dataset):
    """Images of somebody's own."""

    root: Path = param(Path(), "the directory")
    side: int = param(32, "pixels", low=8)

    def samples(self) -> list[object]:
        return [self.side] * 3
'''


def _plugin(root: Path) -> Path:
    (root / "datasets").mkdir()
    (root / "datasets" / "plugged.py").write_text(PLUGIN)
    return root / "datasets" / "plugged.py"


def _read_plugin(root: Path) -> Any:
    """What is registered of a folder of plug-ins; a file that cannot be used is to be listed by name."""
    package, name = wsl_bench.datasets, "wsl_bench.datasets.plugged"
    known, path = dict(registry._registered["dataset"]), package.__path__
    package.__path__ = [str(root / "datasets")]
    try:
        found = registry.discover.__wrapped__("dataset")
        added = {key: entry for key, entry in found.available.items() if key not in known}
        if found.unavailable:
            assert [one.name for one in found.unavailable] == ["plugged"]
            assert not added
        return {key: [e.summary, params.describe(e.cls, e.defaults)] for key, e in added.items()} or ABSENT
    finally:
        package.__path__ = path
        sys.modules.pop(name, None)
        registry._registered["dataset"].clear()
        registry._registered["dataset"].update(known)


def _crafted_plugin(whole: bytes) -> Crafted:
    texts = ["raise RuntimeError('no')", "import sys; sys.exit(3)", "x = " + "(" * 500, "import wsl_bench.nothing",
             "\0", "raise ExceptionGroup('a', [ValueError()])", "assert False", "1 / 0", "\tx"]  # fmt: skip
    return {f"code {i}": whole + text.encode() for i, text in enumerate(texts)}


PLUGINS = [Format("plug-in (.py)", _plugin, _read_plugin, False, (), _crafted_plugin)]
EVERY = [*WEIGHTS, *PLUGINS]


@pytest.fixture(autouse=True)
def _no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variant of a plug-in within the same second and of the same length must not be read from the cache."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    registry.discover("dataset")  # the built-in ones, before a plug-in stands in their place


@pytest.mark.parametrize("form", EVERY, ids=lambda form: form.name)
def test_damage_is_no_raw_error(form: Format, tmp_path: Path) -> None:
    check([form], tmp_path, FEW)


@pytest.mark.slow
def test_two_hundred_damaged_files_of_each_format(tmp_path: Path) -> None:
    check(EVERY, tmp_path, MANY)
