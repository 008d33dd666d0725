"""The recipe: who wins over whom, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.rows import ImageRows
from wsl_bench.data.views import WeakView
from wsl_bench.errors import UsageError
from wsl_bench.training.device import auto_precision, resolve_device
from wsl_bench.training.inputs import Inputs
from wsl_bench.training.recipe import ResolvedRecipe, resolve


def _resolve(
    suggested: dict[str, Any] | None = None,
    network: dict[str, Any] | None = None,
    chosen: dict[str, Any] | None = None,
    n_train: int = 1000,
    precision: str = "fp32",
) -> ResolvedRecipe:
    return resolve(suggested or {}, network or {}, chosen or {}, n_train=n_train, precision=precision)


def test_the_users_value_wins_over_the_networks_over_the_datasets_over_the_common() -> None:
    assert _resolve().batch_size == 16
    assert _resolve({"batch_size": 8}).batch_size == 8
    assert _resolve({"batch_size": 8}, {"batch_size": 4}).batch_size == 4
    assert _resolve({"batch_size": 8}, {"batch_size": 4}, {"batch_size": "2"}).batch_size == 2
    assert _resolve({"epochs": 7}, {"learning_rate": 0.1}).learning_rate == 0.1  # field by field
    assert _resolve({"epochs": 7}, {"learning_rate": 0.1}).epochs == 7


@pytest.mark.parametrize(("n_train", "epochs"), [(100, 40), (240, 40), (1600, 6), (10_000, 5), (1_000_000, 5)])
def test_epochs_follow_from_the_size_of_the_dataset(n_train: int, epochs: int) -> None:
    assert _resolve(n_train=n_train).epochs == epochs


def test_the_factor_acts_on_epochs_that_nobody_set() -> None:
    assert _resolve(network={"epochs_factor": 0.6}, n_train=500).epochs == 12
    assert _resolve(network={"epochs_factor": 0.4}, chosen={"epochs": "10"}).epochs == 10
    assert _resolve(network={"epochs_factor": 0.001}).epochs == 5  # the bounds are those of the outcome
    assert _resolve(network={"epochs_factor": 3}, n_train=300).epochs == 40
    assert _resolve(chosen={"epochs": "none"}, n_train=1000).epochs == 10


def test_precision() -> None:
    assert _resolve(precision="bf16").precision == "bf16"
    assert _resolve(chosen={"precision": "fp32"}, precision="bf16").precision == "fp32"
    assert auto_precision("cpu") in ("fp32", "bf16")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_size", "15"), ("width", "0"), ("epochs", "-1"), ("epochs_factor", "0"), ("batch_size", "1"),
        ("learning_rate", "0"), ("weight_decay", "-1"), ("clip", "0"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(field: str, value: str) -> None:
    with pytest.raises(UsageError, match=rf"recipe\.{field}: expected a number .*, found {value}"):
        _resolve(chosen={field: value})


def test_unknown_fields_and_wrong_types_are_refused() -> None:
    with pytest.raises(UsageError, match=r"recipe has no parameter 'epoch'\. Did you mean 'epochs'\?"):
        _resolve(chosen={"epoch": "3"})
    with pytest.raises(UsageError, match=r"recipe\.norm: expected none \| batch \| group, found 'layer'"):
        _resolve(chosen={"norm": "layer"})


def test_devices() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def test_cuda_without_a_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="sees no CUDA device"):
        resolve_device("cuda")


def test_inputs_are_standardised_and_padding_is_the_mean() -> None:
    draw = np.random.default_rng(0)
    frames = (Letterbox.fit(16, 16, 16), Letterbox.fit(8, 16, 16))
    squares = np.stack([f.apply(draw.integers(1, 256, (f.height, f.width), dtype=np.uint8)) for f in frames])
    view = WeakView(("a", "b"), ("a", "b"), np.array([0, 1]), ImageRows.of(squares), frames, "")
    mean, std = view.pixel_moments()
    images = Inputs(view, mean, std, "cpu").images(slice(None))
    assert images.shape == (2, 1, 16, 16)
    assert images.dtype == torch.float32
    np.testing.assert_allclose(images[0, 0].numpy(), (squares[0] - mean) / std, rtol=1e-5, atol=1e-5)
    assert not images[1, 0, :4].any()
    assert not images[1, 0, 12:].any()
    inside = np.concatenate([images[0, 0].numpy().ravel(), images[1, 0, 4:12].numpy().ravel()])
    assert inside.mean() == pytest.approx(0, abs=1e-5)
    assert inside.std() == pytest.approx(1, abs=1e-4)
