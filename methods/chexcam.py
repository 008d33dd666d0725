"""CheXCAM: GradCAM at the last feature layer of DenseNet121 (CheXNet).

timm's `features.norm5` is normalisation and ReLU in one module, so its output is what pooling sees
and no in-place operation follows. Shapes: map (N, h, w), h = max(H, input_size) / 32; unbounded, scaled
by the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from wsl_bench import PostHocMethod, param, register_method
from wsl_bench.nets.cam import gradcam, with_mirror_image
from wsl_bench.nets.paper_cnn import SYMMETRIC_START, SymmetricStart
from wsl_bench.params import Value


@register_method("chexcam")
class CheXCAM(PostHocMethod):
    """GradCAM on DenseNet121 (Rajpurkar et al. 2017; InfoMask paper, section 4)."""

    paper = "Rajpurkar et al., CheXNet, 2017 (arXiv:1711.05225); InfoMask paper, section 4 (iv)"
    groups = ("paper",)
    imports = ("captum.attr",)
    trained_as = "densenet121"
    silent: ClassVar[Mapping[str, str]] = {
        "layer": '"the last layer of CheXNet"; the last feature layer, after its normalisation and ReLU',
        "epochs": "not given; 1.17 times the common number (7 on the phantom), the first five sevenths at the own size",
        "start": "not given; a blank output layer and a small first convolution (docs/training.md)",
        "resolution": "maps of H / 32 cells; images below 96 px are enlarged to it, for maps of 3 x 3",
        "classification at test": "not said; mean over the image and its mirror image, as it was trained with flips",
        "pretraining": "CheXNet starts from ImageNet; here from scratch unless `weights` is given",
    }

    symmetric_start: SymmetricStart = param("none", SYMMETRIC_START)
    stem_scale: float = param(0.2, "factor on the first convolution's start", above=0)
    mirror: bool = param(
        True, "average the class probability over an image and its mirror image; maps are of the image"
    )
    input_size: int = param(96, "smaller images are enlarged to this side; a cell of the map covers 32 pixels", low=32)
    enlarge_from: float = param(0.71, "share of the training from which they are enlarged", low=0, high=1)
    weights: Path | None = param(
        None, "a local .safetensors or .pth file to start from instead (weights_only)", is_file=True
    )
    trained_on: str = param("", "what `weights` has seen: names of datasets joined by +, or none")

    def network_params(self) -> dict[str, Value]:
        """The start of the network and the size at which it reads."""
        return {
            "symmetric_start": self.symmetric_start,
            "stem_scale": self.stem_scale,
            "input_size": self.input_size,
            "enlarge_from": self.enlarge_from,
            "weights": None if self.weights is None else str(self.weights),
            "trained_on": self.trained_on,
        }

    def explain(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probability, of the mirror image too, and maps at features.norm5."""
        probability, maps = gradcam(net, cast(Any, net).features.norm5, images)
        return with_mirror_image(net, images, probability) if self.mirror else probability, maps
