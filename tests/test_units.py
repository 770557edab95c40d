"""What units want and detect: searches against slow ones and known answers, dissection, colours, and the chapter."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from cladec_companion.engine.setup import Setup
from cladec_companion.papers import CHAPTERS
from cladec_companion.papers.xai import colours, maximisation
from cladec_companion.papers.xai.attribution.around import blurred
from cladec_companion.papers.xai.maximisation import Climb, Prior
from cladec_companion.papers.xai.units import activation_maximisation as wanted
from cladec_companion.papers.xai.units import claims, colour_channels, figures
from cladec_companion.papers.xai.units.common import evenly
from cladec_companion.papers.xai.units.settings import UnitsSettings
from cladec_companion.records.record import read_record
from cladec_companion.records.samples import RunImages
from cladec_companion.records.settings import settings_for
from cladec_core import networks
from cladec_core.data import ImageData
from cladec_core.errors import UsageError
from tests.captioned import altered, sentences_stand
from tests.made_up import content

SIDE = 6
UNITS = torch.tensor([1, 0])


@pytest.fixture
def linear():
    """Two units with weights of their own: the gradient is the same everywhere."""
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2)).double().requires_grad_(False)


@pytest.fixture
def climb(linear):
    return Climb(linear, (1, SIDE, SIDE), torch.randn(20, 1, SIDE, SIDE).double(), steps=7, rate=0.2)


def weights(linear):
    return linear[1].weight[UNITS].view(-1, 1, SIDE, SIDE)


def steps_of(climb):
    """ε1 by hand: a step along the weights has the length that is asked for."""
    of_units = climb.network[1].weight[UNITS].pow(2).mean(1).sqrt()
    return (climb.rate * climb.samples[:16].std() / of_units).view(-1, 1, 1, 1)


# ---- activation maximisation


def test_without_a_prior_a_linear_unit_gets_its_weights(climb, linear):
    found = climb.maximise(UNITS, Prior("none"))
    assert torch.allclose(found, climb.start(2, Prior("none")) + 7 * steps_of(climb) * weights(linear))


def test_a_decay_is_a_geometric_series(climb, linear):
    """x_{t+1} = (1 - λ) x_t + ε1 w (Eq. 4.12)."""
    prior = Prior("l2", decay=0.25)
    kept = 0.75**7
    expected = kept * climb.start(2, prior) + (1 - kept) / 0.25 * steps_of(climb) * weights(linear)
    assert torch.allclose(climb.maximise(UNITS, prior), expected)


def test_blur_and_variation_follow_their_equations(climb, linear):
    """(4.4) and (4.5), written out step by step."""
    start, step = climb.start(2, Prior("")), steps_of(climb) * weights(linear)
    slow = start.clone()
    for _ in range(climb.steps):
        slow = blurred(slow, 0.7) + step
    assert torch.allclose(climb.maximise(UNITS, Prior("blur", blur=0.7)), slow)
    slow = start.clone()
    for _ in range(climb.steps):
        slow = slow + step - 0.1 * slow_variation(slow)
    assert torch.allclose(climb.maximise(UNITS, Prior("tv", variation=0.1)), slow)


def slow_variation(images):
    """Gradient of the total variation, pixel by pixel."""
    found = torch.zeros_like(images)
    for n, row, column in itertools.product(range(len(images)), range(SIDE), range(SIDE)):
        here = images[n, 0, row, column]
        below = images[n, 0, row + 1, column] - here if row + 1 < SIDE else torch.zeros(()).double()
        right = images[n, 0, row, column + 1] - here if column + 1 < SIDE else torch.zeros(()).double()
        length = (below**2 + right**2 + maximisation.FLAT**2).sqrt()
        found[n, 0, row, column] -= (below + right) / length
        if row + 1 < SIDE:
            found[n, 0, row + 1, column] += below / length
        if column + 1 < SIDE:
            found[n, 0, row, column + 1] += right / length
    return found


def test_priors_together_each_look_at_the_image_as_it_was():
    images = torch.randn(2, 1, SIDE, SIDE).double()
    found = maximisation.regularised(images, Prior("", decay=0.3, variation=0.1, blur=0.7))
    assert torch.allclose(found, blurred(images, 0.7) - 0.1 * slow_variation(images) - 0.3 * images)


def test_total_variation_of_an_edge_is_its_length():
    image = torch.zeros(1, 1, 4, 4)
    image[..., 2:] = 3.0
    assert float(maximisation.total_variation(image)) == pytest.approx(4 * 3, abs=0.02)
    image.requires_grad_(True)
    (found,) = torch.autograd.grad(maximisation.total_variation(image).sum(), image)
    assert torch.allclose(found[0, 0, 0], torch.tensor([0.0, -1.0, 1.0, 0.0]), atol=1e-3)


def test_jitter_moves_the_gradient_back(climb, linear):
    """Where the network sees the image moved by some pixels, the weights are added moved the other way."""
    draw = torch.Generator().manual_seed(maximisation.training.derive_seed(0, "jitter"))
    moves = [torch.randint(-1, 2, (2,), generator=draw).tolist() for _ in range(7)]
    expected = climb.start(2, Prior(""))
    for down, right in moves:
        expected = expected + steps_of(climb) * weights(linear).roll((-down, -right), (2, 3))
    assert len({tuple(move) for move in moves}) > 2
    assert torch.allclose(climb.maximise(UNITS, Prior("jitter", jitter=1)), expected)


def test_a_mean_image_is_where_the_search_begins(climb):
    begun = climb.start(500, Prior("mean", mean_start=True))
    assert torch.allclose(begun.mean(0), climb.samples.mean(0), atol=0.03)
    assert climb.start(500, Prior("")).mean().abs() < 0.01
    assert torch.equal(climb.start(3, Prior("")), climb.start(3, Prior("")))
    assert torch.allclose(climb.start(3, Prior(""), contrast=1.0), climb.start(3, Prior("")) / maximisation.START)


def test_the_log_of_the_softmax_counts_the_other_units():
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False)).requires_grad_(False)
    network[1].weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    samples = torch.zeros(4, 1, 1, 2)
    units = torch.tensor([0])
    raw, selective = (Climb(network, (1, 1, 2), samples, selective=chosen) for chosen in (False, True))
    assert raw.gradient(samples[:1], units).flatten().tolist() == [1.0, 1.0]
    assert selective.gradient(samples[:1], units).flatten().tolist() == [0.5, 0.0]  # Table 4.1c


def test_in_a_latent_space_codes_are_changed_and_kept_in_range(linear):
    """A linear generator: the gradient of the code is G'w; the decay pulls towards the mean code."""
    generator = nn.Sequential(nn.Linear(3, SIDE * SIDE), nn.Unflatten(1, (1, SIDE, SIDE))).double()
    codes = torch.rand(30, 3).double()
    climb = Climb(linear, (1, SIDE, SIDE), codes, generator.requires_grad_(False), steps=1)
    start = codes.mean(0).expand(2, 3) + torch.tensor([[0.01, 0.0, -0.01]]).double()
    size = torch.tensor([0.001, 0.002]).double()
    found = climb.maximise(UNITS, Prior("l2", decay=0.5), start=start, sizes=size)
    gradient = linear[1].weight[UNITS] @ generator[0].weight
    expected = start + size.view(2, 1) * gradient - 0.5 * (start - codes.mean(0))
    assert torch.allclose(found, generator(expected))
    far = climb.maximise(UNITS, Prior("none"), start=start, sizes=1e6 * size)
    low, high = climb.bounds()
    ends = torch.where(gradient > 0, high, low)
    assert torch.allclose(far, generator(ends))
    assert (codes.amin(0) <= low).all()
    assert (high <= codes.amax(0)).all()


