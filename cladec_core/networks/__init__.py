"""Networks: classifiers with named layers, decoders, and the convolutions that they are made of."""

from cladec_core.networks.classifiers import ARCHITECTURES, INDEX_MAPS, LAYER_INDEX, Classifier, classifier, layer_name
from cladec_core.networks.decoders import DECODER_STYLES, decoder
from cladec_core.networks.modules import Frozen, Select, activation_shape, in_eval_mode

__all__ = [
    "ARCHITECTURES", "DECODER_STYLES", "INDEX_MAPS", "LAYER_INDEX", "Classifier", "Frozen", "Select",
    "activation_shape", "classifier", "decoder", "in_eval_mode", "layer_name",
]  # fmt: skip
