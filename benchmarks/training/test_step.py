"""A training step at 64 px, as the loop makes it, beside plain eager PyTorch: its own layers and layout, fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import torch
from torch import nn

from wsl_bench import params, registry
from wsl_bench.method import Batch, Network, Task
from wsl_bench.nets.norm_relu import NormReLU
from wsl_bench.training.device import MEMORY_FORMAT, auto_precision, autocast, to_device

SIZE, BATCH = 64, 16
NETWORKS: list[tuple[registry.Kind, str]] = [
    ("network", "baseline"), ("method", "infomask"), ("method", "featuremask"), ("method", "regl1"),
    ("network", "densenet121"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def step(kind: registry.Kind, name: str, ours: bool) -> Callable[[], None]:
    entry = registry.discover(kind).get(name)
    network = cast(Network, params.build(entry.cls, name, {}))
    torch.manual_seed(0)
    net: nn.Module = network.build(Task(1, SIZE, 0.25, "batch", 0))
    images, labels = torch.randn(BATCH, 1, SIZE, SIZE), torch.arange(BATCH) % 2
    torch.set_flush_denormal(ours)
    precision = auto_precision("cpu") if ours else "fp32"
    if ours:
        net, images = to_device(net, "cpu"), images.contiguous(memory_format=MEMORY_FORMAT)
    else:
        for layer in net.modules():  # PyTorch's own layers
            if isinstance(layer, NormReLU):
                layer._is_compiled_for = lambda x: False  # type: ignore[method-assign]
    adam = torch.optim.Adam(net.parameters(), 1e-3)

    def one() -> None:
        with autocast("cpu", precision):
            loss = network.loss(net.train(), Batch(images, labels), 0.5)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()

    return one


@pytest.mark.parametrize("way", ["ours", "plain eager"])
@pytest.mark.parametrize(("kind", "name"), NETWORKS, ids=[name for _, name in NETWORKS])
def test_training_step(benchmark: Any, kind: registry.Kind, name: str, way: str) -> None:
    one = step(kind, name, way == "ours")
    one()
    benchmark.group = f"training step, {name}, {BATCH} images of {SIZE} px, quarter width"
    benchmark(one)
