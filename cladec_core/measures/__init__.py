"""Every number that is reported about images, codes and predictions; nothing here trains or draws."""

from cladec_core.measures.codes import (
    PROBE_FEATURES,
    PROBE_IMAGES,
    Pool,
    code_statistics,
    distance_rank_correlation,
    linear_probe,
)
from cladec_core.measures.correlations import correlation, rank_correlation
from cladec_core.measures.intervals import of_share, over_images, over_seeds
from cladec_core.measures.reconstructions import (
    accuracy,
    class_means,
    concepts_kept,
    cross_entropy,
    distance,
    loss_rank_correlation,
    mean_image,
    pixel_correlation,
    reconstruction_losses,
    sharpness,
    within_class_share,
    within_class_variance,
)
from cladec_core.measures.saliency import gradcam

__all__ = [
    "PROBE_FEATURES", "PROBE_IMAGES", "Pool", "accuracy", "class_means", "code_statistics", "concepts_kept",
    "correlation", "cross_entropy", "distance", "distance_rank_correlation", "gradcam", "linear_probe",
    "loss_rank_correlation", "mean_image", "of_share", "over_images", "over_seeds", "pixel_correlation",
    "rank_correlation", "reconstruction_losses", "sharpness", "within_class_share", "within_class_variance",
]  # fmt: skip
