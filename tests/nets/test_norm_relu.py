"""Normalisation, pooling and ReLU in compiled passes, against PyTorch's layers in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wsl_bench.nets.norm_relu import NormReLU

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2**-8}  # of the largest value; bf16 keeps 8 bits
SHAPES = [(4, 6, 8, 8), (3, 5, 7, 9), (2, 32, 4, 4), (5, 1, 6, 6), (2, 300, 2, 2), (40, 3, 16, 16)]


pytestmark = pytest.mark.usefixtures("one_thread")


def _layer(channels: int, *, pool: bool = False) -> NormReLU:
    torch.manual_seed(channels)
    layer = NormReLU(channels, pool=pool)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def _reference(layer: NormReLU) -> Callable[[Tensor], Tensor]:
    """The same by PyTorch's own layers, in double precision; the network is at `norm`."""
    norm = nn.BatchNorm2d(layer.num_features).double()
    norm.load_state_dict(layer.state_dict())

    def function(x: Tensor) -> Tensor:
        y = norm(x)
        return functional.relu(functional.max_pool2d(y, 2) if layer.pool else y)

    cast(Any, function).norm = norm
    return function


def _features(shape: tuple[int, ...], dtype: torch.dtype, mean: float = 0.3) -> Tensor:
    """Values that the type holds exactly, no two of a window alike, in channels-last order."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randperm(math.prod(shape), generator=generator).reshape(shape) / math.prod(shape) * 4 - 2 + mean
    return values.to(dtype).contiguous(memory_format=torch.channels_last)


def _error(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach()
    return float((found - expected).abs().max()) / (float(expected.abs().max()) or 1.0)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_gradients_and_running_figures_are_those_of_the_three_layers(
    dtype: torch.dtype, shape: tuple[int, ...], pool: bool
) -> None:
    layer = _layer(shape[1], pool=pool)
    reference = _reference(layer)
    x = _features(shape, dtype).requires_grad_(True)
    exact = x.detach().double().requires_grad_(True)
    found, expected = layer(x), reference(exact)
    assert found.dtype == dtype
    assert found.shape == expected.shape
    gradient = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    # Where rounding decides between two pixels of a window, or on which side of zero a value lies, no gradient.
    gradient[_undecided(reference(exact), exact, layer, reference)] = 0
    found.backward(gradient)
    expected.backward(gradient.double())
    norm = cast(Any, reference).norm
    assert _error(found, expected) < TOLERANCE[dtype]
    assert _error(x.grad, exact.grad) < TOLERANCE[dtype]  # type: ignore[arg-type]
    assert _error(layer.weight.grad, norm.weight.grad) < 1e-5  # type: ignore[arg-type]
    assert _error(layer.bias.grad, norm.bias.grad) < 1e-5  # type: ignore[arg-type]


def _undecided(y: Tensor, exact: Tensor, layer: NormReLU, reference: Any) -> Tensor:
    """Outputs that a change of one in 10,000 of the input's scale could take from another pixel."""
    with torch.no_grad():
        before = functional.batch_norm(exact, None, None, reference.norm.weight, reference.norm.bias, True)
        if not layer.pool:
            return before.abs() < 1e-4
        windows = functional.unfold(before.flatten(0, 1)[:, None], 2, stride=2)
        first, second = windows.topk(2, dim=1).values.unbind(1)
        return ((first - second < 1e-4) | (first.abs() < 1e-4)).reshape(y.shape)


def test_running_figures_move_as_pytorchs_do() -> None:
    layer = _layer(7, pool=True)
    reference = _reference(layer)
    for step in range(3):
        x = _features((4, 7, 6, 6), torch.float32, mean=step)
        layer(x)
        reference(x.double())
    norm = cast(Any, reference).norm
    torch.testing.assert_close(layer.running_mean, norm.running_mean.float())
    torch.testing.assert_close(layer.running_var, norm.running_var.float())
    assert layer.num_batches_tracked == 3


