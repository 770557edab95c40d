import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cladec_core import measures, networks, training
from cladec_core.errors import RunError, UsageError
from cladec_core.training import ADAM, SGD, Compute, Recipe


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))


@pytest.fixture
def task():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(45, 6, generator=generator)
    return SimpleNamespace(inputs=inputs, labels=torch.randint(3, (45,), generator=generator))


def plain_loop(model, inputs, labels, recipe, epochs, seed, size, decays):
    """The same training without a line of the core: optimisers by hand, decays at the given steps."""
    order = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # dropout
    parameters = list(model.parameters())
    first = [torch.zeros_like(parameter) for parameter in parameters]
    second = [torch.zeros_like(parameter) for parameter in parameters]
    rate, done, history = recipe.learning_rate, 0, []
    model.train()
    for _ in range(epochs):
        shuffled = torch.randperm(len(inputs), generator=order)
        losses = []
        for start in range(0, len(inputs) - size + 1, size):
            rate *= 0.1 if done in decays else 1
            rows = shuffled[start : start + size]
            loss = F.cross_entropy(model(inputs[rows]), labels[rows])
            gradients = torch.autograd.grad(loss, parameters)
            done += 1
            with torch.no_grad():
                for place, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                    gradient = gradient + recipe.weight_decay * parameter
                    if recipe.optimiser == "sgd":
                        first[place] = 0.9 * first[place] + gradient if done > 1 else gradient
                        parameter -= rate * first[place]
                    else:
                        first[place] = 0.9 * first[place] + 0.1 * gradient
                        second[place] = 0.999 * second[place] + 0.001 * gradient**2
                        corrected = (second[place] / (1 - 0.999**done)).sqrt() + 1e-8
                        parameter -= rate * first[place] / (1 - 0.9**done) / corrected
            losses.append(loss.item())
        history.append(sum(losses) / len(losses))
    return history


@pytest.mark.parametrize("recipe", [SGD, ADAM], ids=lambda recipe: recipe.optimiser)
@pytest.mark.parametrize(
    ("epochs", "size", "decays"),
    [
        (64, 16, {58, 116}),  # 2 steps an epoch: exactly after epochs 29 and 58
        (10, 6, {32, 63}),  # 70 steps
    ],
)
def test_fit_is_the_plain_loop(task, on, recipe, epochs, size, decays):
    ours, plain = network().eval(), network()
    expected = plain_loop(plain, task.inputs, task.labels, recipe, epochs, 5, size, decays)
    job = training.Job(
        ours, task.inputs, (task.labels,), training.classification_loss, recipe,
        epochs=epochs, seed=5, on=on, batch_size=size,
    )  # fmt: skip
    found = training.fit(job)
    assert found == pytest.approx(expected, rel=2e-4)
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, plain.state_dict()[name], rtol=1e-3, atol=2e-5)


class Spy:
    """A loss that keeps which rows each batch was made of."""

    def __init__(self):
        self.batches = []

    def __call__(self, output, rows):
        self.batches.append(rows.tolist())
        return output.square().mean()


def test_the_seed_alone_decides_the_order_of_the_batches(on):
    rows = torch.arange(20)
    spy = Spy()
    job = training.Job(
        nn.Linear(1, 1), rows[:, None].float(), (rows,), spy, ADAM, epochs=3, seed=7, on=on, batch_size=6
    )  # fmt: skip
    training.fit(job)
    order = torch.Generator().manual_seed(7)
    expected = [torch.randperm(20, generator=order).tolist() for _ in range(3)]
    assert spy.batches == [each[start : start + 6] for each in expected for start in (0, 6, 12)]


def test_inputs_and_targets_of_a_batch_belong_together(on):
    rows = torch.arange(30)
    seen = []

    def loss(output, target):
        seen.append(torch.equal(output.detach()[:, 0], target.float()))
        return output.mean()

    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    still = Recipe("sgd", 0.0, 0.0)
    job = training.Job(model, rows[:, None].float(), (rows,), loss, still, epochs=2, seed=0, on=on, batch_size=8)
    training.fit(job)
    assert seen == [True] * 6


def test_fewer_images_than_a_batch_are_one_batch(on):
    spy = Spy()
    rows = torch.arange(5)
    job = training.Job(nn.Linear(1, 1), rows[:, None].float(), (rows,), spy, ADAM, epochs=2, seed=0, on=on)
    training.fit(job)
    assert [sorted(batch) for batch in spy.batches] == [[0, 1, 2, 3, 4]] * 2


