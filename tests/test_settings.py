import dataclasses
import json
import math
import re

import pytest

from cladec_companion.book import build as book
from cladec_companion.book import notebook
from cladec_companion.papers import CHAPTERS, settings_for
from cladec_companion.papers.cladec.layers.settings import LayersSettings
from cladec_companion.records.settings import PROFILES
from cladec_core.data import DATASETS
from cladec_core.errors import UsageError
from cladec_core.networks import LAYOUTS

CODE_LAYERS = "-1, -2, -3, -4, -5"
VGG11_LAYERS = "conv0, conv1, conv2a, conv2, conv3a, conv3, conv4a, conv4, penultimate, logits"

# changes, the bad value as the message shows it, what the message offers instead
BAD = [
    ({"datasets": ["minst"]}, "'minst'", ", ".join(DATASETS)),
    ({"datasets": "digits"}, "datasets is 'digits'", "a list, such as ['digits']"),
    ({"datasets": []}, "datasets is [] (empty)", "at least one"),
    ({"datasets": [3]}, "3 (int)", "str"),
    ({"architectures": ["vgg12"]}, "'vgg12'", ", ".join(LAYOUTS)),
    ({"architectures": ["vgg11", "vgg11"]}, "['vgg11', 'vgg11'] (repeated)", "a list of different values"),
    ({"seeds": []}, "seeds is [] (empty)", "at least one"),
    ({"seeds": 0}, "seeds is 0", "a list, such as [0]"),
    ({"seeds": [0, 0]}, "seeds is [0, 0] (repeated)", "a list of different values"),
    ({"seeds": [-1]}, "seeds is -1", "from 0 to 2147483647"),
    ({"seeds": [2**31]}, "seeds is 2147483648", "from 0 to 2147483647"),
    ({"seeds": [0.0]}, "seeds is 0.0 (float)", "int"),
    ({"seeds": [True]}, "seeds is True (bool)", "int"),
    ({"layers": []}, "layers is [] (empty)", "at least one"),
    ({"layers": [-1, -1]}, "layers is [-1, -1] (repeated)", "a list of different values"),
    ({"layers": [-1, "penultimate"]}, "layers [-1, 'penultimate']", "twice"),
    ({"layers": [-6]}, "-6", CODE_LAYERS),
    ({"layers": [0]}, "layer of vgg11 0", CODE_LAYERS),
    ({"layers": ["conv9"]}, "'conv9'", VGG11_LAYERS),
    ({"layers": ["dropout"]}, "'dropout'", VGG11_LAYERS),
    ({"layers": [1.0]}, "layers is 1.0 (float)", "int or str"),
    ({"layers": [-1, None]}, "layers is None", "int or str"),
    ({"layers": "conv2"}, "layers is 'conv2'", "a list, such as ['conv2']"),
    ({"architectures": ["vgg11", "resnet10"], "layers": ["conv2"]}, "layer of resnet10 'conv2'", "stem, block1"),
    ({"index_map": "text"}, "index_map 'text'", "code, paper"),
    ({"decoder_style": "table2"}, "'table2'", "code, table1"),
    ({"resize": "cubic"}, "'cubic'", "nearest, bilinear"),
    ({"classifier_epochs": 0}, "classifier_epochs is 0", "from 1 to"),
    ({"decoder_epochs": 0}, "decoder_epochs is 0", "from 1 to"),
    ({"decoder_epochs": -3}, "decoder_epochs is -3", "from 1 to"),
    ({"decoder_epochs": 1.5}, "decoder_epochs is 1.5 (float)", "int"),
    ({"decoder_epochs": "64"}, "decoder_epochs is '64' (str)", "int"),
    ({"decoder_epochs": True}, "decoder_epochs is True (bool)", "int"),
    ({"batch_size": 1}, "batch_size is 1", "from 2 to"),
    ({"width": math.nan}, "width is nan", "float"),
    ({"width": math.inf}, "width is inf", "float"),
    ({"width": 0.0}, "width is 0.0", "from 0.05 to 4.0"),
    ({"width": -1}, "width is -1.0", "from 0.05 to 4.0"),
    ({"width": "wide"}, "width is 'wide' (str)", "float"),
    ({"train_limit": 0}, "train_limit is 0", "an integer from 1, or None"),
    ({"test_limit": -5}, "test_limit is -5", "an integer from 1, or None"),
    ({"test_limit": 2.5}, "test_limit is 2.5 (float)", "int"),
    ({"epochs": 3}, "'epochs'", "decoder_epochs"),
    ({"profile": "papers"}, "'papers'", ", ".join(PROFILES)),
    ({"experiment": "layer"}, "'layer'", ", ".join(CHAPTERS)),
    ({"experiment": "theory", "dimensions": 0}, "dimensions is 0", "from 1 to 32"),
    ({"experiment": "theory", "draws": 2.5}, "draws is 2.5 (float)", "int"),
    ({"experiment": "theory", "seed": -1}, "seed is -1", "from 0 to"),
    ({"experiment": "theory", "layers": [-1]}, "'layers'", "dimensions"),
]


