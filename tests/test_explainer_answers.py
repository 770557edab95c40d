"""What a fitted explainer answers: images, losses, heat maps, comparisons, measures of trust; and its file."""

import ast
import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import cladec_core
from cladec_core import ClaDec, measures
from cladec_core.errors import RunError, UsageError
from cladec_core.explainer import PAPER, PRACTICAL, evaluation
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


@pytest.mark.parametrize("case", ["vector", "vit", "swin"])
def test_saved_explainer_explains_as_before(case, tmp_path):
    build, shape, layer, *_ = CASES[case]
    net = build()
    explainer = fitted(net, layer, shape, preprocess=NORMALISE)
    assert explainer.save(tmp_path / "new").name == "explainer.pt"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["explainer.pt"]
    loaded = ClaDec.load(tmp_path / "new", net, device="cpu")
    first, second = (part.explain(batch(shape, 4)) for part in (explainer, loaded))
    for name in ("original", "reference", "reconstruction", "prediction", "probability"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert (loaded.notes, loaded.epochs, loaded.references) == (
        explainer.notes, explainer.epochs, explainer.references,
    )  # fmt: skip
    with pytest.raises(UsageError, match="Further seeds need the images of fit"):
        loaded.evaluate(batch(shape, 64), torch.arange(64) % CLASSES)


def test_an_explainer_is_saved_with_its_protocol_and_those_before_had_the_default(tmp_path):
    net = small_net()
    how = replace(PAPER, style="table1", epochs=1)
    fitted(net, protocol=how).save(tmp_path / "paper")
    loaded = ClaDec.load(tmp_path / "paper", net, device="cpu")
    assert loaded.protocol == how
    explainer = fitted(net)
    kept = torch.load(explainer.save(tmp_path / "old"), weights_only=True)
    del kept["options"]["protocol"]
    torch.save(kept, tmp_path / "old" / "explainer.pt")
    loaded = ClaDec.load(tmp_path / "old", net, device="cpu")
    assert loaded.protocol == PRACTICAL
    assert torch.equal(loaded.explain(GOOD[:2]).reconstruction, explainer.explain(GOOD[:2]).reconstruction)


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
    with pytest.raises(UsageError, match=r"explainer.pt is missing"):
        ClaDec.load(tmp_path / "nowhere", net)
    (tmp_path / "explainer.pt").write_bytes((tmp_path / "explainer.pt").read_bytes()[:-2000])
    with pytest.raises(RunError, match="damaged"):
        ClaDec.load(tmp_path, net, preprocess=torch.square)


def test_save_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    explainer = fitted(small_net())
    before = explainer.save(tmp_path).read_bytes()
    monkeypatch.setattr(torch, "save", lambda kept, path: (path.write_bytes(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        explainer.save(tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("explainer.pt", before)]


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


def test_occlusion_relevance_is_the_squared_change_inside_the_square():
    explainer, images = fitted(small_net()), batch((3, 16, 16), 64, seed=1)
    space, part = explainer._space, explainer._parts["conv1"]
    standard, labels = space.standardise(images[:3]), torch.tensor([0, 1, 2])
    measured = evaluation.Evaluation(explainer._logits, CLASSES, space, explainer.on, standard, labels)
    relevance = measured.relevance(part.explain, measured.run(part.explain, standard))
    right = measured.right_when_hidden()
    corners = [0, 3, 7, 10]  # 6 of 16 pixels, four times
    for place, (top, left) in enumerate((top, left) for top in corners for left in corners):
        hidden = standard.clone()
        hidden[:, :, top : top + 6, left : left + 6] = 0
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
    figure = fitted(small_net()).explain(GOOD[:2] * 0.5).show()
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