def trained(task, on, seed, outside=0):
    model = network()
    torch.manual_seed(outside)
    targets = (task.labels,)
    job = training.Job(
        model, task.inputs, targets, training.classification_loss, SGD, epochs=3, seed=seed, on=on, batch_size=16
    )  # fmt: skip
    history = training.fit(job)
    return history, model


def test_the_same_seed_gives_the_same_bits_whatever_happened_outside(task, on):
    (history, model), (again, other) = trained(task, on, seed=3, outside=1), trained(task, on, seed=3, outside=2)
    assert history == again
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_another_seed_gives_another_model(task, on):
    (history, model), (other_history, other) = trained(task, on, seed=3), trained(task, on, seed=4)
    assert history != other_history
    assert not torch.equal(model[0].weight, other[0].weight)


def test_the_random_state_outside_is_untouched(task, on):
    model = network()
    before = torch.get_rng_state()
    job = training.Job(model, task.inputs, (task.labels,), training.classification_loss, SGD, epochs=2, seed=1, on=on)
    training.fit(job)
    assert torch.equal(torch.get_rng_state(), before)
    with training.seeded(9):
        inside = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(inside, torch.rand(3, generator=torch.Generator().manual_seed(9)))


def test_only_parameters_that_require_gradients_are_trained(task, on):
    model = network()
    model[0].requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    job = training.Job(model, task.inputs, (task.labels,), training.classification_loss, SGD, epochs=1, seed=1, on=on)
    training.fit(job)
    assert torch.equal(model[0].weight, before["0.weight"])
    assert not torch.equal(model[4].weight, before["4.weight"])


def test_fit_leaves_the_model_in_eval_mode_without_gradients(task, on):
    _, model = trained(task, on, seed=0)
    assert not any(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("rate", [1e30, math.nan])
def test_a_loss_that_is_not_finite_stops_and_names_the_training(task, on, rate):
    job = training.Job(
        network(), task.inputs, (task.labels,), training.classification_loss, Recipe("sgd", rate, 0.0),
        epochs=5, seed=0, on=on, batch_size=9, label="decoder conv3, seed 4",
    )  # fmt: skip
    with pytest.raises(RunError, match=r"decoder conv3, seed 4: the loss is (nan|inf)") as caught:
        training.fit(job)
    assert f"after epoch 1 of 5 with learning rate {rate}" in str(caught.value)


def test_bf16_keeps_float32_weights_and_computes_the_loss_in_float32(task):
    seen = set()

    def loss(output, labels):
        seen.add(output.dtype)
        return F.cross_entropy(output, labels)

    half = Compute(torch.device("cpu"), torch.bfloat16)
    model = network()
    hidden = set()
    model[0].register_forward_hook(lambda module, inputs, output: hidden.add(output.dtype))
    job = training.Job(model, task.inputs, (task.labels,), loss, SGD, epochs=20, seed=0, on=half, batch_size=9)
    history = training.fit(job)
    assert hidden == {torch.float32, torch.bfloat16}  # the first step was also done in float32
    hidden.clear()
    training.fit(job)
    assert hidden == {torch.bfloat16}
    assert seen == {torch.float32}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert history[-1] < 0.9 * history[0]


def test_apply_is_the_model_in_eval_mode(task, on):
    model = network().train()
    found = training.apply(model, task.inputs, on, batch_size=7)
    assert model.training
    assert not found.requires_grad
    torch.testing.assert_close(found, model.eval()(task.inputs).detach())
    training.apply(model, task.inputs, on)
    assert not model.training


@pytest.fixture
def tf32():
    """CUDA's default for convolutions, whatever ran before."""
    switch = torch.backends.cudnn.conv
    before = switch.fp32_precision
    switch.fp32_precision = "tf32"
    yield
    switch.fp32_precision = before


def test_what_is_reported_is_float32_whatever_the_process_allows(tf32, digits, on):
    """By default CUDA rounds to TF32 in convolutions."""
    switch, seen = torch.backends.cudnn.conv, []
    model, images = networks.classifier("vgg11", 1, 10, 0.125), digits.test_images[:4]
    model[0].register_forward_pre_hook(lambda *_: seen.append(switch.fp32_precision))
    training.apply(model, images, on)
    assert seen == ["tf32"]
    seen.clear()
    training.apply(model, images, on, exact=True)
    training.calibrate(model, images, on)
    measures.gradcam(model, "conv2", images)
    assert len(seen) >= 3
    assert set(seen) == {"ieee"}
    assert switch.fp32_precision == "tf32"


def test_apply_is_exact_where_it_is_asked_to_be(task, on):
    half = Compute(torch.device("cpu"), torch.bfloat16)
    model = network().eval()
    exact = model(task.inputs).detach()
    torch.testing.assert_close(training.apply(model, task.inputs, half, exact=True), exact)
    rounded = training.apply(model, task.inputs, half)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)
    assert training.apply(model, task.inputs.bfloat16(), half, exact=True).dtype == torch.float32


