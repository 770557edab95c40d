from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cladec_core import networks, training
from cladec_core.errors import UsageError

SHAPES = {
    ("vgg11", "code"): [(512,), (512, 2, 2), (256, 2, 2), (256, 4, 4), (128, 4, 4)],
    ("vgg11", "paper"): [(10,), (512, 1, 1), (512, 2, 2), (256, 2, 2), (256, 4, 4)],
    ("resnet10", "code"): [(512,), (512, 4, 4), (256, 8, 8), (128, 16, 16), (64, 32, 32)],
    ("resnet10", "paper"): [(10,), (512, 4, 4), (256, 8, 8), (128, 16, 16), (64, 32, 32)],
    ("vgg5", "code"): [(256,), (256, 2, 2), (128, 4, 4), (64, 8, 8), (32, 16, 16)],
    ("vgg5", "paper"): [(10,), (256, 2, 2), (128, 4, 4), (64, 8, 8), (32, 16, 16)],
}
NAMES = {
    ("vgg11", "code"): ["penultimate", "conv4a", "conv3", "conv3a", "conv2"],
    ("vgg11", "paper"): ["logits", "conv4", "conv4a", "conv3", "conv3a"],
    ("resnet10", "code"): ["penultimate", "block4", "block3", "block2", "block1"],
    ("resnet10", "paper"): ["logits", "block4", "block3", "block2", "block1"],
    ("vgg5", "code"): ["penultimate", "conv4", "conv3", "conv2", "conv1"],
    ("vgg5", "paper"): ["logits", "conv4", "conv3", "conv2", "conv1"],
}


def trained_looking(model: nn.Module) -> nn.Module:
    """Give BatchNorm statistics and weights that matter, as training would."""
    for name, tensor in model.state_dict().items():
        if "running_var" in name or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.uniform_(0.5, 1.5)
        elif "running_mean" in name:
            tensor.normal_(0, 0.3)
    return model.eval()


def convolve(images, weight, norm, stride, padding):
    """Convolution and BatchNorm in eval mode, from the tensors of a state_dict."""
    scale, shift, mean, variance = norm
    maps = F.conv2d(images, weight, stride=stride, padding=padding)
    maps = (maps - mean.view(-1, 1, 1)) / (variance.view(-1, 1, 1) + 1e-5).sqrt()
    return maps * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)


class Tensors:
    """The tensors of a state_dict in order, without the counters of batches."""

    def __init__(self, model: nn.Module) -> None:
        self.left = [tensor for name, tensor in model.state_dict().items() if "num_batches" not in name]

    def take(self, count: int) -> list[torch.Tensor]:
        taken, self.left = self.left[:count], self.left[count:]
        return taken

    def layer(self, images, stride, padding=1):
        weight, *norm = self.take(5)
        return convolve(images, weight, norm, stride, padding)


