"""The search for contrasts: against SLSQP of scipy, by the conditions of Karush, Kuhn and Tucker, one and many."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from cladec_companion.papers.cdeepex.optimisation import (
    CONVERGED,
    UNMET,
    Search,
    Start,
    begin,
    invert,
    solve,
)
from cladec_core.errors import UsageError

LATENT, CLASSES, COUNT = 5, 4, 6
EXACT = Search(outer=400, tolerance=1e-3, settled=1e-2)


class Case:
    """A classifier and a generator in double precision, images near what it draws, their first and second classes."""

    def __init__(self, linear, seed=1):
        torch.manual_seed(seed)
        generator = nn.Linear(LATENT, 16)
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES))
        if not linear:
            generator = nn.Sequential(nn.Linear(LATENT, 24), nn.Tanh(), nn.Linear(24, 16))
            self.model = nn.Sequential(nn.Flatten(), nn.Linear(16, 20), nn.Tanh(), nn.Linear(20, CLASSES))
        for weight in (*generator.parameters(), *self.model.parameters()):
            weight.data *= 1.5
        self.model.double(), generator.double()
        self.decode = lambda z: generator(z).view(-1, 1, 4, 4)
        z = torch.randn(COUNT, LATENT, dtype=torch.float64)
        with torch.no_grad():
            images = self.decode(z) + 0.05 * torch.randn(COUNT, 1, 4, 4, dtype=torch.float64)
            order = self.model(images).argsort(1, descending=True)
        self.start, self.true, self.probe = begin(self.decode, images, z), order[:, 0], order[:, 1]

    def one(self, place):
        start = self.start
        parts = (part[place : place + 1] for part in (start.z, start.images, start.error, start.residual))
        return Start(*parts), self.true[place : place + 1], self.probe[place : place + 1]

    def llh(self, z, place):
        image = self.decode(z[None]) + self.start.residual[place : place + 1]
        return self.model(image).log_softmax(1)[0]

    def constraints(self, z, place, margin):
        """h, and 0 <= -g of all third classes, written out for one image."""
        llh, true, probe = self.llh(z, place), int(self.true[place]), int(self.probe[place])
        thirds = [label for label in range(CLASSES) if label not in (true, probe)]
        both = [llh[label] - llh[third] - margin for label in (true, probe) for third in thirds]
        return llh[true] - llh[probe], torch.stack(both)

    def reference(self, place, others, margin):
        """SLSQP's distance for one image, and whether it says that it succeeded."""
        origin = self.start.z[place].numpy()

        def of(part):
            def values(z):
                return np.atleast_1d(self.constraints(torch.tensor(z), place, margin)[part].detach().numpy())

            def slopes(z):
                point = torch.tensor(z)
                return np.atleast_2d(
                    torch.autograd.functional.jacobian(lambda z: self.constraints(z, place, margin)[part], point)
                )

            return {"fun": values, "jac": slopes}

        asked = [{"type": "eq", **of(0)}] + [{"type": "ineq", **of(1)}] * others
        found = minimize(
            lambda z: ((z - origin) ** 2).sum(), origin, jac=lambda z: 2 * (z - origin), constraints=asked,
            method="SLSQP", options={"maxiter": 500, "ftol": 1e-12},
        )  # fmt: skip
        return np.sqrt(found.fun), found.success


@pytest.fixture(params=[True, False], ids=["linear", "curved"])
def case(request):
    return Case(request.param)


@pytest.mark.parametrize("margin", [0.1, 0.4])
@pytest.mark.parametrize("others", [True, False], ids=["CDeepEx", "xGEMs"])
def test_as_near_as_slsqp(case, others, margin):
    found = solve(
        case.model, case.decode, case.start, case.true, case.probe,
        Search(margin, others, outer=400, tolerance=1e-3, settled=1e-2),
    )  # fmt: skip
    references = [case.reference(place, others, margin) for place in range(COUNT)]
    compared = [
        (found.distance[place].item(), distance)
        for place, (distance, succeeded) in enumerate(references)
        if succeeded and found.state[place] == CONVERGED
    ]
    assert len(compared) >= COUNT - 1  # a curved problem may have no such point
    for ours, theirs in compared:
        assert ours == pytest.approx(theirs, rel=0.02, abs=0.01)


def test_a_third_class_matters_in_these_problems():
    """Else the test above would not try the inequalities at all."""
    distances = []
    for others in (True, False):
        case = Case(linear=True)
        search = Search(1.5, others, outer=400, tolerance=1e-3, settled=1e-2)
        distances.append(solve(case.model, case.decode, case.start, case.true, case.probe, search).distance)
    assert (distances[0] > 1.05 * distances[1]).any()


def test_linear_answer_is_the_projection():
    """With one constraint and everything linear, z_e is z_0 minus h / ‖∇h‖² ∇h, whatever Δ is."""
    case = Case(linear=True)
    found = solve(
        case.model, case.decode, case.start, case.true, case.probe,
        Search(others=False, outer=400, tolerance=1e-5, settled=1e-4),
    )  # fmt: skip
    for place in range(COUNT):
        z = case.start.z[place].clone().requires_grad_()
        h, _ = case.constraints(z, place, 0.0)
        (slope,) = torch.autograd.grad(h, z)
        expected = z.detach() - h.detach() / slope.square().sum() * slope
        torch.testing.assert_close(found.z[place], expected, atol=1e-3, rtol=1e-3)


