import functools
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cladec_companion.engine.study import Study
from torch import nn

from cladec_companion.engine import runner, study
from cladec_companion.engine import runner as experiments
from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec.layers import experiment as layers
from cladec_companion.records.record import read_record
from cladec_core import data, measures, networks, training
from cladec_core.errors import RunError, UsageError

LAYERS = ["conv4a", "penultimate"]


@pytest.fixture
def new_study(digits, smoke, on):
    """Make a study; whatever is not named is the same each time."""

    def make(images=digits, architecture="vgg11", seed=0, settings=smoke, on=on, cache=None):
        return Study(images, architecture, seed, settings, on, cache)

    return make


@pytest.fixture(scope="module")
def studied(digits, smoke, on):
    """A study whose models are trained once; tests only look at them."""

    class Remembering(Study):
        decoder = functools.cache(Study.decoder)
        reference = functools.cache(Study.reference)
        evaluation_classifier = functools.cache(Study.evaluation_classifier)

    return Remembering(digits, "vgg11", 0, smoke, on)


def tensors(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same_bits(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def files(record):
    return [(record.folder / name).read_bytes() for name in ("metrics.csv", "samples.npz")]


def no_training(job):
    raise AssertionError("trained again")


# ---- the models of a study


@pytest.mark.parametrize("activation_bytes", [0, study.ACTIVATION_BYTES])
def test_explaining_a_classifier_does_not_change_a_bit_of_it(new_study, monkeypatch, activation_bytes):
    monkeypatch.setattr(study, "ACTIVATION_BYTES", activation_bytes)
    run = new_study()
    before = tensors(run.classifier)
    for layer in LAYERS:
        layers.run_cell(run, layer, True)
        assert same_bits(tensors(run.classifier), before)
        assert not any(module.training for module in run.classifier.modules())
        assert not any(parameter.requires_grad for parameter in run.classifier.parameters())
        assert all(parameter.grad is None for parameter in run.classifier.parameters())


def test_using_a_part_of_a_classifier_does_not_put_it_in_training_mode(studied):
    chain = nn.Sequential(studied.classifier.up_to("conv3"), nn.Flatten())
    assert chain.training
    studied.test(chain)
    networks.activation_shape(studied.classifier.up_to("conv3"), (1, 32, 32))
    assert not any(module.training for module in studied.classifier.modules())


def test_a_decoder_explains_the_classifier_itself(studied, digits):
    explain = studied.decoder("conv4a")
    shared = {tensor.data_ptr() for tensor in studied.classifier.up_to("conv4a").state_dict().values()}
    assert {tensor.data_ptr() for tensor in explain[0].state_dict().values()} == shared
    codes = studied.classifier.up_to("conv4a").eval()(digits.test_images)
    torch.testing.assert_close(studied.test(explain), explain[1](codes).detach())


@pytest.mark.parametrize("layer", LAYERS)
def test_refae_and_cladec_have_equal_shapes_and_no_common_weight(studied, layer):
    explain, reference = studied.decoder(layer), studied.reference(layer)
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


def test_only_training_images_are_trained_on(new_study, digits, monkeypatch):
    seen = []
    fit = training.fit

    def spy(job):
        seen.append((job.label, job.inputs.clone(), job.targets))
        return fit(job)

    monkeypatch.setattr(training, "fit", spy)
    run = new_study()
    explain, reference = run.decoder("conv4a"), run.reference("conv4a")
    run.evaluation_classifier(explain, "ClaDec conv4a")
    run.evaluation_classifier(reference, "RefAE conv4a")

    images, labels = digits.train_images, digits.train_labels
    expected = [
        ("classifier", images, labels),
        ("decoder conv4a", run.classifier.up_to("conv4a").eval()(images), images),
        ("RefAE conv4a", images, images),
        ("evaluation ClaDec conv4a", explain(images), labels),
        ("evaluation RefAE conv4a", reference(images), labels),
    ]
    assert [label for label, _, _ in seen] == [f"digits vgg11 {label}, seed 0" for label, _, _ in expected]
    for (_, inputs, targets), (_, expected_inputs, expected_target) in zip(seen, expected, strict=True):
        torch.testing.assert_close(inputs, expected_inputs.detach())
        assert targets[0] is expected_target


def test_a_subset_of_a_layer_is_all_its_decoder_is_given(new_study, digits, monkeypatch):
    run, seen = new_study(), []
    fit = training.fit

    def spy(job):
        seen.append(job.inputs.clone())
        return fit(job)

    run.classifier  # noqa: B018
    monkeypatch.setattr(training, "fit", spy)
    explain = run.decoder("conv4a", channels=[5, 2])
    codes = run.classifier.up_to("conv4a").eval()(digits.train_images)[:, [5, 2]].detach()
    torch.testing.assert_close(seen, [codes])
    torch.testing.assert_close(explain(digits.train_images), explain[1](codes))


def test_alpha_trains_for_the_classifier_and_leaves_it_as_it_is(new_study, digits):
    run = new_study(settings=settings_for("layers", "smoke", decoder_epochs=20, classifier_epochs=5))
    before = tensors(run.classifier)
    losses = []
    for alpha in (0.0, 0.999):
        explain = run.decoder("conv4a", alpha=alpha)
        logits = run.test(run.classifier, run.test(explain, digits.train_images))
        losses.append(training.classification_loss(logits, digits.train_labels).item())
    assert losses[1] < losses[0]
    assert same_bits(tensors(run.classifier), before)
    assert not any(module.training for module in run.classifier.modules())
    assert all(parameter.grad is None for parameter in run.classifier.parameters())


@pytest.mark.parametrize("layer", LAYERS)
def test_activations_kept_or_computed_per_batch_give_the_same_decoder(new_study, monkeypatch, layer):
    settings = settings_for("layers", "smoke", decoder_epochs=4)
    kept = new_study(settings=settings).decoder(layer)
    monkeypatch.setattr(study, "ACTIVATION_BYTES", 0)
    computed = new_study(settings=settings)
    shapes = []
    fit = training.fit

    def spy(job):
        shapes.append(job.inputs.shape[1:])
        return fit(job)

    computed.classifier  # noqa: B018
    monkeypatch.setattr(training, "fit", spy)
    other = computed.decoder(layer)
    assert shapes == [(1, 32, 32)]
    images = computed.data.test_images
    torch.testing.assert_close(other(images), kept(images), rtol=0, atol=1e-4)
    untrained = nn.Sequential(kept[0], computed.new_decoder(kept[0], f"decoder {layer}")).eval()
    assert (untrained(images) - kept(images)).abs().max() > 1e-2


def everything(run):
    explain, reference = run.decoder("conv4a"), run.reference("conv4a")
    judge = run.evaluation_classifier(explain, "ClaDec conv4a")
    return [tensors(model) for model in (run.classifier, explain, reference, judge)]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_and_threads_give_the_same_bits(new_study, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        first = tensors(new_study().decoder("conv4a"))  # with the classifier's layers
        torch.manual_seed(123)
        assert same_bits(first, tensors(new_study().decoder("conv4a")))
    finally:
        torch.set_num_threads(before)


def test_every_training_of_every_seed_begins_and_shuffles_in_its_own_way(new_study, monkeypatch):
    entries, orders = [], []
    fit = training.fit

    def spy(job):
        # The largest tensor of an encoder or a classifier, and of a decoder, before training.
        parts = [job.model] if isinstance(job.model, networks.Classifier) else job.model.children()
        entries.extend(
            max(part.parameters(), key=torch.numel).detach().clone() for part in parts if [*part.parameters()]
        )
        orders.append(job.seed)
        return fit(job)

    monkeypatch.setattr(training, "fit", spy)
    for seed in (0, 1):
        everything(new_study(seed=seed))
    assert len(orders) == len(set(orders)) == 2 * 4
    assert len(entries) > len(orders)
    for number, one in enumerate(entries):
        assert not any(one.shape == two.shape and torch.equal(one, two) for two in entries[:number])


def test_another_seed_gives_other_models(new_study):
    for one, two in zip(everything(new_study()), everything(new_study(seed=1)), strict=True):
        weights = [name for name in one if name.endswith("weight") and one[name].ndim > 1]
        assert weights
        assert not any(torch.equal(one[name], two[name]) for name in weights)


def test_no_model_depends_on_which_others_were_trained_before(new_study, studied):
    run = new_study()
    assert same_bits(tensors(run.reference("penultimate")), tensors(studied.reference("penultimate")))
    assert same_bits(tensors(run.decoder("penultimate")), tensors(studied.decoder("penultimate")))


def test_a_study_leaves_the_random_state_untouched(new_study):
    before = torch.get_rng_state()
    everything(new_study())
    assert torch.equal(torch.get_rng_state(), before)


# ---- the cache of models


def test_a_cached_model_is_bitwise_the_trained_one(new_study, studied, tmp_path, monkeypatch):
    first = new_study(cache=tmp_path)
    trained = [tensors(model) for model in (first.classifier, first.decoder("conv4a"), first.reference("conv4a"))]
    assert same_bits(trained[1], tensors(studied.decoder("conv4a")))  # of a study without a cache
    assert len(list(tmp_path.iterdir())) == 3
    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", no_training)
        cached = new_study(cache=tmp_path)
        loaded = [tensors(model) for model in (cached.classifier, cached.decoder("conv4a"), cached.reference("conv4a"))]
    assert all(same_bits(one, two) for one, two in zip(trained, loaded, strict=True))
    assert not any(module.training for module in cached.classifier.modules())
    assert not any(parameter.requires_grad for parameter in cached.classifier.parameters())
    assert same_bits(tensors(cached.decoder("penultimate")), tensors(studied.decoder("penultimate")))


@pytest.mark.parametrize("left", [0, 100, -1], ids=["empty", "its head", "all but a byte"])
def test_a_cached_model_that_was_cut_off_is_trained_again(new_study, tmp_path, left):
    trained = new_study(cache=tmp_path).classifier.state_dict()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    with pytest.warns(UserWarning, match=f"classifier is trained again: .*{path.name} cannot be read"):
        again = new_study(cache=tmp_path).classifier.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in trained.items())
    assert len(path.read_bytes()) == len(whole)


def test_whatever_a_training_depends_on_names_its_cache(new_study, digits, tmp_path, on):
    names = set()
    variants = [
        {},
        {"seed": 1},
        {"architecture": "vgg5"},
        {"images": replace(digits, name="mnist")},
        {"images": replace(digits, train_images=digits.train_images[:90], train_labels=digits.train_labels[:90])},
        {"on": replace(on, dtype=torch.bfloat16)},
        *({"settings": settings_for("layers", "smoke", **{name: value})} for name, value in {
            "classifier_epochs": 2, "width": 0.25, "batch_size": 16, "resize": "bilinear",
        }.items()),
    ]  # fmt: skip
    for number, variant in enumerate(variants):
        new_study(**variant, cache=tmp_path / str(number)).classifier  # noqa: B018
        names |= {path.name for path in (tmp_path / str(number)).iterdir()}
    assert len(names) == len(variants)


def test_whatever_a_decoder_depends_on_names_its_cache(new_study, tmp_path):
    run = new_study(cache=tmp_path)
    variants = [{}, {"alpha": 0.5}, {"alpha": 0.9}, {"channels": [0, 1, 2]}, {"channels": [0, 2]}, {"channels": [2, 0]}]
    for number, variant in enumerate(variants, start=1):
        run.decoder("conv4a", **variant)
        assert len(list(tmp_path.iterdir())) == 1 + number
    other = new_study(settings=settings_for("layers", "smoke", classifier_epochs=2), cache=tmp_path)
    other.decoder("conv4a")  # of another classifier
    assert len(list(tmp_path.iterdir())) == 1 + len(variants) + 2


def test_an_interrupted_save_is_not_taken_for_a_model(new_study, tmp_path, monkeypatch):
    def cut_off(state, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", cut_off)
        with pytest.raises(KeyboardInterrupt):
            new_study(cache=tmp_path).classifier  # noqa: B018
    assert same_bits(tensors(new_study(cache=tmp_path).classifier), tensors(new_study().classifier))


def test_a_training_that_fails_is_named_and_not_cached(new_study, digits, tmp_path):
    broken = replace(digits, train_images=torch.full_like(digits.train_images, torch.inf))
    with pytest.raises(RunError, match="digits vgg11 classifier, seed 3: the loss is nan after epoch 1 of 1"):
        new_study(images=broken, seed=3, cache=tmp_path).classifier  # noqa: B018
    assert not list(tmp_path.iterdir())


# ---- the numbers of a cell


@pytest.fixture(scope="module")
def measured(studied):
    rows, samples = layers.run_cell(studied, "conv4a", True)
    return {(row["method"], row["metric"]): row["value"] for row in rows}, samples


@torch.no_grad()
def by_hand(studied):
    """Reconstructions, and what classifiers make of them, with plain torch."""
    images = studied.data.test_images
    explain, reference = studied.decoder("conv4a"), studied.reference("conv4a")
    found = {}
    for method, name, model in (("cladec", "ClaDec", explain), ("refae", "RefAE", reference)):
        shown = torch.cat([model[1](model[0](image[None])) for image in images])
        judge = studied.evaluation_classifier(model, f"{name} conv4a")
        found[method] = SimpleNamespace(images=shown, judge=judge, seen_as=judge(shown).argmax(1))
    found["predicted"] = studied.classifier(images).argmax(1)
    return SimpleNamespace(**found)


def test_the_numbers_of_a_layer_are_those_made_by_hand(studied, measured):
    values, _ = measured
    hand, labels = by_hand(studied), studied.data.test_labels
    for method in ("cladec", "refae"):
        error = (getattr(hand, method).images - studied.data.test_images).numpy().astype(float)
        assert values[method, "loss_standardised"] == pytest.approx((error**2).mean(), rel=1e-4)
        raw = (error * studied.data.std.item()) ** 2
        assert values[method, "loss_raw_mean"] == pytest.approx(raw.mean(), rel=1e-4)
        assert values[method, "loss_raw_sum"] == pytest.approx(raw.mean() * 1024, rel=1e-4)
        assert values[method, "accuracy"] == np.mean(getattr(hand, method).seen_as.numpy() == labels.numpy())
        seen_as = studied.classifier(getattr(hand, method).images).argmax(1)
        assert values[method, "agreement"] == np.mean(seen_as.numpy() == hand.predicted.numpy())
    between = ((hand.cladec.images - hand.refae.images) ** 2).mean().item()
    assert values["cladec", "distance_to_refae"] == pytest.approx(between, rel=1e-3)


@torch.no_grad()
def test_the_drift_of_a_layer_is_that_made_by_hand(studied, measured):
    values, _ = measured
    hand = by_hand(studied)
    drift = hand.refae.judge(hand.cladec.images).argmax(1).tolist()
    wrong = [
        (seen, guess, label)
        for seen, guess, label in zip(drift, hand.predicted.tolist(), studied.data.test_labels.tolist(), strict=True)
        if guess != label
    ]
    assert values["cladec", "misclassified"] == len(wrong) > 0
    assert values["cladec", "drift_to_predicted"] == sum(seen == guess for seen, guess, _ in wrong) / len(wrong)
    assert values["cladec", "drift_to_true"] == sum(seen == label for seen, _, label in wrong) / len(wrong)


def test_the_samples_of_a_layer_are_its_reconstructions(studied, measured):
    hand, (_, samples) = by_hand(studied), measured
    chosen = layers.sample_indices(studied.data.test_labels, hand.predicted)
    for method in ("cladec", "refae"):
        grey = studied.data.to_unit(getattr(hand, method).images[chosen]).clamp(0, 1).numpy() * 255
        assert np.abs(samples[f"conv4a/{method}"] - grey).max() <= 0.51
    expected = measures.gradcam(studied.classifier, "conv4a", studied.data.test_images[chosen]).numpy() * 255
    assert np.abs(samples["conv4a/gradcam"] - expected).max() <= 0.51
    assert samples["conv4a/gradcam"].max() == 255


def test_no_samples_where_none_are_asked_for(studied):
    for part in ("classifier", "conv4a"):
        rows, samples = layers.run_cell(studied, part, False)
        assert rows
        assert samples == {}


# ---- whole runs


def test_a_run_records_every_cell_of_its_plan(whole_run, smoke):
    planned = experiments.plan(smoke)
    assert [str(cell) for cell in planned] == [
        "digits/vgg11/classifier/0",
        "digits/vgg11/penultimate/0",
        "digits/vgg11/conv2/0",
    ]
    again = read_record(whole_run.folder)
    assert list(again.cells) == sorted(map(str, planned))
    assert set(again.rows["layer"]) == {"classifier", "penultimate", "conv2"}
    assert np.isfinite(again.rows["value"]).all()
    assert all({"seconds", "trainings", "run"} <= entry.keys() for entry in again.cells.values())


def test_the_first_seed_of_everything_comes_before_the_second_of_anything():
    settings = settings_for("layers", "smoke", seeds=[2, 0], datasets=["digits", "mnist"], layers=[-1])
    assert [str(cell) for cell in experiments.plan(settings)] == [
        f"{dataset}/vgg11/{part}/{seed}"
        for seed in (2, 0)
        for dataset in ("digits", "mnist")
        for part in ("classifier", "penultimate")
    ]


def test_the_samples_of_a_run_are_the_images_at_their_index(whole_run):
    samples = whole_run.samples
    images = data.load("digits", train_limit=160, test_limit=80)
    index = samples["digits/vgg11/index"]
    unit = images.to_unit(images.test_images[index]).clamp(0, 1)
    assert np.abs(samples["digits/vgg11/original"] - unit.numpy() * 255).max() <= 0.51
    assert samples["digits/vgg11/label"].tolist() == images.test_labels[index].tolist()
    for layer in ("penultimate", "conv2"):
        for method in ("cladec", "refae"):
            assert samples[f"digits/vgg11/{layer}/{method}"].shape == (len(index), 1, 32, 32)
    assert not samples["digits/vgg11/penultimate/gradcam"].any()  # a single pixel on a vgg11
    right = samples["digits/vgg11/label"] == samples["digits/vgg11/predicted"]
    count = right.tolist().index(False)
    assert len(set(samples["digits/vgg11/label"][:count])) == count > 0
    assert not right[count : count + 6].any()


def test_a_finished_run_trains_nothing(whole_run, smoke, monkeypatch):
    monkeypatch.setattr(training, "fit", no_training)
    before = files(whole_run)
    again = experiments.run(smoke, root=whole_run.folder.parents[1], device="cpu", progress=False)
    assert again.rows.equals(read_record(whole_run.folder).rows)
    assert files(whole_run) == before


def interrupt(monkeypatch, at):
    """Raise in the run_cell of one cell; returns the list of those begun."""
    begun = []

    def run_cell(study, part, keep_samples):
        begun.append(part)
        if len(begun) == at:
            raise KeyboardInterrupt
        return layers.run_cell(study, part, keep_samples)

    monkeypatch.setitem(runner.EXPERIMENTS, "layers", runner.Experiment(layers.cells, run_cell))
    return begun


def test_an_interrupted_run_continues_with_the_first_missing_cell(whole_run, smoke, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, at=2)
        with pytest.raises(KeyboardInterrupt):
            experiments.run(smoke, root=tmp_path, device="cpu", progress=False)
    assert list(read_record(tmp_path / "smoke" / "layers").cells) == ["digits/vgg11/classifier/0"]
    begun = interrupt(monkeypatch, at=None)
    lines = []
    resumed = experiments.run(smoke, root=tmp_path, device="cpu", progress=False, report=lines.append)
    assert begun == ["penultimate", "conv2"]
    assert [line.split(":")[0] for line in lines] == ["digits/vgg11/penultimate/0", "digits/vgg11/conv2/0"]
    assert files(resumed) == files(whole_run)


def test_cells_in_another_order_and_without_a_cache_give_the_same_record(whole_run, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "CACHE", None)
    for layer in (["conv2"], ["penultimate", "conv2"]):
        settings = settings_for("layers", "smoke", layers=layer)
        record = experiments.run(settings, root=tmp_path, device="cpu", progress=False)
    assert files(record) == files(whole_run)


def test_all_samples_are_of_the_first_seed_that_was_run(tmp_path, monkeypatch):
    asked = []

    def run_cell(study, part, keep_samples):
        asked.append((study.seed, keep_samples))
        return [{"method": "m", "metric": "seed", "value": study.seed}], {part: np.zeros(1)} if keep_samples else {}

    monkeypatch.setitem(runner.EXPERIMENTS, "layers", runner.Experiment(layers.cells, run_cell))
    for seeds, parts in (([3, 1], ["conv2"]), ([1], ["conv3"]), ([0, 3], ["conv3"])):
        settings = settings_for("layers", "smoke", seeds=seeds, layers=parts)
        record = experiments.run(settings, root=tmp_path, device="cpu", progress=False)
    kept = {seed for seed, keep_samples in asked if keep_samples}
    assert kept == {3}
    assert {seed for seed, _ in asked} == {0, 1, 3}
    assert record.samples["digits/vgg11/seed"] == 3
    assert {"digits/vgg11/conv2", "digits/vgg11/conv3"} <= record.samples.keys()


def test_nothing_is_begun_after_the_deadline(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "fit", no_training)
    record = experiments.run(smoke, root=tmp_path, device="cpu", progress=False, deadline=time.monotonic() - 1)
    assert not record.cells


def test_records_go_where_the_environment_says(smoke, tmp_path, monkeypatch):
    monkeypatch.setenv("CLADEC_RESULTS", str(tmp_path / "elsewhere"))
    record = experiments.run(smoke, device="cpu", progress=False, deadline=0.0)
    assert record.folder == tmp_path / "elsewhere" / "smoke" / "layers"


def test_a_run_that_cannot_start_says_so_before_training(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "fit", no_training)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunError, match="Cannot write the record"):
        experiments.run(smoke, root=tmp_path / "file", device="cpu", progress=False)
    with pytest.raises(UsageError, match="No device 'gpu'"):
        experiments.run(smoke, root=tmp_path, device="gpu", progress=False)
