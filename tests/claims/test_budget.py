"""What several lengths of training say: signs, trends, what follows for B2, B3 and B15; the longest from elsewhere."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, NOT_COMPARABLE, UNDECIDED
from cladec_companion.papers import cladec
from cladec_companion.papers.cladec.budget import claims, figures
from cladec_companion.papers.cladec.budget.claims import by_budget, evidence, follows, meaning, with_longest
from cladec_companion.records.record import Record

DECIDE = {claim.key: claim.decide for claim in claims.CLAIMS}
LAYERS = {"penultimate": -1, "conv2": -5}
CONFIGURATION = {"index_map": "code", "train_limit": None, "width": 1.0, "classifier_epochs": 64, "decoder_epochs": 64}
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "budget.ipynb"
RUN = {"dataset": "fashion_mnist", "architecture": "vgg11"}


def undertrained(layer, epochs):
    """A reference that is far from trained at first: at the last layer ΔAcc changes its sign."""
    step = {4: 0, 16: 1, 64: 2}[epochs]
    deep = layer == "penultimate"
    return {
        ("cladec", "loss_standardised"): 0.30 - 0.01 * step,
        ("refae", "loss_standardised"): (0.20, 0.10, 0.04)[step] if deep else (0.12, 0.08, 0.04)[step],
        ("cladec", "accuracy"): 0.88 + 0.005 * step if deep else 0.93,
        ("refae", "accuracy"): (0.80, 0.87, 0.92)[step] if deep else (0.86, 0.88, 0.90)[step],
    }


def record(values=undertrained, lengths=(4, 16, 64), seeds=(0, 1, 2), images=60_000, marks="a" * 32):
    rows, cells = [], {}
    for layer in LAYERS:
        for epochs in lengths:
            for seed in seeds:
                place = RUN | {"layer": layer, "images": images, "epochs": epochs, "seed": seed}
                found = values(layer, epochs) | {("classifier", "test_images"): 10_000}
                rows += [
                    place | {"method": method, "metric": metric, "value": value + 0.0003 * seed * (method == "cladec")}
                    for (method, metric), value in found.items()
                ]
                cell = f"fashion_mnist/vgg11/{layer} {images} images {epochs} epochs/{seed}"
                cells[cell] = {"classifiers": {"classifier": marks}}
    manifest = {"experiment": "budget", "profile": "paper", "configuration": CONFIGURATION, "cells": cells}
    return Record(Path(), pd.DataFrame(rows), {}, manifest)


def decide(key, *args, **kwargs):
    return DECIDE[key](evidence(record(*args, **kwargs)))


def steady(layer, epochs):
    """Nothing changes with the length."""
    return undertrained("conv2", 64)


def slow_decoder(layer, epochs):
    """It is ClaDec's decoder that needs longer."""
    found = undertrained("conv2", 64)
    step = {4: 0, 16: 1, 64: 2}[epochs]
    return found | {("cladec", "loss_standardised"): (0.6, 0.4, 0.2)[step], ("cladec", "accuracy"): 0.91 + 0.01 * step}


def high_floor(layer, epochs):
    """The logarithm of the RefAE's loss falls by more, though a larger part of ClaDec's own way is still before it."""
    step = {4: 0, 16: 1, 64: 2}[epochs]
    losses = {"cladec": (0.40, 0.34, 0.30)[step], "refae": (0.10, 0.06, 0.04)[step]}
    return undertrained("conv2", 64) | {(method, "loss_standardised"): loss for method, loss in losses.items()}


def in_between(layer, epochs):
    """The signs of the shortest training are those of the longest, the signs of the one in between are not."""
    found = undertrained("conv2", 64)
    return found if epochs != 16 else found | {("refae", "accuracy"): 0.97, ("refae", "loss_standardised"): 0.5}


def never_ahead(layer, epochs):
    """ClaDec's accuracy is the lower one from the first, and falls behind further: there is no advantage to shrink."""
    return undertrained("conv2", 64) | {("refae", "accuracy"): {4: 0.95, 16: 0.96, 64: 0.97}[epochs]}


