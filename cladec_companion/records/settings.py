"""What a run can be asked for: every parameter once, typed, checked, with a value in each profile.

A notebook cell, the command line and a cluster job all end in `settings_for`; there is no other way to make a
configuration, so a value that cannot be used is refused before anything runs.
"""

import hashlib
import json
import math
import types
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from cladec_companion.records.profiles import PROFILES
from cladec_core import data, networks
from cladec_core.errors import UsageError, one_of

AS_PAPER = object()  # the value of `overnight` where nothing else is said

SEEDS = (0, 2**31 - 1)
WIDTHS = (0.05, 4.0)
NIGHT_EPOCHS = 16
ALL = "all"  # a limit of None by name, for notebooks: their None stands for the profile's value


def parameter(
    smoke: Any, quick: Any, laptop: Any, paper: Any, help: str, *, overnight: Any = AS_PAPER, axis: bool = False,
    limits: tuple[float, float] | None = None, of: Iterable[str] | None = None,
    check: Callable[[Any], object] | None = None, spoken: str = "", trains: str = "",
) -> Any:  # fmt: skip
    """Declare a parameter.

    Parameters
    ----------
    smoke, quick, laptop, paper, overnight
        Its value in each profile; that of `overnight` is the paper's where none is given.
    help
        What it is.
    axis
        Whether it is an axis of the grid. Values along an axis (a seed, a layer) are cells of one record; a change of
        any other parameter makes a record of its own.
    limits, of
        The smallest and the largest number, or the names, that are valid; in a list, for each value.
    check
        Refuses a value that is none of these, where names are not all.
    spoken
        What the tables of a page call it, where that is not its name.
    trains
        Of a number of epochs, what is trained for so long.
    """
    night = paper if overnight is AS_PAPER else overnight
    values = dict(zip(PROFILES, (smoke, quick, laptop, night, paper), strict=True))
    valid = {"limits": limits, "of": of, "check": check}
    said = {"spoken": spoken, "trains": trains}
    return field(default=quick, metadata={"profiles": values, "help": help, "axis": axis, **valid, **said})


def names_of(
    smoke: Any, quick: Any, laptop: Any, paper: Any, *, help: str, of: Iterable[str], overnight: Any = AS_PAPER
) -> Any:
    """Declare an axis of names."""
    what = f"{help}, of {', '.join(of)}"
    return parameter(smoke, quick, laptop, paper, what, overnight=overnight, axis=True, of=of)


def data_sets(laptop: Any, paper: Any, *, overnight: Any = AS_PAPER) -> Any:
    """Declare the data sets of `laptop` and `paper`; the shorter profiles have the embedded digits."""
    what = f"data sets, of {', '.join(data.DATASETS)}, or folder:PATH"
    return parameter(
        ("digits",), ("digits",), laptop, paper, what, overnight=overnight, axis=True, check=data.record_key
    )


def classifiers(*values: Any, overnight: Any = AS_PAPER) -> Any:
    """Declare the classifiers to explain."""
    return names_of(*values, help="classifiers to explain", of=networks.LAYOUTS, overnight=overnight)


def epochs_of(smoke: int, quick: int, laptop: int, paper: int, *, of: str, overnight: int = NIGHT_EPOCHS) -> Any:
    """Declare how long something is trained."""
    what = f"epochs of {of}"
    return parameter(smoke, quick, laptop, paper, what, overnight=overnight, limits=(1, 10_000), trains=of)


def images_used(
    smoke: int | None, quick: int | None, laptop: int | None, paper: int | None, *, do: str = "train"
) -> Any:
    """Declare how many images are used."""
    return parameter(smoke, quick, laptop, paper, f"{do} on the first so many images; None: all")


