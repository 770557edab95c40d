"""Labels from the names of folders: which output of the model each class is, and signs that the order is wrong."""

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor

from cladec_core.errors import UsageError

HOW = "name the model's classes in the order of its outputs with --classes FILE"
PERHAPS = f"perhaps the folders are not in the order of the model's outputs; {HOW}."


def read_class_names(path: Path) -> list[str]:
    """Read the names of a model's classes: one in each line, in the order of its outputs.

    Raises
    ------
    UsageError
        If the file cannot be read as UTF-8, has an empty line, a name twice or fewer than two names.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--classes {path} cannot be read as text in UTF-8: {error}.") from error
    if "" in names:
        raise UsageError(f"--classes {path} has nothing in line {names.index('') + 1}; valid: a class in each line.")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise UsageError(f"--classes {path} names {twice[0]!r} more than once; valid: each class once.")
    if len(names) < 2:
        raise UsageError(f"--classes {path} names {len(names)} classes; valid: from 2, one in each line.")
    return names


def class_order(folder: Path, given: Path | None, in_checkpoint: Sequence[str]) -> tuple[list[str] | None, str]:
    """Find out in which order the model counts its classes.

    Parameters
    ----------
    folder
        Each of its subfolders is a class.
    given
        The user's file of names; it goes before the checkpoint.
    in_checkpoint
        Names that the checkpoint has; empty if it has none.

    Returns
    -------
    classes
        Names in the order of the outputs; None if nothing says it.
    told
        Where the order is from, in words.

    Raises
    ------
    UsageError
        If the file cannot be used.
    """
    if given is not None:
        return read_class_names(given), f"that of {given.name}"
    if not in_checkpoint:
        return None, "alphabetical by the names of the folders"
    unknown = [name for name in class_folders(folder) if name not in in_checkpoint]
    if unknown:
        return None, f"alphabetical by the names of the folders, as the checkpoint has no class {unknown[0]!r}"
    return list(in_checkpoint), "that of the names in the checkpoint"


def class_folders(folder: Path) -> list[str]:
    """Names of the subfolders that stand for classes, in alphabetical order.

    Raises
    ------
    UsageError
        If there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"--images {folder} is no folder.")
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def number_classes(folder: Path, classes: Sequence[str] | None) -> dict[str, int]:
    """The output of the model that each class is: name -> number.

    Parameters
    ----------
    folder
        Each of its subfolders is a class.
    classes
        All classes in the order of the model's outputs; None: the subfolders, empty ones too, in alphabetical order.

    Raises
    ------
    UsageError
        For a subfolder that is none of `classes`.
    """
    found = class_folders(folder)
    ordered = found if classes is None else classes
    for name in found:
        if name not in ordered:
            some = get_close_matches(name, ordered, n=3) or list(ordered[:5])
            raise UsageError(
                f"--images {folder} has the class folder {name!r}; valid: the {len(ordered)} classes of the model, "
                f"such as {', '.join(some)}."
            )
    return {name: number for number, name in enumerate(ordered)}


def outputs_doubt(classes: Sequence[str], labels: Tensor, outputs: int, alphabetical: bool) -> str:
    """Compare the classes with the number of the model's outputs, before anything is trained.

    Parameters
    ----------
    classes
        Names in label order.
    labels
        int64, (n,).
    outputs
        Logits of the model.
    alphabetical
        Whether the order is only that of the folders' names.

    Returns
    -------
    str
        A warning; empty if the numbers agree.

    Raises
    ------
    UsageError
        For a label that is no output of the model.
    """
    if len(classes) == outputs:
        return ""
    given = "class folders, numbered in alphabetical order," if alphabetical else "names of classes"
    doubt = f"There are {len(classes)} {given} and {outputs} outputs of the model"
    if int(labels.max()) >= outputs:
        raise UsageError(f"{doubt}, so that some label is no output; {HOW}.")
    return f"{doubt}: labels and accuracy are right only if the first {len(classes)} outputs are these; else {HOW}."


def accuracy_doubt(prediction: Tensor, labels: Tensor, outputs: int) -> str:
    """Look for signs that the labels do not follow the order of the model's outputs.

    The first sign is an accuracy below chance. The second is that another assignment of classes to outputs is better
    by more than two standard errors: it is made from one half of the images, and judged by the other.

    Parameters
    ----------
    prediction, labels
        int64, (n,).
    outputs
        Logits of the model.

    Returns
    -------
    str
        A warning; empty if there is no sign.
    """
    right = (prediction == labels).double()
    accuracy, chance = right.mean().item(), 1 / outputs
    if accuracy < chance:
        return f"The classifier is right on {accuracy:.1%} of the images, below chance ({chance:.1%}): {PERHAPS}"
    assigned = torch.full((outputs,), -1)
    seen, unseen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).chunk(2)
    for label, output in _assignment(prediction[seen], labels[seen]).items():
        assigned[label] = output
    gain = (prediction[unseen] == assigned[labels[unseen]]).double() - right[unseen]
    if len(unseen) > 1 and gain.mean() > 2 * gain.std() / len(gain) ** 0.5:
        return (
            f"The classifier is right on {accuracy:.1%} of the images, with its classes in another order on "
            f"{min(1.0, accuracy + gain.mean().item()):.0%}: {PERHAPS}"
        )
    return ""


def _assignment(prediction: Tensor, labels: Tensor) -> dict[int, int]:
    """Label -> the output that most of its images have, each output once, the commonest pair first."""
    found: dict[int, int] = {}
    for (label, output), _ in Counter(zip(labels.tolist(), prediction.tolist(), strict=True)).most_common():
        if label not in found and output not in found.values():
            found[label] = output
    return found
