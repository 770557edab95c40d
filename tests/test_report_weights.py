"""Checkpoints of strangers: read without running code, with the names that wrappers give, refused in one line."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models as torchvision_models

from cladec_companion.report import weights
from cladec_core.errors import UsageError

SMALL = "torchvision:mobilenet_v3_small"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    torch.save(torchvision_models.mobilenet_v3_small(num_classes=3).state_dict(), folder / "small.pt")
    return folder / "small.pt"


@pytest.fixture
def bare(checkpoint):
    return torch.load(checkpoint, weights_only=True)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_a_state_dict_is_found_below_the_keys_of_training_scripts(wrapper, bare, tmp_path):
    torch.save({wrapper: bare, "epoch": 3}, tmp_path / "w.pt")
    assert weights.read_weights(tmp_path / "w.pt").state.keys() == bare.keys()


def test_a_loaded_model_has_the_weights_and_as_many_classes(checkpoint, bare):
    loaded = weights.load_model(SMALL, checkpoint)
    assert loaded.model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert torch.equal(loaded.model.features[0][0].weight, bare["features.0.0.weight"])
    assert loaded.told == ""
    assert not loaded.model.training


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "model._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrappers_are_recognised_and_said(prefix, bare, tmp_path):
    torch.save({f"{prefix}{key}": value for key, value in bare.items()}, tmp_path / "w.pt")
    loaded = weights.load_model(SMALL, tmp_path / "w.pt")
    assert torch.equal(loaded.model.features[0][0].weight, bare["features.0.0.weight"])
    assert repr(prefix) in loaded.told


def test_a_wrappers_own_weights_are_left_out_and_named(bare, tmp_path):
    state = {f"model.{key}": value for key, value in bare.items()} | {"criterion.weight": torch.ones(3)}
    torch.save({"state_dict": state}, tmp_path / "w.pt")
    assert "1 other weights were left out: criterion.weight" in weights.load_model(SMALL, tmp_path / "w.pt").told


def test_names_of_the_model_that_look_like_a_prefix_stay():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.Linear(2, 2)

    state = dict(Wrapped().state_dict())
    assert weights.without_prefix(state, set(state)) == (state, "")


def test_safetensors_give_the_same_weights(bare, tmp_path):
    save_file(bare, tmp_path / "small.safetensors")
    found = weights.load_model(SMALL, tmp_path / "small.safetensors").model.state_dict()
    assert all(torch.equal(found[key], value) for key, value in bare.items())


@pytest.mark.parametrize(
    "kept",
    [
        {"classes": ["cat", "dog", "eel"]},
        {"class_to_idx": {"dog": 1, "eel": 2, "cat": 0}},
        {"names": {0: "cat", 1: "dog", 2: "eel"}},
    ],
    ids=lambda kept: next(iter(kept)),
)
def test_names_of_classes_in_a_checkpoint_are_found_in_the_order_of_the_outputs(kept, bare, tmp_path):
    torch.save({"state_dict": bare, **kept}, tmp_path / "w.pt")
    assert weights.load_model(SMALL, tmp_path / "w.pt").classes == ("cat", "dog", "eel")
    save_file(bare, tmp_path / "w.safetensors", {key: json.dumps(names) for key, names in kept.items()})
    assert weights.load_model(SMALL, tmp_path / "w.safetensors").classes == ("cat", "dog", "eel")


def test_what_is_no_list_of_names_is_not_taken_for_one(bare, tmp_path):
    torch.save({"state_dict": bare, "classes": 3, "names": {5: "cat"}, "categories": [1, 2]}, tmp_path / "w.pt")
    assert weights.read_weights(tmp_path / "w.pt").classes == ()


def test_a_checkpoint_that_runs_code_is_refused_without_running_it(tmp_path):
    marker = tmp_path / "it_ran"

    class Bomb:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    torch.save(Bomb(), tmp_path / "bomb.pt")
    with pytest.raises(UsageError, match="runs code when it is read, which is refused"):
        weights.read_weights(tmp_path / "bomb.pt")
    assert not marker.exists()


def test_weights_of_another_network_name_the_keys(checkpoint, bare, tmp_path):
    with pytest.raises(UsageError, match=r"16 missing .*classifier\.1\.weight.*244 unexpected"):
        weights.load_model("torchvision:alexnet", checkpoint)
    bare["features.0.0.weight"] = torch.zeros(16, 1, 3, 3)
    torch.save(bare, tmp_path / "grey.pt")
    with pytest.raises(UsageError, match=r"features\.0\.0\.weight \(16, 1, 3, 3\) instead of \(16, 3, 3, 3\)"):
        weights.load_model(SMALL, tmp_path / "grey.pt")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (lambda: {3: torch.ones(1)}, "the name 3, a int"),
        (lambda: {"a": torch.eye(2).to_sparse()}, "a is sparse"),
        (lambda: {"a": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, "a is quantised"),
        (lambda: {"a": torch.ones(1), "b": 2}, "no weights by name"),
        (lambda: {}, "no weights by name"),
        (lambda: [torch.ones(1)], "no weights by name"),
    ],
    ids=["integer key", "sparse", "quantised", "no tensor", "empty", "list"],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_weights_that_no_network_takes_are_refused_in_one_line(state, words, tmp_path):
    torch.save(state(), tmp_path / "w.pt")
    with pytest.raises(UsageError, match=words) as told:
        weights.read_weights(tmp_path / "w.pt")
    assert len(str(told.value).splitlines()) == 1


def test_weights_without_values_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_pickle", lambda _: {"a": torch.ones(2, device="meta")})
    (tmp_path / "w.pt").write_bytes(b"")
    with pytest.raises(UsageError, match="a is without values"):
        weights.read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_a_damaged_file_is_refused_in_one_line(name, tmp_path):
    (tmp_path / name).write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(UsageError, match="cannot be read"):
        weights.read_weights(tmp_path / name)
    with pytest.raises(UsageError, match="does not exist"):
        weights.read_weights(tmp_path / f"no_{name}")


def test_code_is_imported_only_when_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "somebodys.py").write_text(
        "import sys\nfrom torch import nn\nword = str\n"
        "def net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))\n"
        "def asks(size):\n    return net()\n"
        "def fails():\n    raise RuntimeError('first line\\nsecond line')\n"
        "def ends():\n    sys.exit(0)\n"
    )
    monkeypatch.chdir(tmp_path)  # an installed command does not look there by itself
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    torch.save(model.state_dict(), tmp_path / "w.pt")
    assert "somebodys" not in sys.modules
    found = weights.load_model("somebodys:net", tmp_path / "w.pt").model
    assert torch.equal(found[1].weight, model[1].weight)
    for name, words in {
        "somebodys:word": "returns a str",
        "somebodys:nothing": "somebodys:nothing cannot be called",
        "somebodys:asks": "cannot be called without arguments: TypeError",
        "somebodys:fails": "RuntimeError: first line$",
        "somebodys:ends": "cannot be called without arguments: SystemExit",
        "nobodys:net": "ModuleNotFoundError",
        "..x:net": "cannot be called",
        ":": "cannot be called",
        "resnet18": "valid: torchvision:NAME or package",
        "torchvision:resnet19": "Did you mean 'resnet18'",
    }.items():
        with pytest.raises(UsageError, match=words):
            weights.load_model(name, tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["os:system", "builtins:exit", "os:abort", "os.path:join", "posix:getcwd"])
def test_the_standard_library_is_no_architecture_and_is_not_called(name, checkpoint):
    with pytest.raises(UsageError, match=r"standard library, which has no networks; valid: torchvision:NAME"):
        weights.load_model(name, checkpoint)