@dataclass(frozen=True)
class Parameters:
    """Base of every configuration: a name, a profile, and fields made by `parameter`."""

    experiment: ClassVar[str] = ""
    profile: str = "quick"

    def __post_init__(self) -> None:
        """Check every value against its declaration."""
        for item in fields(self):
            value, valid = getattr(self, item.name), item.metadata
            if valid.get("axis") and isinstance(value, tuple):
                check_axis(item.name, value)
            for each in value if isinstance(value, tuple) else (value,):
                if valid.get("limits"):
                    check_range(item.name, each, *valid["limits"])
                if valid.get("check"):
                    valid["check"](each)
                elif valid.get("of"):
                    one_of(item.name.removesuffix("s"), each, valid["of"])

    def configuration(self) -> dict[str, Any]:
        """Everything that is not an axis, as JSON types: what all cells of one record have in common."""
        axes = {item.name for item in fields(self) if item.metadata.get("axis")}
        values = {key: value for key, value in asdict(self).items() if key not in axes | {"profile"}}
        return json.loads(json.dumps(values))

    def record_name(self) -> str:
        """Folder of this configuration's record: the profile, with a mark if a parameter was changed."""
        default = settings_for(type(self), self.profile)
        if self.configuration() == default.configuration():
            return self.profile
        text = json.dumps(self.configuration(), sort_keys=True)
        return f"{self.profile}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Settings(Parameters):
    """Parameters that every trained experiment shares (section A.0)."""

    datasets: tuple[str, ...] = data_sets(
        ("fashion_mnist", "mnist"),
        ("fashion_mnist", "mnist", "cifar100"),
        overnight=("cifar100", "mnist", "fashion_mnist"),
    )
    architectures: tuple[str, ...] = classifiers(*(("vgg11",),) * 3, ("vgg11", "resnet10"), overnight=("vgg11",))
    seeds: tuple[int, ...] = parameter(
        (0,), (0,), (0,), (0, 1, 2, 3, 4), "one run for each", overnight=(0,), axis=True, limits=SEEDS
    )
    classifier_epochs: int = epochs_of(1, 6, 4, 64, of="the classifier and of the evaluation classifiers")
    decoder_epochs: int = epochs_of(1, 4, 4, 64, of="the decoders and of the RefAE")
    # The few images of `quick` make few steps: small batches bring a network further in the same time.
    batch_size: int = parameter(32, 32, 128, 128, "images per training step", limits=(2, 65_536))
    train_limit: int | None = images_used(160, None, 20_000, None)
    test_limit: int | None = images_used(80, None, None, None, do="test")
    width: float = parameter(0.125, 1.0, 1.0, 1.0, "factor on the channels of every classifier layer", limits=WIDTHS)
    decoder_style: Literal["code", "table1"] = parameter(*("code",) * 4, "decoder of the authors' code, or of Table 1")
    resize: Literal["nearest", "bilinear"] = parameter(*("nearest",) * 4, "interpolation to 32x32")

    def __post_init__(self) -> None:
        """Check everything that can be checked without reading data."""
        super().__post_init__()
        for name in ("train_limit", "test_limit"):
            data.check_limit(name, getattr(self, name))


def settings_for(kind: type[Parameters], profile: str = "quick", **changes: Any) -> Any:
    """Make a checked configuration from a profile and changes to it.

    Parameters
    ----------
    kind
        The parameters of a chapter.
    profile
        One of `PROFILES`.
    **changes
        Parameters by name. Where a parameter can be None, None and "all" both mean it; else None means the profile's
        value.

    Raises
    ------
    UsageError
        For an unknown profile or parameter, a wrong type or a value out of range. The message
        names the value and says what is valid.
    """
    one_of("profile", profile, PROFILES)
    declared = {item.name: item for item in fields(kind) if item.name != "profile"}
    hints = get_type_hints(kind)
    values = {name: item.metadata["profiles"][profile] for name, item in declared.items()}
    for name, value in changes.items():
        one_of(f"parameter of {kind.experiment}", name, declared)
        if type(None) in get_args(hints[name]) and value in (None, ALL):
            values[name] = None
        elif value is not None:
            values[name] = _typed(name, value, hints[name])
    return replace(kind(profile=profile), **values)


def _typed(name: str, value: Any, hint: Any) -> Any:
    """Convert lists to tuples and whole numbers to floats; refuse any other type than the declared one."""
    origin, options = get_origin(hint), get_args(hint)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UsageError(f"{name} is {value!r}; valid: a list, such as [{value!r}].")
        return tuple(_typed(name, item, options[0]) for item in value)
    if origin is Literal:
        one_of(name, value, options)
        return value
    if origin in (Union, types.UnionType):
        allowed = tuple(option for option in options if option is not type(None))
    else:
        allowed = (hint,)
    if float in allowed and type(value) in (int, float):
        value = float(value) + 0.0  # no negative zero: cells are named after values
    if type(value) not in allowed or (type(value) is float and not math.isfinite(value)):
        names = " or ".join([option.__name__ for option in allowed] + [ALL] * (type(None) in options))
        raise UsageError(f"{name} is {value!r} ({type(value).__name__}); valid: {names}.")
    return value


def check_axis(name: str, values: tuple) -> None:
    """Refuse an axis without values, or with one twice.

    Raises
    ------
    UsageError
        For either.
    """
    if not values or len(set(values)) < len(values):
        problem = "empty" if not values else "repeated"
        raise UsageError(f"{name} is {list(values)} ({problem}); valid: a list of different values, at least one.")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside of a range, ends included.

    Raises
    ------
    UsageError
        If the number is outside.
    """
    if not low <= value <= high:
        raise UsageError(f"{name} is {value}; valid: from {low} to {high}.")
