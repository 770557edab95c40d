"""What a fitted explainer answers: images, losses, heat maps, comparisons, measures of trust; and its file."""

import ast
import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import cladec_core
from cladec_core import ClaDec, measures
from cladec_core.errors import RunError, UsageError
from cladec_core.explainer import PAPER, evaluation, saving
from tests.foreign import (
    CASES,
    CLASSES,
    GOOD,
    NORMALISE,
    batch,
    fitted,
    small_net,
    vit,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* images are few", "ignore:Reference of", "ignore:.* do not read the difference"
)


def test_heat_maps_of_any_layer_have_the_size_of_the_images():
    net = small_net()
    explainer = fitted(net, "conv2", (3, 20, 28), preprocess=NORMALISE)
    images = batch((3, 20, 28), 5)
    expected = measures.gradcam(net, "conv2", NORMALISE(images))
    assert expected.amax() == 1
    torch.testing.assert_close(explainer.gradcam(images), expected)
    several = ClaDec(net, layers=["conv2", "pool"], device="cpu").fit(GOOD, epochs=1, progress=False).gradcam(GOOD[:3])
    assert torch.equal(several["conv2"], several["pool"])  # of a vector, the last map before it
    net = vit()
    nn.init.normal_(net.heads.head.weight)  # torchvision's are zero
    tokens = fitted(net, "encoder.layers.encoder_layer_0", (3, 32, 32)).gradcam(batch((3, 32, 32), 2))
    assert tokens.shape == (2, 32, 32)
    assert tokens.amax((1, 2)).tolist() == [1, 1]


def test_losses_are_mean_squared_errors_per_image():
    explanation = fitted(small_net()).explain(GOOD[:5])
    for row in range(5):
        cladec, reference = (
            float(((explanation.original[row] - part[row]) ** 2).mean())
            for part in (explanation.reconstruction, explanation.reference)
        )
        assert explanation.losses.cladec[row] == pytest.approx(cladec, rel=1e-5)
        assert explanation.losses.difference[row] == pytest.approx(cladec - reference, abs=1e-6)
    assert len(explanation[[0, 3]]) == 2
    assert torch.equal(explanation[1:3].reconstruction, explanation.reconstruction[1:3])
    assert "RefAE (copied encoder)" in repr(explanation)


def test_a_prediction_is_that_of_the_logits_where_probabilities_are_rounded_to_a_tie():
    net = small_net()
    with torch.no_grad():
        for value in net.head.parameters():
            value.mul_(1e-9)
        expected = net.eval()(GOOD).argmax(1)
    assert expected.any()
    assert torch.equal(fitted(net).explain(GOOD).prediction, expected)


