"""DenseNet121 through timm, the backbone of CheXNet (Rajpurkar et al. 2017, arXiv:1711.05225)."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from wsl_bench.errors import DataError, UsageError
from wsl_bench.method import Task
from wsl_bench.nets.enlarge import EnlargingNetwork, EnlargingSequential
from wsl_bench.nets.norm_relu import NormReLU
from wsl_bench.nets.paper_cnn import SYMMETRIC_START, SymmetricStart, start_symmetric
from wsl_bench.nets.pointwise import PointwiseConv
from wsl_bench.params import param
from wsl_bench.registry import register_network


@register_network("densenet121")
class DenseNet121(EnlargingNetwork):
    """timm's densenet121, from scratch or from a local weight file; nothing is downloaded."""

    # Many times the cost of the quarter-width CNN an image: larger batches, and most of the training at the images'
    # own size. With the common number of epochs some trainings are not finished (docs/training.md).
    recipe: ClassVar[Mapping[str, Any]] = {"batch_size": 32, "epochs_factor": 1.17}
    relative_cost: ClassVar[float] = 8.0
    imports: ClassVar[tuple[str, ...]] = ("timm",)

    enlarge_from: float = param(
        0.71, "share of the training from which small images are enlarged; until then they pass as they are", low=0,
        high=1,
    )  # fmt: skip
    symmetric_start: SymmetricStart = param("none", SYMMETRIC_START)
    stem_scale: float = param(0.2, "factor on the first convolution's start", above=0)
    weights: Path | None = param(
        None, "a local .safetensors or .pth file to start from instead (weights_only)", is_file=True
    )
    trained_on: str = param("", "what `weights` has seen: names of datasets joined by +, or none")

    def __post_init__(self) -> None:
        if self.weights is not None and not self.trained_on:
            raise UsageError(
                f"weights={self.weights}: expected trained_on with it, the datasets that these weights have seen "
                "(trained_on=imagenet, trained_on=imagenet+nih, trained_on=none): on their images no figure is honest."
            )

    def saw(self) -> tuple[str, ...]:
        """What `trained_on` names."""
        return tuple(name for name in self.trained_on.split("+") if name not in ("", "none"))

    def build(self, task: Task) -> nn.Module:
        """densenet121 with `task.channels` inputs and two classes."""
        import timm  # here, because it takes two seconds, and every command that lists methods reads this file

        net: Any = timm.create_model("densenet121", pretrained=False, in_chans=task.channels, num_classes=2)
        _quicken(net)
        start_symmetric(net, self.symmetric_start)
        # Normalisation follows, so the features stay as they are; but Adam's steps, whose size does not depend on
        # the weights', now turn the kernels five times as quickly (docs/training.md).
        with torch.no_grad():
            net.features.conv0.weight.mul_(self.stem_scale)
        # A thousand features with random weights on them would drown the first steps, and GradCAM later.
        nn.init.zeros_(net.classifier.weight)
        net.features = EnlargingSequential(self.input_size, net.features)
        if self.weights is not None:
            load_weights(net, self.weights)
        return cast(nn.Module, net)


def _quicken(net: nn.Module) -> None:
    """Layers of this package in place of timm's (normalisation with ReLU, 1 x 1 convolutions): sooner on a CPU."""
    from timm.layers.norm_act import BatchNormAct2d

    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BatchNormAct2d):
                setattr(parent, name, NormReLU.like(child))
            elif isinstance(child, nn.Conv2d) and child.kernel_size == (1, 1):
                setattr(parent, name, PointwiseConv.like(child))


def load_weights(net: nn.Module, path: Path) -> None:
    """Start `net` from a weight file; its classifier, made for other classes, is left out.

    A first convolution for three colours is summed to the one grey channel, which gives what the
    three would give for a grey image.

    Raises:
        DataError: the file cannot be read, or lacks or misshapes a layer of the network, or holds no numbers in it.
    """
    given = _read(path)
    own = net.state_dict()
    chosen: dict[str, Tensor] = {}
    for name, tensor in own.items():
        if name.startswith("classifier."):
            continue
        found = given.get(name)
        if found is not None and name == "features.conv0.weight":
            found = _to_channels(found, tensor)
        if found is None or found.shape != tensor.shape:
            raise DataError(
                path, expected=f"layer {name} of shape {tuple(tensor.shape)} (timm's densenet121)",
                found="no such layer" if found is None else f"shape {tuple(found.shape)}",
                fix="Use weights saved from timm's densenet121.",
            )  # fmt: skip
        chosen[name] = found
    try:
        for name, found in chosen.items():
            if own[name].is_floating_point() and not (found.is_floating_point() and found.isfinite().all()):
                raise ValueError(f"{name} holds other than finite floating-point numbers")
        net.load_state_dict(own | chosen)
    except Exception as error:  # no plain numbers, or (device meta) none at all
        raise _refused(path, error) from None


def _to_channels(found: Tensor, own: Tensor) -> Tensor:
    """A first convolution summed over its colours, if that is all in which it differs."""
    if found.ndim != own.ndim or found[:, :1].shape != own[:, :1].shape or found.shape == own.shape:
        return found
    return found.sum(1, keepdim=True).expand_as(own) / own.shape[1]


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _refuse_compressed(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(loaded, dict):
            raise TypeError(f"a {type(loaded).__name__} instead of a dictionary of tensors")
        state = loaded.get("state_dict", loaded)
        if any(isinstance(v, Tensor) and v.layout != torch.strided for v in state.values()):
            raise TypeError("sparse tensors")
        return {k.removeprefix("module."): v for k, v in state.items() if isinstance(v, Tensor)}
    except Exception as error:  # the loaders raise many types
        raise _refused(path, error) from None


def _refused(path: Path, error: Exception) -> DataError:
    return DataError(
        path, expected="a .safetensors or .pth file of tensors (read with weights_only)",
        found=" ".join(f"{type(error).__name__}: {error}".splitlines()[:1]), fix="Save the state_dict again.",
    )  # fmt: skip


def _refuse_compressed(path: Path) -> None:
    """torch.save packs nothing, and torch.load unpacks whatever it is given: a few bytes may become all memory."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError("compressed content, which torch.save does not write")
