"""``morex predict``: what a saved model says of pictures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from morex.data import DataError, read_pictures
from morex.mixture import Mixture
from morex.saving import load_about, load_model


def predict_pictures(model: str, pictures: Sequence[Path]) -> Iterator[str]:
    """Yield one line per picture: file, class, probability, and the gate's weights of a mixture.

    Raises:
        ModelError: if there is no such model.
        DataError: if a picture cannot be read.
    """
    network, about = load_model(model), load_about(model)
    x = _read(pictures, tuple(about.get("image_size", ()))) / 255
    with torch.no_grad():
        probabilities = torch.softmax(network(x).float(), dim=1)
        gate = network.gate_weights(x) if isinstance(network, Mixture) else None
    classes = about.get("classes") or [str(k) for k in range(probabilities.shape[1])]
    for n, picture in enumerate(pictures):
        best = int(probabilities[n].argmax())
        line = f"{picture}: {classes[best]} ({100 * float(probabilities[n, best]):.1f}%)"
        if isinstance(network, Mixture) and gate is not None:
            weights = zip(network.expert_names, gate[n].tolist(), strict=True)
            line += "; gate: " + ", ".join(f"{name} {weight:.2f}" for name, weight in weights)
        yield line


def _read(pictures: Sequence[Path], size: tuple[int, ...]) -> torch.Tensor:
    """Read pictures at the size (H, W) that a model was trained on; resize to squares only."""
    if len(set(size)) == 1:
        return read_pictures(pictures, size[0])
    x = read_pictures(pictures, None)
    if size and x.shape[2:] != size:
        raise DataError(
            f"{pictures[0]} has {x.shape[2]}x{x.shape[3]} pixels, the model was trained on "
            f"{size[0]}x{size[1]}; resize the picture"
        )
    return x
