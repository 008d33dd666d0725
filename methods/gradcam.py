"""GradCAM on the paper's CNN, through captum's LayerGradCam.

Formula: w_k = mean over pixels of d y_disease / d A_k;  map = ReLU(sum_k w_k A_k), A (N, K, h, w) the
output of the named layer (after its ReLU). Shapes: map (N, h, w), unbounded, scaled by the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

from torch import Tensor, nn

from wsl_bench import PostHocMethod, param, register_method
from wsl_bench.nets.cam import gradcam
from wsl_bench.nets.paper_cnn import SYMMETRIC_START, SymmetricStart
from wsl_bench.params import Value


@register_method("gradcam")
class GradCAM(PostHocMethod):
    """Gradient-weighted class activation maps of the baseline CNN (Selvaraju et al. 2017)."""

    paper = (
        "Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, ICCV 2017"
    )
    groups = ("paper",)
    imports = ("captum.attr",)
    trained_as = "baseline"
    silent: ClassVar[Mapping[str, str]] = {
        "layer": "InfoMask's paper names none; the last convolution before global pooling, GradCAM's own advice",
        "class": "the positive class, on negatives too",
        "scale": "not said; per image or per dataset, whichever localizes better on validation",
        "epochs": "not given; 1.2 times the common number: trained on, its maps get wider (docs/training.md)",
        "start": "not given; symmetric kernels below the first pooling (docs/training.md)",
        "resolution": "at the last layer maps of H / 8 cells, each of which sees 76 pixels; images below 96 px are "
        "enlarged to it, so that no cell sees all of them",
    }

    layer: Literal["last", "encoder"] = param("last", "last convolution before pooling, or the encoder's last")
    symmetric_start: SymmetricStart = param("deep", SYMMETRIC_START)
    input_size: int = param(
        96, "smaller images are enlarged to this side; a cell at the last layer covers 8 pixels of it", low=32
    )
    enlarge_from: float = param(0.67, "share of the training from which they are enlarged", low=0, high=1)

    def network_params(self) -> dict[str, Value]:
        """The start of the network and the size at which it reads."""
        return {
            "symmetric_start": self.symmetric_start, "input_size": self.input_size, "enlarge_from": self.enlarge_from,
        }  # fmt: skip

    def explain(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probability and maps at the chosen layer."""
        baseline = cast(Any, net)
        layer = baseline.classifier.features[-1] if self.layer == "last" else baseline.encoder[-1]
        return gradcam(net, layer, images)
