"""The paper's CNN and its masked form: size, start, range."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wsl_bench import params, registry
from wsl_bench.method import Batch, Task, TrainedMethod
from wsl_bench.nets.masked import MaskedCNN, logit, mask_of, warmed_up
from wsl_bench.nets.noise import image_generators
from wsl_bench.nets.paper_cnn import Baseline, encoder, scaled

PAPER = Task(channels=1, image_size=64, width=1.0, norm="none", seed=0)
SMALL = replace(PAPER, image_size=32, width=0.125, norm="batch")
MASKED = ("infomask", "featuremask", "regl1")


def _method(name: str, **values: object) -> TrainedMethod:
    entry = registry.discover("method").get(name)
    return cast(TrainedMethod, params.build(entry.cls, name, {**entry.defaults, **values}))


def _net(name: str, task: Task = SMALL, **values: object) -> tuple[TrainedMethod, Any]:
    torch.manual_seed(task.seed)
    method = _method(name, **values)
    return method, method.build(task).eval()


def _images(n: int = 4, size: int = 32) -> Tensor:
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(0))


def _count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_infomask_has_the_parameters_of_the_paper() -> None:
    assert _count(_method("infomask").build(PAPER)) == 703_223
    assert _count(_method("featuremask").build(PAPER)) == 703_223 - 10  # no 3 x 3 log-variance convolution


@pytest.mark.parametrize(
    ("width", "channels"), [(1.0, (64, 128, 256, 16)), (0.25, (16, 32, 64, 4)), (0.01, (1, 1, 3, 1))]
)
def test_width_scales_every_channel_count(width: float, channels: tuple[int, ...]) -> None:
    outputs = [m.out_channels for m in encoder(replace(PAPER, width=width)).modules() if isinstance(m, nn.Conv2d)]
    c64, c128, c256, c16 = channels
    assert outputs == [c64, c64, c128, c128, c256, c16]
    logits = Baseline(replace(PAPER, width=width), symmetric_start="none", input_size=32)(_images(2))
    assert logits.shape == (2, 2)


def test_a_scaled_count_is_at_least_one() -> None:
    assert [scaled(64, width) for width in (1, 0.5, 0.25, 0.001)] == [64, 32, 16, 1]


@pytest.mark.parametrize(("norm", "kind"), [("none", None), ("batch", nn.BatchNorm2d), ("group", nn.GroupNorm)])
def test_normalisation_follows_each_convolution(norm: str, kind: type[nn.Module] | None) -> None:
    net = Baseline(replace(SMALL, norm=norm), symmetric_start="all", input_size=32)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)]
    assert len(norms) == (0 if kind is None else 9)
    assert all(isinstance(m, cast(type, kind)) for m in norms)


def test_the_encoder_keeps_a_quarter_of_the_size() -> None:
    assert encoder(PAPER)(_images(1, 64)).shape == (1, 16, 16, 16)


@pytest.mark.parametrize("name", MASKED)
def test_the_polarity_start_points_upright(name: str) -> None:
    _, net = _net(name)
    for module in net.classifier.features.modules():
        if isinstance(module, nn.Conv2d):
            assert (module.weight >= 0).all()
    assert (net.classifier.output.weight[0] <= 0).all()
    assert (net.classifier.output.weight[1] >= 0).all()
    assert (net.attention.weight >= 0).all()
    assert (net.mu.weight >= 0).all()


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_more_mask_means_more_disease_at_an_upright_start(norm: str) -> None:
    for seed in range(5):
        _, net = _net("infomask", replace(SMALL, norm=norm, seed=seed))
        masks = torch.stack([torch.full((1, 32, 32), level) for level in (0.0, 0.1, 0.3, 0.5)])
        logits = net.classifier(masks)
        assert (torch.diff(logits[:, 1] - logits[:, 0]) > 0).all()


def test_the_start_of_infomask_as_written_is_random() -> None:
    _, net = _net("infomask_asis")
    for weight in (net.mu.weight, net.classifier.features[0][0].weight, net.classifier.output.weight):
        assert (weight < 0).any()
        assert (weight > 0).any()
    assert not torch.equal(net.mu.weight, net.mu.weight.flip(-1))


@pytest.mark.parametrize("name", [*MASKED, "infomask_asis"])
def test_the_attention_starts_open(name: str) -> None:
    for seed in range(5):
        _, net = _net(name, replace(SMALL, seed=seed))
        assert (net.attention.weight >= 0).all()
        assert (net.attention.bias == 0).all()


def _symmetric(kernel: Tensor) -> bool:
    return all(torch.allclose(kernel, kernel.flip(side), atol=1e-7) for side in (-1, -2))


@pytest.mark.parametrize("name", ["baseline", "densenet121"])
def test_a_symmetric_start_mirrors_every_kernel_and_keeps_its_norm(name: str) -> None:
    entry = registry.discover("network").get(name)
    nets = []
    for symmetric in ("none", "all"):
        torch.manual_seed(0)
        nets.append(params.build(entry.cls, name, {"symmetric_start": symmetric}).build(SMALL))
    plain, mirrored = ([m for m in net.modules() if isinstance(m, nn.Conv2d)] for net in nets)
    assert sum(max(layer.kernel_size) > 1 for layer in plain) >= 9
    for before, after in zip(plain, mirrored, strict=True):
        assert _symmetric(after.weight)
        assert after.weight.norm().item() == pytest.approx(before.weight.norm().item(), rel=1e-5)
        assert _symmetric(before.weight) == (max(before.kernel_size) == 1)


@pytest.mark.parametrize("name", MASKED)
def test_masked_networks_start_symmetric_below_the_first_pooling(name: str) -> None:
    _, net = _net(name)
    wide = [m for m in net.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1]
    assert [_symmetric(m.weight) for m in wide] == [False, False, *[True] * (len(wide) - 2)]
    assert [block[1].pool for block in net.encoder[:2]] == [False, True]


def test_a_symmetric_start_answers_where_the_image_does() -> None:
    """The maps of a mirrored image are the mirrored maps; with random kernels they lie elsewhere."""
    images = _images(2)
    for start in ("all", "none"):
        _, net = _net("featuremask", symmetric_start=start)
        with torch.no_grad():
            mirrored = net.code(images.flip(-2))[0].flip(-2)
        assert torch.allclose(net.code(images)[0], mirrored, atol=1e-5) == (start == "all")


@pytest.mark.parametrize("tau", [0.3, 0.5, 0.7])
def test_the_code_starts_at_the_threshold(tau: float) -> None:
    _, net = _net("infomask", tau=tau)
    assert float(torch.sigmoid(net.mu.bias.detach())) == pytest.approx(tau, rel=1e-4)
    assert float(net.log_variance.bias.detach()) == -4.0
    assert logit(0.5) == 0


def test_the_mask_is_equation_4() -> None:
    z = torch.linspace(-20, 20, 101)
    expected = torch.minimum(torch.ones(()), torch.maximum(torch.zeros(()), 1 / (1 + torch.exp(-z)) - 0.3))
    torch.testing.assert_close(mask_of(z, 0.3), expected)


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("tau", [0.1, 0.3, 0.45, 0.5, 0.7])
def test_score_maps_lie_between_zero_and_one(name: str, tau: float) -> None:
    method, net = _net(name, tau=tau)
    # Far into both ends of the sigmoid, and the whole way between them.
    code = torch.linspace(-40, 40, 2 * 32 * 32).reshape(2, 1, 32, 32)
    net.code = lambda images: (code, torch.linspace(-20, 20, 32).expand_as(code))
    with torch.no_grad():
        probability, maps = method.localize(net, _images(2))
    assert maps.shape == (2, 32, 32)
    assert float(maps.min()) == 0
    assert 0.999 < float(maps.max()) <= 1
    assert ((probability >= 0) & (probability <= 1)).all()


@pytest.mark.parametrize("sigma", [0.05, 0.135, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("tau", [0.3, 0.5, 0.7])
def test_the_expected_mask_is_the_mean_over_noise(sigma: float, tau: float) -> None:
    method = cast(Any, _method("infomask", tau=tau))
    mu = torch.linspace(-4, 4, 33, dtype=torch.float64)
    eps = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    simulated = mask_of(mu + sigma * eps, tau).mean(0) / (1 - tau)
    found = method._expected_mask(mu, torch.full_like(mu, sigma))
    # Nine nodes pass over the kink at tau with an error that grows with sigma.
    torch.testing.assert_close(found, simulated, atol=0.005 + 0.025 * sigma, rtol=0)


def _kl(name: str, alpha: float, progress: float, **values: object) -> float:
    """How much of the loss the KL term makes, and the KL itself after torch.distributions."""
    batch = Batch(_images(), torch.tensor([0, 1, 0, 1]))
    losses = []
    for weight in (alpha, 0.0):
        method, net = _net(name, alpha=weight, **values)
        torch.manual_seed(3)  # the same noise sample
        losses.append(method.loss(net, batch, progress).item())
    return losses[0] - losses[1]


def _reference_kl(**values: object) -> float:
    _, net = _net("infomask", **values)
    mu, log_variance = net.code(_images())
    code = torch.distributions.Normal(mu, torch.exp(0.5 * log_variance.clamp(-10, 5)))
    prior = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    return torch.distributions.kl_divergence(code, prior).mean().item()


@pytest.mark.parametrize("start", [-4.0, 0.0, 2.0, -30.0])
def test_the_kl_term_is_that_of_torch(start: float) -> None:
    values = {"log_variance_start": start}
    assert _kl("infomask", 1.0, 1.0, **values) == pytest.approx(_reference_kl(**values), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.15, 0.5), (0.3, 1.0), (1.0, 1.0)])
def test_alpha_is_warmed_up(progress: float, share: float) -> None:
    assert _kl("infomask", 0.5, progress) == pytest.approx(0.5 * share * _reference_kl(), rel=1e-4, abs=1e-6)


def test_alpha_without_warm_up() -> None:
    assert _kl("infomask", 0.5, 0.0, alpha_warmup=0.0) == pytest.approx(0.5 * _reference_kl(), rel=1e-4)


def test_regl1_adds_the_mean_of_the_mask() -> None:
    batch = Batch(_images(), torch.tensor([0, 1, 0, 1]))
    losses = []
    for weight in (0.4, 0.0):
        method, net = _net("regl1", weight=weight)
        losses.append(method.loss(net, batch, 0.5).item())
    mask = mask_of(net.code(_images())[0], 0.5)
    assert losses[0] - losses[1] == pytest.approx(0.4 * mask.mean().item(), abs=1e-6)


def test_regl1_without_penalty_is_featuremask() -> None:
    (first, one), (second, other) = _net("regl1", weight=0.0), _net("featuremask")
    batch = Batch(_images(), torch.tensor([0, 1, 0, 1]))
    assert first.loss(one, batch, 0.5).item() == second.loss(other, batch, 0.5).item()


def test_the_noise_of_an_image_depends_on_nothing_but_seed_and_content() -> None:
    images = _images(5)

    def draws(batch: Tensor, seed: int) -> list[list[float]]:
        return [torch.rand(3, generator=g).tolist() for g in image_generators(batch, seed)]

    alone = [draws(images[i : i + 1], 7)[0] for i in range(5)]
    assert draws(images, 7) == alone
    assert draws(images.flip(0), 7) == alone[::-1]
    assert draws(images.contiguous(memory_format=torch.channels_last), 7) == alone
    assert draws(images, 8) != alone
    assert len({tuple(row) for row in alone}) == 5


def test_infomask_answers_alike_in_every_order() -> None:
    method, net = _net("infomask")
    with torch.no_grad():
        whole, _ = method.localize(net, _images(6))
        turned, _ = method.localize(net, _images(6).flip(0))
    torch.testing.assert_close(turned.flip(0), whole, atol=1e-6, rtol=0)


def test_other_test_noise_for_another_training_seed() -> None:
    method, net = _net("infomask", log_variance_start=1.0)
    images = _images(4)
    with torch.no_grad():
        first, maps = method.localize(net, images)
        net.noise_seed.add_(1)
        second, same_maps = method.localize(net, images)
    assert not np.array_equal(first, second)
    torch.testing.assert_close(maps, same_maps, atol=0, rtol=0)  # the expectation needs no noise


def test_extra_maps_are_those_of_figure_4() -> None:
    method, net = _net("infomask")
    with torch.no_grad():
        extra = method.extra_maps(net, _images(3))
    assert {name: values.shape for name, values in extra.items()} == {"mu": (3, 32, 32), "sigma": (3, 32, 32)}
    assert (extra["sigma"] > 0).all()


def test_a_masked_net_without_variance_has_none() -> None:
    net = MaskedCNN(SMALL, variational=False, code_bias=0.0, symmetric_start="deep", polarity_start=True)
    assert net.code(_images(1))[1] is None


@pytest.mark.parametrize("tau", [0.058, 0.65, 0.9, 0.95])
def test_a_saturated_mask_is_at_most_one(tau: float) -> None:
    method, net = _net("featuremask", replace(SMALL, width=0.01), tau=tau)
    with torch.no_grad():
        net.mu.weight.zero_()
        net.mu.bias.fill_(50.0)
        maps = method.localize(net, _images(1, 16))[1]
    assert float(maps.max()) <= 1


def test_a_penalty_warms_up() -> None:
    assert [warmed_up(2.0, progress, 0.5) for progress in (0, 0.25, 0.5, 1)] == [0, 1, 2, 2]
    assert warmed_up(2.0, 0.0, 0.0) == 2
