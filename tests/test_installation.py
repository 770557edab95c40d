"""What is needed where: the wheel with the light core, and training on a machine with little more than torch.

Nothing is downloaded for the environments here. Each has links to those packages of this environment that a real
installation would have brought, as read from uv.lock, and no others.
"""

import shutil
import subprocess
import sysconfig
import tomllib
import venv
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models as torchvision_models

from cladec_companion.papers import CHAPTERS

ROOT = Path(__file__).parents[1]
PACKAGES = ("cladec_core", "cladec_companion")
# What the book's page on running promises for `python -m cladec_companion train` from a plain checkout.
TRAINING = (
    "torch", "torchvision", "numpy", "pandas", "scikit-learn", "scipy", "rich", "typer", "tqdm", "pyyaml", "filelock",
    "lazy-loader",
)  # fmt: skip
UV = shutil.which("uv", path=f"{ROOT / '.uv' / 'bin'}") or shutil.which("uv")


@cache
def locked():
    """Package -> packages that it needs, as in uv.lock; of this project, only what everybody gets."""
    needs = {}
    for package in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]:
        extras = package.get("optional-dependencies", {}).values() if package["name"] != "cladec" else ()
        wanted = [*package.get("dependencies", []), *(item for items in extras for item in items)]
        needs.setdefault(package["name"], set()).update(item["name"] for item in wanted)
    return needs


def brought_by(*names):
    """All packages that come with these."""
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += locked()[name]
    return found


def environment(folder, *installed):
    """Make an environment of these packages and what comes with them; returns the names of what it holds."""
    venv.create(folder, symlinks=True)
    here, there = Path(sysconfig.get_path("purelib")), next(folder.glob("lib/python*/site-packages"))
    for name in brought_by(*installed) - {"cladec"}:
        with suppress(PackageNotFoundError):  # for another system or version of Python
            for top in {file.parts[0] for file in distribution(name).files} - {"..", "__pycache__"}:
                (there / top).symlink_to(here / top) if not (there / top).exists() else None
    return {path.name for path in there.iterdir()}


def call(folder, *command, cwd, **variables):
    """Run a command of an environment, with nothing of this process but a place for caches."""
    variables |= {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "OMP_NUM_THREADS": "1"}
    program, *arguments = map(str, command)
    return subprocess.run(
        [folder / "bin" / program, *arguments], capture_output=True, text=True, cwd=cwd, env=variables
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if UV is None:
        pytest.skip("no uv, which builds the wheel; `make setup` installs it")
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run([UV, "build", "--wheel", "--out-dir", folder, ROOT], capture_output=True, text=True)
    if "build-system.requires" in built.stderr or "Failed to fetch" in built.stderr:
        pytest.skip("hatchling, which builds the wheel, is neither in uv's cache nor can it be downloaded")
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def light(wheel, tmp_path_factory):
    """An environment after `pip install cladec`."""
    folder = tmp_path_factory.mktemp("light") / "environment"
    found = environment(folder, "cladec")
    assert {"torch", "torchvision", "captum", "matplotlib"} <= found
    assert not {"yaml", "scipy", "sklearn", "papermill", "sphinx", "IPython", "statsmodels", "seaborn"} & found
    command = [UV, "pip", "install", "--quiet", "--no-deps", "--offline", "--python", folder / "bin" / "python", wheel]
    subprocess.run(command, check=True)
    return folder


def test_the_wheel_holds_two_packages_with_all_their_files(wheel):
    names = [name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.partition("/")[0] for name in names} == set(PACKAGES)
    files = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert set(names) == files
    assert "cladec_companion/report/report.html" in files


def test_the_explainer_works_from_the_wheel_in_any_folder(light, tmp_path):
    code = """
import cladec_core, torch
from torch import nn
from cladec_core import ClaDec
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 49, 3))
images, labels = torch.rand(96, 1, 16, 16), torch.arange(96) % 3
explainer = ClaDec(model, layer="1", device="cpu").fit(images, epochs=1, progress=False)
explainer.explain(images[:4]).show().savefig("figure.png")
print(len(explainer.evaluate(images, labels, seeds=1, progress=False)))
explainer.save("kept")
ClaDec.load("kept", model, device="cpu").explain(images[:2])
print(cladec_core.__file__)
"""
    found = call(light, "python", "-W", "ignore", "-c", code, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    rows, place = found.stdout.splitlines()[-2:]
    assert int(rows) == 1
    assert Path(place).is_relative_to(light)


def test_the_command_works_from_the_wheel_in_any_folder(light, tmp_path):
    pixels = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(30):
            image = Image.fromarray(pixels.integers(0, 255, (24, 24, 3), dtype=np.uint8))
            image.save(tmp_path / "photos" / name / f"{index}.png")
    torch.save(torchvision_models.mobilenet_v3_small(num_classes=2).state_dict(), tmp_path / "weights.pt")
    arguments = "--arch torchvision:mobilenet_v3_small --layer features.3 --labels from-folders --epochs 1".split()
    found = call(light, "cladec", "explain", "--model", "weights.pt", "--images", "photos", *arguments, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "features.3" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "explain" in call(light, "cladec", "--help", cwd=tmp_path).stdout
    for command in (["status"], ["train", "--profile", "smoke"], ["book"]):
        refused = call(light, "cladec", *command, cwd=tmp_path)
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1
        assert "needs a checkout" in refused.stderr


def test_training_needs_nothing_of_book_figures_and_statistics(tmp_path):
    """From a plain checkout, with the packages that the page on running names."""
    folder = tmp_path / "environment"
    found = environment(folder, *TRAINING)
    assert {"torch", "torchvision", "sklearn", "yaml"} <= found
    assert not {"captum", "matplotlib", "papermill", "statsmodels", "seaborn", "nbformat"} & found
    experiments = {chapter.run_cell.name for chapter in CHAPTERS.values() if chapter.trains}
    assert len(experiments) > 5
    modules = ["cladec_companion.engine.grid", "cladec_companion.papers", *sorted(experiments)]
    found = call(folder, "python", "-c", f"import {', '.join(modules)}", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert found.returncode == 0, found.stderr
    train = (
        "-m cladec_companion train --profile smoke --only layers --set layers=[-5] --out records --workers 1".split()
    )
    found = call(folder, "python", *train, cwd=tmp_path, PYTHONPATH=str(ROOT), CLADEC_MODELS=str(tmp_path / "models"))
    assert found.returncode == 0, found.stderr
    assert len(list((tmp_path / "records").rglob("manifest.json"))) == 1
