"""`cladec explain`: what is refused before anything is trained, and the report that stands alone."""

import csv
import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models as torchvision_models

from cladec_companion.commands import main as cli
from cladec_companion.commands.explain import parse_size
from cladec_companion.report import report
from cladec_companion.report.images import LEAST_IMAGES
from cladec_core import ClaDec, Explanation
from cladec_core.errors import RunError, UsageError
from cladec_core.explainer.building import LayerModules


def cladec(monkeypatch, capsys, *arguments):
    """Run the command in this process; returns exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["cladec", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code or 0, *capsys.readouterr()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    torch.save(torchvision_models.mobilenet_v3_small(num_classes=3).state_dict(), folder / "small.pt")
    return folder / "small.pt"


@pytest.fixture
def options(checkpoint, photos):
    return ["explain", "--model", checkpoint, "--arch", "torchvision:mobilenet_v3_small", "--images", photos,
            "--layer", "features.3"]  # fmt: skip


@pytest.fixture
def untrained(monkeypatch):
    """Nothing is trained: the list of what would have been is returned."""
    trained = []
    monkeypatch.setattr(ClaDec, "fit", lambda self, *args, **kwargs: trained.append(args))
    return trained


def test_held_out_images_are_never_trained_on():
    for count in (LEAST_IMAGES, 200, 100_000):
        train, held_out = report.split(count, seed=0)
        assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(count))
        assert len(train) >= report.FEWEST
        assert len(held_out) <= report.MOST_HELD_OUT
    assert not torch.equal(report.split(200, 0)[1], report.split(200, 1)[1])


def test_the_images_shown_are_those_that_the_titles_promise():
    original = torch.zeros(20, 1, 2, 2)
    lost = torch.arange(20.0)[:, None, None, None].expand(20, 1, 2, 2)
    prediction = torch.arange(20) % 2
    classes = (prediction, torch.ones(20), prediction, prediction)
    part = Explanation("x", original, original, lost, *classes, "RefAE", (0.0, 1.0))
    labels = prediction.clone()
    labels[[3, 15]] = 1 - labels[[3, 15]]
    chosen = report.choose(part, labels)
    assert chosen["What the layer keeps best"][0] == 0
    assert chosen["What the layer loses most"][0] == 19
    assert chosen["Misclassified images"] == [15, 3]
    assert "Misclassified images" not in report.choose(part, None)
    assert "Misclassified images" not in report.choose(part, prediction)


def rows_of_a_table(layers, values):
    return pd.DataFrame({
        "layer": layers, "seed": range(len(layers)), "images": 64, "reference": "x", "rec_cladec": 0.5,
        "ΔRec": values, "ΔRec_low": [value - 1.5 for value in values], "ΔRec_high": [value + 2 for value in values],
    })  # fmt: skip


def test_the_table_averages_over_seeds_and_keeps_the_order_of_layers():
    table = report.summary(rows_of_a_table(["b", "a", "b", "a"], [1.0, 2.0, 3.0, 2.1]))
    assert list(table.index) == ["b", "a"]
    assert list(table.columns) == ["rec_cladec", "ΔRec", "n"]
    assert table.loc["b", "ΔRec"] == "2 (-11 to 15): do not read"  # Student's t of two runs
    assert table.loc["a", "ΔRec"] == "2.05 (1.4 to 2.7)"
    assert list(table["n"]) == [2, 2]


def test_the_table_of_one_seed_has_the_intervals_over_images():
    table = report.summary(rows_of_a_table(["a", "b"], [2.0, 1.0]))
    assert table["ΔRec"].tolist() == ["2 (0.5 to 4)", "1 (-0.5 to 3): do not read"]
    assert table["rec_cladec"].tolist() == ["0.5", "0.5"]


def test_agreement_is_shown_by_the_names_of_the_classes():
    images, prediction = torch.zeros(4, 1, 2, 2), torch.tensor([0, 0, 1, 5])
    kept = torch.tensor([0, 1, 1, 5])
    part = Explanation("x", *[images] * 3, prediction, torch.ones(4), prediction, kept, "RefAE", (0.0, 1.0))
    shown = report.agreement(part, None, ["cat", "<dog>"])
    assert shown.index.tolist() == ["all", "cat", "<dog>", 5]
    assert shown.loc["cat"].tolist() == [2, "50% (9% to 91%)", "100% (34% to 100%)"]
    assert "<dog>" not in shown.to_html()


@pytest.mark.parametrize("text", ["64", "64x", "4x4", "axb", "99999x99999", "2000x64", "64x64x3", "٣٢x٣٢", "-8x8"])
def test_a_size_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="HEIGHTxWIDTH from 8x8 to 1024x1024"):
        parse_size(text)


WRONG = {
    "no epochs": (["--epochs", "0"], "--epochs is 0; valid: from 1"),
    "negative epochs": (["--epochs", "-3"], "--epochs is -3; valid: from 1"),
    "negative seed": (["--seed", "-1"], "--seed is -1; valid: 0 to 2147483647"),
    "large seed": (["--seed", "99999999999"], "valid: 0 to 2147483647"),
    "negative repetitions": (["--seeds", "-1"], "--seeds is -1; valid: from 0"),
    "alpha": (["--alpha", "1.5", "--labels", "from-folders"], "--alpha is 1.5; valid: 0 to 1"),
    "alpha that is no number": (["--alpha", "nan", "--labels", "from-folders"], "--alpha is nan"),
    "alpha without labels": (["--alpha", "0.5"], "needs labels"),
    "classes without labels": (["--classes", "names.txt"], "needs labels"),
    "missing file of classes": (["--classes", "no.txt", "--labels", "from-folders"], "--classes no.txt cannot be read"),
    "empty out": (["--out", ""], "'--out': '' is empty"),
    "blank out": (["--out", " "], "'--out': ' ' is empty"),
    "empty budget": (["--time-budget", ""], "'--time-budget': '' is empty"),
    "no budget": (["--time-budget", "0s"], "--time-budget is '0s'"),
    "endless budget": (["--time-budget", "9" * 400 + "h"], "valid: a positive number"),
    "empty size": (["--size", ""], "'--size': '' is empty"),
    "giant size": (["--size", "99999x99999"], "--size is '99999x99999'"),
    "a name of the standard library": (["--arch", "os:system"], "standard library"),
    "an exit": (["--arch", "builtins:exit"], "standard library"),
    "labels": (["--labels", "names"], "valid: none, from-folders"),
    "device": (["--device", "tpu"], "'tpu'"),
    "empty device": (["--device", ""], "'--device': '' is empty"),
    "unknown layer": (["--layer", "feature.3"], "features.3"),
    "text for a number": (["--epochs", "many"], "'--epochs'"),
    "unknown option": (["--epoch", "1"], "No such option"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_one_line_and_trains_and_writes_nothing(case, options, untrained, monkeypatch, capsys, tmp_path):
    arguments, words = WRONG[case]
    monkeypatch.chdir(tmp_path)
    code, out, err = cladec(monkeypatch, capsys, *options, *arguments)
    lines = [line for line in err.splitlines() if not line.startswith("Note: ")]
    assert code == 2
    assert out == ""
    assert len(lines) == 1
    assert words in lines[0]
    assert not untrained
    assert not list(tmp_path.iterdir())


def test_an_unwritable_out_is_found_before_the_training(options, untrained, monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    wanted = {"file/report": 1, "file": 2, "dangling": 2, "x" * 300: 1, "/proc/report": 1}
    for name, expected in wanted.items():
        code, _, err = cladec(monkeypatch, capsys, *options, "--out", tmp_path / name)
        assert code == expected, name
        assert len(err.splitlines()) == 1
        assert f"--out {tmp_path / name}" in err
    assert not untrained
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]


def test_the_check_of_a_folder_leaves_nothing_behind(tmp_path):
    report.check_new(tmp_path / "a" / "b" / "report")
    assert not list(tmp_path.iterdir())


def test_a_report_that_cannot_be_written_any_more_is_saved_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(report.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file").write_text("was a folder before the training")
    with pytest.raises(RunError, match=r"cannot be written.*The report is in (.*)\.$") as told:
        report._write(tmp_path / "file" / "report", {"index.html": "caf\udce9"})
    place = re.search(r"is in (.*)\.$", str(told.value))[1]
    assert (tmp_path / place / "index.html").read_text(encoding="utf-8") == "caf\\udce9"


def test_labels_that_are_no_outputs_of_the_model_are_refused(options, untrained, photos, monkeypatch, capsys, tmp_path):
    (tmp_path / "names.txt").write_text("ant\nbee\ncow\ncat\ndog")
    fit = ("--labels", "from-folders", "--classes", tmp_path / "names.txt", "--out", tmp_path / "report")
    code, _, err = cladec(monkeypatch, capsys, *options, *fit)
    assert code == 2
    assert "5 names of classes and 3 outputs of the model, so that some label is no output" in err
    assert not untrained


def test_the_command_writes_a_report_that_stands_alone(options, photos, monkeypatch, capsys, tmp_path):
    folder = tmp_path / "report"
    monkeypatch.setattr(LayerModules, "doubt", lambda self, layer: f"do not read <{layer}>")
    fit = ("--labels", "from-folders", "--epochs", "1", "--maps", "gradient, gradcam", "--contrast", "--out", folder)
    (photos / "=1+1.png").write_bytes((photos / "dog" / "00.png").read_bytes())
    try:
        code, out, err = cladec(monkeypatch, capsys, *options, *fit)
    finally:
        (photos / "=1+1.png").unlink()
    assert code == 0
    assert out.splitlines()[-1] == str(folder / "index.html")
    assert "Note: 3 file(s) were left out: ./=1+1.png: in no class folder, cat/broken.png: no image" in err
    assert "2 class folders, numbered in alphabetical order, and 3 outputs of the model" in err
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert len(page) < 5_000_000
    assert not re.search(r"""(src|href)=["']?(?!["']?data:)""", page)
    for text in (
        "What the layer keeps best", "cat/", "torchvision:mobilenet_v3_small", "Versions", "cat/broken.png: no image",
        "2 class folders, numbered in alphabetical order", "alphabetical by the names of the folders",
        "Below the difference: Gradient, GradCAM.", "Does the model keep its prediction?",
        "Without a decoder", "inversion keeps", "No contrast by layer features.3: the decoder misses more than",
        '<div class="note" role="note"><p>do not read &lt;features.3&gt;</p>',
    ):  # fmt: skip
        assert text in page
    losses = pd.read_csv(folder / "losses.csv")
    assert {"image", "cladec", "reference", "layer"} <= set(losses.columns)
    code, _, told = cladec(monkeypatch, capsys, *options, "--out", folder)
    assert code == 2
    assert "exists" in told


@pytest.mark.parametrize(
    ("maps", "said"),
    [("lrp", "Unknown method of --maps 'lrp'; valid: "), ("cladec", "'cladec'; valid: random"),
     ("gradient,", "method of --maps ''"), ("patternnet", "valid for this network: gradient, ")],
)  # fmt: skip
def test_a_map_that_cannot_be_made_is_said_before_training(
    options, untrained, monkeypatch, capsys, tmp_path, maps, said
):
    code, _, err = cladec(monkeypatch, capsys, *options, "--maps", maps, "--out", tmp_path / "report")
    assert code == 2
    assert said in err
    assert not untrained


def test_a_heat_map_has_a_scale_of_its_own_and_the_size_of_the_image():
    labels = torch.zeros(2, dtype=torch.int64)
    images = torch.rand(3, 2, 3, 16, 16)
    one = Explanation("x", *images, labels, torch.ones(2), labels, labels, "RefAE", (0.0, 1.0))
    asked = []

    def method(model, taken, target, layer):
        asked.append((model, taken.shape, target.tolist(), layer))
        return torch.stack([torch.full((8, 8), 0.5), torch.full((8, 8), -20.0)])

    mapper = report._Mapper("model", lambda batch: batch[..., :8, :8], {"mine": method})
    drawn = [axis.images[0] for axis in mapper.beside(one).show().axes[-2:]]
    assert asked == [("model", (2, 3, 8, 8), [0, 0], "x")]
    assert [image.get_clim() for image in drawn] == [(-0.5, 0.5), (-20.0, 20.0)]
    assert [image.get_array().shape for image in drawn] == [(16, 16)] * 2
    assert report._Mapper("model", None, {}).beside(one) is one


def test_the_order_of_classes_in_the_checkpoint_decides_the_accuracy(photos, monkeypatch, capsys, tmp_path):
    """A model that is always right: its class is the brightness of the first pixel."""
    (tmp_path / "bright.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.pooled = nn.Conv2d(3, 4, 3)\n"
        "        self.scale = nn.Parameter(torch.ones(1))\n"
        "    def forward(self, x):\n"
        "        low = (0.5 - x[:, 0, 0, 0]) * self.scale\n"
        "        return torch.stack([low, -low], 1) + 0 * self.pooled(x).mean((2, 3))[:, :2]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = __import__("bright").Net()
    assert isinstance(model, nn.Module)
    for name, value in (("bright", 255), ("dark", 0)):  # the model counts dark first
        (tmp_path / "two" / name).mkdir(parents=True)
        for index in range(30):
            image = np.random.default_rng(index).integers(0, 255, (8, 8, 3), dtype=np.uint8)
            image[0, 0] = value
            Image.fromarray(image).save(tmp_path / "two" / name / f"{index}.png")
    torch.save({"state_dict": model.state_dict(), "classes": ["dark", "bright"]}, tmp_path / "named.pt")
    torch.save(model.state_dict(), tmp_path / "bare.pt")
    told = {}
    for weights in ("named", "bare"):
        arguments = ["explain", "--model", tmp_path / f"{weights}.pt", "--arch", "bright:Net", "--layer", "pooled",
                     "--images", tmp_path / "two", "--labels", "from-folders", "--epochs", "1", "--seeds", "0",
                     "--out", tmp_path / weights]  # fmt: skip
        code, _, told[weights] = cladec(monkeypatch, capsys, *arguments)
        assert code == 0
    page = (tmp_path / "named" / "index.html").read_text(encoding="utf-8")
    assert "right on 100.0 % of the explained" in page
    assert "that of the names in the checkpoint" in page
    assert "chance" not in told["named"]
    assert "below chance (50.0%)" in told["bare"]
    assert "below chance (50.0%)" in (tmp_path / "bare" / "index.html").read_text(encoding="utf-8")
    with open(tmp_path / "bare" / "losses.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == 21
