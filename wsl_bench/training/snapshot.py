"""Where a training stands after an epoch: all that it needs to go on as if it had never stopped.

Weights, Adam's moments, the place in the schedule, and the state of every generator that draws: torch's own (noise
in a loss), the device's, and the one that orders images. On one device a training that goes on from a snapshot ends
bit for bit as one that was not interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

_CPU, _CUDA, _ORDER = "generator.cpu", "generator.cuda", "generator.order"


@dataclass
class Running:
    """The moving parts of a training."""

    net: nn.Module
    optimizer: torch.optim.Adam
    schedule: torch.optim.lr_scheduler.OneCycleLR
    order: torch.Generator
    device: str


def take(running: Running) -> dict[str, Tensor]:
    """Copies of all state, by name, on the CPU."""
    group = running.optimizer.param_groups[0]
    out = {f"net.{name}": tensor for name, tensor in running.net.state_dict().items()}
    for number, moments in running.optimizer.state_dict()["state"].items():
        out |= {f"adam.{number}.{name}": tensor for name, tensor in moments.items()}
    out |= {
        "schedule.step": torch.tensor(running.schedule.last_epoch),
        "schedule.rate": torch.tensor([group["lr"], *group["betas"]], dtype=torch.float64),
        _CPU: torch.get_rng_state(),
        _ORDER: running.order.get_state(),
    }
    if running.device == "cuda":
        out[_CUDA] = torch.cuda.get_rng_state()
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in out.items()}


def restore(running: Running, tensors: dict[str, Tensor]) -> None:
    """Put the state of `take` into freshly made parts of the same training.

    Raises:
        KeyError, RuntimeError: it is the state of another network or device.
    """
    running.net.load_state_dict(_below(tensors, "net."))
    parameters = list(running.net.parameters())
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below(tensors, "adam.").items():
        number, _, moment = name.partition(".")
        like = parameters[int(number)]
        # Moments lie in memory as their parameters do, which a file does not keep.
        laid_out = tensor if tensor.ndim == 0 else torch.empty_like(like, device="cpu").copy_(tensor)
        state.setdefault(int(number), {})[moment] = laid_out
    running.optimizer.load_state_dict({"state": state, "param_groups": running.optimizer.state_dict()["param_groups"]})
    running.schedule.last_epoch = int(tensors["schedule.step"])
    rate, *betas = tensors["schedule.rate"].tolist()
    running.optimizer.param_groups[0].update(lr=rate, betas=tuple(betas))
    torch.set_rng_state(tensors[_CPU])
    running.order.set_state(tensors[_ORDER])
    if running.device == "cuda":
        torch.cuda.set_rng_state(tensors[_CUDA])


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
