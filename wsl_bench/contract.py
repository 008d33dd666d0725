"""The contract every method keeps, built in or plugged in, as `wslbench check NAME` shows it.

The checks run on a few random images, so they take seconds and need no data. The network is freshly
built, as before its first epoch: the promises hold whatever it has learned.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from wsl_bench import params, registry
from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.rows import ImageRows
from wsl_bench.data.views import WeakView
from wsl_bench.errors import MethodError
from wsl_bench.method import (
    Batch,
    Method,
    Network,
    PostHocMethod,
    PriorData,
    PriorMethod,
    Task,
    TrainedMethod,
)
from wsl_bench.nets.enlarge import EnlargingNetwork
from wsl_bench.probes import Planted, broken, called, changed, flags, hooks, inert, same, wishes
from wsl_bench.protocol.failures import describe
from wsl_bench.protocol.score_maps import score
from wsl_bench.training.inputs import Inputs

SIZE, WIDTH, N_IMAGES, SEED = 32, 0.25, 5, 7
# Convolutions choose their algorithm by the batch, which changes the last digits.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class _Subject:
    """A method under test, what is trained for it, and a few images."""

    entry: registry.Entry
    method: Method
    network: Network | None
    inputs: Inputs

    @property
    def images(self) -> Tensor:
        """(N_IMAGES, 1, SIZE, SIZE) float32, made anew at every access."""
        return self.inputs.images(slice(None))

    def fresh(self, seed: int = SEED) -> nn.Module:
        """The network (or the fitted prior) as its training or cell would start it, in evaluation mode."""
        task = Task(1, SIZE, WIDTH, "batch", seed)
        torch.manual_seed(seed)
        if self.network is not None:
            return self.network.build(task).eval()
        prior = cast(PriorMethod, self.method)
        means = {label: self.images[self.inputs.labels == label].mean(0) for label in (0, 1)}
        truth = torch.zeros(SIZE, SIZE)
        truth[8:20, 10:24] = 0.5
        fitted = prior.fit(task, PriorData(means, truth if prior.uses_validation_truth else None))
        _expect(isinstance(fitted, nn.Module), "a torch.nn.Module from fit", _kind(fitted))
        return fitted.eval()

    def run(self, net: nn.Module, images: Tensor) -> tuple[Tensor | None, Tensor]:
        """Probability (None for a prior) and maps, called as the protocol calls them."""
        if isinstance(self.method, PostHocMethod):
            with torch.enable_grad():
                return _two(self.method.explain(net, images), "explain")
        with torch.no_grad():
            if isinstance(self.method, TrainedMethod):
                return _two(self.method.localize(net, images), "localize")
            maps = cast(PriorMethod, self.method).localize(net, images)
        _expect(isinstance(maps, Tensor), "maps (N, h, w) alone from a prior's localize", _kind(maps))
        return None, maps


def _two(found: Any, source: str) -> tuple[Tensor, Tensor]:
    right = isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, Tensor) for part in found)
    _expect(right, f"probability (N,) and maps (N, h, w) from {source}", _kind(found))
    return cast(tuple[Tensor, Tensor], found)


def _kind(found: object) -> str:
    if isinstance(found, tuple):
        return f"a tuple of {', '.join(type(part).__name__ for part in found)}"
    return f"a {type(found).__name__}"


def check_method(name: str) -> Iterator[str]:
    """Check one registered method, promise by promise.

    Yields:
        each promise kept, one line.

    Raises:
        UsageError: no such method, or it is unavailable.
        MethodError: the first promise broken, what it expects and what was found.
    """
    entry = registry.discover("method").get(name)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small images gain nothing from more
    try:
        yield from _kept(entry)
    finally:
        torch.set_num_threads(threads)


def _kept(entry: registry.Entry) -> Iterator[str]:
    subject: _Subject | None = None
    for promise, applies, check in _PROMISES:
        broken = f"{entry.name} breaks the promise '{promise}'"
        try:
            subject = subject or _subject(entry)
            if not applies(subject):
                continue
            check(subject)
        except MethodError as error:
            raise MethodError(f"{broken}: {error}") from error
        except Exception as error:
            raise MethodError(f"{broken}: expected no error, found {describe(error)}") from error
        yield promise


def _subject(entry: registry.Entry) -> _Subject:
    _expect(
        issubclass(entry.cls, TrainedMethod | PostHocMethod | PriorMethod),
        "a TrainedMethod, a PostHocMethod or a PriorMethod",
        entry.cls.__name__,
    )
    method: Method = params.build(cast(Any, entry.cls), entry.name, entry.defaults)
    network = method if isinstance(method, TrainedMethod) else None
    if isinstance(method, PostHocMethod):
        trained = registry.discover("network").get(method.trained_as)
        values = method.network_params()
        if issubclass(trained.cls, EnlargingNetwork):
            # No larger than it takes for a map of three cells: the more pixels, the sooner two values are equal but
            # for rounding, and then the batch decides which of them is pooled.
            values = {**values, "input_size": max(SIZE, 3 * trained.cls.cell)}
        network = params.build(trained.cls, trained.name, values)
    return _Subject(entry, method, network, _inputs())


def _inputs() -> Inputs:
    """Random images; the last but one is flat, the last is wider than high, so it has padding."""
    pixels = np.random.default_rng(0).integers(0, 256, (N_IMAGES, SIZE, SIZE), np.uint8)
    pixels[-2] = 128
    frames = [Letterbox.fit(SIZE, SIZE, SIZE)] * (N_IMAGES - 1) + [Letterbox.fit(SIZE // 2, SIZE, SIZE)]
    names = tuple(f"image {i}" for i in range(N_IMAGES))
    labels = np.arange(N_IMAGES, dtype=np.int64) % 2
    view = WeakView(names, names, labels, ImageRows.of(pixels), tuple(frames), sha256="")
    return Inputs(view, *view.pixel_moments(), "cpu")


def _expect(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise MethodError(f"expected {expected}, found {found}.")


def _declaration(subject: _Subject) -> None:
    cls, summary = subject.entry.cls, subject.entry.summary
    # A dataclass without a docstring gets one made of its signature; that says nothing.
    own_words = bool(summary) and not summary.startswith(f"{cls.__name__}(")
    _expect(own_words or bool(subject.method.paper), "a docstring or a `paper`", "neither")
    for info in params.describe(cls, subject.entry.defaults):
        _expect(bool(info.help.strip()), f"a help text for the parameter {info.name!r}", "none")


def _pickles(subject: _Subject) -> None:
    cls = subject.entry.cls
    _expect(pickle.loads(pickle.dumps(cls)) is cls, f"{cls.__qualname__} itself", "another object")
    _expect(pickle.loads(pickle.dumps(subject.method)) == subject.method, "an equal method", "another one")


def _labels_only(subject: _Subject) -> None:
    batch = Batch(subject.images, subject.inputs.labels)
    fields = [field.name for field in dataclasses.fields(Batch)]
    _expect(fields == ["images", "labels"], "a batch of images and labels", fields)
    for name in ("boxes", "masks", "truth", "located"):
        _expect(not hasattr(batch, name), f"no {name!r} in a batch", name)


def _learns(subject: _Subject) -> None:
    for progress in (0.0, 0.5, 1.0):
        net, images = subject.fresh().train(), subject.images
        loss = _loss(subject, net, images, progress)
        _expect(loss.shape == (), "a scalar loss", f"shape {tuple(loss.shape)}")
        _expect(bool(loss.isfinite()), f"a finite loss at progress {progress}", loss.item())
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        finite = all(bool(gradient.isfinite().all()) for gradient in gradients)
        _expect(finite, f"finite gradients at progress {progress}", "NaN or infinity")
        _expect(any(bool(g.any()) for g in gradients), "a gradient other than zero", "none")
        _expect(torch.equal(images, subject.images), "the images of the batch unchanged", "other values")


def _starts(subject: _Subject) -> None:
    first, again, other = (subject.fresh(seed).state_dict() for seed in (SEED, SEED, SEED + 1))
    _expect(same(first, again), "the same start for the same seed", "another")
    _expect(not same(first, other), "another start for another seed", "the same weights")


def _trains_alike(subject: _Subject) -> None:
    states = []
    for _ in range(2):
        net = subject.fresh().train()
        _loss(subject, net, subject.images, 0.5).backward()  # type: ignore[no-untyped-call]
        torch.optim.SGD(net.parameters(), 0.1).step()
        states.append(net.state_dict())
    _expect(same(*states), "the same weights after a step from the same seed", "others")


def _shapes(subject: _Subject) -> None:
    ids = [f"image {i}" for i in range(N_IMAGES)]
    subject.run(subject.fresh(), subject.images)  # says what was returned, before it is taken for what it should be
    scores = score(subject.method, subject.fresh(), subject.inputs, ids)
    classifies = not isinstance(subject.method, PriorMethod)
    _expect((scores.probability is not None) == classifies, "a probability", "none")


def _repeats(subject: _Subject) -> None:
    first = subject.fresh()
    probability, maps = subject.run(first, subject.images)
    for net in (first, subject.fresh()):
        torch.manual_seed(SEED + 5)  # whatever else the process has drawn must not matter
        probability_again, maps_again = subject.run(net, subject.images)
        _expect(torch.equal(maps, maps_again), "the same maps from the same seed, bit for bit", "others")
        if probability is not None and probability_again is not None:
            equal = torch.equal(probability, probability_again)
            _expect(equal, "the same probability from the same seed, bit for bit", "another")


def _batches(subject: _Subject) -> None:
    net = subject.fresh()
    whole = subject.run(net, subject.images)
    for size in (1, 3):
        parts = [subject.run(net, subject.images[i : i + size]) for i in range(0, N_IMAGES, size)]
        for what, column in (("probability", 0), ("maps", 1)):
            if whole[column] is None:
                continue
            expected = cast(Tensor, whole[column]).detach()
            found = torch.cat([cast(Tensor, part[column]).detach() for part in parts])
            _expect(found.shape == expected.shape, f"{what} {tuple(expected.shape)}", tuple(found.shape))
            allowed = TOLERANCE * float(expected.abs().max()) + 1e-7
            off = float((found - expected).abs().max())
            _expect(off <= allowed, f"the same {what} in batches of {size} (to {allowed:.1e})", f"{off:.1e} off")


def _leaves_alone(subject: _Subject) -> None:
    net, images = subject.fresh(), subject.images
    for module in list(inert(net))[::2]:
        module.train()  # so that a method that resets all flags to one value is seen
    for parameter in list(net.parameters())[::2]:
        parameter.requires_grad_(False)
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    own_flags, own_wishes = flags(net), wishes(net)
    subject.run(net, images)
    _expect(torch.equal(images, subject.images), "the images unchanged, bit for bit", "other values")
    _expect(not images.requires_grad and images.grad is None, "images without gradients", "gradients")
    _expect(flags(net) == own_flags, "every module's training flag unchanged", changed(own_flags, flags(net)))
    _expect(wishes(net) == own_wishes, "requires_grad unchanged", changed(own_wishes, wishes(net)))
    _expect(same(state, net.state_dict()), "the network's weights and buffers unchanged", "other values")


def _hooks_gone(subject: _Subject) -> None:
    net, images = subject.fresh(), subject.images[:2]
    before = hooks(net)
    subject.run(net, images)
    _expect(hooks(net) == before, "no hook left after a call", changed(before, hooks(net)))
    passed = called(net, lambda: subject.run(net, images))
    for module in {id(m): m for m in (passed[:1] + passed[len(passed) // 2 :][:1] + passed[-1:])}.values():
        for in_backward in (False, True):
            with broken(module, in_backward), contextlib.suppress(Planted):
                subject.run(net, images)
                _expect(in_backward, "an error inside the network to come out", "no error")
            _expect(hooks(net) == before, "no hook left after an error", changed(before, hooks(net)))


def _loss(subject: _Subject, net: nn.Module, images: Tensor, progress: float) -> Tensor:
    assert subject.network is not None
    return subject.network.loss(net, Batch(images, subject.inputs.labels), progress)


def _every(subject: _Subject) -> bool:
    return True


def _is_trained(subject: _Subject) -> bool:
    return subject.network is not None


_PROMISES: tuple[tuple[str, Callable[[_Subject], bool], Callable[[_Subject], None]], ...] = (
    ("says what it is: a summary or a paper, a help text for each parameter", _every, _declaration),
    ("pickles by reference, so that worker processes find it", _every, _pickles),
    ("trains on images and labels, never on ground truth", _is_trained, _labels_only),
    ("its loss is a finite scalar with finite gradients", _is_trained, _learns),
    ("same start for the same seed, another for another seed", _is_trained, _starts),
    ("same training step for the same seed", _is_trained, _trains_alike),
    ("probability (N,) in [0, 1] and finite maps (N, h, w), in [0, 1] where bounded", _every, _shapes),
    ("same maps for the same seed, whatever was drawn in between", _every, _repeats),
    (f"same maps in batches of 1, 3 and all, to {TOLERANCE:g} of the largest value", _every, _batches),
    ("leaves images, weights, training flags and requires_grad as they were", _every, _leaves_alone),
    ("leaves no hook behind, not even after an error inside the network", _every, _hooks_gone),
)
