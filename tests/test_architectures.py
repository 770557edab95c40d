"""The script that tries many architectures: which layer it takes, and that it can tell a failure."""

import os
import sys
from dataclasses import replace

import pandas as pd
import pytest
import torch
import typer
from torch import nn

from benchmarks import architectures
from cladec_core.explainer import taps
from tests.foreign import GOOD, fitted, small_net, torchvision_net, vit

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* images are few", "ignore:Reference of", "ignore:.* do not read the difference"
)


def test_at_least_45_models_are_named():
    assert len(architectures.TORCHVISION) >= 30
    assert len(architectures.TORCHVISION) + len(architectures.TIMM) >= 60


@pytest.mark.parametrize(
    ("build", "side", "layer"),
    [(torchvision_net("resnet18"), 32, "layer2"), (torchvision_net("mobilenet_v3_small"), 32, "features.6"),
     (vit, 32, "encoder.layers.encoder_layer_1")],
)  # fmt: skip
def test_the_layer_is_the_block_in_the_middle(build, side, layer):
    net = build().eval()
    before = [len(part._forward_hooks) for part in net.modules()]
    assert architectures.middle(net, torch.rand(2, 3, side, side)) == layer
    assert [len(part._forward_hooks) for part in net.modules()] == before


def test_a_wrong_explanation_is_told():
    net = small_net().eval()
    before = taps.fingerprint(net)
    found = fitted(net).explain(GOOD[:4])

    def verdict(changed, fingerprint=before):
        return architectures.verdict(net, fingerprint, GOOD[:4], changed)

    assert verdict(found) == "works"
    assert verdict(replace(found, prediction=(found.prediction + 1) % 4)) == "FAILED: predictions differ"
    assert verdict(replace(found, reference=found.reference[:, :1])) == "FAILED: shapes differ"
    assert verdict(replace(found, reconstruction=found.reconstruction / 0)) == "FAILED: values are not finite"
    assert verdict(found, "other") == "FAILED: the model was changed"


def test_rows_are_added_and_models_with_a_row_are_not_tried_again(monkeypatch, tmp_path, capsys):
    tried = tmp_path / "tried"

    def build(source, name):
        with tried.open("a") as file:
            print(name, file=file)
        if name == "alexnet":
            raise RuntimeError("no such\nthing")
        if name == "vgg11_bn":
            os._exit(1)
        return nn.Sequential(nn.Identity()) if name == "resnet18" else small_net().eval(), 16

    monkeypatch.setattr(architectures, "build", build)
    table = tmp_path / "deep" / "table.csv"
    for match in ("torchvision:(alexnet|vgg11)$", "torchvision:(alexnet|vgg11|vgg11_bn|resnet18)$"):
        monkeypatch.setattr(sys, "argv", ["architectures", "--match", match, "--table", str(table)])
        with pytest.raises(SystemExit) as stop:
            typer.run(architectures.main)
        assert stop.value.code == 0
    assert tried.read_text().split() == ["alexnet", "vgg11", "resnet18", "vgg11_bn"]
    rows = pd.read_csv(table).set_index("model")
    assert rows.result["alexnet"] == "FAILED: RuntimeError: no such"
    assert rows.result["vgg11"] == "works"
    assert rows.code["vgg11"].endswith("channels of 4x4")
    assert rows.result["resnet18"].startswith("refused: The model puts out float32 of shape (2, 3, 16, 16)")
    assert rows.result["vgg11_bn"] == "FAILED: the process died"
    assert "1 of 4 work" in capsys.readouterr().out
