"""What the methods of a record are called where a reader sees them."""

from cladec_companion.papers.cdeepex.contrast.experiment import KINDS, NETWORKS, OURS, UNBIASED
from cladec_companion.papers.cdeepex.contrasts import METHODS

WITHIN = ("square ", "cue ", "starts ")  # begins a method's name in an experiment that only one claim looks at
TITLES = {
    **{name: title for name, (title, _, _) in METHODS.items()},
    **{f"{name} {kind}": f"{kind} with the {name}" for name in ("VAE", "WGAN", "RefAE") for kind in KINDS},
    **{f"ClaDec {kind}": f"{kind} with ClaDec's decoder" for kind in KINDS},
    **{f"{name} {kind}": f"{kind} for {title}" for name, title in NETWORKS.items() for kind in KINDS},
    **{f"{UNBIASED} {kind}": f"{kind} for a classifier without the cue" for kind in KINDS},
    **{f"own and foreign {kind}": f"{kind} with either VAE" for kind in KINDS},
    f"VAE {UNBIASED}": f"{OURS} with the VAE for a classifier without squares",
    "random": "a random direction", "biased": "classifier trained on squares",
    "first and last rung": "first against last rung", "last rung and judge": "last rung against judge",
}  # fmt: skip


def titled(method: str) -> str:
    """What a reader sees instead of a method's name in a record."""
    for experiment in WITHIN:
        method = method.removeprefix(experiment)
    return TITLES.get(method, method)
