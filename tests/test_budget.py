"""The chapter budget: what a budget changes, what it leaves, and what is planned for it."""

import pytest
import torch

from cladec_companion import papers
from cladec_companion.engine import estimate, runner
from cladec_companion.engine.models import Models
from cladec_companion.engine.plan import of_profile
from cladec_companion.engine.setup import Setup
from cladec_companion.papers import CHAPTERS, settings_for
from cladec_companion.papers.cladec.budget import figures
from cladec_companion.papers.cladec.budget.claims import evidence, follows
from cladec_companion.papers.cladec.budget.experiment import spending
from cladec_companion.papers.cladec.budget.settings import Part
from cladec_companion.papers.cladec.budget.settings import cells as cells_of
from cladec_companion.records.record import read_record
from cladec_core.errors import UsageError
from tests.captioned import sentences_follow, sentences_stand

LAYER = "conv2"


@pytest.fixture(scope="module")
def base(digits, on):
    settings = settings_for("budget", "smoke", train_limit=96, amounts=[48, 96], classifier_epochs=2)
    return Setup(digits, "vgg11", 0, settings, on)


def test_a_budget_changes_everything_but_the_classifier(base):
    run = spending(base, Part(LAYER, 48, 4))
    explain, reference = run.decoder(LAYER), run.reference(LAYER)
    judge = run.judge(explain, "ClaDec")
    assert run.classifier.key == base.classifier.key
    assert run.classifier.epochs == 2
    assert [one.epochs for one in (explain, reference, judge)] == [4, 4, 4]
    model = Models().train(run.classifier)
    job = explain.job(explain.build(model), model)
    assert len(job.inputs) == 48
    assert torch.equal(job.targets[0], base.data.train_images[:48])
    assert torch.equal(run.data.test_images, base.data.test_images)
    assert run.data.mean is base.data.mean  # grey values mean the same to the classifier


def test_the_whole_budget_trains_what_the_chapter_on_layers_trains(base):
    """So that networks are trained once for both."""
    layers = Setup(base.data, "vgg11", 0, settings_for("layers", "smoke", classifier_epochs=2, decoder_epochs=4,
                                                         width=base.settings.width), base.on)  # fmt: skip
    run = spending(base, Part(LAYER, 96, 4))
    assert run.decoder(LAYER).key == layers.decoder(LAYER).key
    assert run.reference(LAYER).key == layers.reference(LAYER).key
    assert spending(base, Part(LAYER, 96, 2)).decoder(LAYER).key != layers.decoder(LAYER).key


def test_the_cheapest_comes_first_and_lengths_divide_the_longest():
    settings = settings_for("budget", "smoke", layers=[-5], amounts=[160, 80])
    found = [(part.images, part.epochs) for part in cells_of(settings, "vgg11")]
    assert found == [(80, 1), (80, 2), (80, 4), (160, 1), (160, 2), (160, 4)]
    paper = settings_for("budget", "paper", layers=[-5])
    found = [(part.images, part.epochs) for part in cells_of(paper, "vgg11")]
    assert found == [(images, epochs) for images in (20_000, 60_000) for epochs in (4, 16, 64)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shares": [3]}, "shares has 3, which does not divide the 4 epochs of the longest training; valid: 1, 2, 4"),
        ({"amounts": [161]}, "amounts has 161; valid: at most 160, the train_limit"),
    ],
)
def test_what_cannot_be_is_one_line(changes, message):
    with pytest.raises(UsageError) as caught:
        settings_for("budget", "smoke", **changes)
    assert message in str(caught.value)


def test_more_images_than_there_are_is_one_line(base):
    with pytest.raises(UsageError, match="amounts has 97; valid: at most 96"):
        spending(base, Part(LAYER, 97, 4))


def test_a_plan_counts_images_and_epochs():
    tasks = of_profile(CHAPTERS, "paper", "budget", {"seeds": [0], "layers": [-5]})
    found = {str(task.cell.part): {one.label: one for one in costs} for task, costs in estimate.costs(tasks).items()}
    few, many = (found[f"conv2 {images} images 4 epochs"] for images in (20_000, 60_000))
    longer = found["conv2 60000 images 64 epochs"]
    label = "decoder conv2"
    assert many[label].operations / few[label].operations == pytest.approx(3, rel=0.1)
    assert longer[label].operations == 16 * many[label].operations
    assert "classifier" in few
    assert "classifier" not in many  # the same one for every budget


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("budget")
    settings = settings_for("budget", "smoke", train_limit=64, test_limit=40, layers=[-5], amounts=[32, 64],
                            decoder_epochs=2, shares=[2, 1])  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLADEC_MODELS", str(folder / "models"))
        found = runner.run(papers.chapter("budget"), settings, root=folder, device="cpu", progress=False)
        return read_record(found.folder)


def test_every_cell_explains_the_same_classifier(record):
    marks = [cell["classifiers"] for cell in record.cells.values()]
    assert len(marks) == 4
    assert all(found == marks[0] for found in marks)


def test_captions_say_what_the_numbers_are(record):
    sentences_stand("budget", record)
    sentences_follow("budget", record)


def test_figures_and_tables_show_every_budget(record):
    rows = [
        axis.get_ylabel() for axis in figures.pictures(record, tuple(map(str, range(10)))).axes if axis.get_ylabel()
    ]
    assert len(rows) == 1 + 2 * 4
    assert rows[1] == "RefAE, 32 images,\n1 epoch"
    drawn = figures.lengths(record)
    assert [axis.get_ylabel() for axis in drawn.axes[2:4]] == ["ΔRec", "ΔAcc"]
    still = record.rows[(record.rows["metric"] == "still_falling") & (record.rows["value"] == 1)]
    hollow = [
        line for line in drawn.axes[0].get_lines() if line.get_markerfacecolor() == "none" and len(line.get_xdata())
    ]
    assert sum(len(line.get_xdata()) for line in hollow) == len(still)
    assert list(follows(evidence(record)).columns)[-1] == "so"