def test_vgg11_has_the_published_number_of_parameters():
    model = networks.classifier("vgg11", 1, 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_672_490


def test_resnet10_has_ten_weight_layers():
    model = networks.classifier("resnet10", 3, 100)
    weights = [module.weight for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert sum(weight.ndim == 2 or weight.shape[-1] == 3 for weight in weights) == 10
    assert sum(weight.ndim == 4 and weight.shape[-1] == 1 for weight in weights) == 3


def test_vgg11_is_the_network_of_table_1(digits):
    model = trained_looking(networks.classifier("vgg11", 1, 10, width=0.125))
    tensors, images = Tensors(model), digits.test_images[:8]
    for stride in (2, 2, 1, 2, 1, 2, 1, 2):
        images = tensors.layer(images, stride).relu()
    weight, bias = tensors.take(2)
    assert images.shape == (8, 64, 1, 1)
    torch.testing.assert_close(model(digits.test_images[:8]), images.flatten(1) @ weight.T + bias)
    assert not tensors.left


def test_resnet10_is_a_stem_and_four_basic_blocks(digits):
    model = trained_looking(networks.classifier("resnet10", 1, 10, width=0.125))
    tensors = Tensors(model)
    images = tensors.layer(digits.test_images[:8], 1).relu()
    for stride in (1, 2, 2, 2):
        before = images
        images = tensors.layer(tensors.layer(before, stride).relu(), 1)
        images = (images + (tensors.layer(before, stride, padding=0) if stride > 1 else before)).relu()
    weight, bias = tensors.take(2)
    torch.testing.assert_close(model(digits.test_images[:8]), images.mean((2, 3)) @ weight.T + bias)
    assert not tensors.left


@pytest.mark.parametrize(("architecture", "index_map"), SHAPES)
def test_each_index_names_its_layer_with_its_shape(architecture, index_map):
    model = networks.classifier(architecture, 1, 10)
    names = [networks.layer_name(architecture, index, index_map) for index in (-1, -2, -3, -4, -5)]
    assert names == NAMES[architecture, index_map]
    shapes = [networks.activation_shape(model.up_to(name), (1, 32, 32)) for name in names]
    assert shapes == SHAPES[architecture, index_map]


@pytest.mark.parametrize("architecture", networks.LAYOUTS)
def test_classifier_of_larger_images_is_that_of_32x32_and_averages_its_last_map(architecture):
    model = trained_looking(networks.classifier(architecture, 1, 10, width=0.125))
    for size in ((64, 64), (48, 80)):
        images = torch.randn(3, 1, *size)
        maps = model.up_to(model.layers[-3])(images)
        assert maps.shape[2:] > (1, 1)
        torch.testing.assert_close(model(images), model.logits(maps.mean((2, 3))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mean_over_a_single_pixel_changes_no_bit_of_a_training(digits, dtype):
    states = []
    for pool in (None, nn.Identity()):
        torch.manual_seed(0)
        model = networks.classifier("vgg11", 1, 10, width=0.125)
        model.penultimate[0] = pool or model.penultimate[0]
        training.fit(
            training.Job(
                model, digits.train_images, (digits.train_labels,), training.classification_loss, training.SGD,
                epochs=2, seed=0, on=training.Compute(torch.device("cpu"), dtype), batch_size=32,
            )
        )  # fmt: skip
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_an_encoder_shares_the_weights_and_stops_at_its_layer(digits):
    model = trained_looking(networks.classifier("vgg11", 1, 10, width=0.125))
    images = digits.test_images[:4]
    for name in model.layers:
        encoder = model.up_to(name)
        assert list(encoder._modules)[-1] == name
        assert all(encoder.get_submodule(part) is model.get_submodule(part) for part in encoder._modules)
        images = model.get_submodule(name)(images)
        torch.testing.assert_close(encoder(digits.test_images[:4]), images)
    assert images.shape == (4, 10)


def test_an_encoder_has_no_dropout():
    model = networks.classifier("vgg11", 1, 10, width=0.125)
    assert any(isinstance(module, nn.Dropout) for module in model)
    assert not any(isinstance(module, nn.Dropout) for module in model.up_to("logits").modules())
    assert "dropout" not in model.layers


def test_frozen_stays_in_eval_mode_and_records_no_gradient(digits):
    model = networks.classifier("vgg11", 1, 10, width=0.125)
    frozen = networks.Frozen(model)
    whole = nn.Sequential(frozen, nn.Linear(10, 2)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    whole(digits.train_images[:16]).sum().backward()
    assert whole.training
    assert not any(module.training for module in frozen.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_in_eval_mode_puts_every_part_back():
    shared = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout()).eval()
    chain = nn.Sequential(shared, nn.Dropout())
    modes = [module.training for module in chain.modules()]
    assert modes == [True, False, False, False, True]
    with networks.in_eval_mode(chain):
        assert not any(module.training for module in chain.modules())
    assert [module.training for module in chain.modules()] == modes


def test_select_keeps_the_channels_in_the_order_asked():
    maps = torch.randn(2, 5, 3, 3)
    assert torch.equal(networks.Select([4, 1])(maps), torch.stack([maps[:, 4], maps[:, 1]], 1))
    assert torch.equal(networks.Select(range(2))(maps[:, :, 0, 0]), maps[:, :2, 0, 0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("style", networks.DECODER_STYLES)
@pytest.mark.parametrize("shape", [(10,), *((8, size, size) for size in (1, 2, 4, 8, 16, 32))])
def test_a_decoder_turns_every_size_into_an_image(shape, style, channels):
    image = (channels, 32, 32)
    decoder = networks.decoder(shape, image, style=style)
    codes = 100 * torch.randn(2, *shape)
    images = decoder(codes)
    assert images.shape == (2, *image)
    assert (images < 0).any()  # standardised images have negative values, so nothing may cut them off
    bright = networks.decoder(shape, image, style=style, sigmoid=True)(codes)
    assert bright.shape == images.shape
    assert ((bright >= 0) & (bright <= 1)).all()


WIDTHS = [
    ((512,), "code", [512, 512, 256, 128, 64, 3]),
    ((10,), "code", [64, 512, 256, 128, 64, 3]),
    ((512, 1, 1), "code", [512, 512, 256, 128, 64, 3]),
    ((512, 2, 2), "code", [512, 256, 128, 64, 3]),
    ((256, 4, 4), "code", [256, 128, 64, 3]),
    ((256, 8, 8), "code", [256, 64, 3]),
    ((128, 16, 16), "code", [128, 3]),
    ((512,), "table1", [256, 256, 128, 64, 32, 3]),
    ((512, 2, 2), "table1", [512, 128, 64, 32, 3]),
    ((128, 16, 16), "table1", [128, 3]),
]


@pytest.mark.parametrize(("shape", "style", "widths"), WIDTHS)
def test_decoder_at_32x32_is_written_out_in_full_the_same_weight_for_weight(shape, style, widths):
    """Also drawn in the same order: the seeds of all records rest on that."""
    torch.manual_seed(1)
    by_hand = []
    if shape[1:] in ((), (1, 1)):
        by_hand += [nn.Flatten(), nn.Linear(shape[0], widths[0]), nn.ReLU(), nn.Unflatten(1, (widths[0], 1, 1))]
    elif style == "code":
        by_hand += [nn.Conv2d(shape[0], widths[0], 3, padding=1), nn.ReLU()]
    for before, after in pairwise(widths):
        geometry = (4, 2, 1) if style == "code" else (5, 2, 2, 1)
        by_hand += [nn.ConvTranspose2d(before, after, *geometry), nn.ReLU()]
    by_hand = nn.Sequential(*by_hand[:-1])
    torch.manual_seed(1)
    decoder = networks.decoder(shape, (3, 32, 32), style=style)
    expected, found = by_hand.state_dict(), decoder.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    codes = torch.randn(2, *shape)
    torch.testing.assert_close(decoder(codes), by_hand(codes))


def test_a_map_as_large_as_the_image_needs_no_doubling():
    kinds = [type(part).__name__ for part in networks.decoder((64, 32, 32), (3, 32, 32))]
    assert kinds == ["Conv2d", "ReLU", "Conv2d"]
    assert [type(part).__name__ for part in networks.decoder((64, 32, 32), (3, 32, 32), style="table1")] == ["Conv2d"]


@pytest.mark.parametrize("size", [(28, 28), (31, 45), (64, 16), (17, 96), (100, 64)])
@pytest.mark.parametrize("shape", [(9,), (6, 1, 1), (6, 4, 1), (6, 7, 7), (5, 13, 40)])
def test_decoder_and_encoder_fit_any_shape(shape, size):
    images, code = torch.rand(2, 2, *size), torch.rand(2, *shape)
    for style in networks.DECODER_STYLES:
        assert networks.decoder(shape, (2, *size), style=style, width=4)(code).shape == images.shape
    flat = (shape[0],) if shape[1:] == (1, 1) else shape
    assert networks.encoder(shape, (2, *size), width=4)(images).shape[1:] == flat


def test_layers_of_a_classifier_for_64x64_are_decoded():
    images = torch.randn(2, 1, 64, 64)
    model = networks.classifier("vgg11", 1, 10, width=0.125).eval()
    for layer, sides in {"conv2": (8, 8), "conv4": (2, 2), "penultimate": ()}.items():
        encoder = model.up_to(layer)
        shape = networks.activation_shape(encoder, (1, 64, 64))
        assert shape[1:] == sides
        assert networks.decoder(shape, (1, 64, 64), width=8)(encoder(images)).shape == images.shape


@pytest.mark.parametrize("shape", [(4, 4), (4, 1, 1, 1), (4, 0, 0), (0,), ()])
@pytest.mark.parametrize("build", [networks.decoder, networks.encoder])
def test_an_impossible_shape_is_refused(shape, build):
    with pytest.raises(UsageError, match="valid: ") as caught:
        build(shape, (1, 32, 32))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(
    ("call", "value", "valid"),
    [
        (lambda: networks.classifier("vgg12", 1, 10), "'vgg12'", "vgg11, resnet10, vgg5"),
        (lambda: networks.layer_name("vgg12", -1), "'vgg12'", "vgg11, resnet10, vgg5"),
        (lambda: networks.layer_name("vgg11", -1, "text"), "'text'", "code, paper"),
        (lambda: networks.layer_name("vgg11", -6), "-6", "-1, -2, -3, -4, -5"),
        (lambda: networks.layer_name("vgg11", 0), "0", "-1, -2, -3, -4, -5"),
        (lambda: networks.layer_name("resnet10", "conv4"), "'conv4'", "stem, block1, block2, block3, block4, "),
        (lambda: networks.layer_name("vgg11", "dropout"), "'dropout'", "conv0, conv1"),
        (lambda: networks.classifier("vgg11", 1, 10, 0.1).up_to("conv9"), "'conv9'", "conv0, conv1"),
        (lambda: networks.decoder((8,), (1, 32, 32), style="table2"), "'table2'", "code, table1"),
    ],
)
def test_unknown_names_are_refused_with_the_valid_ones(call, value, valid):
    with pytest.raises(UsageError, match=f"valid: {valid}") as caught:
        call()
    assert value in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_stands_for_itself_under_both_maps():
    assert networks.layer_name("vgg11", "conv4", "code") == networks.layer_name("vgg11", "conv4", "paper") == "conv4"
