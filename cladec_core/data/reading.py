"""How each data set is read."""

from cladec_core.data.datasets import DATASETS, EMBEDDED, DataSet
from cladec_core.data.files import Reader, Request, Stored, digits, torchvision_set
from cladec_core.data.folders import read_folder
from cladec_core.data.listing import list_folder
from cladec_core.errors import RunError


def _cifar100(request: Request) -> Stored:
    """Read CIFAR-100 from torchvision's archive, or from image folders where the archive is not there."""
    folder = request.data_dir / "cifar100"
    if (request.data_dir / "cifar-100-python").exists() or not folder.is_dir():
        return torchvision_set("CIFAR100")(request)
    listing, whole = list_folder(folder), DATASETS["cifar100"]
    counts = len(listing.train), len(listing.test)
    if tuple(name.replace("_", " ") for name in listing.classes) != whole.classes:
        raise RunError(f"{folder} does not have the {len(whole.classes)} classes of CIFAR-100.")
    if counts != (whole.train_count, whole.test_count):
        raise RunError(
            f"{folder} has {counts[0]} images to train and {counts[1]} to test; CIFAR-100 has {whole.train_count} and "
            f"{whole.test_count}."
        )
    return read_folder(listing, request)


READERS: dict[str, Reader] = {
    EMBEDDED: digits,
    "mnist": torchvision_set("MNIST"),
    "fashion_mnist": torchvision_set("FashionMNIST"),
    "cifar10": torchvision_set("CIFAR10"),
    "cifar100": _cifar100,
}


def read(chosen: DataSet, request: Request) -> Stored:
    """Read the images of a data set.

    Raises
    ------
    RunError
        If files are missing and cannot be downloaded, or are damaged.
    """
    return READERS[chosen.name](request) if chosen.listing is None else read_folder(chosen.listing, request)
