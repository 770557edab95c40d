"""Folders of strangers: images as a viewer shows them, labels as the model counts them."""

import re
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from cladec_companion.report import images, labels
from cladec_core import data
from cladec_core.errors import UsageError


def png(width, height, bits, colours, rows, extra=b""):
    """A PNG of any depth, which Pillow cannot write: `rows` are the unfiltered rows."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)) + extra
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def transparent(grey):
    content = b"tRNS" + struct.pack(">H", grey)
    return struct.pack(">I", 2) + content + struct.pack(">I", zlib.crc32(content))


def shown(path, channels=1):
    return data.read_image(path, channels).permute(1, 2, 0).squeeze(2).numpy()


def test_a_folder_is_read_whole_and_what_is_no_image_is_listed(photos):
    folder = images.read_folder(photos, 3, labelled=True)
    assert folder.images.shape == (60, 3, 24, 32)
    assert 0 <= folder.images.min() < folder.images.max() <= 1
    assert folder.classes == ["cat", "dog"]
    assert folder.labels.tolist() == [0] * 30 + [1] * 30
    assert folder.skipped == ["cat/broken.png: no image", "notes.txt: in no class folder"]
    assert images.read_folder(photos, 1, size=(16, 20)).images.shape == (60, 1, 16, 20)


def test_a_folder_that_cannot_be_used_says_why(photos, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="is no folder"):
        images.read_folder(tmp_path / "nowhere", 3)
    with pytest.raises(UsageError, match="is no folder"):
        images.read_folder(tmp_path / "nowhere", 3, labelled=True)
    with pytest.raises(UsageError, match="0 readable images"):
        images.read_folder(tmp_path, 3)
    with pytest.raises(UsageError, match="from 8x8 to 1024x1024, to which --size"):
        images.read_folder(photos, 3, size=(24, 1100))
    Image.new("RGB", (10, 10)).save(photos / "dog" / "odd.png")
    try:
        with pytest.raises(UsageError, match=r"2 sizes \(10x10, 24x32"):
            images.read_folder(photos, 3)
    finally:
        (photos / "dog" / "odd.png").unlink()
    monkeypatch.setattr(images.intake, "free_memory", lambda device: 500_000)
    with pytest.raises(UsageError, match=r"62 files; images of 3x24x32 take 0.0 GB.*--size HxW"):
        images.read_folder(photos, 3)


def test_sixteen_bits_are_read_in_their_whole_range(tmp_path):
    values = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert np.abs(shown(tmp_path / name) - values / 257).max() <= 1
    colours = [struct.pack(">24H", *np.repeat(row, 3).tolist()) for row in values]
    (tmp_path / "rgb.png").write_bytes(png(8, 8, 16, 2, colours))
    assert np.abs(shown(tmp_path / "rgb.png", 3)[..., 0] - values / 257).max() <= 1
    (tmp_path / "grey.pgm").write_bytes(b"P5 8 8 65535\n" + values.astype(">u2").tobytes())
    assert np.abs(shown(tmp_path / "grey.pgm") - values / 257).max() <= 1


def test_an_image_is_turned_as_its_camera_says(tmp_path):
    upright = np.zeros((8, 16, 3), np.uint8)
    upright[:, :8] = 255
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees clockwise: rows of the file are columns of what is seen
    for name in ("turned.png", "turned.tif"):
        Image.fromarray(upright).rotate(90, expand=True).save(tmp_path / name, exif=exif)
        assert np.array_equal(shown(tmp_path / name, 3), upright), name


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L"])
def test_transparent_pixels_are_white_not_their_hidden_colour(mode, tmp_path):
    colours = np.full((8, 8, 4), (40, 40, 40, 255), np.uint8)
    colours[:4] = (0, 0, 0, 0)
    image, options = Image.fromarray(colours), {}
    if mode in "PL":
        image = Image.fromarray(colours[..., 0] // 40)
        image, options = image if mode == "L" else image.convert("P"), {"transparency": 0}
    else:
        image = image.convert(mode)
    image.save(tmp_path / "hidden.png", **options)
    seen = shown(tmp_path / "hidden.png", 3)
    assert (seen[:4] == 255).all()
    assert (seen[4:] < 255).all()


def test_a_transparent_grey_value_of_sixteen_bits_is_white(tmp_path):
    rows = [struct.pack(">8H", *range(0, 64000, 8000))] * 8
    (tmp_path / "t.png").write_bytes(png(8, 8, 16, 0, rows, transparent(8000)))
    assert shown(tmp_path / "t.png")[0].tolist() == [0, 255, 62, 93, 125, 156, 187, 218]


HOSTILE = {
    "huge.png": (png(20000, 20000, 8, 0, []), "more than 89,478,485 pixels"),
    "large.png": (png(10000, 10000, 8, 0, []), "more than 89,478,485 pixels"),
    "cut.png": (png(32, 24, 8, 0, np.random.default_rng(0).integers(0, 255, (24, 32), np.uint8))[:400], "truncated"),
    "text.ppm": (b"P6\n-3 x\n255\n", "cannot be read (ValueError"),
    "letters.ppm": (b"P3\n8 8\n255\n1 2 3 x y z", "cannot be read (ValueError"),
    "programme.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
    "a\nb\x1b[31m.png": (b"", "no image"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_left_out_and_named_in_one_line(name, photos):
    content, reason = HOSTILE[name]
    (photos / name).write_bytes(content)
    try:
        folder = images.read_folder(photos, 3)
    finally:
        (photos / name).unlink()
    told = next(line for line in folder.skipped if line.startswith(images.printable(name)))
    assert reason in told
    assert told.isprintable()
    assert len(folder.images) == 60


def test_values_without_a_known_range_are_left_out(photos):
    Image.fromarray(np.ones((24, 32), np.float32)).save(photos / "values.tif")
    try:
        assert "floating-point pixels" in images.read_folder(photos, 3).skipped[-1]
    finally:
        (photos / "values.tif").unlink()


def test_names_are_shown_and_not_obeyed():
    assert images.printable("dog/01.png") == "dog/01.png"
    assert images.printable("=1+1.png") == "./=1+1.png"  # a spreadsheet would compute it
    assert images.printable("a\x1b[31m\n.png") == "a\\x1b[31m\\n.png"
    assert images.printable("caf\udce9.png") == "caf\\xe9.png"  # a name that is not UTF-8, as Python reads it


def test_normalisation_is_read_and_said():
    preprocess, said = images.normalisation("auto", "torchvision:resnet18", 3)
    image = torch.full((1, 3, 2, 2), 0.5)
    wanted = (0.5 - torch.tensor(images.IMAGENET[0])) / torch.tensor(images.IMAGENET[1])
    assert torch.allclose(preprocess(image)[0, :, 0, 0], wanted)
    assert "0.485" in said
    assert images.normalisation("auto", "mine:net", 3)[0] is None
    assert torch.equal(images.normalisation("0.5:0.25", "mine:net", 1)[0](image[:, :1]), torch.zeros(1, 1, 2, 2))
    for text in ("half", "0.5", "0.1,0.2:0.3", "0.5:0", "nan:1", "0:inf", "", "0:1:2"):
        with pytest.raises(UsageError, match=re.escape(repr(text))):
            images.normalisation(text, "mine:net", 3)


def test_an_empty_class_folder_keeps_its_place(photos):
    (photos / "cow").mkdir()
    try:
        folder = images.read_folder(photos, 3, labelled=True)
    finally:
        (photos / "cow").rmdir()
    assert folder.classes == ["cat", "cow", "dog"]
    assert folder.labels.unique().tolist() == [0, 2]
    assert folder.alphabetical


def test_the_models_order_of_classes_decides_the_labels(photos, tmp_path):
    (tmp_path / "names.txt").write_text("dog\neel\ncat\n", encoding="utf-8-sig")
    order, told = labels.class_order(photos, tmp_path / "names.txt", ())
    folder = images.read_folder(photos, 3, labelled=True, classes=order)
    assert folder.classes == ["dog", "eel", "cat"]
    assert folder.labels.tolist() == [2] * 30 + [0] * 30
    assert "names.txt" in told
    assert not folder.alphabetical
    with pytest.raises(UsageError, match="the class folder 'cat'; valid: the 2 classes of the model, such as cats"):
        images.read_folder(photos, 3, labelled=True, classes=["dog", "cats"])


def test_names_in_the_checkpoint_decide_unless_the_folders_have_others(photos, tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog")
    assert labels.class_order(photos, None, ("dog", "cat"))[0] == ["dog", "cat"]
    assert labels.class_order(photos, tmp_path / "names.txt", ("dog", "cat"))[0] == ["cat", "dog"]
    order, told = labels.class_order(photos, None, ("dog", "chat"))
    assert order is None
    assert "no class 'cat'" in told
    assert labels.class_order(photos, None, ())[0] is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"cat\n\ndog\n", "nothing in line 2"),
        (b"cat\ndog\ncat\n", "'cat' more than once"),
        (b"cat\n", "names 1 classes"),
        (b"", "names 0 classes"),
        (b"\xff\xfe\x00c", "UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_file_of_names_that_is_none_is_refused(content, words, tmp_path):
    if content is not None:
        (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        labels.read_class_names(tmp_path / "names.txt")


def test_classes_and_outputs_are_compared_before_the_training():
    truth = torch.tensor([0, 1, 2])
    assert labels.outputs_doubt("abc", truth, 3, alphabetical=True) == ""
    doubt = labels.outputs_doubt("abc", truth, 43, alphabetical=True)
    assert "3 class folders, numbered in alphabetical order, and 43 outputs" in doubt
    assert "--classes" in doubt
    assert "3 names of classes" in labels.outputs_doubt("abc", truth, 4, alphabetical=False)
    with pytest.raises(UsageError, match="some label is no output"):
        labels.outputs_doubt("abc", truth, 2, alphabetical=True)


def test_a_wrong_order_of_classes_shows_in_the_accuracy():
    numbers = torch.Generator().manual_seed(0)
    truth = torch.arange(300) % 10
    wrong = torch.rand(300, generator=numbers) < 0.29
    prediction = torch.where(wrong, torch.randint(10, (300,), generator=numbers), truth)
    assert labels.accuracy_doubt(prediction, truth, 10) == ""
    assert "below chance (10.0%)" in labels.accuracy_doubt((prediction + 1) % 10, truth, 10)
    kept = truth != 7  # the folder of class 7 is empty and has lost its place
    prediction, shifted = prediction[kept], torch.where(truth > 7, truth - 1, truth)[kept]
    doubt = labels.accuracy_doubt(prediction, shifted, 10)
    found = re.search(r"right on (\d+)\.\d% of the images, with its classes in another order on (\d+)%", doubt)
    assert int(found[1]) < 60
    assert int(found[2]) >= 70
    assert "--classes" in doubt


def test_a_classifier_that_only_guesses_does_not_raise_doubts_about_the_order():
    doubts = 0
    for seed in range(40):
        numbers = torch.Generator().manual_seed(seed)
        truth, prediction = torch.randint(5, (2, 200), generator=numbers)
        doubts += "another order" in labels.accuracy_doubt(prediction, truth, 5)
    assert doubts <= 4
