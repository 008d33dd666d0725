"""GradCAM through captum, every default stated (Selvaraju et al. 2017, arXiv:1610.02391)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

POSITIVE = 1


def gradcam(net: nn.Module, layer: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Probability (N,) and GradCAM maps (N, h, w) of the positive class at `layer`.

    The map is ReLU(sum_k w_k A_k), w_k the mean gradient of the positive logit over channel k of
    the layer's output A; it has the layer's own resolution. Always the positive class, on
    negatives too: the question is where the network sees disease.
    """
    from captum.attr import LayerGradCam  # here, because it takes half a second and brings matplotlib

    # captum marks inputs as requiring gradients; a copy keeps the caller's as they were.
    inputs = images.detach().clone().requires_grad_(True)
    logits: list[Tensor] = []
    # captum runs the network and keeps its output to itself; listening saves a second forward pass.
    listener = net.register_forward_hook(lambda module, given, output: logits.append(output.detach()))
    try:
        with _graph_from(net, layer):
            cam = LayerGradCam(net, layer)
            maps = cam.attribute(inputs, target=POSITIVE, relu_attributions=True, attr_dim_summation=True)
    finally:
        listener.remove()
    return torch.softmax(logits[0], dim=1)[:, POSITIVE], maps.detach().squeeze(1)


@contextlib.contextmanager
def _graph_from(net: nn.Module, layer: nn.Module) -> Iterator[None]:
    """No gradients are prepared below `layer`: its output is all that they are wanted for.

    The network must not set the mode of gradients around its layer itself, nor run it in another thread.
    """

    def stop(module: nn.Module, given: object) -> None:
        torch.set_grad_enabled(False)

    def start(module: nn.Module, given: object, output: Tensor) -> Tensor:
        torch.set_grad_enabled(True)
        return output.detach().requires_grad_(True)  # captum hands on a copy, which may be changed in place

    handles = [net.register_forward_pre_hook(stop), layer.register_forward_hook(start)]
    try:
        with torch.enable_grad():  # puts back the mode that it found
            yield
    finally:
        for handle in handles:
            handle.remove()


def with_mirror_image(net: nn.Module, images: Tensor, probability: Tensor) -> Tensor:
    """The probability (N,) of the positive class, averaged with that of the mirror images, left to right."""
    with torch.no_grad():
        mirrored = torch.softmax(net(images.flip(-1)), dim=1)[:, POSITIVE]
    return (probability + mirrored) / 2
