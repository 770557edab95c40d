"""How much faster contrasts of many images are found together than one by one, and that they are the same.

`python -m benchmarks.contrasts` prints seconds, their ratio, and how far the answers are apart.
"""

import argparse
import time

import torch
from torch import Tensor

from cladec_companion.papers.cdeepex.contrast.trainings import LAYER, RECIPE, discriminator
from cladec_companion.papers.cdeepex.generators import autoencoder
from cladec_companion.papers.cdeepex.optimisation import Search, Solution, Start, begin, solve
from cladec_core import data, networks, training

EPOCHS = 3  # of the classifier and of the decoder, on digits
WIDTH = 8  # of the decoder


def main() -> None:
    """Compare both ways on the embedded digits, with ClaDec's decoder as the generator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100, help="images that are explained together")
    parser.add_argument("--alone", type=int, default=10, help="of these, how many also one by one")
    parser.add_argument("--outer", type=int, default=20, help="most sets of multipliers")
    chosen = parser.parse_args()
    model, decode, start, true, probe = problem(chosen.images)
    search = Search(outer=chosen.outer)
    solve(model, decode, _some(start, slice(0, 2)), true[:2], probe[:2], Search(outer=1))  # warms up
    began = time.perf_counter()
    together = solve(model, decode, start, true, probe, search)
    batched = (time.perf_counter() - began) / chosen.images
    began, apart = time.perf_counter(), []
    for place in range(chosen.alone):
        own = slice(place, place + 1)
        alone = solve(model, decode, _some(start, own), true[own], probe[own], search)
        apart.append(difference(alone, together, place))
    single = (time.perf_counter() - began) / chosen.alone
    print(f"{chosen.images} images together: {batched:.4f} s each; one by one ({chosen.alone}): {single:.4f} s each")
    print(f"ratio {single / batched:.1f}; distances differ by {max(apart):.2%} at most")


def problem(count: int) -> tuple[networks.Classifier, object, Start, Tensor, Tensor]:
    """A classifier of digits, ClaDec's decoder of its hidden layer, test images and what is asked of them."""
    digits, on = data.load("digits", test_limit=count), training.compute("cpu")
    with training.seeded(0):
        model = discriminator(1, digits.size, 10, 1.0)
        decoder = networks.decoder((50,), digits.train_images.shape[1:], width=WIDTH)
    loss = torch.nn.CrossEntropyLoss()
    training.fit(training.Job(
        model, digits.train_images, (digits.train_labels,), loss, RECIPE, epochs=EPOCHS, seed=0, on=on, batch_size=32,
    ))  # fmt: skip
    model.eval().requires_grad_(False)
    chain = torch.nn.Sequential(networks.Frozen(model.up_to(LAYER)), decoder)
    images = digits.train_images
    training.fit(training.Job(
        chain, images, (images,), torch.nn.MSELoss(), training.Recipe("adam", 1e-3, 0.0), epochs=EPOCHS, seed=0, on=on,
        batch_size=32,
    ))  # fmt: skip
    generator = autoencoder("ClaDec", *chain.children(), images)
    assert generator.encode is not None
    with torch.no_grad():
        true, probe = model(digits.test_images).topk(2, dim=1).indices.unbind(1)
        start = begin(generator.decode, digits.test_images, generator.encode(digits.test_images))
    return model, generator.decode, start, true, probe


def difference(alone: Solution, together: Solution, place: int) -> float:
    """Relative difference of the distances that were found for an image."""
    both = alone.distance[0].item(), together.distance[place].item()
    return abs(both[0] - both[1]) / max(both)


def _some(start: Start, rows: slice) -> Start:
    return Start(start.z[rows], start.images[rows], start.error[rows], start.residual[rows])


if __name__ == "__main__":
    main()