@pytest.mark.parametrize("count", [0, 1, 4, 10])
def test_apply_in_parts_is_apply_at_once(on, count):
    model, images = nn.Conv2d(2, 3, 3), torch.rand(count, 2, 5, 5)
    found = training.apply(model, images, on, batch_size=4)
    torch.testing.assert_close(found, model(images).detach())
    if count:  # the order in which a training wants its inputs
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_reconstruction_loss_sums_over_pixels_and_averages_over_images():
    first, second = torch.rand(4, 3, 5, 5), torch.rand(4, 3, 5, 5)
    slow = 0.0
    for image, other in zip(first.tolist(), second.tolist(), strict=True):
        for channel, channel2 in zip(image, other, strict=True):
            for row, row2 in zip(channel, channel2, strict=True):
                slow += sum((a - b) ** 2 for a, b in zip(row, row2, strict=True)) / 4
    assert training.reconstruction_loss(first, second).item() == pytest.approx(slow, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_cladec_loss_is_equation_1(alpha):
    generator = torch.Generator().manual_seed(0)
    output, images = torch.rand(2, 6, 1, 4, 4, generator=generator)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    judge = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    logits = judge(output)
    pairs = zip(logits, labels, strict=True)
    cross_entropy = sum(math.log(sum(row.exp().tolist())) - row[label].item() for row, label in pairs) / 6
    squares = ((output - images) ** 2).sum().item() / 6
    found = training.ClaDecLoss(judge, alpha)(output, images, labels).item()
    assert found == pytest.approx((1 - alpha) * squares + alpha * cross_entropy, rel=1e-5)


def test_cladec_loss_without_alpha_needs_no_classifier():
    images = torch.zeros(2, 1, 4, 4)
    assert training.ClaDecLoss(None, 0.0)(images + 1, images, torch.tensor([0, 1])).item() == 16


def test_derived_seeds_differ_by_every_label_and_stay_what_they_were():
    seeds = [training.derive_seed(*labels) for labels in ((0,), (1,), (0, "a"), (0, "b"), (0, "a", "b"), (0, "b", "a"))]
    assert len(set(seeds)) == 6
    assert all(0 <= seed < 2**32 for seed in seeds)
    # Written down, because a change would silently make every recorded run another one.
    assert training.derive_seed(0, "classifier", "weights") == 910248763


def test_auto_finds_a_device_and_describes_it():
    on = training.compute()
    assert on.dtype in (torch.float32, torch.bfloat16)
    assert on.description.startswith(f"{on.device.type} (")
    assert f"{torch.get_num_threads()} thread" in on.description


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_an_unknown_device_is_refused_with_the_valid_ones(name):
    with pytest.raises(UsageError, match="valid: auto, cpu") as caught:
        training.compute(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("known", "wide", "products", "tiles", "dtype"),
    [
        (False, False, False, False, torch.float32), (True, False, False, False, torch.bfloat16),
        (True, True, False, False, torch.float32), (True, True, True, False, torch.bfloat16),
        (True, True, False, True, torch.bfloat16),
    ],
)  # fmt: skip
def test_bf16_is_chosen_only_where_the_processor_multiplies_it(known, wide, products, tiles, dtype, monkeypatch):
    monkeypatch.delenv("CLADEC_PRECISION", raising=False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: known)
    for name, value in {"avx512": wide, "avx512_bf16": products, "amx_tile": tiles}.items():
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda value=value: value)
    assert training.compute("cpu").dtype == dtype


def test_a_precision_can_be_asked_for(monkeypatch):
    monkeypatch.setattr("cladec_core.training.devices._cpu_has_bf16", lambda: True)
    assert training.compute("cpu").dtype == torch.bfloat16
    monkeypatch.setenv("CLADEC_PRECISION", "float32")
    assert training.compute("cpu").dtype == torch.float32
    monkeypatch.setenv("CLADEC_PRECISION", "float16")
    with pytest.raises(UsageError, match=r"CLADEC_PRECISION 'float16'.*float32"):
        training.compute("cpu")
