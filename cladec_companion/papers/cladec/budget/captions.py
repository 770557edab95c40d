"""What the figures of the chapter `budget` show, from the record that they are drawn from."""

import pandas as pd

from cladec_companion.evidence.lines import first_run
from cladec_companion.papers.cladec.budget.claims import budget, numbers
from cladec_companion.papers.cladec.budget.figures import layers
from cladec_companion.records.record import Record


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentence that its caption begins with."""
    drawn = layers(record)
    ends = {layer: found for layer in drawn if (found := _ends(record, layer)) is not None}
    if not ends:
        return {}
    sentences = {"fig-budget-lengths": f"{_differences(ends)}."}
    pictures = {"fig-budget-pictures": drawn[0], "fig-budget-pictures-low": drawn[-1]}
    return sentences | {name: _losses(ends[layer]) for name, layer in pictures.items() if layer in ends}


def _ends(record: Record, layer: str) -> pd.DataFrame | None:
    """The numbers of the smallest and the largest budget of the run that is drawn; None where there is only one."""
    found = numbers(record).loc[first_run(record)].loc[layer]
    return found.iloc[[0, -1]] if len(found) > 1 else None


def _spent(ends: pd.DataFrame) -> tuple[str, str]:
    first, last = (budget(*spent) for spent in ends.index)
    return first, last


def _differences(ends: dict[str, pd.DataFrame]) -> str:
    first, last = _spent(next(iter(ends.values())))
    said = []
    for layer, found in ends.items():
        rec, acc = (" to ".join(f"{value:+.3f}" for value in found[name].round(3) + 0.0) for name in ("d_rec", "d_acc"))
        said.append(f"at {layer} ΔRec goes from {rec} and ΔAcc from {acc}")  # + 0.0: no negative zero
    return f"From {first} to {last}: {'; '.join(said)}"


def _losses(ends: pd.DataFrame) -> str:
    first, last = _spent(ends)
    (refae, cladec), (refae_last, cladec_last) = ends[["rec_refae", "rec_cladec"]].to_numpy()
    return (
        f"Over all test images, the RefAE's loss is {refae:.3f} after {first} and {refae_last:.3f} after {last}, "
        f"ClaDec's {cladec:.3f} and {cladec_last:.3f}."
    )
