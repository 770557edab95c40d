"""The chapter prototypes: the network and its loss, and a run of the experiment."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from cladec_companion import papers
from cladec_companion.book.notebook import class_names
from cladec_companion.engine import runner
from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec.prototypes import claims, figures
from cladec_companion.papers.cladec.prototypes.experiment import beside, distances, ordinary
from cladec_companion.papers.cladec.prototypes.network import (
    ADAM,
    CODE,
    ElasticDeformation,
    PrototypeLoss,
    PrototypeNetwork,
)
from cladec_companion.records.record import read_record
from cladec_core import training
from cladec_core.errors import UsageError


@pytest.mark.parametrize("channels", [1, 3])
def test_encoder_and_decoder_are_mirrors(channels):
    network = PrototypeNetwork(channels, 10, 15)
    shapes, images = [], torch.rand(2, channels, 32, 32)
    for part in (*network.encoder, *network.decoder):
        images = part(images)
        if isinstance(part, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            shapes.append(tuple(images.shape[1:]))
    down = [(32, 16, 16), (32, 8, 8), (32, 4, 4), (10, 2, 2)]
    assert shapes == [*down, *down[-2::-1], (channels, 32, 32)]
    assert network.prototypes.shape == (15, CODE) == (15, 40)
    decoded = network.decoder(1e5 * torch.rand(2, CODE))  # the first weights are small
    assert 0 <= decoded.min() < 0.4
    assert 0.6 < decoded.max() <= 1


def squared(first, second):
    return sum((a - b) ** 2 for a, b in zip(first.tolist(), second.tolist(), strict=True))


def test_r1_and_r2_are_the_slow_ones():
    network, codes, errors = PrototypeNetwork(1, 4, 3), torch.rand(5, CODE), torch.randn(5, 1024)
    labels = torch.tensor([0, 3, 1, 1, 2])
    table = [[squared(code, prototype) for prototype in network.prototypes] for code in codes]
    r1 = sum(min(row[j] for row in table) for j in range(3)) / 3
    r2 = sum(min(row) for row in table) / 5
    weights, entropy = network.weights.tolist(), 0.0
    for row, label in zip(table, labels.tolist(), strict=True):
        logits = [sum(row[j] * weights[j][k] for j in range(3)) for k in range(4)]
        entropy += (np.logaddexp.reduce(logits) - logits[label]) / 5
    squares = sum(squared(error, 0 * error) for error in errors) / 5
    loss, output = PrototypeLoss(network), torch.cat([codes, errors], 1)
    slow = {"classification": entropy, "reconstruction": squares, "r1": r1, "r2": r2}
    assert {name: value.item() for name, value in loss.parts(output, labels).items()} == pytest.approx(slow, rel=1e-5)
    assert loss(output, labels).item() == pytest.approx(20 * entropy + squares + r1 + r2, rel=1e-5)


def test_what_the_network_returns_is_codes_and_errors_of_what_it_saw():
    network, images = PrototypeNetwork(1, 10, 3), torch.rand(4, 1, 32, 32)
    network.deform.forward = lambda images: images.flip(3)
    seen = images.flip(3)
    codes = network.encoder(seen)
    output = network(images)
    assert torch.equal(output[:, :CODE], codes)
    assert torch.allclose(output[:, CODE:].view_as(images), network.decoder(codes) - seen)


def test_the_elastic_deformation_is_the_slow_one():
    deform, images = ElasticDeformation(), torch.rand(2, 1, 32, 32)
    torch.manual_seed(5)
    fast = deform(images).numpy()
    torch.manual_seed(5)
    noise = (torch.rand(2, 2, 32, 32) * 2 - 1).numpy()
    rows, columns = np.mgrid[0:32, 0:32]
    for image, field, moved in zip(images.numpy(), noise, fast, strict=True):
        right, down = (gaussian_filter(part, 4, mode="constant") * 20 for part in field)
        slow = map_coordinates(image[0], [rows + down, columns + right], order=1, mode="grid-constant")
        assert np.abs(moved[0] - slow).max() < 1e-4
    assert torch.equal(deform.eval()(images), images)


def test_it_learns_through_the_one_loop(digits, on):
    torch.manual_seed(1)
    network = PrototypeNetwork(1, 10, 5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images, labels = digits.to_unit(digits.train_images[:64]), (digits.train_labels[:64],)
    job = training.Job(network, images, labels, PrototypeLoss(network), ADAM, epochs=3, seed=0, on=on, batch_size=16)
    history = training.fit(job)
    assert history[-1] < 0.8 * history[0]
    assert all(not torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"prototypes": [0]}, "prototypes is 0; valid: from 1"), ({"prototypes": []}, "empty"),
        ({"prototypes": [15, 15]}, "repeated"), ({"prototypes": [1.5]}, "1.5"), ({"prototypes": 15}, "a list"),
        ({"prototype_epochs": 0}, "prototype_epochs is 0"), ({"prototype_batch_size": 1}, "prototype_batch_size is 1"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_used_is_named(changes, named):
    with pytest.raises(UsageError, match=named):
        settings_for("prototypes", "smoke", **changes)


def test_the_network_itself_refuses_to_have_no_prototypes():
    with pytest.raises(UsageError, match="prototypes is 0"):
        PrototypeNetwork(1, 10, 0)


def test_distances_and_the_control_are_the_slow_ones():
    images, others, means = torch.rand(4, 1, 3, 3), torch.rand(6, 1, 3, 3), torch.rand(2, 1, 3, 3)
    slow = [[squared(a.flatten(), b.flatten()) / 9 for b in others] for a in images]
    assert np.allclose(distances(images, others), slow)
    # Image 0 is a reconstruction, but its own; image 1 is that of another image; 2 and 3 are class means.
    others[0], others[5], means[0], means[1] = images[0], images[1], images[2], images[3]
    expected = [min(slow[0][1:5]) < min(squared(images[0].flatten(), mean.flatten()) / 9 for mean in means), True]
    assert ordinary(images, others, means)["nearer_reconstruction"] == sum(expected) / 4


def test_the_ratio_of_distances_of_ordinary_images_is_the_slow_one():
    images, others, means = torch.rand(4, 1, 3, 3), torch.rand(6, 1, 3, 3), torch.rand(2, 1, 3, 3)
    logs = []
    for place, image in enumerate(images):
        near = min(squared(image.flatten(), other.flatten()) for own, other in enumerate(others) if own != place)
        logs.append(np.log(near / min(squared(image.flatten(), mean.flatten()) for mean in means)))
    found = ordinary(images, others, means)
    assert found["images"] == 4
    assert found["log_distance_ratio"] == pytest.approx(np.mean(logs), rel=1e-5)
    assert found["log_distance_ratio_sd"] == pytest.approx(np.std(logs, ddof=1), rel=1e-5)


def test_each_prototype_stands_beside_what_is_nearest():
    network = PrototypeNetwork(1, 10, 2).eval().requires_grad_(False)
    codes, images = torch.rand(5, CODE), torch.rand(5, 1, 32, 32)
    network.prototypes.copy_(codes[[3, 1]] + 0.01)
    decoded = network.decoder(network.prototypes)
    reconstructions, means = torch.rand(5, 1, 32, 32), torch.rand(3, 1, 32, 32)
    reconstructions[4], means[2] = decoded[0] + 0.1, decoded[1] - 0.2
    values, shown = beside(network, codes, images, reconstructions, means)
    assert values["original", "index"].tolist() == [3, 1]
    assert torch.equal(shown["original"], images[[3, 1]])
    assert torch.equal(shown["cladec"], reconstructions[[3, 1]])
    assert torch.equal(shown["nearest reconstruction"][0], reconstructions[4])
    assert torch.equal(shown["nearest class mean"][1], means[2])
    assert values["prototype", "distance_reconstruction"][0].item() == pytest.approx(0.01, rel=1e-4)
    assert values["prototype", "distance_class_mean"][1].item() == pytest.approx(0.04, rel=1e-4)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prototypes")
    settings = settings_for("prototypes", "smoke", architectures=["vgg5"], prototype_epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLADEC_MODELS", str(folder / "models"))
        return (
            settings,
            runner.run(papers.chapter("prototypes"), settings, root=folder, device="cpu", progress=False),
            folder,
        )


def test_the_experiment_measures_the_network_and_each_prototype(record):
    settings, found, folder = record
    assert list(found.cells) == ["digits/vgg5/conv4 3 prototypes/0"]
    assert set(found.rows["number"]) == {0, 1, 2, 3}
    assert found.rows["value"].notna().all()
    again = runner.run(papers.chapter("prototypes"), settings, root=folder, device="cpu", progress=False)
    assert again.manifest["files"] == found.manifest["files"]
    longer = settings_for("prototypes", "smoke", architectures=["vgg5"], prototype_epochs=1, prototypes=[3, 2])
    grown = runner.run(papers.chapter("prototypes"), longer, root=folder, device="cpu", progress=False)
    assert list(grown.cells) == [*found.cells, "digits/vgg5/conv4 2 prototypes/0"]
    summary = claims.evidence(read_record(found.folder)).summary
    assert set(summary.index.get_level_values("prototypes")) == {2, 3}
    asked_for = {"ordinary_ratio", "ordinary_ratio_sd"}  # by the claim, and not measured yet
    assert set(summary.index.get_level_values("metric")) >= set(claims.COLUMNS) - asked_for


def test_the_figures_show_every_prototype_of_every_run(record):
    _, found, _ = record
    rows = pd.concat([found.rows, found.rows.assign(dataset="mnist")])
    samples = found.samples | {name.replace("digits", "mnist"): part for name, part in found.samples.items()}
    both = SimpleNamespace(rows=rows, samples=samples, manifest=found.manifest)
    shown = figures.beside(both, figures.FIGURE_15, class_names)
    assert [axis.get_ylabel() for axis in shown.axes[::3]] == [*figures.FIGURE_15.values()] * 2
    seen_as = found.samples["digits/vgg5/3/class"]
    first = found.samples["digits/vgg5/3/prototype"][np.argmin(seen_as)]
    for start in (0, 9):
        assert np.array_equal(shown.axes[start].images[0].get_array(), first[0])
        assert [axis.get_title() for axis in shown.axes[start : start + 3]] == [str(label) for label in sorted(seen_as)]
    drawn = figures.measured(both).axes
    assert len(drawn) == 4
    assert len(drawn[0].lines) == len(drawn[1].collections[0].get_offsets()) == 3
