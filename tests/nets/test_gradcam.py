"""GradCAM through captum, against its formula computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torch.nn import functional

from wsl_bench import params, registry
from wsl_bench.method import Batch, Network, PostHocMethod, Task
from wsl_bench.nets.cam import gradcam

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
        mirrored = [net(images.flip(-1))] if name == "chexcam" else []
        expected = torch.stack([torch.softmax(given, 1)[:, 1] for given in [logits, *mirrored]]).mean(0)
        torch.testing.assert_close(probability, expected.detach())
        assert not maps.requires_grad
        peaks.append(float(maps.max()))
    assert max(peaks) > 0  # not always a blank map


def test_the_two_rows_share_one_training_and_differ_in_size() -> None:
    images = torch.randn(2, 1, 64, 64)
    (last, net), (encoder, _) = _explained("gradcam"), _explained("gradcam_encoder")
    assert last.trained_as == encoder.trained_as == "baseline"
    assert last.explain(net, images)[1].shape == (2, 12, 12)  # of images enlarged to 96
    assert encoder.explain(net, images)[1].shape == (2, 24, 24)


def test_chexcam_gives_an_image_and_its_mirror_image_the_same_probability_and_other_maps() -> None:
    images = torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    found = {}
    for mirror in (True, False):
        _, net = _explained("chexcam")
        cast(Any, net).classifier.weight.data.mul_(0.02)  # probabilities other than 1
        method = params.build(registry.discover("method").get("chexcam").cls, "chexcam", {"mirror": mirror})
        found[mirror] = [method.explain(net, given) for given in (images, images.flip(-1))]
    (one, its_map), (other, _) = found[True]
    torch.testing.assert_close(one, other)
    (plain, plain_map), (mirrored, _) = found[False]
    assert not torch.allclose(plain, mirrored, atol=1e-4)
    torch.testing.assert_close(one, (plain + mirrored) / 2)
    torch.testing.assert_close(its_map, plain_map)  # the map is the image's own


def test_chexcam_passes_its_weights_on(tmp_path: Path) -> None:
    (tmp_path / "w.pth").touch()
    cls = registry.discover("method").get("chexcam").cls
    assert params.build(cls, "chexcam", {}).network_params() == {
        "symmetric_start": "none", "stem_scale": 0.2, "input_size": 96, "enlarge_from": 0.71, "weights": None,
        "trained_on": "",
    }  # fmt: skip
    given = params.build(cls, "chexcam", {"weights": str(tmp_path / "w.pth"), "trained_on": "imagenet"})
    assert given.network_params()["weights"] == str(tmp_path / "w.pth")
    plain = registry.discover("method").get("gradcam").cls
    assert params.build(plain, "gradcam", {"symmetric_start": "none"}).network_params() == {
        "symmetric_start": "none", "input_size": 96, "enlarge_from": 0.67,
    }  # fmt: skip


FIRST: dict[str, Callable[[Any], nn.Module]] = {
    "baseline": lambda net: net.encoder[0][0],
    "densenet121": lambda net: net.features.conv0,
}


def _sides(name: str, net: Any) -> list[int]:
    """Filled with the width of what the first convolution sees."""
    sides: list[int] = []
    FIRST[name](net).register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape[-1]))
    return sides


@pytest.mark.parametrize("name", list(FIRST))
@pytest.mark.parametrize(("side", "input_size"), [(64, 96), (64, 64), (128, 96), (40, 128)])
def test_small_images_are_enlarged_and_only_those(name: str, side: int, input_size: int) -> None:
    entry = registry.discover("network").get(name)
    torch.manual_seed(0)
    network = cast(Network, params.build(entry.cls, name, {"input_size": input_size}))
    net: Any = network.build(Task(1, side, 0.25, "batch", 0)).eval()
    images, seen = torch.randn(2, 1, side, side), max(side, input_size)
    enlarged = functional.interpolate(images, size=seen, mode="bilinear")
    sides = _sides(name, net)
    with torch.inference_mode():
        torch.testing.assert_close(net(images), net(enlarged))
        if name == "densenet121":
            assert net.forward_features(images).shape[-1] == seen // 32
    assert set(sides) == {seen}
    own = {"baseline": "encoder.0.0", "densenet121": "features.conv0"}[name]
    assert next(iter(net.state_dict())).startswith(own)  # no layer is renamed, nor a weight file's keys


@pytest.mark.parametrize("name", list(FIRST))
def test_images_are_enlarged_late_in_training_and_always_elsewhere(name: str) -> None:
    cls = registry.discover("network").get(name).cls
    network = cast(Network, params.build(cls, name, {"enlarge_from": 0.5}))
    net: Any = network.build(Task(1, 64, 0.25, "batch", 0)).train()
    sides = _sides(name, net)
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


def _layer_of(name: str, net: Any) -> nn.Module:
    layers = {
        "gradcam": lambda: net.classifier.features[-1], "gradcam_encoder": lambda: net.encoder[-1],
        "chexcam": lambda: net.features.norm5,
    }  # fmt: skip
    return cast(nn.Module, layers[name]())


@pytest.mark.parametrize("name", ["gradcam", "gradcam_encoder", "chexcam"])
def test_nothing_below_the_layer_is_made_ready_for_gradients(name: str) -> None:
    method, net = _explained(name)
    layer = _layer_of(name, net)
    images = torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = LayerGradCam(net, layer).attribute(images.clone(), target=1, relu_attributions=True)
    seen: list[tuple[bool, bool]] = []
    first = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    handles = [
        first.register_forward_hook(lambda m, i, output: seen.append((output.requires_grad, False))),
        layer.register_forward_hook(lambda m, i, output: seen.append((output.requires_grad, True))),
    ]
    with torch.no_grad():
        _, maps = gradcam(net, layer, images)
        assert not torch.is_grad_enabled()  # the mode it found
    assert seen == [(False, False), (False, True)]  # of the layer, what it gave before it was taken over
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(maps, expected.detach().squeeze(1), atol=1e-6, rtol=1e-4)
    _, again = method.explain(net, images)  # nothing is left behind
    assert torch.equal(again, maps)


def test_the_gradient_mode_is_put_back_when_the_network_fails() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            self.layer(x)
            raise ValueError("broken")

    net = Broken()
    for mode in (True, False):
        with torch.set_grad_enabled(mode):
            with pytest.raises(ValueError, match="broken"):
                gradcam(net, net.layer, torch.randn(1, 1, 8, 8))
            assert torch.is_grad_enabled() == mode
    assert not net._forward_pre_hooks
    assert not net.layer._forward_hooks


def test_a_layer_whose_output_is_changed_in_place_is_explained_all_the_same() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(1, 3, 3)
    net = nn.Sequential(layer, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    images = torch.randn(2, 1, 8, 8)
    expected = LayerGradCam(net.eval(), layer).attribute(images.clone(), target=1, relu_attributions=True)
    _, maps = gradcam(net, layer, images)
    assert torch.equal(maps, expected.detach().squeeze(1))
    assert maps.max() > 0