@pytest.mark.parametrize("case", ["vector", "vit", "swin"])
def test_saved_explainer_explains_as_before(case, tmp_path):
    build, shape, layer, *_ = CASES[case]
    net = build()
    explainer = fitted(net, layer, shape, preprocess=NORMALISE)
    assert explainer.save(tmp_path / "new").name == "explainer.safetensors"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["explainer.safetensors"]
    loaded = ClaDec.load(tmp_path / "new", net, device="cpu")
    first, second = (part.explain(batch(shape, 4)) for part in (explainer, loaded))
    for name in ("original", "reference", "reconstruction", "prediction", "probability"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert (loaded.notes, loaded.epochs, loaded.references) == (
        explainer.notes, explainer.epochs, explainer.references,
    )  # fmt: skip
    with pytest.raises(UsageError, match="Further seeds need the images of fit"):
        loaded.evaluate(batch(shape, 64), torch.arange(64) % CLASSES)


def test_an_explainer_is_saved_with_its_protocol(tmp_path):
    net = small_net()
    how = replace(PAPER, style="table1", epochs=1)
    fitted(net, protocol=how).save(tmp_path)
    assert ClaDec.load(tmp_path, net, device="cpu").protocol == how
    (tmp_path / "explainer.safetensors").rename(tmp_path / "explainer.pt")
    with pytest.raises(UsageError, match=r"missing; explainer.pt is of an earlier version: fit again"):
        ClaDec.load(tmp_path, net, device="cpu")


def test_load_refuses_what_it_was_not_fitted_on(tmp_path):
    net = small_net()
    fitted(net, preprocess=torch.square).save(tmp_path)
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.head.bias[0] += 1e-3
    with pytest.raises(UsageError, match="another model: the weights differ"):
        ClaDec.load(tmp_path, other, preprocess=torch.square)
    with pytest.raises(UsageError, match=r"missing: head.bias \(4,\), head.weight .* unexpected: head.bias \(7,\)"):
        ClaDec.load(tmp_path, small_net(classes=7), preprocess=torch.square)
    with pytest.raises(UsageError, match="fitted with preprocess=square"):
        ClaDec.load(tmp_path, net)
    with pytest.raises(UsageError, match="same weights but other outputs"):
        ClaDec.load(tmp_path, net, preprocess=lambda images: 5 * images)
    with pytest.raises(UsageError, match="with an adapter for"):
        ClaDec.load(tmp_path, net, preprocess=torch.square, adapter=lambda output: output)
    with pytest.raises(UsageError, match=r"explainer.safetensors is missing"):
        ClaDec.load(tmp_path / "nowhere", net)
    path = tmp_path / "explainer.safetensors"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(RunError, match="damaged"):
        ClaDec.load(tmp_path, net, preprocess=torch.square)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model, and the bytes of an explainer of it."""
    torch.manual_seed(0)
    net = small_net()
    explainer = ClaDec(net, layers=["conv1", "pool"], preprocess=NORMALISE, device="cpu")
    return net, explainer.fit(GOOD, epochs=1, progress=False).save(tmp_path_factory.mktemp("saved")).read_bytes()


def test_no_flipped_byte_of_a_saved_explainer_changes_what_it_explains(saved, tmp_path):
    net, whole = saved
    head = int.from_bytes(whole[:8], "little") + 8
    numbers = np.random.default_rng(0)
    places = [*range(8), *numbers.integers(8, head, 120), *numbers.integers(head, len(whole), 120)]
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1 << int(numbers.integers(8))
        (tmp_path / "explainer.safetensors").write_bytes(content)
        with pytest.raises(RunError, match=r"explainer.safetensors is damaged, or no explainer") as refused:
            ClaDec.load(tmp_path, net, device="cpu")
        assert "\n" not in str(refused.value)


def signed(folder, change, drop=()):
    """Change what a saved explainer says, and give it a fitting digest."""
    path = folder / "explainer.safetensors"
    with safe_open(path, "pt") as file:
        text = json.loads(file.metadata()["explainer"])
        tensors = {name: file.get_tensor(name) for name in file.keys() if name not in drop}  # noqa: SIM118
    change(text)
    said = json.dumps(text)
    save_file(tensors, path, {"explainer": said, "digest": saving._digest(said, tensors)})


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text["parts"]["conv1"]["settings"].update(width=10**6),
        lambda text: text["parts"]["conv1"]["settings"].update(code=[10**5, 10**3, 10**3]),
        lambda text: text["parts"]["conv1"]["settings"].update(kind="other"),
        lambda text: text["parts"]["conv1"].pop("decoder"),
        lambda text: text["parts"]["conv1"].update(decoder=text["parts"]["conv1"]["reference"]),
        lambda text: text["parts"].pop("pool"),
        lambda text: text.update(parts=[1]),
        lambda text: text["options"].pop("protocol"),
        lambda text: text["options"].update(surprise=1),
        lambda text: text["space"].update(shape="many"),
        lambda text: text.update(shapes=None),
        lambda text: text.pop("fingerprint"),
        lambda text: text.update(format=99),
        lambda text: text.update(probed={"tensor": "99999"}),
    ],
)
def test_a_made_up_explainer_is_refused_in_one_line(change, saved, tmp_path):
    net, whole = saved
    (tmp_path / "explainer.safetensors").write_bytes(whole)
    signed(tmp_path, change)
    with pytest.raises(RunError, match=r"explainer.safetensors is damaged, or no explainer") as refused:
        ClaDec.load(tmp_path, net, device="cpu")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x00" * 8, b"{}", b"PK\x03\x04" + b"a" * 50])
def test_a_file_that_is_no_explainer_is_refused_in_one_line(content, saved, tmp_path):
    (tmp_path / "explainer.safetensors").write_bytes(content)
    with pytest.raises(RunError, match=r"explainer.safetensors is damaged, or no explainer"):
        ClaDec.load(tmp_path, saved[0], device="cpu")


def test_save_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    explainer = fitted(small_net())
    before = explainer.save(tmp_path).read_bytes()
    monkeypatch.setattr(safetensors.torch, "save_file", lambda tensors, path, told: (path.write_bytes(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        explainer.save(tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("explainer.safetensors", before)]


def test_evaluation_is_a_table_by_layer_and_seed(monkeypatch):
    monkeypatch.setattr(evaluation, "STEPS", 1)
    explainer, labels = fitted(small_net()), torch.arange(64) % CLASSES
    images = batch((3, 16, 16), 64, seed=1)
    table = explainer.evaluate(images, labels, seeds=2, progress=False)
    assert table.seed.tolist() == [0, 1]
    row, losses = table.iloc[0], explainer.explain(images).losses.mean()
    assert row["ΔRec"] == pytest.approx(losses.cladec - losses.reference, abs=1e-6)
    assert row["ΔAcc"] == pytest.approx(row.acc_cladec - row.acc_reference)
    assert row["ΔAcc_hidden"] == pytest.approx(row.acc_least_hidden - row.acc_most_hidden)
    explanation = explainer.explain(images)
    for name in ("ΔRec", "ΔAcc", "ΔAcc_hidden", "agreement_cladec", "agreement_reference"):
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"], name
    assert [row["ΔRec_low"], row["ΔRec_high"]] == pytest.approx(
        measures.over_images(explanation.losses.difference.to_numpy()), rel=1e-3, abs=1e-7
    )
    whole = explanation.agreement().loc["all"]
    assert (row.agreement_cladec, row.agreement_cladec_high) == (whole.cladec, whole.cladec_high)
    assert row.agreement_reference == whole.reference
    assert row.evaluation == "fresh copy of the classifier"
    with pytest.raises(UsageError, match="40 images, seeds=1; valid: at least 64"):
        explainer.evaluate(images[:40], labels[:40], seeds=1)
    with pytest.raises(UsageError, match="Labels are missing"):
        explainer.evaluate(images, seeds=1)
    with pytest.raises(UsageError, match=r"start with \['cat', 'cat', 'cat'\]; valid"):
        explainer.evaluate(images, ["cat"] * 64, seeds=1)


def test_further_seeds_are_trained_as_the_first_was(monkeypatch):
    monkeypatch.setattr(evaluation, "STEPS", 1)
    explainer, asked = ClaDec(small_net(), "conv1", device="cpu"), []
    explainer.fit(GOOD, time_budget=1e-9, progress=False)
    fit = ClaDec.fit
    monkeypatch.setattr(ClaDec, "fit", lambda self, *data, **how: asked.append(how) or fit(self, *data, **how))
    explainer.evaluate(batch((3, 16, 16), 64), torch.arange(64) % CLASSES, seeds=2, progress=False)
    assert asked == [{"epochs": None, "time_budget": 1e-9, "progress": False}]


def test_agreement_counts_predictions_that_stay_per_class():
    explanation = replace(
        fitted(small_net()).explain(GOOD[:6]), prediction=torch.tensor([0, 0, 1, 1, 1, 3]),
        prediction_cladec=torch.tensor([0, 1, 1, 1, 1, 0]), prediction_reference=torch.tensor([0, 0, 2, 2, 2, 3]),
    )  # fmt: skip
    table = explanation.agreement()
    assert table.index.tolist() == ["all", 0, 1, 3]
    assert table.images.tolist() == [6, 2, 3, 1]
    assert table.cladec.tolist() == [4 / 6, 0.5, 1, 0]
    assert table.reference.tolist() == [3 / 6, 1, 0, 1]
    assert table.cladec_low[1] > 0.3  # three of three: surely more than a third
    assert table.cladec_high[1] == 1
    by_label = explanation.agreement(torch.tensor([2, 2, 2, 2, 2, 5]))
    assert by_label.cladec.tolist() == [4 / 6, 4 / 5, 0]
    single = explanation[[1]].agreement()
    assert single.cladec.tolist() == [0, 0]


@pytest.mark.parametrize("protocol", [None, replace(PAPER, epochs=1)])
def test_occlusion_relevance_is_the_squared_change_inside_the_square(protocol):
    """A square is filled with the mean of the images of `fit`, also where these are not standardised."""
    explainer = fitted(small_net()) if protocol is None else fitted(small_net(), protocol=protocol)
    images, grey = batch((3, 16, 16), 64, seed=1), GOOD.mean((0, 2, 3))[:, None, None]
    space, part = explainer._space, explainer._built["conv1"]
    standard, labels = space.standardise(images[:3]), torch.tensor([0, 1, 2])
    measured = evaluation.Evaluation(explainer._logits, CLASSES, space, explainer.on, standard, labels)
    relevance = measured.relevance(part.explain, measured.run(part.explain, standard))
    right = measured.right_when_hidden()
    corners = [0, 3, 7, 10]  # 6 of 16 pixels, four times
    for place, (top, left) in enumerate((top, left) for top in corners for left in corners):
        hidden = standard.clone()
        hidden[:, :, top : top + 6, left : left + 6] = space.standardise(grey)
        with torch.no_grad():
            change = (part.explain(hidden) - part.explain(standard))[:, :, top : top + 6, left : left + 6]
            predicted = explainer._logits(space.restore()(hidden)).argmax(1)
        torch.testing.assert_close(relevance[:, place], change.square().sum((1, 2, 3)), rtol=1e-3, atol=1e-5)
        assert torch.equal(right[:, place], predicted == labels)


def test_evaluation_classifier_that_cannot_be_copied_is_the_projects():
    explainer = fitted(vit(), "encoder.layers.encoder_layer_0", (3, 32, 32))
    images, labels = batch((3, 32, 32), 64), torch.arange(64) % CLASSES
    measured = evaluation.Evaluation(explainer._logits, CLASSES, explainer._space, explainer.on, images, labels)
    model, label = measured.classifier(32, seed=0)
    assert label == "the project's VGG-5"
    assert model(batch((3, 41, 22), 2)).shape == (2, CLASSES)


def test_two_models_are_compared_on_the_same_images():
    first, second = fitted(small_net()), fitted(small_net(), "conv2")
    labels = torch.tensor([0, 1, 2, 1])
    comparison = first.compare(second, GOOD[:4], labels, classes=[1, 2])
    one, two = first.explain(GOOD[1:4]), second.explain(GOOD[1:4])
    assert torch.equal(comparison.difference, one.reconstruction - two.reconstruction)
    assert comparison.losses.label.tolist() == [1, 2, 1]
    assert comparison.losses.loss_second.tolist() == pytest.approx(two.losses.cladec.tolist())
    assert comparison.table.index.tolist() == [1, 2]
    assert comparison.table.distance[2] == pytest.approx(comparison.difference[1].square().mean().item(), rel=1e-5)
    assert comparison._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=r"None of the 4 images is of the classes \[3\]"):
        first.compare(second, GOOD[:4], labels, classes=[3])
    by_prediction = first.compare(second, GOOD[:4], classes=range(CLASSES))
    assert by_prediction.losses.label.tolist() == [-1] * 4
    assert by_prediction.table.index.name == "prediction_first"


def test_differences_are_drawn_on_one_scale_around_white():
    found = fitted(small_net()).explain(GOOD[:2] * 0.5)
    grey = {name: getattr(found, name)[:, :1] for name in ("original", "reference", "reconstruction")}
    figure = replace(found, **grey).show()
    drawn = [axis.images[0] for axis in figure.axes]
    assert len(drawn) == 4 * 2
    assert [image.get_clim() for image in drawn[-2:]] == [(-0.5, 0.5)] * 2


def test_importing_the_core_needs_neither_drawing_nor_notebooks():
    folder = Path(cladec_core.__file__).parent
    for path in (folder / "__init__.py", *(folder / "explainer").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        imported = {getattr(node, "module", None) or node.names[0].name for node in top}
        assert not {module.split(".")[0] for module in imported} & {"matplotlib", "captum", "papermill", "torchvision"}
        assert path.parent != folder or imported == {"importlib", "typing"}
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        cladec_core.Nothing  # noqa: B018
