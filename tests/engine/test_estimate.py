"""What cells cost: the plan counts exactly the trainings that are done, by a slow count of their operations."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cladec_companion.engine import estimate, grid, runner
from cladec_companion.engine.plan import of_profile
from cladec_companion.engine.runner import Workplace
from cladec_companion.papers import CHAPTERS
from cladec_companion.papers.cladec.prototypes import network as prototype_network
from cladec_companion.records.record import open_record
from cladec_core import measures, networks, training
from cladec_core.networks import convolutions


def test_the_plan_counts_exactly_the_trainings_that_are_done(monkeypatch, tmp_path, on):
    """Their names and operations, in the order of the grid, with networks shared between cells and chapters."""
    done = []

    def fit(job):
        if job.label.startswith("digits "):  # explainers are no trainings of the engine
            images = len(job.inputs) // min(job.batch_size, len(job.inputs)) * min(job.batch_size, len(job.inputs))
            per_image = slow_training_step(job.model, job.inputs[:2], job.loss)
            if job.opponent:
                per_image = per_image / job.opponent.steps + slow_opponent(job)
            done.append(per_image * images * job.epochs)
        return training.History([1.0] * job.epochs)

    monkeypatch.setattr(training, "fit", fit)
    monkeypatch.setattr(measures, "linear_probe", lambda *_: 0.0)
    few = {
        "sizes": [64, 1], "disjoint_count": 1, "random_repeats": 1, "alphas": [0.0, 0.9], "layers": ["penultimate"],
        "train_limit": 100, "amounts": [100], "test_limit": 32,
    }  # fmt: skip
    tasks = of_profile(CHAPTERS, "smoke", changes=few)
    found, seen, workplace = estimate.costs(tasks), set(), Workplace(on)
    for task in tasks:
        done.clear()
        order = runner.order_of(task.experiment, task.settings, task.cell, open_record(task.settings, tmp_path))
        workplace.prepare([order])
        (measured,) = workplace.measure([order])
        labels = {one.label + ("" if one.seed is None else f" of seed {one.seed}") for one in found[task]}
        assert labels == measured.trainings.keys(), task
        # The plan does not know how many images some classes have, and takes the same share for each.
        exact = task.cell.part not in {"ladder", "cue"}
        planned = sorted(one.operations for one in found[task])
        assert planned == (sorted(done) if exact else pytest.approx(sorted(done), rel=0.4)), task
        seen |= {(task.settings.experiment, label.split()[0]) for label in measured.trainings}
    trained = {name for name, chapter in CHAPTERS.items() if chapter.trains}
    assert {name for name, _ in seen} == trained - {"occlusion", "heatmaps"}  # their networks are those of `layers`


def slow_training_step(model, inputs, loss):
    """Operations per image."""
    total, output = slow_count(model.eval(), inputs)
    if getattr(loss, "classifier", None) is not None:
        total += slow_count(loss.classifier, output, weights=False, entry=True)[0]
    if hasattr(loss, "critic"):
        total += slow_count(loss.critic, output, entry=True)[0]
    if isinstance(model, prototype_network.PrototypeNetwork):
        field = 2 * 2 * 32**3  # rows and columns of a shift in two directions are blurred; nothing learns from it
        total += 2 * (field + 3 * model.weights.numel())
    return total


def slow_opponent(job):
    """Operations per image of an opponent's step, whose loss may differentiate twice: as torch counts real ones."""
    inputs, *targets = (part[:2] for part in (job.inputs, *job.targets))
    with FlopCounterMode(display=False) as counter:
        with torch.no_grad():
            drawn = job.model.eval()(inputs)
        job.opponent.loss(drawn, *targets).backward()
    return counter.get_total_flops() / 2


def slow_count(model, inputs, *, weights=True, entry=False):
    """Operations per image of a forward and a backward pass, layer by layer from the shapes that pass through."""
    total = 0
    frozen = {part for whole in model.modules() if isinstance(whole, networks.Frozen) for part in whole.modules()}

    def count(module, arguments, output):
        nonlocal total, entry
        (given,) = arguments
        sent, *sides = output.shape[1:]
        if isinstance(module, nn.Linear):
            products = module.in_features * module.out_features
        elif isinstance(module, nn.ConvTranspose2d):
            products = given[0].numel() * sent * module.kernel_size[0] ** 2
            if given.shape[-1] == 1 and isinstance(module, convolutions.ConvTranspose2d):
                products = given[0].numel() * output[0].numel()  # only the taps that end in the image
        else:
            taps = module.kernel_size[0] ** 2
            if sides == [1, 1] and isinstance(module, convolutions.Conv2d):
                taps = given.shape[-1] ** 2  # only the taps that meet the image
            products = output[0].numel() * given.shape[1] * taps
        # Backward: once for the weights, once for what was given, unless it is the data themselves, or a frozen code.
        learns = module not in frozen
        total += 2 * products * (1 + (weights + entry) * learns)
        entry = learns

    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    hooks = [part.register_forward_hook(count) for part in model.modules() if isinstance(part, kinds)]
    output = model(inputs)
    for hook in hooks:
        hook.remove()
    return total, output


KINDS = {
    "classifier": lambda setup, layer: setup.classifier,
    "decoder": lambda setup, layer: setup.decoder(layer),
    "subset": lambda setup, layer: setup.decoder(layer, channels=range(5)),
    "RefAE": lambda setup, layer: setup.reference(layer),
    "judged": lambda setup, layer: setup.decoder(layer, alpha=0.5),
    "evaluation": lambda setup, layer: setup.judge(setup.decoder(layer), "ClaDec"),
}