@pytest.mark.parametrize(
    ("key", "values", "verdict"),
    [
        ("Q6", undertrained, HOLDS), ("Q6", in_between, FAILS),
        ("Q7", undertrained, FAILS), ("Q7", steady, HOLDS), ("Q7", in_between, FAILS),
        ("Q8", undertrained, HOLDS), ("Q8", slow_decoder, FAILS), ("Q8", high_floor, FAILS),
        ("Q9", undertrained, HOLDS), ("Q9", slow_decoder, FAILS), ("Q9", never_ahead, FAILS),
    ],
)  # fmt: skip
def test_lengths_decide(key, values, verdict):
    found = decide(key, values)
    assert found.verdict == verdict, found.evidence


def test_the_shares_of_q8_are_those_of_each_methods_own_fall():
    found = DECIDE["Q8"](evidence(record(seeds=(0,)))).comparisons
    lacks = {(method, layer): (undertrained(layer, 4)[method, "loss_standardised"]
                               - undertrained(layer, 64)[method, "loss_standardised"])
             / (1 - undertrained(layer, 64)[method, "loss_standardised"])
             for method in ("cladec", "refae") for layer in LAYERS}  # fmt: skip
    effects = sorted(comparison.effect for comparison in found)
    assert effects == pytest.approx(sorted(lacks["refae", layer] - lacks["cladec", layer] for layer in LAYERS))


def test_a_loss_above_that_of_a_grey_image_has_not_fallen():
    assert (
        DECIDE["Q8"](evidence(record(lambda *_: steady(*_) | {("cladec", "loss_standardised"): 1.2}))).comparisons == ()
    )


def test_one_length_says_nothing_of_lengths_and_the_paper_nothing_at_all():
    assert {decide(key, lengths=(64,)).verdict for key in DECIDE} == {UNDECIDED}
    assert {decide(claims.printed()).verdict for decide in DECIDE.values()} == {NOT_APPLICABLE}


def marked(found, epochs, **values):
    """The record with marks of a length, by method."""
    first = found.rows[found.rows["epochs"] == epochs].drop_duplicates(["layer", "seed"])
    marks = [first.assign(method=name, metric="still_falling", value=value) for name, value in values.items()]
    return Record(Path(), pd.concat([found.rows, *marks]), {}, found.manifest)


def test_a_loss_that_was_falling_bars_nothing_here_and_is_named():
    found = marked(marked(record(), 4, cladec=1.0, refae=1.0), 16, cladec=0.0, refae=0.0)
    found = marked(found, 64, refae=1.0)
    assert DECIDE["Q7"](evidence(found)).verdict == FAILS
    table = claims.still_falling(found)["still falling"]
    assert table.xs(4, level="epochs").tolist() == ["ClaDec and RefAE"] * 2
    assert table.xs(16, level="epochs").tolist() == ["–"] * 2
    assert table.xs(64, level="epochs").tolist() == ["RefAE; ClaDec: not recorded"] * 2


def test_a_mark_that_nobody_recorded_has_a_marker_of_its_own():
    found = marked(marked(record(), 4, cladec=1.0, refae=1.0), 16, cladec=0.0, refae=0.0)
    panel = figures.lengths(found).axes[0].get_lines()
    styles = {
        (line.get_fillstyle(), line.get_markerfacecolor() == "none"): set(line.get_xdata())
        for line in panel if line.get_marker() == "o" and len(line.get_xdata())
    }  # fmt: skip
    assert styles == {("full", True): {4}, ("full", False): {16}, ("bottom", False): {64}}


def test_the_notebook_names_the_chapters_that_record_marks():
    text = next(cell.source for cell in nbformat.read(NOTEBOOK, 4).cells if cell.id == "budget-05")
    named = set(re.findall(r"\((\w+)\.ipynb\)", text[text.index("Such marks") :]))
    experiments = Path(cladec.__file__).parent.glob("*/experiment.py")
    found = {path.parent.name for path in experiments if "still_falling" in path.read_text(encoding="utf-8")}
    assert named == found - {"budget"}


def test_what_follows_for_claims_of_the_chapter_on_layers():
    verdicts = by_budget(evidence(record()))
    of = {key: [one.verdict for one in found.values()] for key, found in verdicts.items()}
    assert list(verdicts["B2"]) == [(60_000, 4), (60_000, 16), (60_000, 64)]
    assert of["B2"] == [HOLDS, HOLDS, HOLDS]
    assert of["B3"] == [FAILS, FAILS, HOLDS]
    table = follows(evidence(record()))
    assert table.loc["B2", "so"] == "60,000 images: the same after every length"
    assert table.loc["B3", "so"].startswith("60,000 images: an effect of the length")
    # ClaDec's accuracy falls with depth at every length, whatever the reference does.
    assert table.loc["B15", "so"] == "60,000 images: the same after every length"
    assert set(of["B15"]) == {FAILS}


