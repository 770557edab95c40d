"""The networks around a classifier: what each is made of, trained on and named after."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cladec_companion.engine import code, trainings
from cladec_companion.engine.code import training_code
from cladec_companion.engine.models import Models
from cladec_companion.engine.setup import Setup
from cladec_companion.engine.trainings import new_decoder
from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec.layers import experiment as layers
from cladec_core import networks, training
from tests.cells import measured, tensors

LAYERS = ["conv4a", "penultimate"]


@pytest.fixture
def described(digits, smoke, on):
    """Describe a run; whatever is not named is the same each time."""

    def describe(images=digits, architecture="vgg11", seed=0, settings=smoke, on=on, **options):
        return Setup(images, architecture, seed, settings, on, **options)

    return describe


@pytest.fixture(scope="module")
def trained(digits, smoke, on):
    """A run and a function that trains its networks, each once; tests only look at them."""
    setup, models, done = Setup(digits, "vgg11", 0, smoke, on), Models(), {}

    def train(wanted):
        if wanted.key not in done:
            done[wanted.key] = models.train(wanted)
        return done[wanted.key]

    return SimpleNamespace(setup=setup, train=train, classifier=train(setup.classifier))


def same_bits(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def spied(monkeypatch):
    """Call `spied(look)`: each job is shown to `look` before it is trained."""
    fit = training.fit

    def watch(look):
        monkeypatch.setattr(training, "fit", lambda job: (look(job), fit(job))[1])

    return watch


# ---- the classifier


@pytest.mark.parametrize("activation_bytes", [0, trainings.ACTIVATION_BYTES])
def test_explaining_a_classifier_does_not_change_a_bit_of_it(described, monkeypatch, activation_bytes):
    monkeypatch.setattr(trainings, "ACTIVATION_BYTES", activation_bytes)
    setup, models = described(), Models()
    classifier = models.train(setup.classifier)
    before = tensors(classifier)
    for layer in LAYERS:
        measured(layers.run_cell, setup, layer, True, models)
        assert models.train(setup.classifier) is classifier
        assert same_bits(tensors(classifier), before)
        assert not any(module.training for module in classifier.modules())
        assert not any(parameter.requires_grad for parameter in classifier.parameters())
        assert all(parameter.grad is None for parameter in classifier.parameters())


def test_using_a_part_of_a_classifier_does_not_put_it_in_training_mode(trained):
    chain = nn.Sequential(trained.classifier.up_to("conv3"), nn.Flatten())
    assert chain.training
    trained.setup.test(chain)
    networks.activation_shape(trained.classifier.up_to("conv3"), (1, 32, 32))
    assert not any(module.training for module in trained.classifier.modules())


# ---- decoders, references and evaluation classifiers


def test_a_decoder_explains_the_classifier_itself(trained, digits):
    explain = trained.train(trained.setup.decoder("conv4a"))
    shared = {tensor.data_ptr() for tensor in trained.classifier.up_to("conv4a").state_dict().values()}
    assert {tensor.data_ptr() for tensor in explain[0].state_dict().values()} == shared
    codes = trained.classifier.up_to("conv4a").eval()(digits.test_images)
    torch.testing.assert_close(trained.setup.test(explain), explain[1](codes).detach())


@pytest.mark.parametrize("layer", LAYERS)
def test_refae_and_cladec_have_equal_shapes_and_no_common_weight(trained, layer):
    explain, reference = trained.train(trained.setup.decoder(layer)), trained.train(trained.setup.reference(layer))
    for part in (0, 1):
        shapes = [
            [tuple(tensor.shape) for tensor in model[part].state_dict().values()] for model in (explain, reference)
        ]
        assert shapes[0] == shapes[1]
        assert [tuple(tensor.shape) for tensor in explain[part].parameters()]
    explained = {tensor.data_ptr() for tensor in explain.parameters()}
    assert not explained & {tensor.data_ptr() for tensor in reference.parameters()}
    first, second = (next(model[1].parameters()) for model in (explain, reference))
    assert not torch.equal(first, second)


def test_only_training_images_are_trained_on(described, digits, spied):
    seen = []
    spied(lambda job: seen.append((job.label, job.inputs.clone(), job.targets)))
    setup, models = described(), Models()
    explain, reference = setup.decoder("conv4a"), setup.reference("conv4a")
    judges = setup.judge(explain, "ClaDec conv4a"), setup.judge(reference, "RefAE conv4a")
    wanted = [setup.classifier, explain, reference, *judges]
    classifier, explained, referred, *_ = [models.train(one) for one in wanted]

    images, labels = digits.train_images, digits.train_labels
    expected = [
        ("classifier", images, labels),
        ("decoder conv4a", classifier.up_to("conv4a").eval()(images), images),
        ("RefAE conv4a", images, images),
        ("evaluation ClaDec conv4a", explained(images), labels),
        ("evaluation RefAE conv4a", referred(images), labels),
    ]
    assert [label for label, _, _ in seen] == [f"digits vgg11 {label}, seed 0" for label, _, _ in expected]
    for (_, inputs, targets), (_, expected_inputs, expected_target) in zip(seen, expected, strict=True):
        torch.testing.assert_close(inputs, expected_inputs.detach())
        assert torch.equal(targets[0], expected_target)


def test_a_subset_of_a_layer_is_all_its_decoder_is_given(described, digits, spied):
    setup, models, seen = described(), Models(), []
    classifier = models.train(setup.classifier)
    spied(lambda job: seen.append(job.inputs.clone()))
    explain = models.train(setup.decoder("conv4a", channels=[5, 2]))
    codes = classifier.up_to("conv4a").eval()(digits.train_images)[:, [5, 2]].detach()
    torch.testing.assert_close(seen, [codes])
    torch.testing.assert_close(explain(digits.train_images), explain[1](codes))


def test_alpha_trains_for_the_classifier_and_leaves_it_as_it_is(described, digits):
    setup, models = (
        described(settings=settings_for("layers", "smoke", decoder_epochs=20, classifier_epochs=5)),
        Models(),
    )
    classifier = models.train(setup.classifier)
    before = tensors(classifier)
    losses = []
    for alpha in (0.0, 0.999):
        explain = models.train(setup.decoder("conv4a", alpha=alpha))
        logits = setup.test(classifier, setup.test(explain, digits.train_images))
        losses.append(training.classification_loss(logits, digits.train_labels).item())
    assert losses[1] < losses[0]
    assert same_bits(tensors(classifier), before)
    assert not any(module.training for module in classifier.modules())
    assert all(parameter.grad is None for parameter in classifier.parameters())


@pytest.mark.parametrize("layer", LAYERS)
def test_activations_kept_or_computed_per_batch_give_the_same_decoder(described, spied, monkeypatch, layer):
    setup, models = described(settings=settings_for("layers", "smoke", decoder_epochs=4)), Models()
    kept = models.train(setup.decoder(layer))
    monkeypatch.setattr(trainings, "ACTIVATION_BYTES", 0)
    shapes, again = [], Models()
    again.have(setup.classifier, models.train(setup.classifier))
    spied(lambda job: shapes.append(job.inputs.shape[1:]))
    other = again.train(setup.decoder(layer))
    assert shapes == [(1, 32, 32)]
    images = setup.data.test_images
    torch.testing.assert_close(other(images), kept(images), rtol=0, atol=1e-4)
    untrained = nn.Sequential(kept[0], new_decoder(setup, kept[0], f"decoder {layer}")).eval()
    assert (untrained(images) - kept(images)).abs().max() > 1e-2


# ---- seeds


def everything(setup, models=None):
    models = models or Models()
    explain = setup.decoder("conv4a")
    wanted = [setup.classifier, explain, setup.reference("conv4a"), setup.judge(explain, "ClaDec conv4a")]
    return [tensors(models.train(one)) for one in wanted]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_and_threads_give_the_same_bits(described, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        first = tensors(Models().train(described().decoder("conv4a")))  # with the classifier's layers
        torch.manual_seed(123)
        assert same_bits(first, tensors(Models().train(described().decoder("conv4a"))))
    finally:
        torch.set_num_threads(before)


def test_every_training_of_every_seed_begins_and_shuffles_in_its_own_way(described, spied):
    entries, orders = [], []

    def look(job):
        # The largest tensor of an encoder or a classifier, and of a decoder, before training.
        parts = [job.model] if isinstance(job.model, networks.Classifier) else job.model.children()
        entries.extend(
            max(part.parameters(), key=torch.numel).detach().clone() for part in parts if [*part.parameters()]
        )
        orders.append(job.seed)

    spied(look)
    for seed in (0, 1):
        everything(described(seed=seed))
    assert len(orders) == len(set(orders)) == 2 * 4
    assert len(entries) > len(orders)
    for number, one in enumerate(entries):
        assert not any(one.shape == two.shape and torch.equal(one, two) for two in entries[:number])


def test_another_seed_gives_other_models(described):
    for one, two in zip(everything(described()), everything(described(seed=1)), strict=True):
        weights = [name for name in one if name.endswith("weight") and one[name].ndim > 1]
        assert weights
        assert not any(torch.equal(one[name], two[name]) for name in weights)


def test_no_model_depends_on_which_others_were_trained_before(described, trained):
    setup, models = described(), Models()
    for wanted in (setup.reference("penultimate"), setup.decoder("penultimate")):
        assert same_bits(tensors(models.train(wanted)), tensors(trained.train(wanted)))


def test_trainings_leave_the_random_state_untouched(described):
    before = torch.get_rng_state()
    everything(described())
    assert torch.equal(torch.get_rng_state(), before)


# ---- a changed description


def test_a_changed_run_has_a_classifier_of_its_own_and_an_explained_one_has_not(described, digits):
    setup = described()
    half = replace(digits, train_images=digits.train_images[:48], train_labels=digits.train_labels[:48])
    assert setup.changed(data=half).classifier.key != setup.classifier.key
    explained = setup.changed(data=half).explained(data=digits, mean_loss=True)
    assert explained.classifier.setup.data is half
    assert explained.explained(sigmoid=True).classifier.key == explained.classifier.key
    assert explained.decoder("conv3").key != setup.decoder("conv3").key
    assert explained.decoder("conv3").needs[0].key == setup.changed(data=half).classifier.key


# ---- the name of a training in the cache


def test_whatever_a_training_depends_on_names_it(described, digits, on):
    variants = [
        {},
        {"seed": 1},
        {"architecture": "vgg5"},
        {"images": replace(digits, name="mnist")},
        {"images": replace(digits, train_images=digits.train_images[:90], train_labels=digits.train_labels[:90])},
        {"images": replace(digits, train_labels=digits.train_labels.flip(0))},
        {"on": replace(on, dtype=torch.bfloat16)},
        {"encoder_epochs": 3},
        {"momentum": 0.01},
        *({"settings": settings_for("layers", "smoke", **{name: value})} for name, value in {
            "classifier_epochs": 2, "width": 0.25, "batch_size": 16, "resize": "bilinear",
        }.items()),
    ]  # fmt: skip
    assert len({described(**variant).classifier.key for variant in variants}) == len(variants)
    assert described(data_dir="elsewhere").classifier.key == described().classifier.key


def test_whatever_a_decoder_depends_on_names_it(described):
    setup = described()
    subsets = [{"channels": channels} for channels in ([0, 1, 2], [0, 2], [2, 0])]
    variants = [{}, {"alpha": 0.5}, {"alpha": 0.9}, *subsets]
    wanted = [setup.decoder("conv4a", **variant) for variant in variants]
    others = [  # with another classifier, another loss or another decoder
        described(settings=settings_for("layers", "smoke", classifier_epochs=2)),
        described(settings=settings_for("layers", "smoke", decoder_style="table1")),
        described(momentum=0.01), described(encoder_epochs=0), described(encoder_epochs=0, calibrated=False),
        setup.explained(sigmoid=True), setup.explained(mean_loss=True),
    ]  # fmt: skip
    wanted += [setup.decoder("conv3"), setup.reference("conv4a"), *(other.decoder("conv4a") for other in others)]
    assert len({one.key for one in wanted}) == len(wanted)


@pytest.fixture
def copied(monkeypatch, tmp_path):
    """The files of which the digest is made, as copies that may be changed: path -> content."""
    copies = {}

    def copy(path, room):
        room.mkdir(exist_ok=True)
        shutil.copy(path, room)
        copies[room / path.name] = path.read_bytes()

    def moved(module, room):
        return SimpleNamespace(__name__=module.__name__, __file__=str(tmp_path / room / Path(module.__file__).name))

    for module in code.ROOMS:
        for path in Path(module.__file__).parent.glob("*.py"):
            copy(path, tmp_path / module.__name__)
    for module in code.SHARED:
        copy(Path(module.__file__), tmp_path / "explainer")
    for name in code.DESCRIPTIONS:
        copy(code.HERE.with_name(name), tmp_path / "engine")
    monkeypatch.setattr(code, "ROOMS", [moved(module, module.__name__) for module in code.ROOMS])
    monkeypatch.setattr(code, "SHARED", [moved(module, "explainer") for module in code.SHARED])
    monkeypatch.setattr(code, "HERE", tmp_path / "engine" / "code.py")
    yield copies
    monkeypatch.undo()
    training_code.cache_clear()


def digest():
    training_code.cache_clear()
    return training_code()


def test_a_change_of_any_file_that_decides_the_weights_names_other_trainings(copied):
    """Every file of the rooms networks and training, and those that describe a training here."""
    before = digest()
    assert "convolutions.py" in {path.name for path in copied}
    for path, content in copied.items():
        path.write_bytes(content + b"\n# a remark\n")
        assert digest() == before, path
        if path.parent.name != "explainer":
            path.write_bytes(content + b"\nmore = 1\n")
            assert digest() != before, path
        path.write_bytes(content)
    assert digest() == before


@pytest.mark.parametrize(
    ("name", "old", "new", "counts"),
    [
        ("building.py", "def fresh_decoder(", "def fresh_decoder(more: int = 0, *", True),  # what a decoder is
        ("protocol.py", "class Protocol:", "class Protocol(object):", True),  # how it is trained
        ("fitting.py", "FLAT = ", "FLAT = 2 * ", False),  # when `ClaDec.fit` ends: no training of the book asks for it
        ("building.py", "NO_GRADIENT = ", "NO_GRADIENT = 2 * ", False),
    ],
)
def test_of_the_explainer_counts_what_the_books_trainings_use(copied, name, old, new, counts):
    before = digest()
    path = next(path for path in copied if path.name == name)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert (digest() != before) == counts


def test_the_committed_records_are_of_this_code():
    """Whoever changes what a training gives makes the records anew and writes the new digest here; else see PROVED."""
    assert training_code() == "8320fb1871d943c9187920fa3007731d8ab2ae4ada67589fbd7052710394b80d"


def test_code_that_is_proved_to_train_alike_counts_as_the_older_one(copied, monkeypatch):
    first = digest()
    path = next(path for path in copied if path.name == "losses.py")
    path.write_bytes(path.read_bytes() + b"\nmore = 1\n")
    changed = code.code_digest()
    assert digest() == changed != first
    monkeypatch.setattr(code, "PROVED", {changed: (first, "2026-11-22, with a commit")})
    assert digest() == first
    path.write_bytes(path.read_bytes() + b"\nmore = 2\n")
    assert digest() not in (first, changed)


def test_what_is_proved_goes_back_to_code_that_records_were_made_with():
    for newer, (older, when) in code.PROVED.items():
        assert older not in code.PROVED
        assert re.fullmatch(r"[0-9a-f]{64} [0-9a-f]{64} \d{4}-\d\d-\d\d, with \w+", f"{newer} {older} {when}")


def test_the_digest_is_in_every_key(described, monkeypatch):
    setup = described()
    key = setup.decoder("conv3").key
    monkeypatch.setattr(trainings, "training_code", lambda: "other code")
    assert setup.decoder("conv3").key != key