def test_codes_begin_around_the_mean_code(linear):
    generator = nn.Sequential(nn.Linear(3, SIDE * SIDE), nn.Unflatten(1, (1, SIDE, SIDE)))
    codes = 5 + torch.rand(200, 3) * torch.tensor([1.0, 2.0, 3.0])
    begun = Climb(linear, (1, SIDE, SIDE), codes, generator).start(1000, Prior(""))
    assert torch.allclose(begun.mean(0), codes.mean(0), atol=0.1)
    assert (begun >= codes.amin(0)).all()
    assert begun.std(0)[2] > 2 * begun.std(0)[0]


def test_a_unit_without_a_gradient_stays_where_it_began(linear):
    linear[1].weight[0] = 0
    climb = Climb(linear, (1, SIDE, SIDE), torch.randn(20, 1, SIDE, SIDE).double(), steps=3)
    found, start = climb.maximise(UNITS, Prior("")), climb.start(2, Prior(""))
    assert torch.equal(found[1], start[1])
    assert not torch.equal(found[0], start[0])


def test_what_does_not_exist_or_fit_is_named(linear):
    classifier = networks.classifier("vgg5", 1, 3, 0.125)
    with pytest.raises(UsageError, match="Unknown layer 'conv9'; valid: conv1"):
        maximisation.part_of(classifier, "conv9", UNITS, (1, 32, 32))
    with pytest.raises(UsageError, match="Unit 3 of layer 'logits' does not exist; valid: from 0 to 2"):
        maximisation.part_of(classifier, "logits", torch.tensor([3]), (1, 32, 32))
    small = nn.Sequential(nn.Linear(3, 16), nn.Unflatten(1, (1, 4, 4))).double()
    with pytest.raises(UsageError, match=r"makes images of \(1, 4, 4\); valid: \(1, 6, 6\), as the network's"):
        Climb(linear, (1, SIDE, SIDE), torch.rand(5, 3).double(), small)
    with pytest.raises(UsageError, match="layer"):
        settings_for(UnitsSettings, "smoke", layer="conv9")


