"""`Contrast` for a reader's classifier, contrasts from single-class methods, and the chapter at `smoke`."""

import copy
import warnings
from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from cladec_companion.commands.explain import contrasts as contrasts_of_report
from cladec_companion.papers.cdeepex import contrasts, scenes
from cladec_companion.papers.cdeepex.contrast import claims, figures
from cladec_companion.papers.cdeepex.contrast.experiment import GENERATORS, KINDS, OURS, Bench, at_one_length
from cladec_companion.papers.cdeepex.contrast.metrics import (
    Asked,
    answered,
    as_long,
    energy_in,
    extent,
    of_both,
    of_search,
)
from cladec_companion.papers.cdeepex.contrast.trainings import MAPS, discriminator
from cladec_companion.papers.cdeepex.explainer import Contrast
from cladec_companion.papers.cdeepex.generators import Generator
from cladec_companion.papers.cdeepex.optimisation import UNMET, Search
from cladec_companion.papers.xai.attribution import Around
from cladec_companion.records.record import Record
from cladec_companion.report import report
from cladec_companion.report.contrasts import UNMET as UNMET_IN_REPORT
from cladec_companion.report.contrasts import Contrasts
from cladec_core import ClaDec, Explanation
from cladec_core.errors import RunError, UsageError
from cladec_core.explainer.latent import LatentSpace
from tests.made_up import content

SIDE = 8


def generator(basis, side=SIDE, encode=True):
    """A linear one, with orthonormal columns; latent values as many as columns."""

    def decode(z):
        return (z @ basis.T).view(-1, 1, side, side)

    return Generator(
        "linear", (basis.shape[1],), (1, side, side), (-3.0, 3.0), decode,
        (lambda images: images.flatten(1) @ basis) if encode else None,
    )  # fmt: skip


@pytest.fixture
def basis():
    return torch.linalg.qr(torch.randn(SIDE**2, SIDE**2)).Q


@pytest.fixture
def model():
    chain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 4))
    return chain.train()


@pytest.fixture
def images():
    return torch.randn(5, 1, SIDE, SIDE).clamp(-2.9, 2.9)


def test_the_second_most_likely_class_is_the_probe(model, basis, images):
    found = Contrast(model, generator(basis)).explain(images)
    order = model.eval()(images).argsort(1, descending=True)
    assert torch.equal(found.true, order[:, 0])
    assert torch.equal(found.probe, order[:, 1])
    assert found.converged.all()
    assert not found.notes
    after = model(images + found.change).log_softmax(1)
    rows = torch.arange(5)
    assert (after[rows, found.true] - after[rows, found.probe]).abs().max() < 0.03
    assert (after.argsort(1, descending=True)[:, :2].sort().values == order[:, :2].sort().values).all()
    beyond = model(images + 1.2 * found.change).argmax(1)
    assert torch.equal(beyond, found.probe)


def test_the_model_is_never_changed(model, basis, images):
    before, modes = copy.deepcopy(model.state_dict()), [part.training for part in model.modules()]
    needs = [weight.requires_grad for weight in model.parameters()]
    Contrast(model, generator(basis, encode=False), steps=5, worst=float("inf")).explain(images)
    around = Around(images, layer="0")
    contrasts.contrast(
        model, images, torch.zeros(5).long(), torch.ones(5).long(), method="gradcam", around=around,
        value_range=(-3.0, 3.0), weights=(0.5, 1.0),
    )  # fmt: skip
    assert all(torch.equal(part, before[name]) for name, part in model.state_dict().items())
    assert modes == [part.training for part in model.modules()]
    assert needs == [weight.requires_grad for weight in model.parameters()]
    assert all(weight.grad is None for weight in model.parameters())
    assert not any(part._forward_hooks or part._backward_hooks for part in model.modules())


def test_what_cannot_be_asked_is_refused(model, basis, images):
    contrast = Contrast(model, generator(basis))
    seen = int(model.eval()(images[:1]).argmax())
    cases = [
        (images[:1], seen, f"probe is {seen}, which the model predicts for image 0"),
        (images, 4, "probe is 4, which is no class; valid: from 0 to 3"),
        (images, torch.tensor([0, 1]), "a class, or one for each of 5 images"),
        (torch.zeros(2, 1, 4, 4), None, r"draws images of shape \(1, 8, 8\)"),
        (images * 3, None, "draws values from -3 to 3"),
        (images[0], None, r"x has shape \(1, 8, 8\)"),
        (images.new_full((1, 1, SIDE, SIDE), float("nan")), None, "NaN"),
    ]
    for asked, probe, said in cases:
        with pytest.raises(UsageError, match=said):
            contrast.explain(asked, probe)
    with pytest.raises(UsageError, match=r"call fit\(images\) first"):
        Contrast(model).explain(images)
    model[-1].bias.data[0] = float("nan")
    with pytest.raises(UsageError, match="logits of these images are NaN"):
        contrast.explain(images)


