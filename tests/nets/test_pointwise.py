"""1 x 1 convolutions as matrix products, against PyTorch's convolution; and DenseNet121 built of them."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import timm
import torch
from torch import nn

from wsl_bench import params, registry
from wsl_bench.method import Network, Task
from wsl_bench.nets.norm_relu import NormReLU
from wsl_bench.nets.pointwise import PointwiseConv
from wsl_bench.training.device import autocast, to_device

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("bias", [False, True])
def test_the_product_is_the_convolution(bias: bool) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(12, 5, 1, bias=bias)
    pointwise = PointwiseConv.like(convolution)
    assert pointwise.weight is convolution.weight
    assert pointwise.state_dict().keys() == convolution.state_dict().keys()
    x = torch.randn(3, 12, 4, 6).contiguous(memory_format=torch.channels_last)
    assert torch.equal(pointwise(x), convolution(x))  # in single precision it is that

    x = x.bfloat16()
    exact = copy.deepcopy(convolution).bfloat16().double()  # the same weights, rounded
    expected = exact(x.double())
    gradient = torch.randn(expected.shape).bfloat16()
    expected.backward(gradient.double())
    pointwise = PointwiseConv.like(copy.deepcopy(convolution).bfloat16())
    found = pointwise(x)
    found.backward(gradient)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), expected, rtol=2**-8, atol=2**-8)
    for name, parameter in pointwise.named_parameters():
        reference = dict(exact.named_parameters())[name].grad
        torch.testing.assert_close(parameter.grad.double(), reference, rtol=2**-8, atol=2**-8)  # type: ignore[union-attr]


def _densenet() -> Any:
    entry = registry.discover("network").get("densenet121")
    network = cast(Network, params.build(entry.cls, "densenet121", {}))
    torch.manual_seed(0)
    return to_device(network.build(Task(1, 64, 0.25, "batch", 0)), "cpu")


def test_densenet121_is_timms_with_the_same_numbers() -> None:
    net = _densenet()
    theirs = timm.create_model("densenet121", pretrained=False, in_chans=1, num_classes=2)
    assert list(net.state_dict()) == list(theirs.state_dict())
    assert sum(isinstance(m, NormReLU) for m in net.modules()) == 121
    assert sum(isinstance(m, PointwiseConv) for m in net.modules()) == 58 + 3  # of the layers and the transitions
    for module in net.modules():  # running figures other than the start's, and a classifier that says something
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(cast(torch.Tensor, module.running_mean), -0.2, 0.2)
    nn.init.normal_(net.classifier.weight)
    theirs.load_state_dict(net.state_dict())
    theirs = to_device(theirs, "cpu")
    images = torch.randn(2, 1, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(images), theirs.eval()(images))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_of_densenet121_are_as_near_to_the_exact_ones_as_timms(precision: str) -> None:
    ours = _densenet()
    nn.init.normal_(ours.classifier.weight)
    theirs = timm.create_model("densenet121", pretrained=False, in_chans=1, num_classes=2)
    theirs.load_state_dict(ours.state_dict())
    theirs = to_device(theirs, "cpu")
    exact = copy.deepcopy(theirs).double()
    images, labels = torch.randn(8, 1, 96, 96), torch.arange(8) % 2
    for net in (exact, theirs, ours):
        given = images.double() if net is exact else images
        with autocast("cpu", "fp32" if net is exact else precision):
            logits = net.train()(given)
        nn.functional.cross_entropy(logits if net is exact else logits.float(), labels).backward()  # type: ignore[no-untyped-call]
    # A rounding error grows on its way through 121 layers, in both; what is wrong would stand out in its own layer.
    allowed = {"fp32": 1e-3, "bf16": 0.1}[precision]
    for (name, found), peer, reference in zip(
        ours.named_parameters(), theirs.parameters(), exact.parameters(), strict=True
    ):
        scale = reference.grad.norm()
        errors = [float((one.grad.double() - reference.grad).norm() / scale) for one in (found, peer)]
        assert errors[0] < max(allowed, 2 * errors[1]), (name, errors)
    buffers = dict(exact.named_buffers())
    for name, buffer in ours.named_buffers():
        torch.testing.assert_close(buffer.double(), buffers[name].double(), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("arguments", [{"stride": 2}, {"padding": 1}, {"groups": 2}, {"kernel_size": 3}])
def test_another_convolution_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected kernel_size=1"):
        PointwiseConv.like(nn.Conv2d(4, 4, **{"kernel_size": 1, **arguments}))  # type: ignore[arg-type]