def test_the_nearest_image_and_pairs_of_starts():
    real = torch.tensor([[0.0, 0.0], [3.0, 4.0]]).view(2, 1, 1, 2)
    distance, place = maximisation.nearest(real + 1.0, real)
    assert torch.allclose(distance, torch.ones(2))
    assert place.tolist() == [0, 1]
    made = torch.tensor([0.0, 1.0, 3.0, 5.0, 5.0, 5.0]).view(6, 1)
    apart = maximisation.pairs_of(made, 3, lambda one, other: (one - other).abs().squeeze(1))
    assert apart.tolist() == pytest.approx([2.0, 0.0])


def test_what_is_like_a_real_image_does_not_depend_on_contrast():
    draw = torch.Generator().manual_seed(0)
    real = torch.rand(5, 1, 4, 4, generator=draw)
    made = torch.cat([0.2 * real[3:4] + 7, -real[:1], torch.full((1, 1, 4, 4), 0.5)])
    found = maximisation.most_alike(made, real)
    slow = [max(np.corrcoef(one.flatten(), other.flatten())[0, 1] for other in real) for one in made[:2]]
    assert found[:2].tolist() == pytest.approx(slow, abs=1e-5)
    assert found[0] == pytest.approx(1, abs=1e-5)
    assert found[2] == 0


# ---- colours


def test_planted_colours_tell_the_order():
    real = torch.zeros(2, 3, 8, 8)
    real[0, 0, :, :4], real[1, 2] = 1.0, 1.0  # red on the left; blue
    own = colours.coarse_colours(real)
    assert torch.allclose(own.sum(1), torch.zeros(2, 4, 4), atol=1e-6)
    assert torch.allclose(colours.leaning(real, own), torch.full((2,), 0.75))  # half of 1 - cos 120°
    assert torch.allclose(colours.leaning(colours.swapped(real), own), torch.full((2,), -0.75))
    assert torch.allclose(colours.leaning(5 * real + 3.0, own), torch.full((2,), 0.75))  # contrast and brightness
    assert torch.equal(colours.leaning(torch.ones(2, 3, 8, 8), own), torch.zeros(2))
    found = colours.class_colours(real, torch.tensor([4, 7]), torch.tensor([7, 4]))
    assert torch.equal(found, own.flip(0))


