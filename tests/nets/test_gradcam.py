"""GradCAM through captum, against its formula computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wsl_bench import params, registry
from wsl_bench.method import Batch, Network, PostHocMethod, Task

Half = Callable[[Any, Tensor], Tensor]

# Where the map is taken: the method, the net up to the layer, and the net from there on.
PLACES: dict[str, tuple[str, Half, Half]] = {
    "last": (
        "gradcam",
        lambda net, x: net.classifier.features(net.encoder(x)),
        lambda net, a: net.classifier.output(net.classifier.pool(a)),
    ),
    "encoder": ("gradcam_encoder", lambda net, x: net.encoder(x), lambda net, a: net.classifier(a)),
    "densenet": (
        "chexcam",
        lambda net, x: net.features(x),
        lambda net, a: net.classifier(a.mean((2, 3))),
    ),
}


def _explained(name: str, seed: int = 0) -> tuple[PostHocMethod, nn.Module]:
    entry = registry.discover("method").get(name)
    method = cast(PostHocMethod, params.build(entry.cls, name, entry.defaults))
    network: Network = params.build(registry.discover("network").get(method.trained_as).cls, name, {})
    torch.manual_seed(seed)
    net = network.build(Task(1, 64, 0.25, "batch", 0))
    for module in net.modules():  # running figures other than the start's, as after training
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(cast(Tensor, module.running_mean), -0.2, 0.2)
            nn.init.uniform_(cast(Tensor, module.running_var), 0.5, 1.5)
    # A linear output over ReLU features often gives a map without a positive value; this one does.
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight)
    return method, net.eval()


@pytest.mark.parametrize("place", list(PLACES))
def test_captums_map_is_the_formula(place: str) -> None:
    name, before, after = PLACES[place]
    images = torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    peaks = []
    for seed in range(4):
        method, net = _explained(name, seed)
        activation = before(net, images).detach().requires_grad_(True)
        logits = after(net, activation)
        torch.testing.assert_close(logits, net(images))  # the two halves are the net
        [gradient] = torch.autograd.grad(logits[:, 1].sum(), activation)
        weights = gradient.mean((2, 3), keepdim=True)
        expected = torch.relu((weights * activation).sum(1)).detach()
        probability, maps = method.explain(net, images)
        torch.testing.assert_close(maps, expected, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(probability, torch.softmax(logits, 1)[:, 1].detach())
        assert not maps.requires_grad
        peaks.append(float(maps.max()))
    assert max(peaks) > 0  # not always a blank map


def test_the_two_rows_share_one_training_and_differ_in_size() -> None:
    images = torch.randn(2, 1, 64, 64)
    (last, net), (encoder, _) = _explained("gradcam"), _explained("gradcam_encoder")
    assert last.trained_as == encoder.trained_as == "baseline"
    assert last.explain(net, images)[1].shape == (2, 8, 8)
    assert encoder.explain(net, images)[1].shape == (2, 16, 16)


def test_chexcam_passes_its_weights_on(tmp_path: Path) -> None:
    (tmp_path / "w.pth").touch()
    cls = registry.discover("method").get("chexcam").cls
    assert params.build(cls, "chexcam", {}).network_params() == {
        "symmetric_start": "none", "stem_scale": 0.2, "input_size": 96, "enlarge_from": 0.67, "weights": None,
        "trained_on": "",
    }  # fmt: skip
    given = params.build(cls, "chexcam", {"weights": str(tmp_path / "w.pth"), "trained_on": "imagenet"})
    assert given.network_params()["weights"] == str(tmp_path / "w.pth")
    plain = registry.discover("method").get("gradcam").cls
    assert params.build(plain, "gradcam", {"symmetric_start": "none"}).network_params() == {"symmetric_start": "none"}


@pytest.mark.parametrize(("side", "input_size", "cells"), [(64, 96, 3), (64, 64, 2), (128, 96, 4), (40, 128, 4)])
def test_densenet_enlarges_small_images_and_only_those(side: int, input_size: int, cells: int) -> None:
    entry = registry.discover("network").get("densenet121")
    torch.manual_seed(0)
    network = cast(Network, params.build(entry.cls, "densenet121", {"input_size": input_size}))
    net: Any = network.build(Task(1, side, 0.25, "batch", 0)).eval()
    images = torch.randn(2, 1, side, side)
    enlarged = functional.interpolate(images, size=max(side, input_size), mode="bilinear")
    with torch.inference_mode():
        torch.testing.assert_close(net(images), net(enlarged))
        assert net.forward_features(images).shape[-2:] == (cells, cells)
    assert all(name.startswith(("features.conv0", "features.norm0")) for name in list(net.state_dict())[:2])


def test_densenet_enlarges_late_in_training_and_always_elsewhere() -> None:
    cls = registry.discover("network").get("densenet121").cls
    network = cast(Network, params.build(cls, "densenet121", {"enlarge_from": 0.5}))
    net: Any = network.build(Task(1, 64, 0.25, "batch", 0)).train()
    sides: list[int] = []
    net.features.conv0.register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape[-1]))
    batch = Batch(torch.randn(2, 1, 64, 64), torch.tensor([0, 1]))
    for progress in (0.0, 0.49, 0.5, 1.0):
        network.loss(net, batch, progress)
    network.probability(net.eval(), batch.images)
    network.loss(net.train(), batch, 0.1)
    net(batch.images)
    assert sides == [64, 64, 96, 96, 96, 64, 96]


def test_a_smaller_stem_changes_nothing_at_the_start_but_its_weights() -> None:
    cls = registry.discover("network").get("densenet121").cls
    nets = []
    for scale in (1.0, 0.2):
        torch.manual_seed(0)
        network = cast(Network, params.build(cls, "densenet121", {"stem_scale": scale}))
        nets.append(cast(Any, network.build(Task(1, 64, 0.25, "batch", 0)).train()))
    images = torch.randn(4, 1, 64, 64)
    whole, small = (net.features.conv0.weight for net in nets)
    torch.testing.assert_close(small, 0.2 * whole)
    with torch.inference_mode():
        torch.testing.assert_close(*(net.forward_features(images) for net in nets), atol=1e-2, rtol=1e-2)
