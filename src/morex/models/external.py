"""Models that morex did not make: any torch classifier, by the function that makes it.

The function is named as ``path/to/file.py:factory`` or ``package.module:factory``.

Attacks work on pixels in [0, 1]. Classifiers that expect another range, or normalised pixels, are
wrapped here. Whether the declared range is the right one is checked by trying the others.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from morex.artifacts.statistics import BoolArray, Comparison
from morex.core.checksums import digest_of_tensors
from morex.core.near import hint
from morex.core.number_checks import check_numbers
from morex.core.object_store import is_url
from morex.core.trust import is_address
from morex.core.units import with_article
from morex.core.user_code import UserCodeError, absolute, called, object_named

RANGES: Mapping[str, tuple[float, float]] = {
    "0..1": (0.0, 1.0),
    "-1..1": (-1.0, 1.0),
    "0..255": (0.0, 255.0),
}
"""The ranges of pixels on which classifiers are trained."""

_SURE = 0.0025
"""Another range is reported if p is below it: 1% for four ranges."""


class ForeignModelError(ValueError):
    """A classifier cannot be imported, made or used."""


class Rescaled(nn.Module):
    """Turns a classifier of normalised pixels in [low, high] into a model of pixels in [0, 1].

    Args:
        classifier: images to logits.
        low, high: the values of black and white.
        mean, std: per channel, subtracted and divided by after the change of range.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        classifier: nn.Module,
        low: float = 0.0,
        high: float = 1.0,
        mean: tuple[float, ...] = (0.0,),
        std: tuple[float, ...] = (1.0,),
    ) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise ForeignModelError(
                f"mean and std need the same length and std > 0, got {mean} and {std}"
            )
        self.classifier = classifier
        deviation = torch.tensor(std).view(-1, 1, 1)
        shift = (low - torch.tensor(mean).view(-1, 1, 1)) / deviation
        self.register_buffer("scale", (high - low) / deviation, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of images in [0, 1]."""
        logits: Tensor = self.classifier(x * self.scale + self.shift)
        return logits


@dataclass(frozen=True)
class ForeignConfig:
    """A factory, and the pixels that its classifier expects.

    Args:
        factory: ``path/to/file.py:factory`` or ``package.module:factory``.
        input_range: the range of its pixels, a key of ``RANGES``.
        mean, std: per channel, subtracted and divided by afterwards; empty for neither.
        last_layer: the dotted name of its last linear layer, which a mixture fine-tunes.

    Raises:
        ForeignModelError: if the range is unknown.
        ValueError: if a number is no number.
    """

    factory: str
    input_range: str = "0..1"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    last_layer: str = "fc"

    def __post_init__(self) -> None:
        """Check the range and the numbers."""
        check_numbers(self)
        if self.input_range not in RANGES:
            known = ", ".join(RANGES)
            near = hint(self.input_range, RANGES)
            raise ForeignModelError(
                f"input range {self.input_range}: expected one of {known}{near}"
            )

    @property
    def path(self) -> str:
        """The dotted name of the last linear layer within ``Foreign``."""
        return f"classifier.{self.last_layer}"


class Foreign(Rescaled):
    """The classifier that a factory makes, as a model of pixels in [0, 1].

    Args:
        config: the factory, and the pixels that its classifier expects.
        classifier: a module that the factory has made; by default it is called.

    Raises:
        ForeignModelError: if it cannot be made.
    """

    def __init__(self, config: ForeignConfig, classifier: nn.Module | None = None) -> None:
        low, high = RANGES[config.input_range]
        numbers = {"mean": config.mean, "std": config.std} if config.mean or config.std else {}
        if classifier is None:
            classifier = import_model(config.factory)
        super().__init__(classifier, low, high, **numbers)
        self.config = config

    @property
    def last_layer(self) -> str:
        """The dotted name of the last linear layer."""
        return self.config.path

    def to_json(self, describe: Callable[[nn.Module], dict[str, Any]]) -> dict[str, Any]:
        """Return its configuration; the path of a factory becomes absolute."""
        return asdict(self.config) | {"factory": absolute(self.config.factory)}

    @classmethod
    def from_json(
        cls, form: Mapping[str, Any], build: Callable[[Mapping[str, Any]], nn.Module]
    ) -> "Foreign":
        """Import and call the factory of a configuration, and return its classifier."""
        return cls(ForeignConfig(**form))

    def digest(self) -> str:
        """Return a checksum of the weights."""
        return digest_of_tensors(self.state_dict().items())


def is_factory(name: str) -> bool:
    """Return whether ``name`` is that of a factory, and not a folder or an address."""
    return ":" in name and not (is_address(name) or is_url(name) or Path(name).exists())


def import_model(name: str) -> nn.Module:
    """Return the torch module that a factory makes; a function is wrapped in one.

    Args:
        name: ``path/to/file.py:factory`` or ``package.module:factory``, a function without
            arguments or the class of a module; or a module itself.

    Raises:
        ForeignModelError: if it cannot be imported or called, or does not make a model.
    """
    try:
        factory = object_named(name).value
        if isinstance(factory, nn.Module):
            return factory
        made = called(name, factory)
    except UserCodeError as error:
        raise ForeignModelError(str(error)) from error
    if isinstance(made, nn.Module):
        return made
    if callable(made):
        return _Called(made)
    raise ForeignModelError(
        f"{name} returned an object of type {type(made).__name__}; expected a torch module, or a "
        "function from images to logits"
    )


class _Called(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Return the function's logits."""
        return self.function(x)


def check_answers(model: nn.Module, x: Tensor, classes: int, *, finite: bool = True) -> None:
    """Raise ``ForeignModelError`` unless the model gives a logit per class and image.

    Args:
        model: the model.
        x: some images.
        classes: the number of classes.
        finite: whether the logits have to be finite.
    """
    try:
        with torch.no_grad():
            logits: Any = model(x)
    except Exception as error:
        raise ForeignModelError(
            f"the model does not accept images of shape {tuple(x.shape)}: {error}"
        ) from error
    shape = tuple(getattr(logits, "shape", ()))
    if shape != (len(x), classes):
        raise ForeignModelError(
            f"the model returned {shape or type(logits).__name__} for {len(x)} images of {classes} "
            "classes; expected one logit for each image and class"
        )
    if not (torch.is_tensor(logits) and logits.is_floating_point()):
        kind = logits.dtype if torch.is_tensor(logits) else with_article(type(logits).__name__)
        raise ForeignModelError(f"the model returned {kind}; expected floating-point logits")
    if finite and not logits.isfinite().all():
        raise ForeignModelError(
            "the model returned logits that are not finite for images in [0, 1]; expected finite "
            "ones"
        )


@torch.no_grad()
def better_range(
    classifier: nn.Module,
    declared: nn.Module,
    x: Tensor,
    y: Tensor,
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
) -> str | None:
    """Return a sentence on a range with a higher clean accuracy; None if there is none.

    It has to be higher beyond chance (McNemar's exact test, p < 0.0025).

    Args:
        classifier: the bare classifier.
        declared: the same classifier as a model of pixels in [0, 1], with the declared range.
        x: images in [0, 1].
        y: labels.
        statistics: the mean and standard deviation of the data's pixels, per channel.
    """

    def right(model: nn.Module) -> BoolArray:
        logits = model(x)
        found = (logits.argmax(1) == y) & logits.isfinite().all(1)
        answer: BoolArray = found.cpu().numpy()
        return answer

    candidates: dict[str, nn.Module] = {
        f"--input-range {name}": Rescaled(classifier, *ends) for name, ends in RANGES.items()
    }
    mean, std = statistics
    numbers = (",".join(f"{v:.4g}" for v in values) for values in (mean, std))
    candidates["--mean {} --std {}".format(*numbers)] = Rescaled(classifier, mean=mean, std=std)
    found = {name: right(model.to(x.device)) for name, model in candidates.items()}
    best = max(found, key=lambda name: found[name].sum())
    compared = Comparison.of(right(declared), found[best])
    now, then = 100 * compared.first, 100 * compared.second
    if then <= now or compared.p >= _SURE:
        return None
    return f"clean accuracy is {now:.0f}% as declared and {then:.0f}% with {best} (n = {len(y)})"


@torch.no_grad()
def draws(model: nn.Module, x: Tensor) -> bool:
    """Return whether a model gives the same images other logits when it is asked again.

    They differ by more than 1e-4 of the length of an answer, as in AutoAttack's own check.
    """
    first, second = (model(x).double().nan_to_num() for _ in range(2))
    length = first.norm(dim=1).clamp(min=1e-10)
    return bool(((first - second).norm(dim=1) > 1e-4 * length).any())