def test_a_generator_that_misses_too_much_is_refused_with_what_it_misses(model, basis, images):
    with pytest.raises(RunError, match=r"linear misses \d+% of image \d .* more than 80%, as it does of 5 of 5"):
        Contrast(model, generator(basis[:, :2])).explain(images)
    assert Contrast(model, generator(basis[:, :2]), worst=2.0).explain(images).missed.mean() > 0.8


def test_a_search_that_does_not_end_is_named_and_its_image_kept(model, basis, images):
    found = Contrast(model, generator(basis), search=Search(outer=1, inner=1)).explain(images)
    assert not found.converged.any()
    assert UNMET in found.solution.state
    assert len(found.notes) == 5
    assert found.notes[3].startswith("Image 3: not converged after 1 steps (constraints ")
    assert found.solution.images.isfinite().all()


def test_fit_trains_a_generator(model):
    bars = torch.zeros(96, 1, SIDE, SIDE)
    for place in range(96):
        bars[place, 0, :, place % SIDE] = 1.0
    contrast = Contrast(model, worst=float("inf")).fit(bars, epochs=3, latent=4, width=4)
    assert contrast.generator.name == "VAE"
    assert contrast.explain(bars[:2]).change.shape == (2, 1, SIDE, SIDE)


def test_the_decoder_of_a_layer_is_a_generator():
    """In the images' own units, with the classifier that the explainer explains."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 49, 3)).eval()
    ramp = torch.linspace(0, 1, 16)
    parts = torch.stack([ramp.expand(16, 16), ramp.view(-1, 1).expand(16, 16), (6 * ramp).sin().expand(16, 16)])
    images = torch.einsum("nk,khw->nhw", torch.rand(48, 3), parts).unsqueeze(1) / 3
    with torch.no_grad():  # so that each class is seen somewhere
        model[3].weight *= 20
        model[3].bias -= model(images).mean(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = ClaDec(model, layers=["1"], device="cpu").fit(images[:40], epochs=150, progress=False)
    found = contrasts_of_report(explainer, "1", images[:40], images[40:], ["a", "b", "c"])
    assert found.met.any()
    after = model(found.changed).log_softmax(1)
    rows = torch.arange(8)
    gap = (after[rows, found.true] - after[rows, found.probe]).abs()
    assert gap[found.met].max() < 0.05
    assert torch.equal(found.true, model(images[40:]).argmax(1))
    unmet = replace(found, met=torch.zeros(8, dtype=torch.bool))
    assert torch.equal(unmet.rows["as likely"], found.original)
    assert set(unmet.captions["as likely"]) == {UNMET_IN_REPORT}
    with pytest.raises(UsageError, match="Unknown layer '3'; valid: 1"):
        LatentSpace.of(explainer, "3")


def test_the_report_shows_contrasts():
    """How many searches ended stands beside the pictures; what cannot be said becomes a note."""
    images, labels = torch.rand(3, 1, 16, 16), torch.zeros(3, dtype=torch.int64)
    part = Explanation("x", images, images, images, labels, torch.ones(3), labels, labels, "RefAE", (0.0, 1.0))
    shown = Contrasts(images, images + 0.1, labels, labels + 1, torch.tensor([True, False, True]), ["a"], (0.0, 1.0))
    mapper = report._Mapper("model", None, {})
    section = report._section(part, None, ["1", "2", "3"], ["a"], None, shown, mapper)["contrast"]
    assert (section["met"], section["images"]) == (2, 3)
    assert shown.captions["as likely"] == ["1", UNMET_IN_REPORT, "1"]

    def refuses(*asked):
        raise RunError("too much")

    notes = report._Notes()
    assert report._contrasts(None, {"x": part}, images, [], lambda *asked: shown, notes) == {"x": shown}
    assert not report._contrasts(None, {"x": part}, images, [], refuses, notes)
    assert notes == ["No contrast by layer x: too much"]


def test_weights_are_the_printed_ones():
    assert contrasts.WEIGHTS[0] == 0.005
    assert contrasts.WEIGHTS[-1] == 2.0
    assert len(contrasts.WEIGHTS) == 400


def test_a_contrast_is_the_mean_of_what_does_what_it_should():
    """Logits are two pixels: raising the second and lowering the first is what a contrast should do."""
    model = nn.Flatten()
    images = torch.tensor([[0.6, 0.4]]).view(1, 1, 1, 2)
    true, probe = torch.tensor([0]), torch.tensor([1])
    of_true, of_probe = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    weights = (0.1, 0.2)
    found = contrasts.combine(model, images, true, probe, of_true, of_probe, value_range=(0.0, 1.0), weights=weights)
    assert found.kept.tolist() == [2]
    torch.testing.assert_close(found.change, torch.tensor([[[-1.0, 0.15]]]))
    against = contrasts.combine(model, images, true, probe, -of_true, -of_probe, value_range=(0.0, 1.0))
    assert against.kept.tolist() == [0]
    assert not against.change.any()


def test_every_method_of_the_paper_gives_a_contrast():
    model = discriminator(1, 32, 3, 0.5).eval()
    images = torch.randn(2, 1, 32, 32)
    around = Around(torch.randn(20, 1, 32, 32), layer=MAPS)
    for method in contrasts.METHODS:
        found = contrasts.contrast(
            model, images, torch.tensor([0, 1]), torch.tensor([1, 2]), method=method, around=around,
            value_range=(-3.0, 3.0), weights=(0.1, 0.5),
        )  # fmt: skip
        assert found.change.shape == (2, 32, 32)
        assert found.change.isfinite().all()


def test_the_classifier_of_the_paper_has_its_printed_layer():
    linear = discriminator(1, 64, 10, 1.0).hidden[1]
    assert (linear.in_features, linear.out_features) == (3380, 50)


def test_scenes_are_what_the_paper_says(digits):
    marked, where = scenes.squared(digits), scenes.corner(digits)
    eights = digits.train_labels == scenes.EIGHT
    changed = (marked.train_images != digits.train_images).any(1)
    assert where.sum() == 36
    assert not changed[~eights].any()
    assert not changed[eights][:, ~where].any()
    assert digits.to_unit(marked.train_images[eights])[:, 0, where].sub(scenes.SHADE).abs().max() < 1e-5
    assert (scenes.without(digits, 8).train_labels != 8).all()
    three = scenes.cued(digits, 0)
    bright = three.to_unit(three.train_images)[:, 0, -1, -1]
    assert set(three.train_labels.tolist()) == {0, 1, 2}
    assert (bright[three.train_labels == 1] > 0.99).all()
    assert (bright[three.train_labels != 1] < scenes.FAINT + 1e-4).all()
    other = scenes.foreign(digits)
    assert other.train_images.shape == digits.train_images.shape
    assert other.to_unit(other.train_images)[:, 0, :, 0].abs().max() < 1e-5  # beside the oval
    with pytest.raises(UsageError, match="has 3 classes"):
        scenes.check_classes(three)


def test_measures_of_changes():
    change = torch.zeros(2, 1, 4, 4)
    change[0, 0, 0, 0] = 2.0
    change[1] = 1.0
    where = torch.zeros(4, 4, dtype=torch.bool)
    where[0] = True
    assert extent(change).tolist() == [1 / 16, 15 / 16]
    assert energy_in(change, where).tolist() == [1.0, 0.25]
    assert energy_in(0 * change, where).isnan().all()


def test_an_unmet_search_is_no_answer(model, basis, images):
    found = Contrast(model, generator(basis), search=Search(outer=1, inner=1, rate=1e-6)).explain(images)
    values = of_search(found) | Asked.of(model.eval(), model, images, None, (-3.0, 3.0)).applied(answered(found))
    assert not values["met"].any()
    assert not values["intruded"].any()
    for name in ("gap", "distance", "flipped", "judged", "extent", "size", "rough"):
        assert values[name].isnan().all(), name
    met = Contrast(model, generator(basis)).explain(images)
    assert of_both(met, met)["alike"].tolist() == pytest.approx([1] * 5)
    assert of_both(met, found)["alike"].isnan().all()
    assert not of_both(met, found)["met"].any()


def test_changes_of_equal_length():
    change = torch.stack([torch.zeros(1, 2, 2), torch.full((1, 2, 2), 3.0), torch.ones(1, 2, 2)])
    found = as_long(change, torch.tensor([5.0, 1.0, torch.nan])).flatten(1).norm(dim=1)
    assert found[:2].tolist() == [0, 1]
    assert found[2].isnan()


def test_changes_for_the_rungs_of_a_ladder_are_seen_at_the_length_of_the_longest(model, basis, images):
    found = Contrast(model, generator(basis)).explain(images)
    half = replace(found, solution=replace(found.solution, images=images + found.change / 2))
    unmet = replace(found, solution=replace(found.solution, equality=torch.ones(5)))
    asked = Asked.of(model.eval(), model, images, None, (-3.0, 3.0))
    assert not asked.applied(half.change)["flipped"].any()  # too short by itself
    noted = {}

    class Noting:
        """A bench that keeps what is noted."""

        note = staticmethod(noted.__setitem__)

    at_one_length(Noting, [asked] * 3, [half, found, unmet])
    assert noted["rung 0"]["flipped_equal"].all()
    assert noted["rung 1"]["judged_equal"].all()
    assert noted["rung 2"]["flipped_equal"].isnan().all()


def test_seeds_draw_images_of_their_own_that_all_models_can_be_asked(digits):
    class Made:
        """A setup whose models put out what is given."""

        data = digits

        def __init__(self, seed):
            self.seed = seed

        def test(self, logits):
            return logits

    sees = nn.functional.one_hot(digits.test_labels, 10).float()
    other = sees.clone()
    other[:10] = sees[:10].roll(1, 1)  # another class for the first ten images
    drawn = [Bench(Made(seed)).chosen(sees, other, probe=3, count=8) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    for at in drawn:
        assert at.min() >= 10
        assert (digits.test_labels[at] != 3).all()


@pytest.fixture(scope="module")
def smoke_record(run_smoke):
    return run_smoke("contrast", experiments=["general", "ladder", "square", "cue", "networks"])


def test_the_record_has_what_claims_and_figures_need(smoke_record):
    evidence = claims.evidence(smoke_record)
    verdicts = {claim.key: claim.decide(evidence) for claim in claims.CLAIMS}
    assert all(verdict.comparisons for key, verdict in verdicts.items() if key != "X18"), verdicts
    for draw in (figures.explanations, figures.generators, figures.curves, figures.biases, figures.networks):
        assert isinstance(draw(smoke_record), Figure)
    assert isinstance(figures.outcomes(evidence), Figure)
    assert len(figures.table(evidence)) == len(GENERATORS) * len(KINDS)


def test_the_path_that_is_played_with_begins_at_the_image(smoke_record):
    data, shown = content(figures.interactive(smoke_record))
    sizes = [len(control["values"]) for control in data["controls"]]
    original = smoke_record.samples["digits/vgg5/original"]
    assert sizes[1:3] == [len(figures.PICTURED), len(KINDS)]
    assert sizes[0] == len(original)
    for at in range(sizes[0]):
        first = shown(0, at, 0, 0, 0)
        assert abs(first[::2, ::2, 0] - (255.0 - original[at][0])).max() <= 1
    chances = smoke_record.samples[f"digits/vgg5/likely/VAE/{OURS}"][0, 0] / 255
    assert f"true class {chances[0]:.0%}" in data["notes"][0]


def _said(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def _images_of(figure):
    return sum(len(axis.images) for axis in figure.axes)


def _met_of(samples, *experiments):
    starts = tuple(f"digits/vgg5/{name}/" for name in experiments)
    return [part for name, part in samples.items() if name.startswith(starts) and name.endswith("/met")]


def test_a_met_search_that_still_moves_says_so(smoke_record):
    moving = {
        name: 0 * part + name.endswith("/met") if name.endswith(("/met", "/converged")) else part
        for name, part in smoke_record.samples.items()
    }
    record = Record(None, smoke_record.rows, moving, smoke_record.manifest)
    assert figures.MOVING in _said(figures.explanations(record))
    assert "still moving" in content(figures.interactive(record))[0]["notes"][0]


def test_a_search_that_was_not_met_is_never_drawn_as_if_it_were(smoke_record):
    unmet = {name: 0 * part if name.endswith("/met") else part for name, part in smoke_record.samples.items()}
    record = Record(None, smoke_record.rows, unmet, smoke_record.manifest)
    shown = len(unmet["digits/vgg5/original"])
    # Searches of each figure; generators() has a change and an image for each, and blanks the images.
    of_figures = {
        figures.explanations: 4 * shown, figures.generators: len(GENERATORS) * shown,
        figures.biases: sum(map(len, _met_of(unmet, "rung", "square"))),
        figures.networks: sum(map(len, _met_of(unmet, "network"))),
    }  # fmt: skip
    for draw, searches in of_figures.items():
        assert _said(draw(record)).count(figures.UNMET) == searches, draw.__name__
    assert _images_of(figures.generators(record)) == shown * (1 + len(GENERATORS))
    assert "this is no answer" in content(figures.interactive(record))[0]["notes"][0]
    met = {name: 0 * part + 1 if name.endswith("/met") else part for name, part in unmet.items()}
    record = Record(None, smoke_record.rows, met, smoke_record.manifest)
    for draw in of_figures:
        assert figures.UNMET not in _said(draw(record))
    assert _images_of(figures.generators(record)) == shown * (1 + 2 * len(GENERATORS))
    assert "no answer" not in content(figures.interactive(record))[0]["notes"][0]
