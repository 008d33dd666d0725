"""The training loop: one (dataset, network, recipe, seed) on labels alone, leaving checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wsl_bench.errors import MethodError
from wsl_bench.method import Batch, Network, Task
from wsl_bench.metrics.classification import auc, best_decision_threshold, cross_entropy
from wsl_bench.training.device import MEMORY_FORMAT, autocast, to_device
from wsl_bench.training.inputs import Inputs
from wsl_bench.training.recipe import ResolvedRecipe
from wsl_bench.training.snapshot import Running, restore, take

EVAL_BATCH = 64


@dataclass(frozen=True)
class Epoch:
    """What one epoch left: its number from 1 (0: the random start), loss and validation figures."""

    epoch: int
    loss: float
    accuracy: float
    cross_entropy: float
    auc: float


@dataclass(frozen=True)
class Checkpoint:
    """Weights after an epoch."""

    epoch: Epoch
    state: dict[str, Tensor]


@dataclass(frozen=True)
class Training:
    """A finished training: its candidate checkpoints, best first, and every epoch's figures."""

    candidates: tuple[Checkpoint, ...]
    history: tuple[Epoch, ...]


@dataclass(frozen=True)
class Snapshot:
    """A training that is not finished: what it has so far, and the state it goes on from (`snapshot.take`)."""

    so_far: Training
    tensors: dict[str, Tensor]


def seed_from(*parts: int) -> int:
    """A 63-bit seed from integers."""
    return int(np.random.SeedSequence(list(parts)).generate_state(1, np.uint64)[0] >> 1)


def train(
    network: Network,
    task: Task,
    recipe: ResolvedRecipe,
    train_inputs: Inputs,
    val_inputs: Inputs,
    *,
    start_seed: int,
    order_seed: int,
    device: str,
    n_keep: int,
    prefer: Callable[[Epoch], tuple[float, ...]],
    report: Callable[[Epoch], None] = lambda epoch: None,
    start: Snapshot | None = None,
    save: Callable[[Snapshot], None] = lambda snapshot: None,
) -> Training:
    """Train and keep the epochs with the best validation accuracy.

    Args:
        start_seed: of the weights and of noise drawn by the loss.
        order_seed: of the order of images and flips, shared by all methods of one seed.
        n_keep: number of checkpoints to keep.
        prefer: sort key of an epoch, the best first.
        report: called after each epoch.
        start: of the same training, to go on from; the outcome is bit for bit that of one training in one go.
        save: called after each epoch but the last.

    Raises:
        MethodError: the loss is not finite.
    """
    torch.manual_seed(start_seed)
    net = to_device(network.build(task), device)
    if recipe.epochs == 0:
        only = _validate(network, net, recipe, val_inputs, 0, math.nan)
        report(only)
        return Training((Checkpoint(only, _copy_state(net)),), (only,))
    steps = max(1, len(train_inputs) // recipe.batch_size)
    optimizer = torch.optim.Adam(
        net.parameters(), recipe.learning_rate, (0.9, recipe.beta2), weight_decay=recipe.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=max(2, steps * recipe.epochs)
    )
    running = Running(net, optimizer, schedule, torch.Generator().manual_seed(order_seed), device)
    kept: list[Checkpoint] = []
    history: list[Epoch] = []
    if start is not None:
        restore(running, start.tensors)
        kept, history = list(start.so_far.candidates), list(start.so_far.history)
    for number in range(len(history) + 1, recipe.epochs + 1):
        loss = _one_epoch(network, running, recipe, train_inputs, number, steps)
        epoch = _validate(network, net, recipe, val_inputs, number, loss)
        history.append(epoch)
        kept.append(Checkpoint(epoch, _copy_state(net)))
        kept = sorted(kept, key=lambda c: prefer(c.epoch))[:n_keep]
        report(epoch)
        if number < recipe.epochs:
            save(Snapshot(Training(tuple(kept), tuple(history)), take(running)))
    return Training(tuple(kept), tuple(history))


def probabilities(network: Network, net: nn.Module, inputs: Inputs, precision: str) -> npt.NDArray[np.float64]:
    """(N,) probability of the positive class, in evaluation mode.

    In the precision of the training, for speed: this tells epochs apart. The chosen one's figures and maps are
    computed in single precision (protocol/score_maps.py).
    """
    net.eval()
    parts = []
    with torch.inference_mode(), autocast(inputs.labels.device.type, precision):
        for start in range(0, len(inputs), EVAL_BATCH):
            images = inputs.images(slice(start, start + EVAL_BATCH))
            parts.append(network.probability(net, images).double().cpu())
    joined: npt.NDArray[np.float64] = torch.cat(parts).numpy()
    return joined


def _one_epoch(
    network: Network, running: Running, recipe: ResolvedRecipe, inputs: Inputs, number: int, steps: int
) -> float:
    """One pass; the images left over from full batches wait for another epoch. Returns the mean loss."""
    net, optimizer, order = running.net, running.optimizer, running.order
    net.train()
    device = inputs.labels.device
    permutation = torch.randperm(len(inputs), generator=order).to(device)
    flips = (torch.rand(len(inputs), generator=order) < 0.5).to(device)
    total = torch.zeros((), device=device)
    for step in range(steps):
        chosen = permutation[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        images = inputs.images(chosen)
        if recipe.flip:
            turned = flips[chosen][:, None, None, None]
            images = torch.where(turned, images.flip(-1), images)
        images = images.contiguous(memory_format=MEMORY_FORMAT)
        batch = Batch(images, inputs.labels[chosen])
        with autocast(device.type, recipe.precision):
            loss = network.loss(net, batch, (number - 1 + step / steps) / recipe.epochs)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
        optimizer.step()
        running.schedule.step()
        total += loss.detach().float()
    mean = float(total) / steps
    if not math.isfinite(mean):
        raise MethodError(f"the training loss is {mean} in epoch {number}; try a lower learning rate.")
    return mean


def _validate(network: Network, net: nn.Module, recipe: ResolvedRecipe, val: Inputs, number: int, loss: float) -> Epoch:
    labels = val.labels.cpu().numpy()
    probability = probabilities(network, net, val, recipe.precision)
    if not np.isfinite(probability).all():
        raise MethodError(f"the class probabilities on validation are not finite in epoch {number}.")
    accuracy = best_decision_threshold(labels, probability)[1]
    return Epoch(number, loss, accuracy, cross_entropy(labels, probability), auc(labels, probability))


def _copy_state(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in net.state_dict().items()}
