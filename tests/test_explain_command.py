"""`cladec explain`: checkpoints and folders of strangers, and the report made from them."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import models as torchvision_models

from cladec_companion.commands import main as cli
from cladec_companion.commands.explain import parse_size
from cladec_companion.report import report as tool
from cladec_core import Explanation
from cladec_core.errors import UsageError


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


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        for index in range(30):
            image = Image.fromarray(pixels.integers(0, 255, (24, 32, 3), dtype=np.uint8))
            image.save(folder / name / f"{index:02d}.png")
    (folder / "cat" / "broken.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image either")
    return folder


def test_a_state_dict_is_read_bare_wrapped_and_with_the_prefix_of_data_parallel(checkpoint, tmp_path):
    bare = torch.load(checkpoint, weights_only=True)
    for number, wrapped in enumerate(({"state_dict": bare}, {f"module.{key}": value for key, value in bare.items()})):
        torch.save(wrapped, tmp_path / f"{number}.pt")
        assert tool.read_weights(tmp_path / f"{number}.pt").keys() == bare.keys()
    model = tool.load_model("torchvision:mobilenet_v3_small", checkpoint)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert torch.equal(model.features[0][0].weight, bare["features.0.0.weight"])


def test_safetensors_give_the_same_weights(checkpoint, tmp_path):
    bare = torch.load(checkpoint, weights_only=True)
    save_file(bare, tmp_path / "small.safetensors")
    found = tool.load_model("torchvision:mobilenet_v3_small", tmp_path / "small.safetensors").state_dict()
    assert all(torch.equal(found[key], value) for key, value in bare.items())


def test_a_checkpoint_that_runs_code_is_refused_without_running_it(tmp_path):
    marker = tmp_path / "it_ran"

    class Bomb:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    torch.save(Bomb(), tmp_path / "bomb.pt")
    with pytest.raises(UsageError, match="runs code when it is read, which is refused"):
        tool.read_weights(tmp_path / "bomb.pt")
    assert not marker.exists()


def test_weights_of_another_network_name_the_keys(checkpoint, tmp_path):
    with pytest.raises(UsageError, match=r"16 missing .*classifier\.1\.weight.*244 unexpected"):
        tool.load_model("torchvision:alexnet", checkpoint)
    state = torch.load(checkpoint, weights_only=True)
    state["features.0.0.weight"] = torch.zeros(16, 1, 3, 3)
    torch.save(state, tmp_path / "grey.pt")
    with pytest.raises(UsageError, match=r"features\.0\.0\.weight \(16, 1, 3, 3\) instead of \(16, 3, 3, 3\)"):
        tool.load_model("torchvision:mobilenet_v3_small", tmp_path / "grey.pt")


def test_code_is_imported_only_when_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "somebodys.py").write_text(
        "from torch import nn\nword = str\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    torch.save(model.state_dict(), tmp_path / "w.pt")
    assert "somebodys" not in sys.modules
    found = tool.load_model("somebodys:net", tmp_path / "w.pt")
    assert torch.equal(found[1].weight, model[1].weight)
    with pytest.raises(UsageError, match="returns a str"):
        tool.load_model("somebodys:word", tmp_path / "w.pt")
    with pytest.raises(UsageError, match="somebodys:nothing cannot be called"):
        tool.load_model("somebodys:nothing", tmp_path / "w.pt")
    with pytest.raises(UsageError, match="valid: torchvision:NAME or package"):
        tool.load_model("resnet18", tmp_path / "w.pt")


def test_a_folder_is_read_whole_and_what_is_no_image_is_listed(photos):
    folder = tool.read_folder(photos, 3, labelled=True)
    assert folder.images.shape == (60, 3, 24, 32)
    assert 0 <= folder.images.min() < folder.images.max() <= 1
    assert folder.classes == ["cat", "dog"]
    assert folder.labels.tolist() == [0] * 30 + [1] * 30
    assert [line.split(":")[0] for line in folder.skipped] == ["cat/broken.png", "notes.txt"]
    assert tool.read_folder(photos, 1, size=(16, 20)).images.shape == (60, 1, 16, 20)


def test_a_folder_that_cannot_be_used_says_why(photos, tmp_path):
    with pytest.raises(UsageError, match="is no folder"):
        tool.read_folder(tmp_path / "nowhere", 3)
    with pytest.raises(UsageError, match="0 readable images"):
        tool.read_folder(tmp_path, 3)
    Image.new("RGB", (10, 10)).save(photos / "dog" / "odd.png")
    try:
        with pytest.raises(UsageError, match=r"2 sizes \(10x10, 24x32"):
            tool.read_folder(photos, 3)
    finally:
        (photos / "dog" / "odd.png").unlink()


def test_normalisation_is_read_and_said():
    preprocess, said = tool.normalisation("auto", "torchvision:resnet18", 3)
    image = torch.full((1, 3, 2, 2), 0.5)
    wanted = (0.5 - torch.tensor(tool.IMAGENET[0])) / torch.tensor(tool.IMAGENET[1])
    assert torch.allclose(preprocess(image)[0, :, 0, 0], wanted)
    assert "0.485" in said
    assert tool.normalisation("auto", "mine:net", 3)[0] is None
    assert torch.equal(tool.normalisation("0.5:0.25", "mine:net", 1)[0](image[:, :1]), torch.zeros(1, 1, 2, 2))
    for text in ("half", "0.5", "0.1,0.2:0.3", "0.5:0"):
        with pytest.raises(UsageError, match=re.escape(repr(text))):
            tool.normalisation(text, "mine:net", 3)


def test_held_out_images_are_never_trained_on():
    for count in (tool.LEAST_IMAGES, 200, 100_000):
        train, held_out = tool.split(count, seed=0)
        assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(count))
        assert len(train) >= tool.FEWEST
        assert len(held_out) <= tool.MOST_HELD_OUT
    assert not torch.equal(tool.split(200, 0)[1], tool.split(200, 1)[1])


def test_the_images_shown_are_those_that_the_titles_promise():
    original = torch.zeros(20, 1, 2, 2)
    lost = torch.arange(20.0)[:, None, None, None].expand(20, 1, 2, 2)
    prediction = torch.arange(20) % 2
    part = Explanation("x", original, original, lost, prediction, torch.ones(20), "RefAE", (0.0, 1.0))
    labels = prediction.clone()
    labels[[3, 15]] = 1 - labels[[3, 15]]
    chosen = tool.choose(part, labels)
    assert chosen["What the layer keeps best"][0] == 0
    assert chosen["What the layer loses most"][0] == 19
    assert chosen["Misclassified images"] == [15, 3]
    assert "Misclassified images" not in tool.choose(part, None)
    assert "Misclassified images" not in tool.choose(part, prediction)


def test_the_table_averages_over_seeds_and_keeps_the_order_of_layers():
    rows = pd.DataFrame({
        "layer": ["b", "a", "b", "a"], "seed": [0, 0, 1, 1], "images": 64, "reference": "x",
        "ΔRec": [1.0, 2.0, 3.0, 2.0],
    })  # fmt: skip
    table = tool.summary(rows)
    assert list(table.index) == ["b", "a"]
    assert table.loc["b", "ΔRec"] == "2 ± 1.4"
    assert list(table["n"]) == [2, 2]


@pytest.mark.parametrize("text", ["64", "64x", "4x4", "axb"])
def test_a_size_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="HEIGHTxWIDTH"):
        parse_size(text)


def test_the_command_writes_a_report_that_stands_alone(checkpoint, photos, tmp_path, monkeypatch, capsys):
    options = ["explain", "--model", checkpoint, "--arch", "torchvision:mobilenet_v3_small", "--images", photos]
    report = tmp_path / "report"
    fit = ("--layer", "features.3", "--labels", "from-folders", "--epochs", "1", "--out", report)
    assert cladec(monkeypatch, capsys, *options, *fit)[0] == 0
    page = (report / "index.html").read_text(encoding="utf-8")
    assert len(page) < 5_000_000
    assert not re.search(r"""(src|href)=["']?(?!["']?data:)""", page)
    for text in ("What the layer keeps best", "cat/broken.png", "torchvision:mobilenet_v3_small", "Versions"):
        assert text in page
    losses = pd.read_csv(report / "losses.csv")
    assert {"image", "cladec", "reference", "layer"} <= set(losses.columns)
    code, _, told = cladec(monkeypatch, capsys, *options, "--layer", "features.3", "--out", report)
    assert code == 2
    assert "exists" in told
    code, _, told = cladec(monkeypatch, capsys, *options, "--layer", "feature.3", "--out", tmp_path / "other")
    assert code == 2
    assert "features.3" in told
    assert not (tmp_path / "other").exists()
