"""Who sees the colour-channel bug: explanations of a network that was fed RGB, and of one that was fed BRG."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from cladec_companion.engine.rows import rows_of
from cladec_companion.engine.runner import CellRun, Rows, Samples
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.xai import colours
from cladec_companion.papers.xai.maximisation import OF_CODES, PRIORS, Climb
from cladec_companion.papers.xai.units.common import ANSWERS, evenly
from cladec_companion.papers.xai.units.settings import settings_of
from cladec_companion.records.samples import as_uint8, below
from cladec_core import networks, training

AT = "colours"
RIGHT, BUG = "rgb", "brg"  # what a network was fed
EXPLAINED = {
    "none": "no prior", "all": "all priors", "dgn_cladec": "ClaDec's latent space",
    "dgn_refae": "RefAE's latent space", "cladec": "ClaDec's reconstructions", "refae": "the RefAE's",
}  # fmt: skip
# Without the mean image, whose colours are those of the data, whatever the network was fed.
PIXELS = {"none": PRIORS["none"], "all": replace(PRIORS["all"], mean_start=False)}
DECODED_IMAGES = 10  # of each class, whose reconstructions are averaged
CODES = 1000
SHOWN = 5


@dataclass(eq=False)
class Program:
    """A program that classifies RGB images, perhaps after it has swapped their channels by mistake.

    Attributes
    ----------
    network
        What it feeds the images to, in whichever order.
    encoder, generator
        Of ClaDec, from what the network is fed to codes, and from codes to RGB images: ClaDec is fitted to the program
        as it is, whose images are RGB.
    """

    name: str
    network: nn.Module
    encoder: nn.Module
    generator: nn.Module

    def fed(self, images: Tensor) -> Tensor:
        """RGB images as the network gets them."""
        return colours.swapped(images) if self.name == BUG else images


def run_cell(setup: Setup, keep_samples: bool) -> CellRun:
    """Train with channels in the right order and in the wrong one, explain both, and look at the colours.

    Returns
    -------
    rows
        {"layer", "method", "metric", "value"}; of grey images only that they have no colour.
    samples
        Images by network and method.
    """
    if setup.data.channels != len(colours.ORDER):
        yield [setup.classifier]
        return rows_of({"data": {"colour_channels": float(setup.data.channels)}}, layer=AT), {}
    layer = networks.layer_name(setup.architecture, settings_of(setup).layer)
    bug = setup.changed(data=colours.swapped_data(setup.data))
    classifier, decoder, reference, wrong, wrong_decoder = yield [
        setup.classifier, setup.decoder(layer), setup.reference(layer), bug.classifier, bug.decoder(layer),
    ]  # fmt: skip
    encoder, generator = decoder.eval().children()
    wrong_encoder, wrong_generator = wrong_decoder.eval().children()
    programs = (
        Program(RIGHT, classifier, encoder, generator),
        Program(BUG, wrong, wrong_encoder, nn.Sequential(wrong_generator, colours.Unswap())),
    )
    data = setup.data
    classes = evenly(len(data.classes), settings_of(setup).coloured).to(data.train_images.device)
    real = colours.class_colours(data.train_images, data.train_labels, classes)
    rows: Rows = rows_of({"data": {"colour_channels": float(data.channels)}}, layer=AT)
    samples: Samples = {"coloured": classes.cpu().numpy().astype(np.uint8)} if keep_samples else {}
    right: dict[str, list[Tensor]] = {name: [] for name in EXPLAINED}
    for program in programs:
        for name, images in _explained(setup, program, reference.eval(), classes):
            lean = colours.leaning(images, real)
            found = ((lean > 0) == (program.name == RIGHT)).double()
            right[name].append(found)
            values = {f"leaning_{program.name}": lean.double(), f"right_{program.name}": found}
            rows += rows_of({name: values}, ANSWERS, layer=AT)
            if keep_samples:
                samples[below("coloured", program.name, name)] = as_uint8(data.to_unit(images[:SHOWN]))
    rows += rows_of({name: {"right": torch.cat(of_both)} for name, of_both in right.items()}, ANSWERS, layer=AT)
    for program in programs:
        predicted = setup.test(program.network, program.fed(data.test_images)).argmax(1)
        share = (predicted == data.test_labels).double()
        rows += rows_of({f"fed_{program.name}": {"accuracy": share}}, ANSWERS, layer=AT)
    return rows, samples


def _explained(setup: Setup, program: Program, reference: nn.Module, classes: Tensor) -> Iterator[tuple[str, Tensor]]:
    """One image for each class by every method.

    Activation maximisation asks the network itself, which gets the images as they are; a generator makes RGB images.
    """
    data, settings = setup.data, settings_of(setup)
    few = data.train_images[:CODES]
    size, seed = tuple(few.shape[1:]), training.derive_seed(setup.seed, "colours")
    pixels = Climb(program.network, size, few, steps=settings.steps, seed=seed)
    for name, prior in PIXELS.items():
        yield name, pixels.maximise(classes, prior)
    encoder, generator = reference.children()
    for name, decoder, codes in (
        ("dgn_cladec", program.generator, setup.test(program.encoder, program.fed(few))),
        ("dgn_refae", generator, setup.test(encoder, few)),
    ):
        climb = Climb(program.network, size, codes, decoder, steps=settings.steps, seed=seed)
        yield name, climb.maximise(classes, OF_CODES)
    images = torch.cat([data.test_images[data.test_labels == label][:DECODED_IMAGES] for label in classes])
    counts = [min(DECODED_IMAGES, int((data.test_labels == label).sum())) for label in classes]
    made = {
        "cladec": setup.test(program.generator, setup.test(program.encoder, program.fed(images))),
        "refae": setup.test(reference, images),
    }
    for name, found in made.items():
        yield name, torch.stack([part.mean(0) for part in found.split(counts)])
