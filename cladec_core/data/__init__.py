"""Data sets as tensors."""

from cladec_core.data.files import EMBEDDED
from cladec_core.data.images import (
    DATASETS,
    DIGIT_CLASSES,
    FASHION_CLASSES,
    RESIZE_MODES,
    SIZE,
    ImageData,
    check_limit,
    default_data_dir,
    load,
)

__all__ = [
    "DATASETS", "DIGIT_CLASSES", "EMBEDDED", "FASHION_CLASSES", "RESIZE_MODES", "SIZE", "ImageData", "check_limit",
    "default_data_dir", "load",
]  # fmt: skip
