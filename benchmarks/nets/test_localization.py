"""GradCAM with the class probability for a batch: ours beside captum as documented, grad-cam and torchcam."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from wsl_bench import params, registry
from wsl_bench.method import Network, Task
from wsl_bench.nets.cam import POSITIVE, gradcam

SIZE, BATCH = 64, 8
Explainer = Callable[[nn.Module, nn.Module, Tensor], tuple[Tensor, Tensor]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def captum(net: nn.Module, layer: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    from captum.attr import LayerGradCam

    maps = LayerGradCam(net, layer).attribute(images, target=POSITIVE, relu_attributions=True)
    with torch.no_grad():
        return net(images).softmax(1)[:, POSITIVE], maps.detach().squeeze(1)


def grad_cam(net: nn.Module, layer: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    library = pytest.importorskip("pytorch_grad_cam")
    targets = [library.utils.model_targets.ClassifierOutputTarget(POSITIVE)] * len(images)
    with library.GradCAM(model=net, target_layers=[layer]) as cam:
        maps = torch.from_numpy(cam(input_tensor=images, targets=targets))
        return cam.outputs.softmax(1)[:, POSITIVE].detach(), maps


def torchcam(net: nn.Module, layer: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    library = pytest.importorskip("torchcam.methods")
    with library.GradCAM(net, target_layer=layer) as cam:
        logits = net(images.requires_grad_(True))
        maps = cam([POSITIVE] * len(images), logits, normalized=False)[0]
    return logits.softmax(1)[:, POSITIVE].detach(), maps


@pytest.mark.parametrize("way", [gradcam, captum, grad_cam, torchcam], ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", ["baseline", "densenet121"])
def test_gradcam(benchmark: Any, name: str, way: Explainer) -> None:
    entry = registry.discover("network").get(name)
    torch.manual_seed(0)
    net = cast(Network, params.build(entry.cls, name, {})).build(Task(1, SIZE, 0.25, "batch", 0)).eval()
    layer = cast(Any, net).features.norm5 if name == "densenet121" else cast(Any, net).classifier.features[-1]
    images = torch.randn(BATCH, 1, SIZE, SIZE)
    expected = gradcam(net, layer, images)
    probability, maps = way(net, layer, images.clone())
    torch.testing.assert_close(probability, expected[0], atol=1e-5, rtol=0)
    if way in (captum, torchcam):  # grad-cam scales each map to [0, 1] and to the image's size
        torch.testing.assert_close(maps, expected[1], atol=1e-5, rtol=1e-3)
    benchmark.group = f"GradCAM, {name}, {BATCH} images of {SIZE} px"
    benchmark(way, net, layer, images)