def test_names_of_parameters_and_buffers_are_pytorchs() -> None:
    assert list(NormReLU(3).state_dict()) == list(nn.BatchNorm2d(3).state_dict())


def test_a_large_mean_costs_no_digits() -> None:
    layer = NormReLU(2)
    x = _features((8, 2, 32, 32), torch.float32) + 1000
    assert _error(layer(x), _reference(NormReLU(2))(x.double())) < 1e-4  # float32 itself has 6e-5 of these 4 at 1000


@pytest.mark.parametrize("pool", [False, True])
def test_another_memory_order_gives_the_same(pool: bool) -> None:
    layer = _layer(6, pool=pool)
    x = _features((4, 6, 8, 8), torch.float32)
    assert torch.equal(layer(x), layer(x.contiguous()))
    y = layer(x.requires_grad_(True))
    y.sum().backward()  # a gradient that is one number, expanded
    expanded, x.grad = x.grad, None
    layer(x).backward(torch.ones(y.shape))
    torch.testing.assert_close(expanded, x.grad, rtol=0, atol=0)


def test_of_equal_values_in_a_window_the_first_takes_the_gradient() -> None:
    layer = NormReLU(1, pool=True)
    x = torch.tensor([[5.0, 5.0, 0.0, 1.0], [5.0, 5.0, 0.0, 1.0]])[None, None].requires_grad_(True)
    layer(x).sum().backward()
    # The left window passes a gradient at its first pixel, the right one (below the mean of 2.75) none. From the
    # normalised value 1 at the first pixel of 8: dx = a (g - 1/8 - x^ x^_0 / 8).
    a = 1 / math.sqrt(float(x.detach().var(unbiased=False)) + layer.eps)
    normalised = (x.detach() - 2.75) * a
    g = torch.zeros(1, 1, 2, 4)
    g[..., 0, 0] = 1
    torch.testing.assert_close(x.grad, a * (g - 1 / 8 - normalised * normalised[..., 0, 0] / 8))


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_value_that_is_no_number_stays_seen(dtype: torch.dtype, pool: bool) -> None:
    for odd in (math.nan, math.inf):
        x = _features((2, 3, 4, 4), dtype)
        x[0, 1, 2, 3] = odd
        x.requires_grad_(True)
        y = _layer(3, pool=pool)(x)
        y.sum().backward()
        assert y[:, 1].isnan().all()
        assert y[:, [0, 2]].isfinite().all()
        assert x.grad is not None
        assert x.grad[:, 1].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_evaluation_a_value_that_is_no_number_stays_in_its_window(dtype: torch.dtype) -> None:
    layer = _layer(2, pool=True).eval()
    for row in range(2):
        for column in range(2):
            x = _features((1, 2, 4, 4), dtype)
            x[0, 0, row, column] = math.nan
            with torch.no_grad():
                y = layer(x)
            assert y[0, 0, 0, 0].isnan()
            assert int(y.isnan().sum()) == 1


