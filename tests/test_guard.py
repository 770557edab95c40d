"""bf16 is trusted only where a first step agrees with float32."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cladec_core import ClaDec, networks, training
from cladec_core.networks import convolutions
from cladec_core.training import ADAM, SGD, Compute, guard

CPU = torch.device("cpu")
HALF, EXACT = Compute(CPU, torch.bfloat16), Compute(CPU, torch.float32)
FAULTS = {
    "nan": lambda good: torch.full_like(good, torch.nan),
    "huge": lambda good: good * 1e30,
    "one value": lambda good: good.flatten().index_fill(0, torch.tensor([0]), 3e37).view_as(good),
    "not written": torch.zeros_like,
    "of another step": lambda good: good.roll(1, 0),
    "half of it": lambda good: torch.cat([good[: len(good) // 2], torch.zeros_like(good[len(good) // 2 :])]),
}


@pytest.fixture(autouse=True)
def forgetful():
    guard._verdicts.clear()
    yield
    guard._verdicts.clear()


class _Faulty(torch.autograd.Function):
    """Hands on what it is given; in bf16 not, in one direction."""

    @staticmethod
    def forward(ctx, values, fault, backward):
        ctx.fault = fault if backward else None
        return values.clone() if backward or values.dtype == torch.float32 else fault(values)

    @staticmethod
    def backward(ctx, gradient):
        right = ctx.fault is None or gradient.dtype == torch.float32
        return (gradient if right else ctx.fault(gradient)), None, None


class Faulty(nn.Module):
    def __init__(self, fault, backward):
        super().__init__()
        self.fault, self.backward = fault, backward

    def forward(self, values):
        return _Faulty.apply(values, self.fault, self.backward)


class WrongKernel(TorchDispatchMode):
    """A processor on which one operation is wrong in bf16."""

    def __init__(self, operation, fault):
        super().__init__()
        self.operation, self.fault = operation, fault

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **(kwargs or {}))
        if operation is not self.operation:
            return found
        wrong = [
            self.fault(part) if part is not None and part.dtype == torch.bfloat16 else part
            for part in (found if isinstance(found, tuple) else (found,))
        ]
        return tuple(wrong) if isinstance(found, tuple) else wrong[0]


def network(middle=None):
    with training.seeded(1):
        return nn.Sequential(
            nn.Conv2d(2, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), middle or nn.Identity(), nn.Dropout(0.3),
            nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3),
        )  # fmt: skip


def job(model, on=HALF, **changes):
    generator = torch.Generator().manual_seed(2)
    images, labels = torch.randn(48, 2, 8, 8, generator=generator), torch.randint(3, (48,), generator=generator)
    usual = {"epochs": 2, "seed": 3, "batch_size": 16, "label": "decoder conv3"}
    return training.Job(model, images, (labels,), training.classification_loss, SGD, on=on, **(usual | changes))


def same(model, other):
    return all(map(torch.equal, model.state_dict().values(), other.state_dict().values()))


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_module_that_is_wrong_in_bf16_is_trained_in_float32(fault, backward):
    model, plain = network(Faulty(FAULTS[fault], backward)), network(Faulty(FAULTS[fault], backward))
    with pytest.warns(UserWarning, match=r"^decoder conv3: .* in bf16 is off by .*; it is trained in float32$") as seen:
        history = training.fit(job(model))
    assert len(seen) == 1
    assert history == training.fit(job(plain, EXACT))
    assert same(model, plain)


@pytest.mark.parametrize("operation", ["convolution", "convolution_backward", "addmm", "mm"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_kernel_that_is_wrong_in_bf16_is_not_used(fault, operation):
    wrong = WrongKernel(getattr(torch.ops.aten, operation).default, FAULTS[fault])
    model, plain = network(), network()
    with wrong, pytest.warns(UserWarning, match="it is trained in float32"):
        history = training.fit(job(model))
    assert history == training.fit(job(plain, EXACT))
    assert same(model, plain)


@pytest.mark.parametrize("fault", FAULTS)
def test_inference_avoids_a_wrong_kernel_too(fault):
    model, images = network().eval(), job(network()).inputs
    wrong = WrongKernel(torch.ops.aten.convolution.default, FAULTS[fault])
    with wrong, pytest.warns(UserWarning, match=r"^Sequential: .*; it is run in float32$"):
        found = training.apply(model, images, HALF)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, training.apply(model, images, EXACT).bfloat16())
    with wrong, warnings.catch_warnings():  # told once; found again all the same
        warnings.simplefilter("error")
        assert torch.equal(found, training.apply(model, images, HALF))


def test_a_trial_is_made_once_for_each_kind_of_training(monkeypatch):
    trials = []
    real = guard._trial
    monkeypatch.setattr(guard, "_trial", lambda *given: trials.append(1) or real(*given))
    for model in (network(), network(), network(nn.ReLU())):
        training.fit(job(model))
    training.fit(job(network(), batch_size=12))
    training.fit(job(network(), EXACT))
    assert len(trials) == 3
    for _ in range(2):
        training.apply(network(), torch.randn(9, 2, 8, 8), HALF, batch_size=4)
        training.apply(network(), torch.randn(5, 2, 8, 8), HALF)
    assert len(trials) == 4


def test_a_trial_leaves_no_trace(monkeypatch):
    """Neither in weights and statistics, nor in random numbers, nor in modes and gradients."""
    tried, plain = network(), network()
    histories, before = [training.fit(job(tried))], torch.get_rng_state()
    monkeypatch.setattr(guard, "_trial", lambda *_: "")
    guard._verdicts.clear()
    histories.append(training.fit(job(plain)))
    assert histories[0] == histories[1]
    assert same(tried, plain)
    model = network().train()
    unchanged = copy.deepcopy(model)
    monkeypatch.undo()
    guard._verdicts.clear()
    assert guard.trusted(job(model)).on == HALF
    assert same(model, unchanged)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), before)


def projects(images, labels, seed):
    """Every kind of training of the book: classifiers, decoders of every style, auto-encoders, narrow."""
    for architecture in networks.LAYOUTS:
        with training.seeded(seed):
            model = networks.classifier(architecture, 1, 10, 0.125)
        yield architecture, model, images, (labels,), training.classification_loss, SGD
    explained = networks.classifier("vgg11", 1, 10, 0.125).eval().requires_grad_(False)
    for layer in ("penultimate", "conv4a", "conv3", "conv2", "conv0"):
        codes = training.apply(explained.up_to(layer), images, EXACT)
        for style in networks.DECODER_STYLES:
            with training.seeded(seed):
                model = networks.decoder(codes.shape[1:], (1, 32, 32), style=style)
                own = nn.Sequential(networks.classifier("vgg11", 1, 10, 0.125).up_to(layer), copy.deepcopy(model))
            loss = training.ClaDecLoss(explained, 0.5)
            yield f"{style} decoder of {layer}", model, codes, (images, labels), loss, ADAM
            yield f"reference of {layer}", own, images, (images, labels), training.ClaDecLoss(None, 0.0), ADAM


@pytest.mark.parametrize("seed", [0, 1])
def test_no_network_of_the_project_is_refused(digits, seed):
    for name, model, inputs, targets, loss, recipe in projects(digits.train_images, digits.train_labels, seed):
        chosen = training.Job(
            model.train(), inputs, targets, loss, recipe, epochs=1, seed=0, on=HALF, batch_size=16, label=name
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert guard.trusted(chosen).on == HALF


def with_gradients(layer, maps, seed):
    maps = maps.detach().requires_grad_()
    with training.seeded(seed):
        output = layer(maps)
        weights = torch.randn(output.shape, dtype=torch.float32)
    return [
        output.detach(),
        *torch.autograd.grad((output * weights.to(output.dtype)).sum(), [maps, *layer.parameters()]),
    ]


def off(layer, maps):
    """How far bf16 is off float64, as a share of the norm: the worst of the output and all gradients."""
    found = with_gradients(layer.bfloat16(), maps.bfloat16(), 0)
    plain = getattr(nn, type(layer).__name__)
    exact = copy.deepcopy(layer).double()
    exact.__class__ = plain
    expected = with_gradients(exact, maps.bfloat16().double(), 0)
    return max(((one - other).norm() / other.norm()).item() for one, other in zip(found, expected, strict=True))


def shapes_of_the_book():
    """Kind, channels, geometry and map of every convolution of the book's networks."""
    found = {}

    def look(layer, inputs, output):
        geometry = (layer.kernel_size[0], layer.stride[0], layer.padding[0], layer.output_padding[0])
        found[type(layer).__name__, layer.in_channels, layer.out_channels, geometry, tuple(inputs[0].shape[2:])] = None

    images = torch.zeros(1, 1, 32, 32)
    for architecture in networks.LAYOUTS:
        model = networks.classifier(architecture, 1, 10).eval()
        for layer in model.layers:
            code = model.up_to(layer)(images)
            decoders = [networks.decoder(code.shape[1:], (1, 32, 32), style=style) for style in networks.DECODER_STYLES]
            for part, values in [(model, images), *((decoder, code) for decoder in decoders)]:
                hooks = [
                    each.register_forward_hook(look)
                    for each in part.modules()
                    if isinstance(each, convolutions.Conv2d | convolutions.ConvTranspose2d)
                ]
                part(values)
                for hook in hooks:
                    hook.remove()
    return list(found)


