"""Convolutions as `torch.nn` has them, with the work in another order where that order is faster or safer.

A convolution pairs each pixel of its smaller map (the output; of a transposed convolution the input) with a window of
the larger one. Where the smaller map has few pixels, most windows reach over the edge of the larger one: one matrix
product for each pixel, over the taps that meet the map, is then less work. Where it has more, the gradient of the
weight is often faster as one product of all pixels with all windows.
"""

import itertools
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FEW_PIXELS = 4  # in float32: over 2x2 pixels 3x3 taps meet the edge in 20 of 36 products
NARROW_PIXELS = 8  # of a map that is not square, in bf16: stock kernels return garbage there on processors with AMX
WINDOW_ELEMENTS = 4 << 20  # of the windows that are laid out at once: so they stay near a processor's cache

# Of a 1x1 convolution with strides: with fewer, the stock gradient of PyTorch 2.13 with AVX2 writes past the end of its
# memory where maps or weights are in channels-last order.
SAFE_STRIDED_CHANNELS = 8
Geometry = tuple[int, int, int]  # stride, padding and output padding, the same in both directions
Index = tuple[int | slice, ...]


class Conv2d(nn.Conv2d):
    """A square convolution, faster to train where its output is small."""

    padding: tuple[int, ...]  # never one of the names that `nn.Conv2d` knows

    def forward(self, images: Tensor) -> Tensor:
        """(n, in_channels, height, width) -> (n, out_channels, height', width'), as `nn.Conv2d`."""
        reach = 2 * self.padding[0] - self.kernel_size[0]
        height, width = ((side + reach) // self.stride[0] + 1 for side in images.shape[-2:])
        order = _order(self, images, height, width)
        return super().forward(images) if order is None else order.apply(*_arguments(self, images), False)


class ConvTranspose2d(nn.ConvTranspose2d):
    """A square transposed convolution, faster to train where its input is small."""

    # The geometry alone decides the size of the output, so there is no `output_size` to ask for.
    def forward(self, maps: Tensor) -> Tensor:  # type: ignore[override]
        """(n, in_channels, height, width) -> (n, out_channels, height', width'), as `nn.ConvTranspose2d`."""
        order = _order(self, maps, *maps.shape[-2:])
        return super().forward(maps) if order is None else order.apply(*_arguments(self, maps), True)


def _order(
    layer: Conv2d | ConvTranspose2d, maps: Tensor, height: int, width: int
) -> type[torch.autograd.Function] | None:
    """The order of the work where the smaller map has this size; None: PyTorch's.

    The lines were drawn where whole training steps stopped getting faster. In bf16 products pay up to two pixels a
    side, or eight where the stride is 2 (measured with AVX-512). In float32 stock kernels are as good there; with
    AVX2 the stock gradient of a weight takes up to three times as long as a product over 64 channels or more.
    """
    pixels = height * width
    if pixels == 1:
        return _ByPixels
    if maps.device.type != "cpu" or min(height, width) < 1:
        return None
    if _dtype(maps) == torch.bfloat16:
        square = height == width and maps.shape[-2] == maps.shape[-1]
        if pixels <= NARROW_PIXELS and not square:
            return _ByPixels
        faster = max(height, width) <= 2 * layer.stride[0] ** 2
    else:
        if pixels <= FEW_PIXELS:
            return _ByPixels
        faster = _avx2() and max(height, width) <= 16 and min(layer.weight.shape[:2]) >= 64
    trained = torch.is_grad_enabled() and layer.weight.requires_grad
    return _ByWindows if faster and trained else None


@cache
def _avx2() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def _dtype(maps: Tensor) -> torch.dtype:
    """The precision of a convolution: autocast's, where it is on."""
    device = maps.device.type
    if device == "meta":  # where shapes alone are counted; autocast does not know that device
        return maps.dtype
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else maps.dtype


def _arguments(layer: Conv2d | ConvTranspose2d, maps: Tensor) -> tuple[Any, ...]:
    """Maps, weight, bias and geometry; rounded as autocast does, which does not look into functions of one's own."""
    tensors = (maps, layer.weight, layer.bias)
    rounded = (tensor if tensor is None else tensor.to(_dtype(maps)) for tensor in tensors)
    return *rounded, (layer.stride[0], layer.padding[0], layer.output_padding[0])


class _ByWindows(torch.autograd.Function):
    """A convolution, or a transposed one, whose weight gets its gradient from a product of pixels and windows."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, transposed: bool
    ) -> Tensor:
        """Convolve maps (n, channels, height, width)."""
        ctx.save_for_backward(maps, weight)
        ctx.geometry, ctx.transposed = geometry, transposed
        return torch.convolution(maps, weight, bias, *_stock(geometry, transposed))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of maps, weight and bias."""
        maps, weight = ctx.saved_tensors
        stride, padding, _ = ctx.geometry
        of_maps = None
        if ctx.needs_input_grad[0]:
            stock, only_maps = _stock(ctx.geometry, ctx.transposed), (True, False, False)
            of_maps = torch.ops.aten.convolution_backward(gradient, maps, weight, None, *stock, only_maps)[0]
        # A transposed convolution is the same sum over pairs of pixels, with input and output exchanged.
        small, large = (maps, gradient) if ctx.transposed else (gradient, maps)
        kernel, pixels = weight.shape[-1], small.shape[-2] * small.shape[-1]
        at_once = max(1, WINDOW_ELEMENTS // (pixels * kernel**2 * large.shape[1]))
        of_weight = maps.new_zeros(len(weight), kernel**2 * large.shape[1], dtype=_wide(maps))
        for few, more in zip(small.split(at_once), large.split(at_once), strict=True):
            of_weight += _last(few).flatten(0, 2).t() @ _windows(more, kernel, stride, padding)
        of_weight = of_weight.unflatten(1, (kernel, kernel, -1)).permute(0, 3, 1, 2)
        of_bias = gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return of_maps, of_weight.to(weight.dtype), of_bias, None, None


def _stock(geometry: Geometry, transposed: bool) -> tuple[Any, ...]:
    """The geometry as PyTorch's own convolution takes it."""
    stride, padding, extra = ([value, value] for value in geometry)
    return stride, padding, [1, 1], transposed, extra, 1


def _windows(maps: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Everything that each pixel meets: (n, channels, height, width) -> (n pixels, kernel kernel channels)."""
    padded = F.pad(maps, (padding,) * 4).permute(0, 2, 3, 1)
    windows = padded.unfold(1, kernel, stride).unfold(2, kernel, stride)
    return windows.permute(0, 1, 2, 4, 5, 3).flatten(0, 2).flatten(1)


class _ByPixels(torch.autograd.Function):
    """A convolution, or a transposed one, as one product for each pixel of the smaller map.

    Channels come last in all of it, as they do in memory while training. Sums over pixels are made in float32.
    """

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, transposed: bool
    ) -> Tensor:
        """Convolve maps (n, channels, height, width)."""
        ctx.save_for_backward(maps, weight)
        ctx.geometry, ctx.transposed = geometry, transposed
        stride, padding, extra = geometry
        reach = weight.shape[-1] - 2 * padding
        sides: Sequence[int] = maps.shape[-2:]
        if transposed:
            sides = [(side - 1) * stride + reach + extra for side in sides]
        else:
            sides = [(side - reach) // stride + 1 for side in sides]
        output = (_spread if transposed else _gather)(_last(maps), _last(weight), sides, geometry)
        return (output if bias is None else output.add_(bias)).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of maps, weight and bias."""
        maps, weight = ctx.saved_tensors
        of_maps = of_weight = None
        if ctx.needs_input_grad[0]:
            back = _gather if ctx.transposed else _spread
            of_maps = back(_last(gradient), _last(weight), maps.shape[-2:], ctx.geometry).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            small, large = (maps, gradient) if ctx.transposed else (gradient, maps)
            total = torch.zeros_like(_last(weight), dtype=_wide(maps))
            for pixel, window, taps in _pairs(_last(small), _last(large), weight.shape[-1], ctx.geometry):
                product = _last(small)[pixel].t() @ _last(large)[window].flatten(1)
                total[taps] += product.view_as(total[taps])
            of_weight = total.permute(0, 3, 1, 2).to(weight.dtype)
        of_bias = gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return of_maps, of_weight, of_bias, None, None


def _wide(tensor: Tensor) -> torch.dtype:
    """The precision of sums: at least float32."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _last(tensor: Tensor) -> Tensor:
    """View (n, channels, height, width) as (n, height, width, channels)."""
    return tensor.permute(0, 2, 3, 1)


def _pairs(small: Tensor, large: Tensor, kernel: int, geometry: Geometry) -> Iterator[tuple[Index, Index, Index]]:
    """Index of each pixel of the smaller map, of its window in the larger one, and of the taps between them."""
    stride, padding, _ = geometry
    every = slice(None)
    for pixel in itertools.product(range(small.shape[1]), range(small.shape[2])):
        window, taps = [every], [every]
        for place, side in zip(pixel, large.shape[1:3], strict=True):
            first = place * stride - padding
            low = max(first, 0)
            high = max(low, min(first + kernel, side))
            window.append(slice(low, high))
            taps.append(slice(low - first, high - first))
        yield (every, *pixel), tuple(window), tuple(taps)


def _gather(large: Tensor, weight: Tensor, sides: Sequence[int], geometry: Geometry) -> Tensor:
    """Sum into each pixel of the smaller map, of size `sides`, what its window holds."""
    small = large.new_empty(len(large), *sides, len(weight))
    for pixel, window, taps in _pairs(small, large, weight.shape[1], geometry):
        small[pixel] = large[window].flatten(1) @ weight[taps].flatten(1).t()
    return small


def _spread(small: Tensor, weight: Tensor, sides: Sequence[int], geometry: Geometry) -> Tensor:
    """Add what each pixel holds to its window in the larger map, of size `sides`."""
    large = small.new_zeros(len(small), *sides, weight.shape[-1], dtype=_wide(small))
    for pixel, window, taps in _pairs(small, large, weight.shape[1], geometry):
        large[window] += (small[pixel] @ weight[taps].flatten(1)).view_as(large[window])
    return large.to(small.dtype)
