"""InfoMask: a variational mask that hides what the label does not need.

Formulas (N images, W x H pixels; shapes of A, mu, sigma, z, M: (N, 1, H, W)):
    h = encoder(x);  A = ReLU(conv1x1(h)), upsampled bilinearly to W x H
    mu, log sigma^2 = conv3x3(A), conv3x3(A);  z = mu + sigma * eps, eps ~ N(0, 1)
    M = min(1, max(0, sigmoid(z) - tau));  the classifier block sees M       (equation 4)
    loss = cross-entropy + alpha * KL(N(mu, sigma^2) || N(0, 1))             (equation 3)
Score map: E_eps[M] / (1 - tau), by Gauss-Hermite quadrature: deterministic and in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wsl_bench import Batch, Task, TrainedMethod, param, register_method
from wsl_bench.nets.masked import MASK_SILENT, MaskedCNN, logit, mask_of, warmed_up
from wsl_bench.nets.noise import image_generators
from wsl_bench.nets.paper_cnn import SYMMETRIC_START, SymmetricStart

# Variances beyond these bounds (e^-10 to e^5) leave the sigmoid's range and overflow in the loss.
LOG_VARIANCE_BOUNDS = (-10.0, 5.0)


@register_method("infomask")
class InfoMask(TrainedMethod):
    """Variational mask under an information bottleneck (Taghanaki et al. 2019)."""

    paper = (
        "Asgari Taghanaki et al., InfoMask: Masked Variational Latent Representation to Localize "
        "Chest Disease, MICCAI 2019"
    )
    groups = ("paper",)
    bounded = True
    silent: ClassVar[Mapping[str, str]] = MASK_SILENT | {
        "KL": "sum or mean is not said; the mean over pixels and images, so alpha does not depend on size",
        "alpha": "no value is given; 1e-3, warmed up linearly over the first 30 % of training",
        "start": "not given; mu's bias logit(tau), log-variance's bias -4",
        "variance": f"not bounded in the paper; the log-variance is kept in {LOG_VARIANCE_BOUNDS}, against overflow",
        "score map": "z is random at test; the expectation of the mask, by 9-node quadrature",
        "classification at test": "not said; mean softmax over 8 noise samples seeded by (training seed, image)",
    }

    alpha: float = param(1e-3, "weight of the KL term", low=0)
    alpha_warmup: float = param(0.3, "share of training over which alpha rises from 0", low=0, high=1)
    tau: float = param(0.5, "threshold of the mask", above=0, below=1)
    log_variance_start: float = param(-4.0, "bias of the log-variance at the start")
    symmetric_start: SymmetricStart = param("deep", SYMMETRIC_START)
    polarity_start: bool = param(True, "start with more mask = more disease (a start, not a constraint)")
    test_samples: int = param(8, "noise samples averaged for the class probability at test", low=1)
    quadrature_nodes: int = param(9, "Gauss-Hermite nodes for the expected mask", low=1, high=64)

    def build(self, task: Task) -> nn.Module:
        """The masked CNN with a variance branch."""
        net = MaskedCNN(
            task, variational=True, code_bias=logit(self.tau), symmetric_start=self.symmetric_start,
            polarity_start=self.polarity_start,
        )  # fmt: skip
        assert net.log_variance is not None
        nn.init.constant_(net.log_variance.bias, self.log_variance_start)  # type: ignore[arg-type]
        net.register_buffer("noise_seed", torch.tensor(task.seed))
        return net

    def loss(self, net: nn.Module, batch: Batch, progress: float) -> Tensor:
        """Equation 3 with one noise sample an image."""
        mu, log_variance = _code(net, batch.images)
        z = mu + torch.exp(0.5 * log_variance) * torch.randn_like(mu)
        logits = cast(Any, net).classifier(mask_of(z, self.tau))
        kl = 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance).mean()
        alpha = warmed_up(self.alpha, progress, self.alpha_warmup)
        return functional.cross_entropy(logits, batch.labels) + alpha * kl

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean softmax over noise samples; expected mask over its largest value."""
        mu, log_variance = _code(net, images)
        sigma = torch.exp(0.5 * log_variance)
        probability = self._mean_softmax(net, images, mu, sigma, self.test_samples)
        return probability, self._expected_mask(mu, sigma).squeeze(1)

    def probability(self, net: nn.Module, images: Tensor) -> Tensor:
        """The same from two samples at most: enough to tell the epochs of a training apart."""
        mu, log_variance = _code(net, images)
        return self._mean_softmax(net, images, mu, torch.exp(0.5 * log_variance), min(2, self.test_samples))

    def _mean_softmax(self, net: nn.Module, images: Tensor, mu: Tensor, sigma: Tensor, n_samples: int) -> Tensor:
        """(N,) probability of the positive class, averaged over noise seeded by (training seed, image)."""
        generators = image_generators(images, int(cast(Any, net).noise_seed))
        shape = (n_samples, *mu.shape[1:])
        # (samples, N, 1, H, W): each image draws from its own generator.
        noise = torch.stack([torch.randn(shape, generator=g) for g in generators], dim=1).to(mu.device)
        samples = [
            torch.softmax(cast(Any, net).classifier(mask_of(mu + sigma * eps, self.tau)), dim=1)[:, 1] for eps in noise
        ]
        return torch.stack(samples).mean(0)

    def extra_maps(self, net: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """mu and sigma (Figure 4)."""
        mu, log_variance = _code(net, images)
        return {"mu": mu.squeeze(1), "sigma": torch.exp(0.5 * log_variance).squeeze(1)}

    def _expected_mask(self, mu: Tensor, sigma: Tensor) -> Tensor:
        """E_eps[M] / (1 - tau): sum_i w_i / sqrt(pi) * M(mu + sigma * sqrt(2) * x_i)."""
        nodes, weights = np.polynomial.hermite.hermgauss(self.quadrature_nodes)
        total = torch.zeros_like(mu)
        for x, w in zip(nodes, weights, strict=True):
            total += float(w / math.sqrt(math.pi)) * mask_of(mu + sigma * float(math.sqrt(2) * x), self.tau)
        return (total / (1 - self.tau)).clamp(0, 1)


def _code(net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    mu, log_variance = cast(Any, net).code(images)
    return mu, log_variance.clamp(*LOG_VARIANCE_BOUNDS)
