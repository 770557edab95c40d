"""What the method can be run on: data sets, classifiers, numbers of units. Importing this module imports no torch."""

from cladec_core.errors import UsageError, one_of

GARMENTS = "fashion_mnist"
MOSAICS = ("digits", "mnist")
KNOWN = (*MOSAICS, GARMENTS)  # data sets whose parts are known, or can be made so
CHAINS = ("vgg5", "vgg11", "vgg11_maxpool")  # all their layers are modules with a rule of excitation backprop
DIGITS = 10
UNITS = 128  # of the layer that is explained


def check_known(name: str) -> None:
    """Refuse a data set of which nobody knows the parts.

    Raises
    ------
    UsageError
        For any that is not in `KNOWN`.
    """
    one_of("dataset with known parts", name, KNOWN)


def check_chain(architecture: str) -> None:
    """Refuse a classifier through which excitation backprop does not conserve probability.

    The sum at the end of a residual block is a function, not a module, so zennit has no rule for it: both of its inputs
    would get all of the probability.

    Raises
    ------
    UsageError
        For any that is not in `CHAINS`.
    """
    if architecture not in CHAINS:
        raise UsageError(
            f"architectures is {architecture!r}; valid: {', '.join(CHAINS)}, whose layers all have a rule of "
            "excitation backprop (sums of residual blocks have none)."
        )
