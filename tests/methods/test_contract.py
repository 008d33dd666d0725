"""One contract for every registered method, plug-ins included; and that the check sees what is broken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wsl_bench import PostHocMethod, PriorMethod, Task, TrainedMethod, UsageError, param, registry
from wsl_bench.contract import check_method
from wsl_bench.errors import MethodError
from wsl_bench.method import Batch, Method, PriorData
from wsl_bench.nets.prior import FixedMap


@pytest.mark.parametrize("name", sorted(registry.discover("method").available))
def test_a_registered_method_keeps_the_contract(name: str) -> None:
    promises = list(check_method(name))
    prior = issubclass(registry.discover("method").get(name).cls, PriorMethod)
    assert len(promises) == (7 if prior else 11)


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(UsageError, match="Did you mean 'infomask'"):
        list(check_method("infomsk"))


class Net(nn.Module):
    """A classifier small enough to run a few hundred times."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x).mean((2, 3)))
        return logits


class Good(TrainedMethod):
    """Trained; its maps are smaller than the image."""

    bounded: ClassVar[bool] = True

    def build(self, task: Task) -> nn.Module:
        return Net()

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = torch.sigmoid(cast(Any, net).body(images).mean(1))
        return torch.softmax(net(images), 1)[:, 1], maps


class Explaining(PostHocMethod):
    """Explains the baseline by its gradient."""

    def explain(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        inputs = images.clone().requires_grad_(True)
        logits = net(inputs)
        [gradient] = torch.autograd.grad(logits[:, 1].sum(), inputs)
        return torch.softmax(logits, 1)[:, 1].detach(), gradient[:, 0].abs()


class ThreeMaps(Good):
    """Returns a channel axis."""

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        probability, maps = super().localize(net, images)
        return probability, maps[:, None]


class NotFinite(Good):
    """Divides by zero on the flat image."""

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        probability, maps = super().localize(net, images)
        return probability, maps / images.std((1, 2, 3))[:, None, None].round(decimals=3) * 0


class Unbounded(Good):
    """Says that it is bounded and is not."""

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        probability, maps = super().localize(net, images)
        return probability, maps * 5


class Logits(Good):
    """Returns a logit for a probability."""

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        return net(images)[:, 1] * 100 + 2, super().localize(net, images)[1]


class BatchScaled(Good):
    """Scales by the largest value of the batch."""

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        probability, maps = super().localize(net, images)
        return probability, maps / maps.max()


class Drawing(Good):
    """Draws noise from the global generator."""

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        probability, maps = super().localize(net, images)
        return probability, maps * torch.rand(())


class Writing(Good):
    """Standardises the images in place."""

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        images[images.abs() > 1e9] = 0
        images.sub_(1e-3)
        return super().localize(net, images)


class Resetting(Good):
    """Puts the network into evaluation mode at the end."""

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        out = super().localize(net, images)
        net.eval()
        return out


class Freezing(Good):
    """Freezes the network."""

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        net.requires_grad_(False)
        return super().localize(net, images)


class Counting(Good):
    """Keeps a trace of each call in the network."""

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        cast(Any, net).body[1].num_batches_tracked.add_(1)
        return super().localize(net, images)


class Hooked(Explaining):
    """Leaves a hook."""

    def explain(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        cast(Any, net).encoder[0].register_forward_hook(lambda module, given, out: None)
        return super().explain(net, images)


class HookedOnError(Explaining):
    """Removes its hook only if all goes well."""

    def explain(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        handle = cast(Any, net).encoder[0].register_forward_hook(lambda module, given, out: None)
        out = super().explain(net, images)
        handle.remove()
        return out


class HookedOnBackwardError(Explaining):
    """Removes its hook if the forward pass goes well, and not if the backward pass fails."""

    def explain(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        handle = cast(Any, net).encoder[0].register_full_backward_hook(lambda module, given, out: None)
        try:
            net(images)
        except Exception:
            handle.remove()
            raise
        out = super().explain(net, images)
        handle.remove()
        return out


class Swallowing(Explaining):
    """Hides errors of the network."""

    def explain(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        try:
            return super().explain(net, images)
        except Exception:
            return torch.zeros(len(images)), torch.zeros(len(images), 2, 2)


class NoGradient(Good):
    """Its loss depends on nothing."""

    def loss(self, net: nn.Module, batch: Batch, progress: float) -> Tensor:
        return 0 * net(batch.images).sum()


class Exploding(Good):
    """Its loss is not finite at the end of training."""

    def loss(self, net: nn.Module, batch: Batch, progress: float) -> Tensor:
        return functional.cross_entropy(net(batch.images), batch.labels) / (1 - progress)


class Vector(Good):
    """Its loss is not a scalar."""

    def loss(self, net: nn.Module, batch: Batch, progress: float) -> Tensor:
        return functional.cross_entropy(net(batch.images), batch.labels, reduction="none")


class Peeking(Good):
    """Reaches for ground truth."""

    def loss(self, net: nn.Module, batch: Batch, progress: float) -> Tensor:
        return functional.cross_entropy(net(batch.images), batch.labels) + cast(Any, batch).boxes.mean()


class AlwaysTheSame(Good):
    """Starts alike whatever the seed."""

    def build(self, task: Task) -> nn.Module:
        torch.manual_seed(0)
        return Net()


class NeverTheSame(Good):
    """Starts differently each time."""

    def build(self, task: Task) -> nn.Module:
        torch.seed()
        return Net()


class Mute(Good):
    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        return super().localize(net, images)


class Unexplained(Good):
    """Has a parameter without a help text."""

    alpha: float = param(1.0, " ")


class WrongPrior(PriorMethod):
    """Wants validation boxes without saying so."""

    def fit(self, task: Task, data: PriorData) -> nn.Module:
        return FixedMap(cast(Tensor, data.validation_truth) / 2)

    def localize(self, net: nn.Module, images: Tensor) -> Tensor:
        return cast(FixedMap, net).repeat(images)


class Neither(Method):
    """Is no kind of method."""


class FitsNothing(PriorMethod):
    """Forgets to return."""

    def fit(self, task: Task, data: PriorData) -> nn.Module:
        return cast(nn.Module, None)


class TalkativePrior(PriorMethod):
    """A prior gives no probability."""

    def fit(self, task: Task, data: PriorData) -> nn.Module:
        return FixedMap(torch.ones(task.image_size, task.image_size))

    def localize(self, net: nn.Module, images: Tensor) -> Tensor:
        maps = cast(FixedMap, net).repeat(images)
        return cast(Tensor, (maps.mean((1, 2)), maps))


class MapsAlone(Good):
    """Forgets the probability."""

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        return cast(tuple[Tensor, Tensor], super().localize(net, images)[1])


BROKEN = [
    (FitsNothing, "", "expected a torch.nn.Module from fit, found a NoneType"),
    (TalkativePrior, "", r"expected maps \(N, h, w\) alone from a prior's localize, found a tuple of Tensor, Tensor"),
    (MapsAlone, "", r"expected probability \(N,\) and maps \(N, h, w\) from localize, found a Tensor"),
    (ThreeMaps, "probability", r"score maps: expected shape \(5, h, w\), found \(5, 1, 15, 15\)"),
    (NotFinite, "probability", "the score map of image 'image 3' is not finite"),
    (Unbounded, "probability", r"expected values in \[0, 1\]"),
    (Logits, "probability", r"probability: expected finite values in \[0, 1\]"),
    (BatchScaled, "batches of 1, 3 and all", r"expected the same maps in batches of 1 \(to .*\), found .* off"),
    (Drawing, "same maps for the same seed", "bit for bit, found others"),
    (Writing, "leaves images", "expected the images unchanged"),
    (Resetting, "leaves images", "training flag unchanged, found a change at body"),
    (Freezing, "leaves images", "requires_grad unchanged, found a change at body"),
    (Counting, "leaves images", "weights and buffers unchanged"),
    (Hooked, "leaves no hook", "no hook left after a call, found a change at encoder.0._forward_hooks"),
    (HookedOnError, "leaves no hook", "no hook left after an error, found a change at encoder.0._forward_hooks"),
    (HookedOnBackwardError, "leaves no hook", "no hook left after an error"),
    (Swallowing, "leaves no hook", "an error inside the network to come out, found no error"),
    (NoGradient, "its loss", "expected a gradient other than zero, found none"),
    (Exploding, "its loss", "expected a finite loss at progress 1.0, found inf"),
    (Vector, "its loss", r"expected a scalar loss, found shape \(5,\)"),
    (Peeking, "its loss", "expected no error, found AttributeError: 'Batch' object has no attribute 'boxes'"),
    (AlwaysTheSame, "same start", "another start for another seed"),
    (NeverTheSame, "same start", "the same start for the same seed"),
    (Mute, "says what it is", "expected a docstring or a `paper`, found neither"),
    (Unexplained, "says what it is", "expected a help text for the parameter 'alpha', found none"),
    (WrongPrior, "pickles|says|probability", "found TypeError"),
    (Neither, "says what it is", "expected a TrainedMethod, a PostHocMethod or a PriorMethod, found Neither"),
]


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make a class known as a method for one test."""

    def register(cls: type[Method]) -> None:
        found = registry.discover("method")
        summary = (cls.__doc__ or "").strip()
        entry = registry.Entry("method", "made", cls, __file__, summary, ())
        with_made = registry.Registry("method", {**found.available, "made": entry}, [])
        discover = registry.discover
        monkeypatch.setattr(registry, "discover", lambda kind: with_made if kind == "method" else discover(kind))

    return register


@pytest.mark.parametrize("cls", [Good, Explaining])
def test_a_good_method_passes(cls: type[Method], put: Any) -> None:
    put(cls)
    assert len(list(check_method("made"))) == 11


@pytest.mark.parametrize(("cls", "promise", "said"), BROKEN, ids=[cls.__name__ for cls, _, _ in BROKEN])
def test_a_broken_promise_is_named(cls: type[Method], promise: str, said: str, put: Any) -> None:
    put(cls)
    with pytest.raises(MethodError, match=rf"made breaks the promise '.*({promise}).*': .*{said}"):
        list(check_method("made"))


def test_a_class_that_a_worker_cannot_import_is_refused(put: Any) -> None:
    class Local(Good):
        """Defined inside a function."""

    put(Local)
    with pytest.raises(MethodError, match="breaks the promise 'pickles by reference"):
        list(check_method("made"))


def test_the_thread_count_is_restored() -> None:
    before = torch.get_num_threads()
    for _ in check_method("center_box"):
        break
    list(check_method("whole_image"))
    assert torch.get_num_threads() == before
