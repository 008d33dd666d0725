"""1 x 1 convolution as the matrix product that it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PointwiseConv(nn.Conv2d):
    """A convolution of one pixel, (N, C, H, W) -> (N, K, H, W), with the parameters of `nn.Conv2d`.

    In bf16 on a CPU a matrix product computes it: there PyTorch's convolution and its gradients take up to twice as
    long, on maps of few pixels (docs/benchmarks.md).
    """

    @classmethod
    def like(cls, convolution: nn.Conv2d) -> PointwiseConv:
        """One that has the weights of a 1 x 1 convolution.

        Raises:
            ValueError: the convolution is larger, or has stride, padding or groups.
        """
        plain = (convolution.kernel_size, convolution.stride, convolution.padding, convolution.groups)
        if plain != ((1, 1), (1, 1), (0, 0), 1):
            raise ValueError(f"{convolution}: expected kernel_size=1, stride=1, padding=0, groups=1.")
        with torch.device("meta"):  # its own start is not needed
            made = cls(
                convolution.in_channels, convolution.out_channels, kernel_size=1, bias=convolution.bias is not None
            )
        made.weight, made.bias = convolution.weight, convolution.bias
        return made

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d gives it
        """The convolution."""
        if input.device.type != "cpu" or input.dtype != torch.bfloat16:
            return super().forward(input)
        pixels = functional.linear(input.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return pixels.permute(0, 3, 1, 2)