def test_a_swap_is_blue_red_green_and_is_undone():
    image = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert colours.swapped(image)[0, :, 0, 0].tolist() == [3.0, 1.0, 2.0]
    assert torch.equal(colours.Unswap()(colours.swapped(image)), image)
    data = coloured_data()
    wrong = colours.swapped_data(data)
    assert torch.equal(wrong.to_unit(wrong.test_images), colours.swapped(data.to_unit(data.test_images)))
    assert torch.equal(wrong.test_labels, data.test_labels)


def coloured_data():
    """Images in which each class has a colour, standardised as `data.load` does."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    unit = 0.3 * torch.rand(120, 3, 32, 32, generator=draw)
    unit[torch.arange(120), labels] += 0.6
    mean, std = unit.mean((0, 2, 3)).view(3, 1, 1), unit.std((0, 2, 3), correction=0).view(3, 1, 1)
    images = (unit - mean) / std
    return ImageData("cifar10", "colours", tuple("abc"), images[:90], labels[:90], images[90:], labels[90:], mean, std)


class Linear(nn.Module):
    """A network whose class units want one colour each."""

    def __init__(self, order):
        super().__init__()
        self.order = order
        self.weight = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, images):
        return images.mean((2, 3))[:, self.order] * self.weight


def test_maximised_colours_tell_what_a_network_was_fed_and_reconstructions_do_not(on):
    """A network that was fed BRG has the unit of class a (red) at the channel where red was: the second."""
    setup = Setup(coloured_data(), "vgg11", 0, settings_for(UnitsSettings, "smoke"), on)
    classes = torch.arange(3)
    real = colours.class_colours(setup.data.train_images, setup.data.train_labels, classes)
    shares = {}
    copy = nn.Sequential(nn.Identity(), nn.Identity())
    for name, order in ((colour_channels.RIGHT, [0, 1, 2]), (colour_channels.BUG, [1, 2, 0])):
        painter = colours.Unswap() if name == colour_channels.BUG else nn.Identity()
        program = colour_channels.Program(name, Linear(order), nn.Identity(), painter)
        assert program.network(program.fed(setup.data.test_images)).argmax(1).eq(setup.data.test_labels).all()
        for method, images in colour_channels._explained(setup, program, copy, classes):
            lean = colours.leaning(images, real)
            shares[name, method] = ((lean > 0) == (name == colour_channels.RIGHT)).double().mean().item()
    assert shares[colour_channels.RIGHT, "none"] == shares[colour_channels.BUG, "none"] == 1
    assert shares[colour_channels.RIGHT, "dgn_refae"] == shares[colour_channels.BUG, "dgn_refae"] == 1
    for method in ("cladec", "refae"):
        assert (shares[colour_channels.RIGHT, method], shares[colour_channels.BUG, method]) == (1, 0)


def test_the_best_images_of_a_unit_are_those_that_activate_it_most(on):
    setup = Setup(coloured_data(), "vgg11", 0, settings_for(UnitsSettings, "smoke"), on)
    bench = wanted.Bench(setup, *[Linear([0, 1, 2])] * 4, "logits")
    asked = wanted.Question(bench, wanted.CLASSES, Linear([0, 1, 2]), torch.tensor([2, 0]))
    best = asked.best_real
    strength = setup.data.test_images.mean((2, 3))
    for place, unit in enumerate((2, 0)):
        highest = strength[:, unit].topk(wanted.STARTS).values
        assert torch.allclose(best.mean((2, 3))[place * 3 : place * 3 + 3, unit], highest, atol=1e-6)
    found = asked.judged(best)
    assert found["highest"].tolist() == [1.0] * 6
    assert found["reached"][[0, 3]].abs().max() < 1e-6
    assert found["neighbour"].tolist() == [1.0] * 6
    sure = best.mean((2, 3)).log_softmax(1)
    assert torch.allclose(found["sure"][:3], sure[:3, 2])
    assert torch.equal(found["selected"], (strength_of(best, (2, 0)) > 0).double())
    silent = asked.judged(-10 - best.abs().amax() - torch.zeros_like(best))
    assert silent["selected"].sum() == 0


def strength_of(images, units):
    return images.mean((2, 3)).gather(1, torch.tensor(units).repeat_interleave(wanted.STARTS).unsqueeze(1)).squeeze(1)


# ---- the chapter


def test_classes_are_at_even_distances():
    assert evenly(100, 3).tolist() == [0, 50, 99]
    assert evenly(3, 10).tolist() == [0, 1, 2]


@pytest.fixture(scope="module")
def smoke_record(run_smoke):
    return run_smoke("units")


def test_a_record_has_every_question(smoke_record):
    rows = smoke_record.rows
    pd.testing.assert_frame_equal(read_record(smoke_record.folder).rows, rows, check_dtype=False, rtol=1e-6)
    methods = {at: set(part["method"]) for at, part in rows.groupby("layer")}
    assert methods["classes"] == {*figures.TITLES, "test"} - {"single"}
    assert methods["hidden units"] == {"none", "all", "selective", "dgn_cladec", "dgn_refae", "cladec", "refae", "real"}
    assert methods["conv4"] == {"units", "turned", "chance"}
    assert methods["0 epochs"] == methods["1 epochs"] == {"trained"}
    assert "training" not in methods  # two trainings say nothing about a correlation
    assert methods["colours"] == {"data"}  # digits have none
    trained = rows[(rows["layer"] == "1 epochs") & (rows["metric"] == "unique")]["value"]
    own = rows[(rows["layer"] == "conv4") & (rows["method"] == "units") & (rows["metric"] == "unique")]["value"]
    assert trained.item() == own.item()  # the same classifier
    of_classes = rows[rows["layer"] == "classes"].set_index(["method", "metric"])["value"]
    assert abs(of_classes["starts", "alike"]) < 0.1  # these have nothing in common, the others are nearly one image
    assert of_classes["zero", "unlike"] == 1
    assert of_classes["mean", "spread"] == 0
    real = rows[(rows["layer"] == "classes") & (rows["method"] == "real") & (rows["metric"] == "reached")]
    assert real["value"].item() <= 0


def test_captions_say_what_the_numbers_are(smoke_record):
    sentences_stand("units", smoke_record)
    told, others = (CHAPTERS["units"].told(record) for record in (smoke_record, altered(smoke_record)))
    assert [name for name in told if told[name] == others[name]] == ["fig-units-wanted"]  # shares that are all 0


def test_a_part_can_be_asked_for_alone(smoke_record):
    assert figures.in_colour(smoke_record) == []
    assert list(settings_for(UnitsSettings, "smoke", questions=["colours"]).questions) == ["colours"]


def test_figures_show_the_images_of_the_record(smoke_record):
    evidence = claims.evidence(smoke_record)
    for figure in (
        figures.wanted(smoke_record), figures.hidden(smoke_record), figures.recognised(evidence),
        figures.detected(evidence), figures.detectors(smoke_record),
    ):  # fmt: skip
        assert isinstance(figure, Figure)
    assert figures.numbers(evidence).loc["best test image", figures.JUDGED["judged"]] in (
        "0.00",
        "0.50",
        "1.00",
        "0.25",
        "0.75",
    )
    data, shown = content(figures.interactive(smoke_record))
    images = RunImages.of(smoke_record)
    for pane, name in enumerate(("l2", "tv", "blur"), 1):
        expected = 255 - images["swept", name][1, 3][0].astype(int)
        assert np.abs(shown(pane, 1, 3)[..., 0].astype(int) - expected).max() <= 8  # a palette
        wanted = [images["wanted", found] for found in ("none", name)]
        for strength, expected in zip((0, 2), wanted, strict=True):
            assert np.array_equal(images["swept", name][:, strength], expected)
        assert not np.array_equal(images["swept", name][:, 1], wanted[0])
    assert len(data["notes"]) == 2 * 5
