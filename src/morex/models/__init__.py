"""Models: callables from images (N, C, H, W) in [0, 1] to logits (N, K).

=================  ===============================================================================
``architectures``  the names of architectures, and what they stand for
``network``        what all networks share: a configuration, normalisation inside
``resnet``         residual networks
``preact``         pre-activation networks: PreAct-ResNet-18, WideResNets
``timm_network``   networks of timm
``networks``       makes the network of a configuration
``conv_bn``        a convolution and its BatchNorm, folded while nothing learns
``gates``          the gate of a mixture that experts have joined
``mixture``        f(x) = sum_i softmax(g(x))_i E_i(x), and mixtures without a gate
``routing``        sparse mixtures: which experts an image is sent to
``answers``        what the experts and the gate of a model answer, each by itself
``extend``         adds experts to a trained mixture, or removes some
``compiled``       the networks of a model, compiled in place for a while
``external``       classifiers that morex did not make
``in_place``       copies of images for networks that may change them
``made_by``        modules of the user in a model that is saved
``kinds``          the kinds of models that can be saved, and their form in JSON
``save``           writes a model to a folder
``tied``           one tensor that a model holds under several names
``folder``         reads a model's folder: safetensors and JSON
``image_check``    whether a loaded model is given images that it can classify
``missing``        what may have been meant by a name that is not there
``named_model``    what a model that is given by its name answers
``named``          a model by its name: a folder, a shipped model, the hub, RobustBench, a factory
``hub``            models on the Hugging Face hub
``published``      weights that others have published
``dialects``       the names that networks of the literature give to their tensors
``robustbench``    models of RobustBench
``errors``         the error about models that cannot be saved or loaded
=================  ===============================================================================

The folder ``pretrained`` holds the models that come with morex.
"""

from morex.models.errors import ModelError
from morex.models.extend import regrouped
from morex.models.mixture import Ensemble, LargestLogit, MeanOfExperts, Mixture
from morex.models.named import load_model, open_model
from morex.models.named_model import NamedModel
from morex.models.network import Network, NetworkConfig
from morex.models.networks import make_network
from morex.models.preact import PreActResNet
from morex.models.published import load_published
from morex.models.resnet import ResNet
from morex.models.routing import Routing, sparse
from morex.models.save import save_model

__all__ = [
    "Ensemble",
    "LargestLogit",
    "MeanOfExperts",
    "Mixture",
    "ModelError",
    "NamedModel",
    "Network",
    "NetworkConfig",
    "PreActResNet",
    "ResNet",
    "Routing",
    "load_model",
    "load_published",
    "make_network",
    "open_model",
    "regrouped",
    "save_model",
    "sparse",
]