def identify(value):
    return re.sub(r"\W+", "-", str(value)).strip("-")


@pytest.mark.parametrize(("changes", "shown", "valid"), BAD, ids=lambda value: identify(value)[:40])
def test_a_bad_value_is_named_beside_the_valid_ones_in_one_line(changes, shown, valid):
    asked = {"experiment": "layers", "profile": "smoke"} | changes
    with pytest.raises(UsageError) as caught:
        settings_for(asked.pop("experiment"), **asked)
    message = str(caught.value)
    assert "\n" not in message
    assert shown in message
    assert valid in message[message.index(shown) + len(shown) :]


def test_a_near_miss_is_offered():
    with pytest.raises(UsageError, match="Did you mean 'fashion_mnist'"):
        settings_for("layers", datasets=["fashion_minst"])


@pytest.mark.parametrize("experiment", [name for name, chapter in CHAPTERS.items() if chapter.trains])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_valid_and_needs_data_as_it_says(experiment, profile):
    settings = settings_for(experiment, profile)
    assert settings.profile == profile
    assert (settings.datasets == ("digits",)) == (profile in ("smoke", "quick"))


def test_the_paper_profile_is_the_papers_protocol():
    settings = settings_for("layers", "paper")
    assert (settings.classifier_epochs, settings.decoder_epochs, settings.batch_size) == (64, 64, 128)
    assert settings.seeds == (0, 1, 2, 3, 4)
    assert settings.layers == (-1, -2, -3, -4, -5)
    assert set(settings.datasets) == {"fashion_mnist", "mnist", "cifar100"}
    assert set(settings.architectures) == {"vgg11", "resnet10"}
    assert settings.train_limit is settings.test_limit is None
    assert settings.width == 1


def test_every_parameter_explains_itself():
    for chapter in CHAPTERS.values():
        for item in dataclasses.fields(chapter.settings):
            assert item.name == "profile" or item.metadata["help"]


def test_the_default_values_are_those_of_quick():
    assert settings_for("layers") == LayersSettings() == settings_for("layers", "quick")


def test_values_are_converted_where_nothing_is_lost():
    settings = settings_for("layers", "smoke", width=1, seeds=[3, 1], layers=["conv2", -1])
    assert settings.width == 1.0
    assert isinstance(settings.width, float)
    assert settings.seeds == (3, 1)
    assert settings.layers == ("conv2", -1)


def test_none_means_the_profiles_value():
    assert settings_for("layers", "smoke", decoder_epochs=None) == settings_for("layers", "smoke")


def test_none_means_all_images_where_there_is_a_limit():
    for value in (None, "all"):
        assert settings_for("layers", "smoke", train_limit=value).train_limit is None
    assert settings_for("layers", "smoke", train_limit=7).train_limit == 7
    with pytest.raises(UsageError, match=r"'every'.*int or all"):
        settings_for("layers", "smoke", train_limit="every")


def test_a_notebooks_none_means_the_profiles_value():
    assert notebook.settings_for("layers", "smoke", train_limit=None) == settings_for("layers", "smoke")
    assert book.check("layers", "smoke", {"train_limit": None, "decoder_epochs": None}) == {
        "profile": "smoke", "train_limit": "all", "decoder_epochs": None,
    }  # fmt: skip


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings_for("layers").width = 2.0


def test_axes_share_a_record_and_any_other_parameter_makes_another():
    plain = settings_for("layers", "smoke")
    axes = {"datasets": ["mnist"], "architectures": ["resnet10"], "seeds": [7], "layers": [-2]}
    for name, value in axes.items():
        assert settings_for("layers", "smoke", **{name: value}).record_name() == plain.record_name() == "smoke"
    others = {
        "classifier_epochs": 2, "decoder_epochs": 2, "batch_size": 16, "train_limit": 100, "test_limit": 60,
        "width": 0.25, "decoder_style": "table1", "resize": "bilinear", "index_map": "paper",
    }  # fmt: skip
    names = {settings_for("layers", "smoke", **{name: value}).record_name() for name, value in others.items()}
    assert len(names) == len(others)
    assert all(re.fullmatch(r"smoke-[0-9a-f]{8}", name) for name in names)
    declared = {item.name for item in dataclasses.fields(LayersSettings)}
    assert declared == {"profile", *axes, *others}


def test_a_configuration_is_json():
    configuration = settings_for("layers", "smoke").configuration()
    assert json.loads(json.dumps(configuration)) == configuration
    assert configuration["decoder_epochs"] == 1
    assert "seeds" not in configuration
