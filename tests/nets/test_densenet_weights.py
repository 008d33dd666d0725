"""Weight files for DenseNet121: read without unpickling code, fitted to grey images, refused when wrong."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from wsl_bench import params, registry
from wsl_bench.errors import DataError, UsageError
from wsl_bench.method import Network, Task

TASK = Task(1, 32, 0.25, "batch", 0)
FIRST = "features.conv0.weight"
State = dict[str, Tensor]


def _build(weights: Path | None) -> nn.Module:
    entry = registry.discover("network").get("densenet121")
    torch.manual_seed(0)
    return cast(Network, params.build(entry.cls, "densenet121", {"weights": weights, "trained_on": "none"})).build(TASK)


@pytest.fixture(scope="module")
def start() -> State:
    """The state of a network built without weights."""
    return _build(None).state_dict()


@pytest.fixture(scope="module")
def colour(start: State) -> State:
    """Weights for three colours and a thousand classes."""
    draw = torch.Generator().manual_seed(1)
    state = {name: torch.rand(t.shape, generator=draw).to(t.dtype) for name, t in start.items()}
    state[FIRST] = torch.rand(64, 3, 7, 7, generator=draw)
    state["classifier.weight"], state["classifier.bias"] = torch.rand(1000, 1024), torch.rand(1000)
    return state


def _save(path: Path, state: State, wrap: Callable[[State], Any] = lambda state: state) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(wrap(state), path)
    return path


def _in_module(state: State) -> dict[str, object]:
    return {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}


@pytest.mark.parametrize(("name", "wrap"), [("w.safetensors", dict), ("w.pth", dict), ("w.pth", _in_module)])
def test_colour_weights_are_summed_to_grey(
    name: str, wrap: Callable[[State], Any], colour: State, start: State, tmp_path: Path
) -> None:
    loaded = _build(_save(tmp_path / name, colour, wrap)).state_dict()
    torch.testing.assert_close(loaded[FIRST], colour[FIRST].sum(1, keepdim=True))
    assert torch.equal(loaded["features.norm5.weight"], colour["features.norm5.weight"])
    assert torch.equal(loaded["classifier.weight"], start["classifier.weight"])  # its own two classes


def test_a_grey_image_gives_what_its_three_colours_give(colour: State, tmp_path: Path) -> None:
    grey = torch.randn(2, 1, 32, 32)
    conv = cast(Any, _build(_save(tmp_path / "w.safetensors", colour))).features.conv0
    expected = nn.functional.conv2d(grey.expand(-1, 3, -1, -1), colour[FIRST], stride=2, padding=3)
    torch.testing.assert_close(conv(grey), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_grey_weights_are_taken_as_they_are(name: str, colour: State, tmp_path: Path) -> None:
    grey = colour | {FIRST: torch.rand(64, 1, 7, 7)}
    assert torch.equal(_build(_save(tmp_path / name, grey)).state_dict()[FIRST], grey[FIRST])


@pytest.mark.parametrize(
    ("layer", "tensor", "said"),
    [
        ("features.norm5.weight", torch.zeros(7), r"features\.norm5\.weight of shape \(1024,\).*found shape \(7,\)"),
        ("features.norm5.weight", None, r"features\.norm5\.weight .*found no such layer"),
        (FIRST, None, r"features\.conv0\.weight .*found no such layer"),
    ],
)
def test_a_wrong_layer_is_named(layer: str, tensor: Tensor | None, said: str, colour: State, tmp_path: Path) -> None:
    state = {name: t for name, t in colour.items() if name != layer} | ({} if tensor is None else {layer: tensor})
    with pytest.raises(DataError, match=said):
        _build(_save(tmp_path / "w.safetensors", state))


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"garbage", b"\x80\x04garbage", b"PK\x03\x04" + bytes(40)])
def test_garbage_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"expected a \.safetensors or \.pth file of tensors"):
        _build(path)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"state_dict": 5}, {"a": 1}, "text"], ids=str)
def test_a_file_of_something_else_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(DataError):
        _build(tmp_path / "w.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"weights: expected a file, found none at .*none\.pth"):
        _build(tmp_path / "none.pth")


class _Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
@pytest.mark.parametrize("plain", [True, False], ids=["pickle", "torch.save"])
def test_code_in_a_file_is_not_run(suffix: str, plain: bool, tmp_path: Path) -> None:
    path, marker = tmp_path / f"w{suffix}", tmp_path / "was-here"
    content = {"state_dict": {"features.conv0.weight": _Evil(marker)}}
    if plain:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(DataError):
        _build(path)
    assert not marker.exists()


@pytest.mark.parametrize("tensor", [torch.zeros(64, 3, 5, 5), torch.zeros(64)])
def test_a_first_layer_of_another_kernel_is_named(tensor: Any, tmp_path: Path) -> None:
    save_file(_build(None).state_dict() | {FIRST: tensor}, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match=r"features\.conv0\.weight of shape \(64, 1, 7, 7\)"):
        _build(tmp_path / "w.safetensors")


def test_an_empty_weight_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(DataError):
        _build(tmp_path / "w.pth")
