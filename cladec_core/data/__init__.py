"""Data sets as tensors."""

from cladec_core.data.cache import default_cache_dir
from cladec_core.data.datasets import DATASETS, DataSet, data_set, record_key
from cladec_core.data.files import EMBEDDED
from cladec_core.data.images import RESIZE_MODES, SIZE, ImageData, check_limit, default_data_dir, load
from cladec_core.data.listing import list_folder
from cladec_core.data.pictures import read_image, resized

__all__ = [
    "DATASETS", "EMBEDDED", "RESIZE_MODES", "SIZE", "DataSet", "ImageData", "check_limit", "data_set",
    "default_cache_dir", "default_data_dir", "list_folder", "load", "read_image", "record_key", "resized",
]  # fmt: skip
