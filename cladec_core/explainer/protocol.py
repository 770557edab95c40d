"""How decoders and references are trained: the explainer's own way, short, and that of the paper."""

from collections.abc import Sequence
from dataclasses import dataclass

from cladec_core import training
from cladec_core.errors import UsageError, one_of
from cladec_core.networks import DECODER_STYLES
from cladec_core.training import ADAM, Recipe

FASTER = Recipe("adam", 1e-3, 1e-5)  # a larger step than the paper's 3e-4, for shorter trainings than the paper's


@dataclass(frozen=True)
class Seeds:
    """What the random numbers of a layer's two trainings are derived from, besides the run's seed.

    In each text, `{layer}` stands for the layer's name, `{part}` for the same with the channels that are explained, and
    `{alpha}` for the weight of the classification loss where there is one.

    Attributes
    ----------
    decoder, reference
        Of the initial weights of ClaDec's decoder, and of the reference's encoder and decoder.
    decoder_order, reference_order
        Of the order of the images in either training.
    again
        Whether the weights of the reference's decoder are drawn from the beginning again, as its encoder's, or go on
        from these.
    """

    decoder: str = "{layer}/decoder"
    reference: str = "{layer}/reference"
    decoder_order: str = "{layer} ClaDec/order"
    reference_order: str = "{layer} reference/order"
    again: bool = False

    def derive(self, which: str, seed: int, layer: str, channels: Sequence[int] | None, alpha: float) -> int:
        """Derive a seed.

        Parameters
        ----------
        which
            "decoder", "reference", "decoder_order" or "reference_order".
        seed, layer, channels, alpha
            The run's seed, the layer, the channels that are explained (None: all), and the weight of the classification
            loss.

        Returns
        -------
        int
            As `training.derive_seed`.
        """
        part = layer if channels is None else f"{layer} channels {span(channels)}"
        text: str = getattr(self, which)
        return training.derive_seed(seed, text.format(layer=layer, part=part, alpha=f" α={alpha}" if alpha else ""))


@dataclass(frozen=True)
class Protocol:
    """How decoders and references are trained.

    Attributes
    ----------
    recipe
        The optimiser of both.
    style, sigmoid
        Of the decoder, as in `networks.decoder`.
    narrow_below
        Fewer images than this get a decoder of half the style's width.
    mean_loss
        Whether squared errors are averaged over pixels instead of summed.
    standardise
        Whether images are standardised per channel before anything else, or taken as they are.
    scale_codes
        Whether each channel of the activations is standardised for the decoder, which then learns as fast from a layer
        of small activations as from one of large ones.
    shuffle
        Whether images are put in a random order before some are held out.
    hold_out
        Whether some images are held out, on which the loss is measured: the training ends when that is flat.
    epochs, batch_size
        Of both trainings; None: chosen by the number and the size of the images.
    keep_bytes
        Activations of a layer of at most so many bytes are computed once, others for each batch; None: a share of the
        memory that is free.
    seeds
        Where the random numbers come from.

    Raises
    ------
    UsageError
        For an unknown style, or numbers below 1.
    """

    recipe: Recipe = FASTER
    style: str = "code"
    narrow_below: int = 5000
    sigmoid: bool = False
    mean_loss: bool = False
    standardise: bool = True
    scale_codes: bool = True
    shuffle: bool = True
    hold_out: bool = True
    epochs: int | None = None
    batch_size: int | None = None
    keep_bytes: int | None = None
    seeds: Seeds = Seeds()

    def __post_init__(self) -> None:
        one_of("decoder style", self.style, DECODER_STYLES)
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; valid: an integer from 1, or None.")


# The explainer's own: minutes for a thousand images of somebody's.
PRACTICAL = Protocol()
# The paper's (section A.0) and its authors' program's: images as the data set brings them, and all of them trained on.
PAPER = Protocol(
    recipe=ADAM, narrow_below=0, standardise=False, scale_codes=False, shuffle=False, hold_out=False, epochs=64,
    batch_size=training.BATCH_SIZE, keep_bytes=1_500_000_000,
    seeds=Seeds(
        decoder="decoder {part}/weights", reference="RefAE {layer}/weights",
        decoder_order="decoder {part}{alpha}/order", reference_order="RefAE {layer}/order", again=True,
    ),
)  # fmt: skip


def span(channels: Sequence[int]) -> str:
    """Name a subset briefly where it is a run of neighbours: `0-9`; else list it."""
    first, last = channels[0], channels[-1]
    return f"{first}-{last}" if list(channels) == list(range(first, last + 1)) else ",".join(map(str, channels))
