"""Networks: classifiers with named layers, decoders, and the convolutions that they are made of."""

from cladec_core.networks.classifiers import ARCHITECTURES, INDEX_MAPS, LAYER_INDEX, Classifier, classifier, layer_name
from cladec_core.networks.decoders import DECODER_STYLES, WIDTHS, decoder, encoder, resize
from cladec_core.networks.modules import Frozen, Select, activation_shape, capture, check_layer, in_eval_mode

__all__ = [
    "ARCHITECTURES", "DECODER_STYLES", "INDEX_MAPS", "LAYER_INDEX", "WIDTHS", "Classifier", "Frozen", "Select",
    "activation_shape", "capture", "check_layer", "classifier", "decoder", "encoder", "in_eval_mode", "layer_name",
    "resize",
]  # fmt: skip