def test_conditions_hold_at_the_end(case):
    found = solve(case.model, case.decode, case.start, case.true, case.probe, EXACT)
    assert found.converged.sum() >= COUNT - 1
    for place in found.converged.nonzero().flatten().tolist():
        h, slack = case.constraints(found.z[place], place, EXACT.margin)
        assert abs(h) <= 1.1e-3
        assert slack.min() >= -1.1e-3
        assert found.equality[place] == pytest.approx(h.item(), abs=1e-9)
        assert found.inequality[place] == pytest.approx(-slack.min().item(), abs=1e-9)
        assert found.stationarity[place] <= 1e-2
        assert found.complementarity[place] <= 1e-2
        z = found.z[place].clone().requires_grad_()
        h, slack = case.constraints(z, place, EXACT.margin)
        if slack.min() > 0.05:  # no inequality is active: the gradient of the distance is a multiple of that of h
            (slope,) = torch.autograd.grad(h, z)
            left = 2 * (z.detach() - case.start.z[place]) + found.multiplier[place] * slope
            assert left.norm() <= 0.02 * (2 * found.distance[place])


def test_images_together_are_found_as_alone(case):
    together = solve(case.model, case.decode, case.start, case.true, case.probe, EXACT)
    for place in range(COUNT):
        alone = solve(case.model, case.decode, *case.one(place), EXACT)
        assert alone.state[0] == together.state[place]
        # Rounding, which differs with the size of a batch, grows along the way.
        early = min(15, len(alone.path_z), len(together.path_z))
        torch.testing.assert_close(alone.path_z[:early, 0], together.path_z[:early, place], atol=1e-9, rtol=1e-9)
        if together.converged[place]:
            torch.testing.assert_close(alone.z[0], together.z[place], atol=5e-3, rtol=5e-3)
    assert together.steps.unique().numel() > 1  # each image ends by itself


def test_path_begins_at_the_image_and_stays_where_an_image_is_done(case):
    found = solve(case.model, case.decode, case.start, case.true, case.probe, EXACT)
    with torch.no_grad():
        llh = case.model(case.start.images).log_softmax(1)
    torch.testing.assert_close(found.path[0, :, 0], llh.max(1).values)
    torch.testing.assert_close(found.path_z[0], case.start.z)
    torch.testing.assert_close(found.path_z[-1], found.z)
    first = int(found.steps.argmin())
    ended = int(found.steps[first]) // EXACT.inner
    assert (found.path_z[ended:, first] == found.z[first]).all()
    torch.testing.assert_close(found.images, case.decode(found.z) + case.start.residual)


def test_what_cannot_be_met_is_named():
    """Two classes whose logits always differ by 3: no latent point makes them equally likely."""
    weight = torch.randn(1, 16, dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2).double())
    model[1].weight.data, model[1].bias.data = weight.repeat(2, 1), torch.tensor([3.0, 0.0], dtype=torch.float64)
    z = torch.zeros(2, 16, dtype=torch.float64)
    start = begin(lambda z: z.view(-1, 1, 4, 4), z.view(-1, 1, 4, 4), z)
    found = solve(
        model, lambda z: z.view(-1, 1, 4, 4), start, torch.tensor([0, 0]), torch.tensor([1, 1]), Search(outer=20)
    )
    assert found.state == (UNMET, UNMET)
    assert not found.converged.any()
    assert found.violation.tolist() == pytest.approx([3, 3])
    assert found.images.shape == (2, 1, 4, 4)


def test_likelihoods_without_a_number_are_refused():
    case = Case(linear=True)
    case.model[1].bias.data[0] = float("nan")
    with pytest.raises(UsageError, match="not finite"):
        solve(case.model, case.decode, case.start, case.true, case.probe)


def test_inversion_finds_what_the_generator_drew():
    case = Case(linear=False)
    with torch.no_grad():
        images = case.decode(0.3 * torch.randn(COUNT, LATENT, dtype=torch.float64))
    noise = torch.zeros(LATENT, dtype=torch.float64)
    found = invert(case.model, case.decode, images, noise, steps=400)
    begun = begin(case.decode, images, noise.expand(COUNT, LATENT))
    assert (found.error < 0.1 * begun.error).all()
    torch.testing.assert_close(found.residual + case.decode(found.z), images)
    alone = invert(case.model, case.decode, images[2:3], noise, steps=400)
    torch.testing.assert_close(alone.z[0], found.z[2], atol=1e-6, rtol=1e-6)


def test_misclassification_cost_draws_the_start_to_its_class():
    case = Case(linear=False)
    images, noise = torch.zeros(COUNT, 1, 4, 4, dtype=torch.float64), torch.zeros(LATENT, dtype=torch.float64)
    labels = torch.arange(COUNT) % CLASSES
    chances = [
        case.model(case.decode(invert(case.model, case.decode, images, noise, weight=weight, labels=labels).z))
        .softmax(1).gather(1, labels[:, None])
        for weight in (0.0, 10.0)
    ]  # fmt: skip
    assert (chances[1] > chances[0]).all()
