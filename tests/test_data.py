import hashlib
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_digits

from cladec_core import data
from cladec_core.data import files, reading
from cladec_core.errors import RunError, UsageError


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise socket.gaierror("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def write_idx(root: Path, class_name: str, sizes=(12, 6)) -> dict[str, np.ndarray]:
    """A tiny data set in MNIST's file format; returns the content of each file."""
    raw = root / class_name / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    content = {}
    for part, count in zip(("train", "t10k"), sizes, strict=True):
        content[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        content[f"{part}-labels-idx1-ubyte"] = np.arange(count, dtype=np.uint8) % 10
    for name, array in content.items():
        header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
        (raw / name).write_bytes(header + array.tobytes())
    return content


def trust(monkeypatch, root: Path, class_name: str) -> None:
    paths = (root / class_name / "raw").iterdir()
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    monkeypatch.setitem(files._IDX_SHA256, class_name, digests)


def standardised(unit: np.ndarray, train: np.ndarray) -> np.ndarray:
    axes = (0, 2, 3)
    return (unit - train.mean(axes, keepdims=True)) / train.std(axes, keepdims=True)


@pytest.fixture(scope="module")
def all_digits():
    return data.load("digits")


def grey_0_to_16(images: data.ImageData, part: torch.Tensor) -> np.ndarray:
    return np.round(images.to_unit(part)[:, 0].numpy() * 16).astype(int)


def test_digits_are_scikit_learns_enlarged_four_times(all_digits):
    grey = [grey_0_to_16(all_digits, part) for part in (all_digits.train_images, all_digits.test_images)]
    small = np.concatenate(grey)[:, ::4, ::4]
    assert np.array_equal(np.concatenate(grey), np.kron(small, np.ones((1, 4, 4), int)))
    labels = torch.cat([all_digits.train_labels, all_digits.test_labels]).numpy()
    found = sorted(map(tuple, np.column_stack([small.reshape(-1, 64), labels])))
    bunch = load_digits()
    assert found == sorted(map(tuple, np.column_stack([bunch.data.astype(int), bunch.target])))


def test_digits_splits_share_no_image(all_digits):
    train, test = (
        {image.tobytes() for image in grey_0_to_16(all_digits, part)}
        for part in (all_digits.train_images, all_digits.test_images)
    )
    assert len(train) == 1437
    assert len(test) == 360
    assert not train & test


def test_digits_test_images_hold_each_class_in_proportion(all_digits):
    assert all_digits.test_labels.bincount().tolist() == pytest.approx([36] * 10, abs=1)


def test_digits_are_the_same_each_time(all_digits):
    again = data.load("digits")
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        assert torch.equal(getattr(again, name), getattr(all_digits, name))


def test_training_images_have_zero_mean_and_unit_variance(digits):
    assert digits.train_images.dtype == torch.float32
    assert digits.train_images.shape == (96, 1, 32, 32)
    assert digits.train_images.double().mean().item() == pytest.approx(0, abs=1e-6)
    assert digits.train_images.double().std(correction=0).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion_mnist"])
def test_a_data_set_is_what_it_says_it_is(name):
    said, root = data.DATASETS[name], data.default_data_dir()
    if (
        name != "digits"
        and not (root / name.replace("fashion_mnist", "FashionMNIST").replace("mnist", "MNIST")).is_dir()
    ):
        pytest.skip(f"CLADEC_DATA has no {name}")
    stored = reading.read(said, files.Request(root, 32, skip_unreadable=False))
    for (images, labels), count in ((stored.train, said.train_count), (stored.test, said.test_count)):
        assert images.shape == (count, said.channels, *said.stored_size)
        assert labels.unique().tolist() == list(range(len(said.classes)))


def test_images_have_the_size_that_is_asked_for(all_digits):
    assert (all_digits.size, all_digits.title, all_digits.notes) == (32, "Digits", ("resized to 32x32 from 8x8",))
    large, small, stored = (data.load("digits", size=size) for size in (64, 4, 8))
    assert [found.size for found in (large, small, stored)] == [64, 4, 8]
    assert torch.equal(large.train_images[:, :, ::8, ::8], stored.train_images)
    for image, unit in zip(small.to_unit(small.test_images), stored.to_unit(stored.test_images), strict=True):
        expected = np.asarray(Image.fromarray(unit[0].numpy()).resize((4, 4), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(image[0].numpy(), expected, atol=1e-5)
    assert stored.notes == ()


def test_limits_keep_the_first_images_and_standardise_by_them(digits, all_digits):
    assert len(digits.test_images) == len(digits.test_labels) == 48
    expected = all_digits.to_unit(all_digits.train_images[:96])
    torch.testing.assert_close(digits.to_unit(digits.train_images), expected, rtol=0, atol=1e-6)
    assert digits.mean.item() == pytest.approx(expected.mean().item(), abs=1e-6)
    assert digits.mean.item() != pytest.approx(all_digits.mean.item(), abs=1e-4)


@pytest.mark.parametrize("resize", ["nearest", "bilinear"])
def test_idx_files_are_resized_and_standardised_as_in_numpy(tmp_path, monkeypatch, resize):
    content = write_idx(tmp_path, "MNIST")
    trust(monkeypatch, tmp_path, "MNIST")
    found = data.load("mnist", tmp_path, resize=resize)

    if resize == "nearest":
        weights = np.eye(28)[np.arange(32) * 28 // 32]
    else:  # each output pixel's centre, clamped to the outermost centres
        at = np.clip((np.arange(32) + 0.5) * 28 / 32 - 0.5, 0, 27)
        weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(28)))
    unit = {name: weights @ (array / 255) @ weights.T for name, array in content.items() if "images" in name}
    train, test = (unit[f"{part}-images-idx3-ubyte"][:, None] for part in ("train", "t10k"))
    for images, expected in ((found.train_images, train), (found.test_images, test)):
        np.testing.assert_allclose(images.numpy(), standardised(expected, train), atol=1e-5)
        np.testing.assert_allclose(found.to_unit(images).numpy(), expected, atol=1e-6)
    assert found.train_labels.tolist() == content["train-labels-idx1-ubyte"].tolist()
    assert found.test_labels.dtype == torch.int64


def test_fashion_mnist_has_its_class_names(tmp_path, monkeypatch):
    write_idx(tmp_path, "FashionMNIST")
    trust(monkeypatch, tmp_path, "FashionMNIST")
    found = data.load("fashion_mnist", tmp_path)
    assert len(found.classes) == 10
    assert found.classes.index("Bag") == 8
    assert found.classes[9] == "Ankle boot"


def test_cifar_is_standardised_per_channel(tmp_path, monkeypatch):
    pixels = np.random.default_rng(1).integers(0, 256, (2, 20, 32, 32, 3), dtype=np.uint8)
    pixels[..., 1] //= 3

    class Fake:
        def __init__(self, root, train, download):
            self.data = pixels[0 if train else 1]
            self.targets = [label % 10 for label in range(20)]

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Fake)
    found = data.load("cifar10", tmp_path)
    train, test = (pixels / 255).transpose(0, 1, 4, 2, 3)
    assert found.channels == 3
    assert found.train_labels.tolist() == [label % 10 for label in range(20)]
    assert (found.title, found.classes[3], len(found.classes)) == ("CIFAR-10", "cat", 10)
    np.testing.assert_allclose(found.test_images.numpy(), standardised(test, train), atol=1e-5)
    np.testing.assert_allclose(found.train_images.double().mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(found.train_images.double().std((0, 2, 3), correction=0), 1, atol=1e-5)
    np.testing.assert_allclose(found.to_unit(found.test_images).numpy(), test, atol=1e-6)


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_a_truncated_file_is_refused_by_name(tmp_path, monkeypatch, name):
    write_idx(tmp_path, "MNIST")
    trust(monkeypatch, tmp_path, "MNIST")
    path = tmp_path / "MNIST" / "raw" / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(RunError, match=name) as caught:
        data.load("mnist", tmp_path)
    assert "damaged" in str(caught.value)
    assert str(caught.value).count("ubyte") == 1


def test_mnist_in_the_place_of_fashion_mnist_is_refused_by_name(tmp_path, monkeypatch):
    write_idx(tmp_path, "MNIST")
    trust(monkeypatch, tmp_path, "MNIST")
    (tmp_path / "MNIST").rename(tmp_path / "FashionMNIST")
    with pytest.raises(RunError, match="differs from the published file") as caught:
        data.load("fashion_mnist", tmp_path)
    assert str(tmp_path / "FashionMNIST" / "raw") in str(caught.value)
    assert all(name in str(caught.value) for name in files._IDX_SHA256["FashionMNIST"])


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_missing_data_without_network_gives_one_clear_message(tmp_path, name):
    with pytest.raises(RunError, match="missing") as caught:
        data.load(name, tmp_path / "nowhere")
    message = str(caught.value)
    assert "\n" not in message
    assert name.replace("_", "") in message.lower()
    assert all(part in message for part in (str(tmp_path / "nowhere"), "CLADEC_DATA", "--data-dir", "'digits'"))


def test_a_data_folder_that_cannot_be_made_gives_one_clear_message(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunError, match="MNIST is missing"):
        data.load("mnist", tmp_path / "file" / "data")


def test_the_data_folder_is_the_environments(monkeypatch, tmp_path):
    monkeypatch.setenv("CLADEC_DATA", str(tmp_path))
    assert data.default_data_dir() == tmp_path
    monkeypatch.setenv("CLADEC_DATA", "")
    assert data.default_data_dir().is_relative_to(Path.home())


@pytest.mark.parametrize(
    ("arguments", "valid"),
    [
        ({"name": "minst"}, "digits, mnist, fashion_mnist, cifar10, cifar100"),
        ({"resize": "cubic"}, "nearest, bilinear"),
        ({"size": 0}, "an integer from 1"),
    ],
)
def test_unknown_names_are_refused_with_the_valid_ones(arguments, valid):
    with pytest.raises(UsageError, match=f"valid: {valid}") as caught:
        data.load(**{"name": "digits"} | arguments)
    assert repr(next(iter(arguments.values()))) in str(caught.value)


def test_to_moves_every_tensor(digits):
    moved = digits.to(torch.device("meta"))
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 6
    assert {value.device.type for value in tensors} == {"meta"}
    assert digits.train_images.device.type == "cpu"