NARROW = [
    (kind, channels[0], channels[1], geometry, size)
    for kind, channels, geometry in [
        ("Conv2d", (256, 512), (3, 2, 1, 0)), ("Conv2d", (3, 64), (7, 2, 3, 0)), ("Conv2d", (64, 64), (3, 1, 1, 0)),
        ("ConvTranspose2d", (64, 128), (4, 2, 1, 0)), ("ConvTranspose2d", (64, 128), (5, 2, 2, 1)),
    ]
    for size in [(3, 2), (2, 1), (5, 1), (1, 1), (1, 4), (2, 3)]
]  # fmt: skip


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_no_convolution_is_wrong_on_this_processor(layout):
    """The shapes of the book and narrow maps, in bf16 against float64."""
    wrong = {}
    with torch.no_grad():
        book = shapes_of_the_book()
    assert len(book) > 30
    for kind, inputs, outputs, (kernel, stride, padding, extra), size in [*book, *NARROW]:
        more = (extra,) if kind == "ConvTranspose2d" else ()
        layer = getattr(convolutions, kind)(inputs, outputs, kernel, stride, padding, *more).to(memory_format=layout)
        error = off(layer, torch.randn(2, inputs, *size).to(memory_format=layout))
        if not error < guard.PRODUCT:
            wrong[kind, inputs, outputs, (kernel, stride, padding, extra), size] = error
    assert wrong == {}


@pytest.mark.parametrize("fault", ["nan", "not written"])
@pytest.mark.filterwarnings("ignore:.* images are few", "ignore:.* do not read the difference")
def test_wrong_kernels_do_not_reach_an_explainer(fault):
    """As for narrow maps: of a model of somebody's, codes in bf16 are garbage; the user is not blamed for them."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    images = torch.rand(40, 3, 24, 16)

    def fitted(on):
        explainer = ClaDec(net, "1", device="cpu")
        explainer.on = on
        return explainer.fit(images, epochs=2, progress=False).explain(images[:4])

    exact = fitted(EXACT)
    with (
        WrongKernel(torch.ops.aten.convolution.default, FAULTS[fault]),
        pytest.warns(UserWarning, match="it is run in float32"),
    ):
        found = fitted(HALF)
    assert found.reconstruction.isfinite().all()
    # Codes are rounded to bf16 where they are kept, so that the two trainings differ by roundings alone.
    torch.testing.assert_close(found.reconstruction, exact.reconstruction, atol=0.05, rtol=0)
