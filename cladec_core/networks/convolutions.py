"""Convolutions as `torch.nn` has them, with the work in another order where the maps are small.

Over a single pixel a convolution is a product with the few taps that meet it. On a CPU the gradient of a weight is
faster as one product of all patches with all outputs.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Conv2d(nn.Conv2d):
    """A square convolution, faster to train where its output is small."""

    def forward(self, images: Tensor) -> Tensor:
        """(n, in_channels, size, size) -> (n, out_channels, size', size'), as `nn.Conv2d`."""
        (height, size), pad, stride = images.shape[-2:], self.padding[0], self.stride[0]
        side = (max(height, size) + 2 * pad - self.kernel_size[0]) // stride + 1
        if side == 1 and height == size:
            # Channels last, as both are in memory while training: then no copy has to change the order.
            taps = _Taps.apply(self.weight, pad, size)
            values = images.permute(0, 2, 3, 1).flatten(1)
            return F.linear(values, taps.flatten(1), self.bias).unflatten(1, (-1, 1, 1))
        if not _by_products(images, self.weight, side, stride):
            return super().forward(images)
        images, weight, bias = _rounded(images, self.weight, self.bias)
        return _Convolution.apply(images, weight, bias, False, self.stride, self.padding, self.output_padding)


class ConvTranspose2d(nn.ConvTranspose2d):
    """A square transposed convolution, faster to train where its input is small."""

    def forward(self, maps: Tensor) -> Tensor:
        """(n, in_channels, size, size) -> (n, out_channels, size', size'), as `nn.ConvTranspose2d`."""
        side, pad, stride = max(maps.shape[-2:]), self.padding[0], self.stride[0]
        size = self.kernel_size[0] - 2 * pad + self.output_padding[0]  # of the output, for one input pixel
        if side == 1 and pad + size <= self.kernel_size[0]:
            taps = _Taps.apply(self.weight, pad, size)
            output = F.linear(maps.flatten(1), taps.flatten(1).t()).unflatten(1, (size, size, -1))
            return (output + self.bias).permute(0, 3, 1, 2)
        if not _by_products(maps, self.weight, side, stride):
            return super().forward(maps)
        maps, weight, bias = _rounded(maps, self.weight, self.bias)
        return _Convolution.apply(maps, weight, bias, True, self.stride, self.padding, self.output_padding)


def _by_products(maps: Tensor, weight: Tensor, side: int, stride: int) -> bool:
    """Whether there is a gradient to make in bf16 on a CPU, from small maps (n, channels, `side`, `side`).

    With two pixels the CPU's own kernels need up to eight times as long as a product. The line was drawn where whole
    training steps stopped getting faster, on one core and on two; in float32 the kernels are as good.
    """
    trained = torch.is_grad_enabled() and weight.requires_grad
    return trained and _dtype(maps) == torch.bfloat16 and maps.device.type == "cpu" and side <= 2 * stride**2


def _dtype(maps: Tensor) -> torch.dtype:
    """The precision of a convolution: autocast's, where it is on."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else maps.dtype


def _rounded(maps: Tensor, *parameters: Tensor | None) -> list[Tensor | None]:
    """Round as autocast does for a convolution; it does not look into functions with a gradient of their own."""
    return [tensor if tensor is None else tensor.to(_dtype(maps)) for tensor in (maps, *parameters)]


class _Taps(torch.autograd.Function):
    """Some taps of a weight: (a, b, k, k) -> (a, size, size, b). All others get a gradient of zero."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, first: int, size: int) -> Tensor:
        """Take `size` taps in each direction, from the `first`."""
        ctx.around = (first, weight.shape[-1] - first - size)
        return weight.permute(0, 2, 3, 1)[:, first : first + size, first : first + size]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Put zeros around, once: slices would fill the whole weight once each."""
        return F.pad(gradient, (0, 0, *ctx.around, *ctx.around)).permute(0, 3, 1, 2), None, None


class _Convolution(torch.autograd.Function):
    """A convolution, or a transposed one, whose weight gets its gradient from one matrix product."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool,
        stride: tuple[int, int], padding: tuple[int, int], output_padding: tuple[int, int],
    ) -> Tensor:  # fmt: skip
        """Convolve maps (n, channels, size, size)."""
        ctx.save_for_backward(maps, weight)
        ctx.geometry = (stride, padding, (1, 1), transposed, output_padding, 1)
        return torch.convolution(maps, weight, bias, *ctx.geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of maps, weight and bias."""
        maps, weight = ctx.saved_tensors
        stride, padding, _, transposed, *_ = ctx.geometry
        of_maps = None
        if ctx.needs_input_grad[0]:
            only_maps = (True, False, False)
            of_maps = torch.ops.aten.convolution_backward(gradient, maps, weight, None, *ctx.geometry, only_maps)[0]
        # A transposed convolution is the same sum over pairs of pixels, with input and output exchanged.
        small, large = (maps, gradient) if transposed else (gradient, maps)
        pixels = small.permute(0, 2, 3, 1).flatten(0, 2)
        product = pixels.t() @ _patches(large, weight.shape[-1], stride[0], padding[0])
        of_weight = product.unflatten(1, (*weight.shape[2:], -1)).permute(0, 3, 1, 2)
        of_bias = gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return of_maps, of_weight, of_bias, None, None, None, None


def _patches(maps: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Everything that each output pixel sees: (n, channels, size, size) -> (n size' size', kernel kernel channels)."""
    padded = F.pad(maps, (padding,) * 4).permute(0, 2, 3, 1)
    windows = padded.unfold(1, kernel, stride).unfold(2, kernel, stride)
    return windows.permute(0, 1, 2, 4, 5, 3).flatten(0, 2).flatten(1)