@pytest.mark.parametrize("architecture", ["vgg11", "resnet10"])
@pytest.mark.parametrize("kind", KINDS)
def test_operations_are_those_of_a_slow_count(architecture, kind, on, smoke):
    """Of the network that would be trained, on real tensors; the plan sees shapes alone."""
    layer = {"vgg11": "conv4", "resnet10": "block2"}[architecture]
    planned = KINDS[kind](estimate.blank(("cifar10", architecture, 0), smoke), layer)
    real = KINDS[kind](replace(planned.setup, on=on, shapes_only=False), layer)

    def ready(wanted):
        """The network of a training that was not done, and what it needs."""
        needed = [one.finish(*ready(one)) for one in wanted.needs]
        return wanted.build(*needed), *needed

    job = real.job(*ready(real))
    assert estimate.per_image(planned) == slow_training_step(job.model, job.inputs[:2], job.loss)


def test_a_cell_costs_its_trainings_on_whole_batches_in_all_epochs():
    tasks = of_profile(CHAPTERS, "smoke", "layers", {"batch_size": 50, "classifier_epochs": 3})
    found = estimate.costs(tasks)
    parts = {one.label: one for one in found[tasks[1]]}
    one = estimate.per_image(estimate.blank(tasks[0].cell.run, tasks[0].settings).classifier)
    assert parts["evaluation ClaDec penultimate"].operations == one * 150 * 3
    assert {part.label: part.operations for part in found[tasks[0]]} == {"classifier": one * 150 * 3}


def test_what_several_cells_need_is_counted_once_and_only_if_it_is_the_same():
    tasks = of_profile(CHAPTERS, "smoke", "layers", {"seeds": [0, 1], "layers": [-1]})
    tasks += of_profile(CHAPTERS, "smoke", "occlusion", {"seeds": [0, 1], "layers": [-1]})
    found = estimate.costs(tasks)
    assert [[one.label.split()[0] for one in found[task]] for task in tasks] == [
        ["classifier"], ["classifier", "decoder", "RefAE", "evaluation", "evaluation"],  # the judge of both seeds
        ["classifier"], ["decoder", "RefAE", "evaluation", "evaluation"],
        [], [], [], [],
    ]  # fmt: skip
    assert found.shared[tasks[0]] == found.shared[tasks[4]]  # of one seed
    assert found.shared[tasks[0]] != found.shared[tasks[2]]  # of another
    for change in ({"train_limit": 70}, {"classifier_epochs": 2}, {"width": 0.25}, {"batch_size": 16}):
        other = of_profile(CHAPTERS, "smoke", "occlusion", {"layers": [-1], **change})
        assert "classifier" in {one.label for one in estimate.costs([*tasks, *other])[other[0]]}, change


def test_the_memory_of_a_training_is_that_of_what_it_is_given_and_of_its_weights():
    tasks = of_profile(CHAPTERS, "smoke", "layers")
    (one,) = estimate.costs(tasks)[tasks[0]]
    network = estimate.blank(tasks[0].cell.run, tasks[0].settings).classifier.build()
    weights = sum(value.numel() for value in network.parameters())
    assert one.bytes == 160 * (32 * 32 * 4 + 8) + 16 * weights


def test_the_plan_says_what_is_missing_and_how_long_it_takes():
    tasks = of_profile(CHAPTERS, "smoke", "layers")
    found = estimate.costs(tasks[1:])
    rates = {("vgg11", False): 1e9, ("vgg11", True): 2e9}
    table = grid.plan_table(tasks, found, rates)
    row = [next(iter(column.cells)) for column in table.columns]
    costs = [one for own in found.values() for one in own]
    seconds = sum(one.operations / (2e9 if one.label.split()[0] in ("decoder", "RefAE") else 1e9) for one in costs)
    total = sum(one.operations for one in costs)
    assert row == ["layers", "3", "1", "2", "10", estimate.with_unit(total), f"{seconds / 60:.1f}"]


def test_a_rate_is_operations_by_time(on, monkeypatch):
    """A device on which each step takes a second, and each training ten more."""
    clock = 0.0

    def fit(job):
        nonlocal clock
        clock += 10 + len(job.inputs) / job.batch_size

    monkeypatch.setattr(training, "fit", fit)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: clock)
    tasks = of_profile(CHAPTERS, "smoke", "layers")
    found = estimate.costs(tasks)
    rates = estimate.measured_rates(tasks, found, on)
    assert rates.keys() == {("vgg11", False), ("vgg11", True)}
    (one,) = found[tasks[0]]
    assert rates["vgg11", False] == pytest.approx(32 * one.per_image)


def test_speed_is_measured_on_steps_that_could_be_real(on, monkeypatch):
    """Fresh weights and noise in the place of all values, in the precision of the device."""
    seen = []
    fit = training.fit
    monkeypatch.setattr(training, "fit", lambda job: (seen.append(job), fit(job))[1])
    tasks = of_profile(CHAPTERS, "smoke", "alpha", {"alphas": [0.5]})
    rates = estimate.measured_rates(tasks, estimate.costs(tasks), on)
    assert all(rate > 0 for rate in rates.values())
    assert rates.keys() == {("vgg11", False), ("vgg11", True)}
    for job in seen:
        assert not any(value.is_meta for value in (*job.model.parameters(), *job.model.buffers(), job.inputs))
        assert all(torch.isfinite(value).all() for value in job.model.parameters())


def test_the_peak_is_positive_and_numbers_have_units(on):
    assert estimate.matmul_peak(on) > 0
    assert [estimate.with_unit(number) for number in (0, 12, 1.2e13, 3.456e18)] == ["0", "12", "12 T", "3.46 E"]
