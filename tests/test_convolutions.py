"""The convolutions do what `torch.nn`'s do: outputs and every gradient, whatever order the work is in."""

import pytest
import torch
from torch import nn

from cladec_core.networks import convolutions


def order_of(output):
    """Which of the module's orders made an output; None: PyTorch's own."""
    name = type(output.grad_fn).__name__.removesuffix("Backward")
    return name if name in ("_ByPixels", "_ByWindows") else None


def outputs_and_gradients(module, images):
    images = images.clone().requires_grad_()
    output = module(images)
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape)
    return output, torch.autograd.grad((output * weights).sum(), [images, *module.parameters()])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [(1, 3, 1, 1), (1, 3, 2, 1), (2, 3, 2, 1), (3, 3, 2, 0), (1, 1, 1, 0), (2, 3, 1, 1), (4, 3, 2, 1), (5, 5, 1, 2)],
)
def test_conv2d_is_torchs(size, kernel, stride, padding, bias):
    plain = nn.Conv2d(3, 5, kernel, stride, padding, bias=bias)
    ours = convolutions.Conv2d(3, 5, kernel, stride, padding, bias=bias)
    ours.load_state_dict(plain.state_dict())
    images = torch.randn(4, 3, size, size)
    torch.testing.assert_close(outputs_and_gradients(ours, images), outputs_and_gradients(plain, images))


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra"), [(4, 2, 1, 0), (5, 2, 2, 1), (3, 1, 1, 0), (2, 2, 0, 1), (3, 2, 0, 1)]
)
def test_conv_transpose2d_is_torchs(size, kernel, stride, padding, extra):
    plain = nn.ConvTranspose2d(3, 5, kernel, stride, padding, output_padding=extra)
    ours = convolutions.ConvTranspose2d(3, 5, kernel, stride, padding, output_padding=extra)
    ours.load_state_dict(plain.state_dict())
    maps = torch.randn(4, 3, size, size)
    torch.testing.assert_close(outputs_and_gradients(ours, maps), outputs_and_gradients(plain, maps))


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize(
    ("kind", "size", "geometry", "order"),
    [
        ("Conv2d", (2, 2), (3, 1, 1), "_ByWindows"),
        ("Conv2d", (16, 16), (3, 2, 1), "_ByWindows"),
        ("Conv2d", (7, 7), (3, 2, 1), "_ByWindows"),
        ("Conv2d", (8, 5), (5, 2, 2), "_ByWindows"),
        ("Conv2d", (1, 2), (3, 1, 1), "_ByPixels"),
        ("Conv2d", (3, 2), (3, 2, 1), "_ByPixels"),
        ("Conv2d", (1, 1), (7, 2, 3), "_ByPixels"),
        ("ConvTranspose2d", (2, 2), (4, 2, 1), "_ByWindows"),
        ("ConvTranspose2d", (4, 4), (5, 2, 2, 1), "_ByWindows"),
        ("ConvTranspose2d", (8, 3), (3, 2, 1, 1), "_ByWindows"),
        ("ConvTranspose2d", (5, 1), (4, 2, 1), "_ByPixels"),
    ],
)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("bias", [True, False])
def test_products_give_the_gradients_of_float64(kind, size, geometry, order, autocast, layout, bias):
    """In bf16, which rounds to 8 bits; the same layer in float64 is the slow plain version."""
    ours = getattr(convolutions, kind)(6, 5, *geometry, bias=bias).to(memory_format=layout)
    plain = getattr(nn, kind)(6, 5, *geometry, bias=bias, dtype=torch.float64)
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(3, 6, *size).to(memory_format=layout)
    expected, wanted = outputs_and_gradients(plain, images.double())
    if not autocast:
        ours, images = ours.bfloat16(), images.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output, gradients = outputs_and_gradients(ours, images)
    assert output.dtype == torch.bfloat16
    assert order_of(output) == order
    for found, exact in zip([output, *gradients], [expected, *wanted], strict=True):
        assert found.dtype == (torch.float32 if autocast and found is not output else torch.bfloat16)
        assert (found - exact).abs().max() < 0.02 * exact.abs().max()


@pytest.mark.parametrize(
    ("kind", "geometry"),
    [
        *(("Conv2d", geometry) for geometry in [(3, 1, 1), (3, 2, 1), (1, 1, 1), (2, 3, 2), (5, 2, 2)]),
        *(("ConvTranspose2d", geometry) for geometry in [(4, 2, 1), (5, 2, 2, 1), (3, 1, 1), (3, 2, 0, 1)]),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 3), (3, 2), (2, 2), (5, 4), (12, 12)])
def test_every_order_is_exact_in_float64_and_float32(kind, geometry, size, monkeypatch):
    """With channels enough for products, on any processor; the windows are laid out in parts."""
    monkeypatch.setattr(convolutions, "_avx2", lambda: True)
    monkeypatch.setattr(convolutions, "WINDOW_ELEMENTS", 40_000)
    plain = getattr(nn, kind)(64, 65, *geometry, dtype=torch.float64)
    images = torch.randn(3, 64, *size, dtype=torch.float64)
    expected, wanted = outputs_and_gradients(plain, images)
    for precision, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        ours = getattr(convolutions, kind)(64, 65, *geometry, dtype=precision)
        ours.load_state_dict(plain.state_dict())
        output, gradients = outputs_and_gradients(ours, images.to(precision))
        small = output if kind == "Conv2d" else images
        assert order_of(output) == ("_ByPixels" if small.shape[-2] * small.shape[-1] <= 4 else "_ByWindows")
        for found, exact in zip([output, *gradients], [expected, *wanted], strict=True):
            assert found.dtype == precision
            assert found.shape == exact.shape
            assert (found - exact).abs().max() <= tolerance * exact.abs().max()


def test_only_a_weight_that_learns_is_worth_a_product():
    layer, images = convolutions.Conv2d(6, 5, 3, 2, 1).bfloat16(), torch.randn(3, 6, 8, 8).bfloat16()
    assert order_of(layer(images)) == "_ByWindows"
    assert order_of(layer(images.repeat(1, 1, 4, 4))) is None  # 16 output pixels in each direction
    with torch.no_grad():
        assert layer(images).grad_fn is None
    layer.requires_grad_(False)
    assert order_of(layer(images.requires_grad_())) is None
    assert order_of(convolutions.Conv2d(6, 5, 3, 2, 1)(images.detach().float())) is None


@pytest.mark.parametrize(("avx2", "order"), [(True, "_ByWindows"), (False, None)])
def test_in_float32_products_pay_where_stock_kernels_are_slow(avx2, order, monkeypatch):
    monkeypatch.setattr(convolutions, "_avx2", lambda: avx2)
    images = torch.randn(2, 64, 8, 8)
    assert order_of(convolutions.Conv2d(64, 64, 3, 1, 1)(images)) == order
    assert order_of(convolutions.Conv2d(64, 63, 3, 1, 1)(images)) is None
    assert order_of(convolutions.Conv2d(64, 64, 3, 1, 1)(images.repeat(1, 1, 3, 1))) is None


@pytest.mark.parametrize(("size", "order"), [((4, 4), "_ByWindows"), ((4, 2), "_ByPixels")])
def test_a_weight_that_is_trained_alone_gets_its_gradient(size, order):
    layer, images = convolutions.ConvTranspose2d(6, 5, 4, 2, 1).bfloat16(), torch.randn(3, 6, *size).bfloat16()
    output = layer(images)
    assert order_of(output) == order
    assert [found.shape for found in torch.autograd.grad(output.sum(), layer.parameters())] == [(6, 5, 4, 4), (5,)]
