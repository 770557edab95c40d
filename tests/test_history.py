"""What a training tells: means, windows, whether its loss still fell, and what it cost."""

import random
import time

import pytest

from cladec_core import training
from cladec_core.training import Cost, History, history


def of(losses, steps=10):
    found = History()
    for place in range(0, len(losses), steps):
        found.add_epoch(losses[place : place + steps])
    return found


def test_an_epoch_adds_its_mean_and_its_steps():
    found = of([1.0, 2.0, 6.0, 0.5, 0.5, 2.0], steps=3)
    assert found == [3.0, 1.0]
    assert found.steps == [1.0, 2.0, 6.0, 0.5, 0.5, 2.0]


@pytest.mark.parametrize("steps", [1, 7, 100, 101, 250, 1999])
def test_windows_hold_every_step_once_in_equal_parts(steps):
    found = history.windows([float(step) for step in range(steps)])
    assert len(found) == min(steps, 100)
    assert found == sorted(found)
    size = steps / len(found)
    centres = [size * (part + 0.5) - 0.5 for part in range(len(found))]
    assert found == pytest.approx(centres, abs=0.51)


def noisy(loss, noise=0.05, steps=2000, seed=0):
    draw = random.Random(seed)
    return of([loss(step / steps) + draw.gauss(0, noise) for step in range(steps)])


@pytest.mark.parametrize(
    ("loss", "falls"),
    [
        (lambda part: 10 - 9 * part, True),
        (lambda part: 2 + 3 * 0.5 ** (20 * part), False),  # flat since half of it
        (lambda part: 1 + part, False),
        (lambda part: 5.0, False),
        (lambda part: 10 - 0.5 * part, False),  # by half a percent over the last tenth
        (lambda part: 10 - 2 * part, True),  # by two and a half
        (lambda part: 10 - 9 * min(part, 0.9), False),
        (lambda part: 10.0 if part < 0.95 else 9.0, True),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_a_loss_that_falls_over_the_last_tenth_is_seen(loss, falls, seed):
    assert training.still_falling(noisy(loss, seed=seed)) == falls


def test_noise_is_no_fall():
    """Two standard errors: of flat losses, however noisy, a few in a hundred are taken for falling."""
    taken = sum(training.still_falling(noisy(lambda part: 1.0, noise=1.0, seed=seed)) for seed in range(200))
    assert taken <= 20


@pytest.mark.parametrize(("steps", "falls"), [(1, True), (24, True), (25, True), (40, False), (300, False)])
def test_a_short_training_cannot_tell(steps, falls):
    assert training.still_falling(of([1.0] * steps, steps=1)) == falls


def test_cost_counts_the_clock_and_the_processor():
    asleep, busy = Cost(), Cost()
    with asleep.counting():
        time.sleep(0.2)
    with busy.counting():
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
    assert asleep.wall >= 0.2 > 10 * asleep.cpu
    assert busy.wall >= 0.9 * busy.cpu >= 0.18
    both = asleep + busy
    assert (both.wall, both.cpu) == (asleep.wall + busy.wall, asleep.cpu + busy.cpu)
    with pytest.raises(ValueError, match="on the way"), busy.counting():
        raise ValueError("on the way")
    assert busy.cpu >= 0.2