def test_lengths_are_compared_on_as_many_images():
    """Few images say the opposite of many at every length: no effect of the length."""
    few = record(steady, images=20_000)
    few.rows["value"] += 0.1 * ((few.rows["method"] == "refae") & (few.rows["metric"] == "accuracy"))
    many = record(steady)
    both = Record(Path(), pd.concat([few.rows, many.rows]), {}, many.manifest | {"cells": few.cells | many.cells})
    table = follows(evidence(both))
    assert table.loc["B2", "so"] == (
        "20,000 images: the same after every length; 60,000 images: the same after every length"
    )
    assert table.loc["B2", "20,000 images, 64 epochs"].startswith(FAILS)
    assert table.loc["B2", "60,000 images, 64 epochs"].startswith(HOLDS)


@pytest.mark.parametrize(
    ("verdicts", "start"),
    [
        ([UNDECIDED, NOT_COMPARABLE], "no length"), ([HOLDS, UNDECIDED], "the longest training leaves open"),
        ([UNDECIDED, HOLDS], "decided by the longest"), ([FAILS, HOLDS], "an effect of the length"),
        ([HOLDS, HOLDS], "the same"), ([HOLDS], "needs two"), ([], "needs two"),
    ],
)  # fmt: skip
def test_the_meaning_of_verdicts_in_a_row(verdicts, start):
    assert meaning(verdicts).startswith(start)


# ---- the longest training, from the chapter on layers


def of_layers(marks="a" * 32, index=(3, 1, 7), **changes):
    """A record of `layers` with the longest length."""
    rows, cells, samples = [], {}, {"fashion_mnist/vgg11/index": np.array(index)}
    for layer in LAYERS:
        for (method, metric), value in undertrained(layer, 64).items():
            rows.append(RUN | {"layer": layer, "method": method, "metric": metric, "seed": 0, "value": value})
        cells[f"fashion_mnist/vgg11/{layer}/0"] = {"classifiers": {"classifier": marks, "independent": "b" * 32}}
        for method in ("cladec", "refae"):
            samples[f"fashion_mnist/vgg11/{layer}/{method}"] = np.arange(3, dtype=np.uint8)[:, None, None, None]
    rows.append(
        RUN | {"layer": "classifier", "method": "classifier", "metric": "train_images", "seed": 0, "value": 60_000}
    )
    manifest = {"experiment": "layers", "configuration": CONFIGURATION | changes, "cells": cells}
    return Record(Path(), pd.DataFrame(rows), samples, manifest)


def short(**changes):
    found = record(lengths=(4, 16), seeds=(0,), **changes)
    found.samples["fashion_mnist/vgg11/index"] = np.array([1, 3])
    return found


def lengths_of(found):
    return sorted(found.rows["epochs"].unique())


def test_the_longest_length_is_read_from_the_record_of_layers():
    found = with_longest(short(), [of_layers()])
    assert lengths_of(found) == [4, 16, 64]
    added = found.rows[found.rows["epochs"] == 64]
    assert set(added["images"]) == {60_000}
    value = added[(added["layer"] == "conv2") & (added["method"] == "refae") & (added["metric"] == "accuracy")]["value"]
    assert value.item() == 0.90
    # Images are those of the same places in the test set, in the order of ours.
    assert found.samples["fashion_mnist/vgg11/conv2/60000/64/cladec"].ravel().tolist() == [1, 0]
    assert lengths_of(short()) == [4, 16]


def test_what_does_not_fit_is_left_where_it_is():
    assert lengths_of(with_longest(short(), [of_layers(marks="c" * 32)])) == [4, 16]  # another classifier
    assert lengths_of(with_longest(short(), [of_layers(width=0.5)])) == [4, 16]
    assert lengths_of(with_longest(short(), [of_layers(classifier_epochs=4)])) == [4, 16]  # other judges
    own = with_longest(record(seeds=(0,)), [of_layers()])
    assert len(own.rows) == len(record(seeds=(0,)).rows)  # what is there already counts once
    apart = with_longest(short(), [of_layers(index=(5, 6, 7))])  # other test images
    assert not [name for name in apart.samples if "64" in name]
    assert lengths_of(apart) == [4, 16, 64]
