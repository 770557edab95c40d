"""What the figures of the chapter `encoder_training` show, from the record that they are drawn from."""

import pandas as pd

from cladec_companion.evidence.lines import first_run
from cladec_companion.papers.cladec.encoder_training.claims import evidence
from cladec_companion.papers.cladec.encoder_training.settings import CALIBRATED, INITIAL
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentence that its caption begins with."""
    lines = _of(record, CALIBRATED, first_run(record)).groupby("encoder_epochs").mean()
    loss, accuracy = lines["rec_cladec"], lines["acc_cladec"]
    first, last = loss.index[[0, -1]]
    if first == last:
        return {}
    sentences = {
        "fig-encoder-epochs": f"Recorded, on average over the runs: ClaDec's loss is lowest after "
        f"{_epochs(loss.idxmin())} ({loss.min():.1f}) and highest after {_epochs(loss.idxmax())} ({loss.max():.1f}); "
        f"the RefAE's is {lines['rec_refae'].mean():.1f}. ClaDec's evaluation accuracy is {accuracy[first]:.0%} after "
        f"{_epochs(first)} and {accuracy[last]:.0%} after {_epochs(last)}.",
    }  # fmt: skip
    if first == 0:
        images = RunImages.of(record)
        calibrated, initial = (
            _of(record, kind, images.run).xs(images["seed"].item(), level="seed") for kind in (CALIBRATED, INITIAL)
        )
        sentences["fig-encoder-recorded"] = (
            f"In the run shown, ClaDec's loss is {calibrated.loc[0, 'rec_cladec']:.1f} for the untrained classifier "
            f"with calibration, {initial.loc[0, 'rec_cladec']:.1f} without, and "
            f"{calibrated.loc[last, 'rec_cladec']:.1f} after {_epochs(last)} of training; the RefAE's is "
            f"{calibrated.loc[last, 'rec_refae']:.1f} (raw sum per image, all test images)."
        )
    return sentences


def _of(record: Record, untrained: str, run: tuple[str, str]) -> pd.DataFrame:
    runs = evidence(record, untrained).runs
    assert runs is not None
    return runs.loc[run]


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count != 1 else ''}"
