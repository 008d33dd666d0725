"""Layers of a training step in bf16, forward and backward: ours beside PyTorch's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wsl_bench.nets.norm_relu import NormReLU
from wsl_bench.nets.pointwise import PointwiseConv

Layer = Callable[[Tensor], Tensor]

# (N, C, H, W): of the masked CNN at 64 px (quarter width), and of DenseNet121's first and third block.
FEATURES = {"CNN": (16, 32, 64, 64), "DenseNet121, block 1": (32, 160, 16, 16), "DenseNet121, block 3": (32, 600, 4, 4)}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def step(layer: Layer, shape: tuple[int, ...]) -> Callable[[], None]:
    torch.manual_seed(0)
    x = torch.randn(shape).bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_(True)

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return layer(x)

    gradient = torch.randn_like(forward())

    def both() -> None:
        x.grad = None
        forward().backward(gradient)  # type: ignore[no-untyped-call]

    return both


@pytest.mark.parametrize("way", ["ours", "PyTorch"])
@pytest.mark.parametrize("place", list(FEATURES))
@pytest.mark.parametrize("pool", [False, True])
def test_normalisation_and_relu(benchmark: Any, place: str, pool: bool, way: str) -> None:
    shape = FEATURES[place]
    pooling = [nn.MaxPool2d(2)] if pool else []
    theirs = nn.Sequential(nn.BatchNorm2d(shape[1]), *pooling, nn.ReLU(inplace=True))
    both = step(NormReLU(shape[1], pool=pool) if way == "ours" else theirs, shape)
    both()
    benchmark.group = f"batch-norm{', max-pool' if pool else ''}, ReLU, {place}, {' x '.join(map(str, shape))}"
    benchmark(both)


@pytest.mark.parametrize("way", ["ours", "PyTorch"])
@pytest.mark.parametrize("place", [place for place in FEATURES if place != "CNN"])
def test_convolution_of_one_pixel(benchmark: Any, place: str, way: str) -> None:
    shape = FEATURES[place]
    convolution = nn.Conv2d(shape[1], 128, 1, bias=False).to(memory_format=torch.channels_last)
    both = step(PointwiseConv.like(convolution) if way == "ours" else convolution, shape)
    both()
    benchmark.group = f"1 x 1 convolution to 128, {place}, {' x '.join(map(str, shape))}"
    benchmark(both)