# What the compiled passes would compute with memory that is not theirs, or would let pass.
REFUSED: dict[str, tuple[Callable[[], NormReLU], tuple[int, ...], str]] = {
    "one value a channel": (lambda: NormReLU(4), (1, 4, 1, 1), "Expected more than 1 value per channel"),
    "too many channels": (lambda: NormReLU(3), (2, 5, 4, 4), "should contain 5 elements"),
    "too few channels": (lambda: NormReLU(3), (2, 1, 4, 4), "should contain 1 elements"),
    "no batch": (lambda: NormReLU(3), (3, 4, 4), "expected 4D input"),
    "nothing to pool": (lambda: NormReLU(3, pool=True), (4, 3, 1, 2), "[Oo]utput size is too small"),
    "parameters in double": (lambda: NormReLU(3).double(), (2, 3, 4, 4), "mixed dtype"),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", list(REFUSED))
def test_what_pytorch_refuses_is_refused(case: str, training: bool) -> None:
    make, shape, message = REFUSED[case]
    if case == "one value a channel" and not training:
        return
    layer = make().train(training)
    with torch.no_grad(), pytest.raises((ValueError, RuntimeError), match=message):
        layer(torch.randn(shape))


def test_parameters_in_bfloat16_are_not_read_as_integers() -> None:
    layer = _layer(3).bfloat16().eval()
    x = _features((2, 3, 4, 4), torch.bfloat16)
    with torch.no_grad():
        assert _error(layer(x), _reference(layer)(x.double())) < 1  # whatever PyTorch makes of it
        assert layer(x).max() < 10


def test_what_follows_may_change_the_output_in_place() -> None:
    layer = _layer(3)
    x = _features((2, 3, 4, 4), torch.float32)
    gradients = []
    for change in (lambda y: y + 1, lambda y: y.add_(1)):
        given = x.clone().requires_grad_(True)
        change(layer(given)).square().sum().backward()
        gradients.append(given.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("momentum", [None, 0.5])
def test_running_figures_follow_the_momentum_that_is_set(momentum: float | None) -> None:
    layer, norm = NormReLU(3), nn.BatchNorm2d(3)
    layer.momentum = norm.momentum = momentum
    for step in range(3):
        x = _features((4, 3, 6, 6), torch.float32, mean=step)
        layer(x)
        norm(x)
    torch.testing.assert_close(layer.running_mean, norm.running_mean)
    torch.testing.assert_close(layer.running_var, norm.running_var)


def test_under_autocast_features_are_bfloat16_and_parameters_are_not() -> None:
    layer = _layer(4)
    convolution = nn.Conv2d(1, 4, 3, padding=1)
    x = torch.randn(2, 1, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        features = convolution(x)
        y = layer(features)
    assert features.dtype == y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    assert _error(y, _reference(_layer(4))(features.double())) < TOLERANCE[torch.bfloat16]


def test_like_takes_over_what_a_normalisation_has() -> None:
    norm = nn.BatchNorm2d(3, eps=0.1, momentum=0.3)
    norm(torch.randn(4, 3, 2, 2))
    layer = NormReLU.like(norm)
    assert (layer.eps, layer.momentum) == (0.1, 0.3)
    torch.testing.assert_close(layer.state_dict(), norm.state_dict())


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_evaluation_with_and_without_gradients(dtype: torch.dtype, pool: bool) -> None:
    layer = _layer(6, pool=pool)
    layer(_features((4, 6, 8, 8), torch.float32))
    reference = _reference(layer)
    cast(Any, reference).norm.eval()
    layer.eval()
    x = _features((2, 6, 7, 8), dtype)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    with torch.no_grad():
        assert _error(layer(x), reference(x.double())) < TOLERANCE[dtype]
    exact = x.double().requires_grad_(True)
    found, expected = layer(x.requires_grad_(True)), reference(exact)
    assert _error(found, expected) < 2 * TOLERANCE[dtype]  # rounded twice
    (found.float() ** 2).sum().backward()  # no gradient where the sign is in doubt
    (expected**2).sum().backward()
    assert _error(x.grad, exact.grad) < 4 * TOLERANCE[dtype]  # type: ignore[arg-type]
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())


def test_double_precision_is_left_to_pytorch() -> None:
    layer = _layer(3, pool=True).double()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x, check_batched_grad=False)


@pytest.mark.parametrize("threads", [1, 2])
def test_on_more_threads_pytorchs_layers_compute_it(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(NormReLU, "normalised", lambda self, x, statistics: called.append(1) or x)
    torch.set_num_threads(threads)
    layer = NormReLU(3)
    layer(torch.randn(2, 3, 4, 4))
    with torch.no_grad():
        layer.eval()(torch.randn(2, 3, 4, 4))
    assert len(called) == (2 if threads == 1 else 0)
