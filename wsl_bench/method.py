"""What a method is: trained to localize, explaining a trained classifier, or a prior without training.

A method never meets ground truth: the batch it trains on has images and labels, nothing else.
Shapes: N images, C channels, H x W pixels of the network's input, h x w of a score map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from wsl_bench.params import Component, Value

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Task:
    """What a network is built for.

    Attributes:
        channels: input channels.
        image_size: side of the square input, pixels.
        width: factor on every channel count of the paper's CNN.
        norm: normalisation after each convolution of the paper's CNN: none, batch or group.
        seed: the training's seed, for methods that draw noise at test time.
    """

    channels: int
    image_size: int
    width: float
    norm: str
    seed: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What training sees.

    Attributes:
        images: (N, C, H, W) float32, standardised by the training images' mean and deviation.
        labels: (N,) int64, 0 or 1.
    """

    images: Tensor
    labels: Tensor


class Network(Component):
    """A network and how it is trained; base of classifiers that several methods explain.

    Class attributes:
        recipe: what this network needs different from the common recipe, field by field.
        relative_cost: of an image in training, against the paper's CNN; plans the order of jobs.
        imports: as of `Method`.
    """

    imports: ClassVar[tuple[str, ...]] = ()
    recipe: ClassVar[Mapping[str, Any]] = {}
    relative_cost: ClassVar[float] = 1.0

    def build(self, task: Task) -> nn.Module:
        """A freshly initialised network; torch's global generator is already seeded."""
        raise NotImplementedError

    def saw(self) -> tuple[str, ...]:
        """Names of the datasets whose images its weights have seen before this training; default: none.

        Evaluated on one of them, its rows get the status `contaminated` and no rank.
        """
        return ()

    def loss(self, net: nn.Module, batch: Batch, progress: float) -> Tensor:
        """Scalar training loss; `progress` runs from 0 to 1. Default: cross-entropy of net(images)."""
        from torch.nn import functional

        return functional.cross_entropy(net(batch.images), batch.labels)

    def probability(self, net: nn.Module, images: Tensor) -> Tensor:
        """(N,) probability of the positive class. Default: softmax of net(images), in single precision."""
        import torch

        return torch.softmax(net(images).float(), dim=1)[:, 1]


class Method(Component):
    """A localizer: one row of the leaderboard.

    Class attributes:
        paper: where it comes from.
        silent: points on which the paper is silent, and what was chosen.
        groups: names under which `--methods` takes it too.
        bounded: its raw maps lie in [0, 1] already; others are scaled (protocol point 4).
        sanity: a row that others must beat; never ranked.
        imports: modules that take long to import and are imported where they are used; a worker imports them before
            it times anything.
    """

    imports: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[str] = ""
    silent: ClassVar[Mapping[str, str]] = {}
    groups: ClassVar[tuple[str, ...]] = ()
    bounded: ClassVar[bool] = False
    sanity: ClassVar[bool] = False


class TrainedMethod(Network, Method):
    """A method whose own training makes it localize. Give `build`, `localize` and perhaps `loss`."""

    def localize(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probability of the positive class (N,) and score maps (N, h, w); higher = more evidence."""
        raise NotImplementedError

    def probability(self, net: nn.Module, images: Tensor) -> Tensor:
        """(N,) probability of the positive class, as `localize` gives it."""
        return self.localize(net, images)[0]

    def extra_maps(self, net: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """Further maps worth showing, (N, h, w) each; kept for the display images only."""
        return {}


class PostHocMethod(Method):
    """A method that explains a trained classifier. Methods with the same `trained_as` share it.

    Class attributes:
        trained_as: the registered network it explains.
    """

    trained_as: ClassVar[str] = "baseline"

    def network_params(self) -> dict[str, Value]:
        """Parameters to pass on to the network."""
        return {}

    def explain(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probability of the positive class (N,) and score maps (N, h, w). Gradients are on."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class PriorData:
    """What a prior may look at.

    Attributes:
        mean_images: by label (0, 1), the mean standardised training image, (C, S, S) float32.
        validation_truth: (S, S) float32, mean ground truth of the validation images in the input's
            frame; None unless the method declares `uses_validation_truth`.
    """

    mean_images: Mapping[int, Tensor]
    validation_truth: Tensor | None


class PriorMethod(Method):
    """A map that needs no network: the sanity rows.

    Class attributes:
        uses_validation_truth: it spends the validation boxes that every threshold already spends.
    """

    bounded: ClassVar[bool] = True
    sanity: ClassVar[bool] = True
    uses_validation_truth: ClassVar[bool] = False

    def fit(self, task: Task, data: PriorData) -> nn.Module:
        """Whatever the map needs, as a module with buffers (so that it is stored like a network)."""
        raise NotImplementedError

    def localize(self, net: nn.Module, images: Tensor) -> Tensor:
        """Score maps (N, h, w)."""
        raise NotImplementedError
