"""Batch normalisation, perhaps 2 x 2 max-pooling, and ReLU in one module, in few passes over memory on a CPU.

On a CPU these layers wait for memory. PyTorch goes over the features fourteen times for one forward and backward
pass of normalisation and ReLU, the compiled passes here eight times, and over less with pooling
(docs/benchmarks.md has the ratios).
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional


class NormReLU(nn.BatchNorm2d):
    """ReLU(max-pool(batch-norm(x))), (N, C, H, W) -> the same shape, or with `pool` (N, C, H // 2, W // 2).

    Batch normalisation is that of Ioffe and Szegedy 2015 (arXiv:1502.03167); parameters, buffers and their names are
    those of `nn.BatchNorm2d`. On one thread of a CPU compiled passes compute it, in bf16 and fp32; elsewhere, and for
    gradients in evaluation mode, the layers of PyTorch. They differ by rounding (in bf16 PyTorch's max-pooling also
    sees ties that rounding made). What the compiled passes do not offer: gradients of gradients. Tools that replace
    an `nn.BatchNorm2d` by its class take the ReLU with it.
    """

    def __init__(self, channels: int, *, pool: bool = False) -> None:
        super().__init__(channels)
        self.pool = pool

    @classmethod
    def like(cls, norm: nn.BatchNorm2d) -> NormReLU:
        """One that takes over the parameters, running figures and settings of a normalisation."""
        made = cls(norm.num_features)
        made.eps, made.momentum = norm.eps, norm.momentum
        made.load_state_dict(norm.state_dict())
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Features after the ReLU; in training the running mean and variance move as `nn.BatchNorm2d`'s do."""
        if self._is_compiled_for(x):
            if self.training:
                return cast(Tensor, _InTraining.apply(x, self.weight, self.bias, self))
            if not torch.is_grad_enabled():
                known = np.stack([_array(_there(self.running_mean)), _array(_there(self.running_var))])
                return self.normalised(_channels_last(x), known.astype(np.float64))
        normalised = super().forward(x)
        # Pooling before the ReLU, with which it commutes: the same numbers from a quarter of the work.
        return functional.relu_(functional.max_pool2d(normalised, 2) if self.pool else normalised)

    def _is_compiled_for(self, x: Tensor) -> bool:
        """Whether the compiled passes may see `x`: they check nothing, so what PyTorch would refuse goes to PyTorch."""
        return (
            x.device.type == "cpu"
            and x.dtype in (torch.bfloat16, torch.float32)
            and self.weight.dtype == _there(self.running_mean).dtype == torch.float32
            and x.dim() == 4
            and x.shape[1] == self.num_features
            and x.numel() > x.shape[1]  # one value a channel has no variance
            and (not self.pool or min(x.shape[2:]) > 1)
            and torch.get_num_threads() == 1  # as in every worker; on many cores PyTorch's passes share the work
        )

    def normalised(self, x: Tensor, statistics: npt.NDArray[np.float64]) -> Tensor:
        """The module's function of x (N, H, W, C), as (N, C, ...), by given statistics, (2, C) mean and variance."""
        # Here and not at the top, so that reading this file does not import numba.
        from wsl_bench.nets._norm_kernels import normalise

        n, h, w, c = x.shape
        size = (h // 2, w // 2) if self.pool else (h, w)
        y = torch.empty((n, c, *size), dtype=x.dtype, memory_format=torch.channels_last)
        out = _array(y.permute(0, 2, 3, 1))
        normalise(_array(x), _array(self.weight), _array(self.bias), self.eps, statistics, self.pool, out)
        return y

    def move(self, statistics: npt.NDArray[np.float64], count: int) -> None:
        """Running statistics towards those of a batch, (2, C) mean and biased variance over `count` pixels."""
        seen = _there(self.num_batches_tracked).add_(1)
        share = 1 / float(seen) if self.momentum is None else self.momentum
        unbiased = statistics[1] * (count / (count - 1))
        _there(self.running_mean).lerp_(torch.from_numpy(statistics[0]).float(), share)
        _there(self.running_var).lerp_(torch.from_numpy(unbiased).float(), share)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{self.num_features}, pool={self.pool}"


class _InTraining(torch.autograd.Function):
    """The module's function of x and its parameters by the statistics of x, with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: NormReLU) -> Tensor:
        from wsl_bench.nets._norm_kernels import measure

        last = _channels_last(x)
        statistics = np.empty((2, last.shape[3]))
        measure(_array(last), statistics)
        layer.move(statistics, last.shape[:3].numel())
        ctx.save_for_backward(last, weight, bias)
        ctx.eps, ctx.pool, ctx.statistics = layer.eps, layer.pool, statistics
        return layer.normalised(last, statistics)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        from wsl_bench.nets._norm_kernels import differentiate

        last, weight, bias = ctx.saved_tensors
        dx, parameters = torch.empty_like(last), torch.empty(2, len(weight))
        differentiate(
            _array(last), _array(_channels_last(grad)), _array(weight), _array(bias), ctx.eps, ctx.statistics,
            ctx.pool, _array(dx), _array(parameters),
        )  # fmt: skip
        return dx.permute(0, 3, 1, 2), parameters[0], parameters[1], None


def _there(buffer: Tensor | None) -> Tensor:
    assert buffer is not None  # a choice of nn.BatchNorm2d that this module does not offer
    return buffer


def _channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H, W, C), without a copy where memory has that order, as convolutions leave it."""
    return x.permute(0, 2, 3, 1).contiguous()


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    """The memory of a tensor as an array; bfloat16, which numpy lacks, as its bits."""
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
