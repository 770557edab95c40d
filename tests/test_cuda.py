"""All that trains, on a CUDA device that is not there: no tensor is on the wrong side, and every bit is the CPU's."""

from dataclasses import fields

import pytest
import torch
from torch import nn

from cladec_companion.engine import grid, runner
from cladec_companion.engine.plan import of_profile
from cladec_companion.papers import CHAPTERS
from cladec_companion.records.record import read_record
from cladec_core import ClaDec, training
from cladec_core.networks import convolutions
from cladec_core.training import loop
from tests.pretend_cuda import pretend_cuda

FEW = {
    "train_limit": 48, "amounts": [48], "test_limit": 32, "layers": [-1], "alphas": [0.9], "sizes": [10],
    "disjoint_count": 1, "random_repeats": 0, "explained": 2, "outer": 2, "starting_steps": 2,
    "controls": ["other_half", "originals", "sigmoid", "max_pooling", "small_alpha"],
}  # fmt: skip


@pytest.fixture
def cuda():
    with pretend_cuda():
        yield training.compute("cuda")


@pytest.fixture
def same_arithmetic(monkeypatch):
    """As on a device: learning rates in float32, a CPU's are float64; and no convolution in a CPU's own order."""
    by_pixels, exact = convolutions._ByPixels, loop.learning_rates
    monkeypatch.setattr(convolutions, "_order", lambda _, __, height, width: by_pixels if height * width == 1 else None)
    monkeypatch.setattr(loop, "learning_rates", lambda *given: exact(*given).float().double())


@pytest.fixture
def both(on, monkeypatch):
    """Call `both[device]()`, and every computation is on that device; the CPU's is in float32, too."""
    with pretend_cuda():
        there = training.compute("cuda")
    assert there.graph
    assert there.device.type == "cuda"
    return {
        name: lambda on=on: monkeypatch.setattr(training, "compute", lambda _: on)
        for name, on in {"cpu": on, "cuda": there}.items()
    }


def test_the_pretended_device_refuses_what_a_real_one_would(cuda):
    here, there = torch.ones(3), torch.ones(3, device="cuda")
    for mixed in (
        lambda: here + there,
        lambda: (here > 0) & (there > 0),
        lambda: here[there > 0],
        lambda: torch.cat([here, there]),
        lambda: nn.Linear(3, 1)(there),
    ):
        with pytest.raises(RuntimeError, match="same device"):
            mixed()
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    assert there[torch.tensor([0])].is_cuda
    assert torch.equal(there.cpu(), here)
    assert nn.Linear(3, 1).to(cuda.device)(there).device == torch.device("cuda", 0)
    assert cuda.graph


@pytest.mark.filterwarnings("ignore:.*images are few")
@pytest.mark.parametrize("name", [name for name, one in CHAPTERS.items() if one.cells])
def test_an_experiment_finds_on_cuda_what_it_finds_on_a_cpu(name, both, same_arithmetic, free, tmp_path, monkeypatch):
    """With graphs, and two seeds side by side."""
    known = {item.name for item in fields(CHAPTERS[name].settings)}
    seeds = {"seeds": [0, 1]} if name == "layers" else {}
    tasks = of_profile(CHAPTERS, "smoke", name, {key: value for key, value in FEW.items() if key in known} | seeds)
    found = {}
    for device, chosen in both.items():
        chosen()
        runner._data.cache_clear()
        monkeypatch.setenv("CLADEC_MODELS", str(tmp_path / device / "models"))
        with pretend_cuda():
            if device == "cuda":
                grid.train(tasks, tmp_path / device, device=device)
            else:  # in this process, which knows of the pretence
                runner.run(CHAPTERS[name], tasks[0].settings, root=tmp_path / device, device=device, progress=False)
        (folder,) = (tmp_path / device).glob(f"smoke*/{name}")
        assert {run["device"].split()[0] for run in read_record(folder).manifest["runs"]} == {device}
        found[device] = [(folder / file).read_bytes() for file in ("metrics.csv", "samples.npz")]
    runner._data.cache_clear()
    assert found["cuda"] == found["cpu"]


@pytest.mark.filterwarnings("ignore:.*images are few")
def test_an_explainer_is_the_same_on_cuda(both, same_arithmetic, tmp_path):
    with training.seeded(0):
        net = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 49, 3))
        images, labels = torch.rand(64, 1, 16, 16), torch.arange(64) % 3
    found = []
    for device, chosen in both.items():
        chosen()
        with pretend_cuda():
            explainer = ClaDec(net, layers=["0", "3"], channels=2, alpha=0.5, device=device)
            explainer.fit(images, labels, epochs=2, progress=False)
            assert explainer.on.device.type == device
            explainer.save(tmp_path / device)
            loaded = ClaDec.load(tmp_path / device, net, device=device).explain(images[:3])["0"]
            assert torch.equal(loaded.reconstruction, explainer.explain(images[:3])["0"].reconstruction)
            found.append((explainer.explain(images[:3])["0"], explainer.evaluate(images, labels, seeds=1)))
    (one, table), (other, again) = found
    assert torch.equal(one.reconstruction, other.reconstruction)
    assert table.equals(again)
    assert not any(parameter.is_cuda for parameter in net.parameters())
