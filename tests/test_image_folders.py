"""Folders of image files as data sets: which files, in which order, their pixels, and what is refused."""

import hashlib
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cladec_core import data
from cladec_core.data import datasets, files, folders, pictures, reading
from cladec_core.errors import RunError, UsageError

SIDES = {"train": {"cat": 6, "dog": 6, "owl": 6}, "test": {"cat": 2, "dog": 2, "owl": 2}}
FLAT = {"cat": 10, "dog": 23, "owl": 7}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLADEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(path: Path, pixels: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def colour(seed: int, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def fill(root: Path, counts: dict, size: tuple[int, int] = (8, 8)) -> Path:
    """Write images of noise, as many as `counts` says; no two are alike."""
    for name, inside in counts.items():
        if isinstance(inside, dict):
            fill(root / name, inside, size)
        else:
            for place in range(inside):
                seed = int(hashlib.md5(f"{root.name}/{name}/{place}".encode()).hexdigest()[:8], 16)
                write(root / name / f"{place}.png", colour(seed, size))
    return root


def load(root: Path, **options) -> data.ImageData:
    return data.load(f"folder:{root}", **{"size": 8} | options)


def contents(found: data.ImageData, side: str) -> list[tuple[bytes, str]]:
    """Pixels and class of each image, in order."""
    images, labels = getattr(found, f"{side}_images"), getattr(found, f"{side}_labels")
    pixels = (found.to_unit(images) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return [(image.numpy().tobytes(), found.classes[label]) for image, label in zip(pixels, labels, strict=True)]


def everything(found: data.ImageData) -> list[tuple[bytes, str]]:
    return contents(found, "train") + contents(found, "test")


def on_disk(paths) -> list[tuple[bytes, str]]:
    return [(np.asarray(Image.open(path)).tobytes(), path.parent.name) for path in paths]


def test_images_have_the_side_and_the_class_of_their_folders(tmp_path):
    root = fill(tmp_path / "animals", SIDES)
    found = load(root)
    assert (found.title, found.classes, found.channels, found.size) == ("animals", ("cat", "dog", "owl"), 3, 8)
    for side in SIDES:
        assert sorted(contents(found, side)) == sorted(on_disk((root / side).glob("*/*.png")))


def test_without_sides_a_fifth_of_each_class_with_the_smallest_hashes_is_for_testing(tmp_path):
    root = fill(tmp_path / "animals", FLAT)
    found, expected = load(root), {"train": [], "test": []}
    for folder in root.iterdir():
        ranked = sorted(
            folder.iterdir(), key=lambda path: hashlib.sha256(f"{path.parent.name}/{path.name}".encode()).digest()
        )
        count = max(1, len(ranked) // 5)
        expected["test"] += ranked[:count]
        expected["train"] += ranked[count:]
    assert found.test_labels.bincount().tolist() == [2, 4, 1]
    for side, paths in expected.items():
        assert sorted(contents(found, side)) == sorted(on_disk(paths))
    assert "1 in 5" in found.notes[0]


def test_the_first_images_hold_every_class_once_in_each_round(tmp_path):
    for name in "abcde":
        (tmp_path / name).mkdir()
        for place in range(50):
            (tmp_path / name / f"{place}.png").touch()  # what is only listed need not be an image
    rounds = np.array([file.label for file in data.list_folder(tmp_path).train]).reshape(40, 5)
    assert (np.sort(rounds) == np.arange(5)).all()
    places = rounds.argsort()
    kept_places = (places[1:] == places[:-1]).mean()
    assert kept_places < 0.35  # by chance 0.2: a class that leads a round does not lead the next one, too


def test_the_first_images_hold_classes_in_proportion(tmp_path):
    labels = load(fill(tmp_path / "animals", {"train": FLAT, "test": SIDES["test"]})).train_labels
    for count in range(1, len(labels) + 1):
        for label, whole in enumerate(FLAT.values()):
            there = int((labels[:count] == label).sum())
            assert abs(there - count * whole / len(labels)) <= 1.5, (count, label)


@pytest.mark.parametrize("counts", [SIDES, FLAT], ids=["sides", "flat"])
def test_a_copy_elsewhere_is_the_same_data_set(tmp_path, counts):
    root = fill(tmp_path / "animals", counts)
    copy = tmp_path / "elsewhere" / "animals"
    for path in sorted(root.rglob("*.png"), reverse=True):  # another order of creation, and other times
        (copy / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy / path.relative_to(root))
    assert everything(load(root)) == everything(load(copy))
    assert data.record_key(f"folder:{root}") == data.record_key(f"folder:{copy}")


def test_limits_keep_the_first_images(tmp_path):
    root = fill(tmp_path / "animals", SIDES)
    whole, some = load(root), load(root, train_limit=5, test_limit=3)
    assert contents(some, "train") == contents(whole, "train")[:5]
    assert contents(some, "test") == contents(whole, "test")[:3]


def test_files_that_are_no_images_are_passed_over_and_folders_inside_a_class_belong_to_it(tmp_path):
    root = fill(tmp_path / "animals", SIDES)
    expected = len(load(root).train_labels) + 1
    for name in ("train/cat/notes.txt", "train/cat/._0.png", ".hidden/x/a.png", "README.md", "train/empty/list.csv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("no image")
    write(root / "train" / "cat" / "indoors" / "sleeping.PNG", colour(1))
    found = load(root)
    assert found.classes == ("cat", "dog", "owl")
    assert len(found.train_labels) == expected


def test_a_class_may_have_the_name_of_a_side(tmp_path):
    assert load(fill(tmp_path / "vehicles", {"train": 5, "tram": 5})).classes == ("train", "tram")


@pytest.mark.parametrize("spoilt", [False, True], ids=["grey", "one coloured pixel"])
def test_grey_images_have_one_channel(tmp_path, spoilt):
    root = tmp_path / "animals"
    for place in range(8):
        grey = colour(place)[..., 0]
        pixels = grey if place % 2 else np.stack([grey] * 3, -1)  # stored as grey, and as colour
        if spoilt and not place:
            pixels[3, 4, 0] ^= 1
        write(root / ("cat", "dog")[place // 4] / f"{place}.png", pixels)
    assert load(root).channels == (3 if spoilt else 1)


def test_images_of_64_pixels_stay_as_they_are_or_are_shrunk_by_averaging(tmp_path):
    root = fill(tmp_path / "animals", SIDES, (64, 64))
    large, small = load(root, size=64), load(root, size=32)
    assert (large.size, small.size) == (64, 32)
    assert sorted(contents(large, "train")) == sorted(on_disk((root / "train").glob("*/*.png")))
    assert "resized to 32x32 from 64x64" in small.notes
    assert not [note for note in large.notes if "resized" in note]
    shrunk = [
        np.asarray(Image.open(path).resize((32, 32), Image.Resampling.BILINEAR), dtype=int)
        for path in (root / "test").glob("*/*.png")
    ]
    for image in (small.to_unit(small.test_images) * 255).permute(0, 2, 3, 1).numpy():
        assert min(abs(image - other).max() for other in shrunk) <= 1.01


def test_small_images_of_one_size_are_enlarged_as_asked(tmp_path):
    root = fill(tmp_path / "animals", SIDES, (8, 16))
    small = [np.asarray(Image.open(path)) for path in (root / "test").glob("*/*.png")]
    found = load(root, size=16)
    expected = {image.repeat(2, axis=0).tobytes() for image in small}
    assert {pixels for pixels, _ in contents(found, "test")} == expected
    assert found.notes[-1] == "resized to 16x16 from 8x16"
    smooth = load(root, size=16, resize="bilinear")
    assert not {pixels for pixels, _ in contents(smooth, "test")} & expected


def test_images_of_several_sizes_become_squares_of_one(tmp_path):
    root = fill(tmp_path / "animals", SIDES)
    write(root / "train" / "cat" / "wide.png", np.full((20, 40, 3), 77, np.uint8))
    write(root / "train" / "cat" / "tiny.png", np.full((2, 3, 3), 55, np.uint8))
    found = load(root)
    assert found.train_images.shape == (20, 3, 8, 8)
    seen = {pixels for pixels, _ in contents(found, "train")}
    assert {bytes([77]) * 192, bytes([55]) * 192} < seen
    assert any(note.startswith("resized to 8x8 from 8x8, ") and "20x40" in note for note in found.notes)
    assert load(root, size=40).train_images.shape == (20, 3, 40, 40)


def test_a_constant_channel_does_not_spoil_the_others(tmp_path):
    root = tmp_path / "animals"
    for place in range(8):
        pixels = colour(place)
        pixels[..., 2] = 9
        write(root / ("cat", "dog")[place // 4] / f"{place}.png", pixels)
    assert load(root).train_images.isfinite().all()


def test_a_photograph_is_turned_upright(tmp_path):
    upright = np.zeros((6, 4, 3), np.uint8)
    upright[0, 0] = 255  # the upper left corner; the camera held the sensor turned
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path / "turned.png", np.rot90(upright).copy(), exif=exif)
    assert np.array_equal(data.read_image(tmp_path / "turned.png").permute(1, 2, 0).numpy(), upright)


def test_of_sixteen_bits_the_upper_eight_are_kept(tmp_path):
    grey = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    write(tmp_path / "deep.png", grey)
    assert np.array_equal(data.read_image(tmp_path / "deep.png", channels=1)[0].numpy(), grey // 256)
    assert np.array_equal(data.read_image(tmp_path / "deep.png")[2].numpy(), grey // 256)


def test_transparent_parts_are_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = 200, 100, 0, 255
    pixels[1, 1] = 0, 0, 0, 51
    write(tmp_path / "clear.png", pixels)
    expected = np.array([[[200, 100, 0], [255] * 3], [[255] * 3, [204] * 3]])
    assert np.array_equal(data.read_image(tmp_path / "clear.png").permute(1, 2, 0).numpy(), expected)
    paletted = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    paletted.putpalette([10, 20, 30, 40, 50, 60])
    paletted.save(tmp_path / "palette.gif", transparency=1)
    assert data.read_image(tmp_path / "palette.gif")[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr"])
def test_other_kinds_of_pixels_are_converted(tmp_path, mode):
    half = Image.new("RGB", (4, 4), "white").convert(mode)
    half.paste(Image.new("RGB", (2, 4), "black").convert(mode))
    half.save(tmp_path / "half.tif")
    assert (data.read_image(tmp_path / "half.tif") > 127).float().mean((0, 1)).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("kind", "said"), [(np.float32, "floating-point"), (np.int32, "more than 16 bits")])
def test_pixels_without_an_agreed_display_are_refused(tmp_path, kind, said):
    write(tmp_path / "odd.tif", np.full((4, 4), 100_000, kind))
    with pytest.raises(ValueError, match=said):
        data.read_image(tmp_path / "odd.tif")


def never(*_, **__):
    raise AssertionError("decoded again")


def kept(cache: Path) -> Path:
    (path,) = cache.iterdir()
    return path


def test_images_are_decoded_once(tmp_path, monkeypatch, cache):
    root = fill(tmp_path / "animals", SIDES)
    first = load(root)
    monkeypatch.setattr(pictures, "read_image", never)
    again = load(root)
    assert everything(again) == everything(first)
    assert again.notes == first.notes
    assert kept(cache).name.startswith("animals-")
    assert sorted(path.name for path in root.iterdir()) == ["test", "train"]


@pytest.mark.parametrize("damage", ["truncated", "changed", "emptied", "other"])
def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch, cache, damage):
    root = fill(tmp_path / "animals", SIDES)
    expected = everything(load(root))
    path = kept(cache)
    content = path.read_bytes()
    changed = bytes([content[-9] ^ 1])
    path.write_bytes({
        "truncated": content[:-5], "changed": content[:-9] + changed + content[-8:], "emptied": b"",
        "other": b"no tensor" * 99,
    }[damage])  # fmt: skip
    assert everything(load(root)) == expected
    monkeypatch.setattr(pictures, "read_image", never)
    assert everything(load(root)) == expected


def test_a_changed_file_is_decoded_again(tmp_path):
    root = fill(tmp_path / "animals", SIDES)
    before = load(root)
    path = root / "train" / "cat" / "0.png"
    length, time = path.stat().st_size, path.stat().st_mtime_ns
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    os.truncate(path, max(length, path.stat().st_size))  # a PNG may have bytes after its end
    os.utime(path, ns=(time + 1, time + 1))
    assert sorted(contents(load(root), "train")) != sorted(contents(before, "train"))


def test_a_decoder_that_changed_decodes_again(tmp_path, monkeypatch):
    root = fill(tmp_path / "animals", SIDES)
    load(root)
    monkeypatch.setattr(folders.PIL, "__version__", "0.0")
    monkeypatch.setattr(pictures, "read_image", never)
    with pytest.raises(RunError, match="decoded again"):
        load(root)


def test_without_a_place_for_the_cache_images_are_decoded_each_time(tmp_path, monkeypatch):
    root = fill(tmp_path / "animals", SIDES)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CLADEC_CACHE", str(tmp_path / "file"))
    assert "could not be kept" in load(root).notes[-1]
    assert (tmp_path / "file").read_text() == "no folder"


def refused(root: Path | str, error: type[Exception] = UsageError, **options) -> str:
    with pytest.raises(error) as caught:
        load(root, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(root) in message
    return message


def test_a_missing_folder_is_refused(tmp_path):
    assert "is no folder" in refused(tmp_path / "nowhere")
    (tmp_path / "file").write_text("no folder")
    assert "is no folder" in refused(tmp_path / "file")
    with pytest.raises(UsageError, match=r"'folder:'; valid: .*cifar100, folder:PATH"):
        data.load("folder:")


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no images in class folders" in refused(tmp_path / "empty")
    fill(tmp_path, {"loose": 3})
    assert "no images in class folders" in refused(tmp_path / "loose")
    fill(tmp_path, {"sides": {"train": 3, "test": 3}})  # images, but no classes
    assert "sides/train holds no images in class folders" in refused(tmp_path / "sides")


def test_one_class_is_refused_by_name(tmp_path):
    assert "one class only (cat)" in refused(fill(tmp_path / "animals", {"cat": 5}))
    assert "test has images of one class only (dog)" in refused(
        fill(tmp_path / "others", {"train": {"cat": 2, "dog": 2}, "test": {"dog": 2}})
    )


def test_a_class_that_cannot_be_split_is_refused_by_name(tmp_path):
    assert "class owl has 1 image" in refused(fill(tmp_path / "animals", {"cat": 5, "owl": 1}))


@pytest.mark.parametrize(("there", "lacking"), [("train", "test"), ("test", "train")])
def test_one_side_without_the_other_is_refused(tmp_path, there, lacking):
    root = fill(tmp_path / "animals", {there: SIDES["train"], "val": SIDES["test"]})
    assert f"has {there}/, but no {lacking}/" in refused(root)


def test_classes_that_differ_between_the_sides_are_refused_by_name(tmp_path):
    root = fill(tmp_path / "animals", SIDES)
    (root / "test" / "owl").rename(root / "test" / "eagle")
    assert "only in train/: owl; only in test/: eagle" in refused(root)


def spoil(root: Path) -> list[Path]:
    """Make four files of `SIDES` unreadable, each in another way."""
    paths = [root / "train" / name for name in ("cat/0.png", "cat/1.png", "dog/2.png", "owl/3.png")]
    paths[0].write_bytes(paths[0].read_bytes()[:60])
    paths[1].write_text("<html>not found</html>")
    paths[2].write_bytes(b"")
    whole = paths[3].read_bytes()
    paths[3].write_bytes(whole[:45] + bytes(20) + whole[65:])
    return paths


def test_unreadable_files_are_counted_and_named(tmp_path):
    root = fill(tmp_path / "animals", SIDES)
    spoil(root)
    message = refused(root, RunError)
    assert "4 of 24 files" in message
    assert len(re.findall(r"train/\w+/\d\.png: \w+", message)) == 3
    assert "and 1 more" in message
    assert "skip_unreadable" in message


def test_unreadable_files_are_left_out_if_asked(tmp_path, monkeypatch):
    root = fill(tmp_path / "animals", SIDES)
    before = contents(load(root), "train")
    shutil.copytree(root, tmp_path / "intact")
    lost = on_disk(tmp_path / "intact" / path.relative_to(root) for path in spoil(root))
    found = load(root, skip_unreadable=True)
    assert contents(found, "train") == [each for each in before if each not in lost]
    assert "4 unreadable files left out" in found.notes[-1]
    monkeypatch.setattr(pictures, "read_image", never)
    assert load(root, skip_unreadable=True).notes == found.notes


def test_a_class_without_a_readable_file_is_refused(tmp_path):
    root = fill(tmp_path / "animals", SIDES)
    for path in (root / "test" / "owl").iterdir():
        path.write_bytes(b"")
    assert "no file to test of owl can be read" in refused(root, RunError, skip_unreadable=True)


def test_files_that_can_be_read_again_are_read(tmp_path, monkeypatch):
    root = fill(tmp_path / "animals", SIDES)
    reads = pictures.read_image

    def denied(path, **options):
        if path.endswith("cat/0.png"):
            raise PermissionError(13, "Permission denied", path)
        return reads(path, **options)

    monkeypatch.setattr(pictures, "read_image", denied)
    assert "cat/0.png: Permission denied" in refused(root, RunError)
    assert len(load(root, skip_unreadable=True).train_labels) == 17
    monkeypatch.setattr(pictures, "read_image", reads)
    assert len(load(root).train_labels) == 18


def test_a_name_that_stands_for_a_folder_is_safe_everywhere(tmp_path):
    for name, stem in ((f"Größe 10: {'all ' * 10}", "Gr_e_10_"), ("…", "folder-")):
        key = data.record_key(f"folder:{fill(tmp_path / name, FLAT)}")
        assert re.fullmatch(rf"(?={stem})[A-Za-z0-9_]{{1,40}}-[0-9a-f]{{8}}", key)
    assert data.record_key("fashion_mnist") == "fashion_mnist"
    for name in ("minst", "folder:", f"folder:{tmp_path / 'nowhere'}"):
        with pytest.raises(UsageError, match=re.escape(name.removeprefix("folder:") or "folder:PATH")):
            data.record_key(name)


def test_the_key_of_a_folder_changes_with_its_files(tmp_path):
    root = fill(tmp_path / "animals", FLAT)
    keys = {data.data_set(f"folder:{root}").key}
    write(root / "cat" / "new.png", colour(1))
    keys.add(data.data_set(f"folder:{root}").key)
    (root / "cat" / "new.png").rename(root / "cat" / "newer.png")
    keys.add(data.data_set(f"folder:{root}").key)
    assert len(keys) == 3
    assert all(key.startswith("animals-") for key in keys)


def test_a_folder_is_known_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "read_image", never)
    found = data.data_set(f"folder:{fill(tmp_path / 'animals', FLAT)}")
    assert (found.title, found.classes, found.channels) == ("animals", ("cat", "dog", "owl"), None)
    assert (found.train_count, found.test_count) == (33, 7)


def cifar100(root: Path, classes: list[str], counts=(2, 1)) -> Path:
    return fill(root / "cifar100", {
        side: dict.fromkeys(classes, count) for side, count in zip(SIDES, counts, strict=True)
    }, (32, 32))  # fmt: skip


FOLDERS = [name.replace(" ", "_") for name in datasets.CIFAR100_CLASSES]


def test_cifar100_is_read_from_image_folders(tmp_path, monkeypatch):
    small = replace(data.DATASETS["cifar100"], train_count=200, test_count=100)
    monkeypatch.setitem(data.DATASETS, "cifar100", small)
    root = cifar100(tmp_path, FOLDERS)
    found = data.load("cifar100", tmp_path)
    assert (found.title, found.classes, found.channels) == ("CIFAR-100", datasets.CIFAR100_CLASSES, 3)
    expected = [(pixels, name.replace("_", " ")) for pixels, name in on_disk((root / "test").glob("*/*.png"))]
    assert sorted(contents(found, "test")) == sorted(expected)
    assert "image folders" in found.notes[0]


def test_torchvisions_archive_of_cifar100_goes_before_the_folders(tmp_path, monkeypatch):
    cifar100(tmp_path, FOLDERS)
    monkeypatch.setattr(reading, "read_folder", never)
    (tmp_path / "cifar-100-python").mkdir()
    monkeypatch.setattr(files, "_download", lambda dataset, root: pytest.fail(f"{dataset.__name__}"))
    with pytest.raises(pytest.fail.Exception, match="CIFAR100"):
        data.load("cifar100", tmp_path)


def test_folders_that_are_not_the_whole_cifar100_are_refused(tmp_path):
    cifar100(tmp_path / "part", FOLDERS)
    with pytest.raises(RunError, match=r"200 images to train and 100 to test; CIFAR-100 has 50000 and 10000"):
        data.load("cifar100", tmp_path / "part")
    cifar100(tmp_path / "other", [*FOLDERS[:-1], "wurm"])
    with pytest.raises(RunError, match="classes of CIFAR-100"):
        data.load("cifar100", tmp_path / "other")


@pytest.mark.skipif(not (data.default_data_dir() / "cifar100").is_dir(), reason="CLADEC_DATA has no folder cifar100")
def test_the_real_cifar100_is_balanced_in_every_prefix():
    folder = data.default_data_dir() / "cifar100"
    listing = data.list_folder(folder)
    assert (len(listing.train), len(listing.test)) == (50_000, 10_000)
    assert tuple(name.replace("_", " ") for name in listing.classes) == datasets.CIFAR100_CLASSES
    labels = torch.tensor([file.label for file in listing.train])
    for count in (100, 250, 20_000, 50_000):
        there = labels[:count].bincount(minlength=100)
        assert there.max() - there.min() <= 1
    few = replace(listing, train=listing.train[:1000], test=listing.test[:100])
    found = folders.read_folder(few, files.Request(folder.parent, 32, skip_unreadable=False))
    expected = np.stack([np.asarray(Image.open(folder / file.name)) for file in few.train]).transpose(0, 3, 1, 2)
    assert np.array_equal(found.train[0].numpy(), expected)
    assert expected.mean((0, 2, 3)) / 255 == pytest.approx([0.507, 0.487, 0.441], abs=0.02)
