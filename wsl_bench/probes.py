"""What can be seen of a network from outside, and errors planted in it: the instruments of the contract."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

State = dict[str, Tensor]
HOOK_TABLES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Planted(Exception):
    """The error that `broken` plants in a network."""


class _FailsBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The input."""
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The planted error."""
        raise Planted


@contextlib.contextmanager
def broken(module: nn.Module, in_backward: bool) -> Iterator[None]:
    """Have `module` raise in its forward or in its backward pass."""
    forward = module.forward

    def raising(*args: Any, **kwargs: Any) -> Any:
        if not in_backward:
            raise Planted
        return cast(Any, _FailsBackward).apply(forward(*args, **kwargs))

    module.forward = raising
    try:
        yield
    finally:
        del module.forward


def called(net: nn.Module, call: Callable[[], object]) -> list[nn.Module]:
    """The modules without children that `call` passes through, in that order."""
    passed: list[nn.Module] = []
    leaves = [module for module in net.modules() if not any(module.children())]
    handles = [leaf.register_forward_pre_hook(lambda module, _: passed.append(module)) for leaf in leaves]
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    return passed


def inert(net: nn.Module) -> Iterator[nn.Module]:
    """Modules that do the same in training and in evaluation mode."""
    for module in net.modules():
        if isinstance(module, nn.ReLU | nn.MaxPool2d | nn.Conv2d | nn.Linear | nn.Flatten):
            yield module


def flags(net: nn.Module) -> dict[str, Any]:
    """The training flag of every module."""
    return {name: module.training for name, module in net.named_modules()}


def wishes(net: nn.Module) -> dict[str, Any]:
    """requires_grad of every parameter."""
    return {name: parameter.requires_grad for name, parameter in net.named_parameters()}


def hooks(net: nn.Module) -> dict[str, Any]:
    """The keys of all hooks on modules and parameters."""
    found = {f"{n}.{kind}": tuple(getattr(m, kind)) for n, m in net.named_modules() for kind in HOOK_TABLES}
    return found | {name: tuple(p._backward_hooks or ()) for name, p in net.named_parameters()}


def changed(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Where two of these differ, in words."""
    names = [name or "the network" for name in after if after[name] != before.get(name)]
    return f"a change at {', '.join(names[:3])}"


def same(one: State, other: State) -> bool:
    """Whether two state dictionaries are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
