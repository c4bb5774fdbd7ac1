"""AutoAttack (Croce & Hein 2020) through ``pyautoattack``, the version that RobustBench uses.

The attacks are the library's. This module adds that fooled examples are not attacked again, that
few classes are allowed, that random states and gradients are restored, and that x' is projected on
ball and box before it is judged.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from morex.attacks.apgd import APGD
from morex.attacks.base import Attack, Passes, check_logits
from morex.attacks.freezing import Model
from morex.attacks.gradients import FiniteGradients
from morex.attacks.pgd import PGD
from morex.attacks.sequence import Search, first_that_fools
from morex.attacks.targeted import Targeted
from morex.core.number_checks import check_numbers
from morex.perturbations import L1, L2, Ball, Linf

AttackName = Literal["apgd-ce", "apgd-t", "fab-t", "square"]

_NORMS: dict[type[Ball], str] = {Linf: "Linf", L2: "L2", L1: "L1"}
_FEWEST_CLASSES = {"apgd-ce": 2, "apgd-t": 4, "fab-t": 2, "square": 2}
"""The targeted difference of logits ratio compares with the third and fourth largest logit."""

_TARGETS, _FAB_TARGETS = {"Linf": 9, "L2": 9, "L1": 5}, 9
"""At most this many targets: of APGD, by norm, and of FAB."""


@dataclass(frozen=True)
class AutoAttack(Attack):
    """AutoAttack's ensemble, or some of its attacks, in their standard configuration.

    The library's ``apgd-t`` needs four classes. With fewer ours takes its place (``APGD``), whose
    loss is the plain margin; in L1, which ours does not search, PGD with that loss does.

    Args:
        perturbation: an Linf, L2 or L1 ball.
        attacks: which ones, in this order; the default is the standard ensemble.
        steps: of APGD and FAB.
        queries: of Square, per example.

    Raises:
        ValueError: if a name is unknown or given twice, or a number is below 1.
        ImportError: when it is used without ``pyautoattack``.
    """

    only_for_evaluation: ClassVar[bool] = True

    perturbation: Ball
    attacks: tuple[AttackName, ...] = ("apgd-ce", "apgd-t", "fab-t", "square")
    steps: int = 100
    queries: int = 5000

    def __post_init__(self) -> None:
        """Check ball, names and budget."""
        check_numbers(self)
        if type(self.perturbation) not in _NORMS:
            raise ValueError(f"AutoAttack needs an Linf, L2 or L1 ball, got {self.perturbation}")
        known = get_args(AttackName)
        repeated = len(set(self.attacks)) < len(self.attacks)
        if not self.attacks or repeated or not set(self.attacks) <= set(known):
            raise ValueError(
                f"AutoAttack knows {', '.join(known)}; expected at least one of them and none "
                f"twice, got {self.attacks}"
            )
        if self.steps < 1 or self.queries < 1:
            raise ValueError(
                f"AutoAttack needs steps and queries >= 1, got {self.steps} and {self.queries}"
            )

    @property
    def norm(self) -> str:
        """AutoAttack's name of the norm."""
        return _NORMS[type(self.perturbation)]

    @property
    def passes(self) -> Passes:
        """The most that the standard budgets cost with ten classes; fooled examples cost less."""
        targets = _TARGETS[self.norm]
        run = Passes(self.steps + 1, self.steps + 1)
        costs = {
            "apgd-ce": run * _restarts(self.norm == "L1"),
            "apgd-t": run * targets,
            "fab-t": run * _FAB_TARGETS,
            "square": Passes(forward=self.queries),
        }
        return sum((costs[name] for name in self.attacks), Passes())

    @property
    def needs_float32(self) -> bool:
        """True: its published figures are those of float32, and FAB measures small distances."""
        return True

    def check_installed(self) -> None:
        """Raise ``ImportError`` if ``pyautoattack`` cannot be used."""
        _library()

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return each example's first fooling image."""
        if not len(x):
            return x
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        with torch.no_grad():
            logits = model(x[:1])
        check_logits(logits, y[:1])
        classes = logits.shape[1]
        searches = self._searches(model, classes, x.device, seed)
        with _isolated(x.device):
            return first_that_fools(model, x, y, searches)

    def _searches(
        self, model: Model, classes: int, device: torch.device, seed: int
    ) -> Iterator[Search]:
        for name in self.attacks:
            if classes < _FEWEST_CLASSES[name]:
                draws = torch.Generator(device).manual_seed(seed)
                for attack in self._towards_few(classes):
                    yield partial(attack.search, model, generator=draws)
                continue

            def search(x: Tensor, y: Tensor, name: AttackName = name) -> Tensor:
                # the library needs single precision, or double in all of its attacks but FAB
                doubled = x.dtype == torch.float64 and name != "fab-t"
                sound = _sound(model, classes, x.dtype, FiniteGradients(y))
                perturb = self._perturb(name, sound, classes, device, seed)
                found = perturb((x if doubled else x.float()).contiguous(), y)
                return self.perturbation.project(found.detach().to(x.dtype), x)

            yield search

    def _towards_few(self, classes: int) -> list[Attack]:
        """Return targeted attacks of ours, for fewer classes than the library's can take."""
        if not isinstance(self.perturbation, L1):
            return [APGD(self.perturbation, self.steps, restarts=0, targets=classes - 1)]
        pgd = PGD(self.perturbation, self.steps, relative_step=10, stop_when_fooled=True)
        return [Targeted(pgd, rank) for rank in range(1, classes)]

    def _perturb(
        self, name: str, model: Model, classes: int, device: torch.device, seed: int
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the ``perturb`` of one of the library's attacks."""
        library, sparse = _library(), self.norm == "L1"
        large = {"use_largereps": True} if sparse else {}
        targets = min(_TARGETS[self.norm], classes - 1)
        kinds: dict[str, Callable[..., Any]] = {
            "apgd-ce": partial(
                library.APGDAttack,
                n_iter=self.steps,
                n_restarts=_restarts(sparse),
                loss="ce",
                **large,
            ),
            "apgd-t": partial(
                library.APGDAttack_targeted, n_iter=self.steps, n_target_classes=targets, **large
            ),
            "fab-t": partial(
                library.FABAttack_PT,
                n_iter=self.steps,
                targeted=True,
                n_target_classes=min(_FAB_TARGETS, classes - 1),
            ),
            "square": partial(
                library.SquareAttack, n_queries=self.queries, p_init=0.8, resc_schedule=False
            ),
        }
        made = kinds[name](
            model, norm=self.norm, eps=self.perturbation.eps, seed=seed, device=device
        )
        perturb: Callable[[Tensor, Tensor], Tensor] = made.perturb
        return perturb


def _sound(model: Model, classes: int, dtype: torch.dtype, gradients: FiniteGradients) -> Model:
    """Return the model as the library's attacks can use it.

    They take the class with the largest logit for the answer. So an answer that is not finite
    becomes one for an additional class, which is never right. Gradients are made finite. Some ask
    for empty batches, which some models cannot take.

    Args:
        model: images to logits.
        classes: its number of classes.
        dtype: what the model gets, whatever the precision of the library.
        gradients: makes them finite.
    """

    def answers(x: Tensor) -> Tensor:
        if not len(x):
            return x.new_zeros(0, classes)
        logits = model(gradients.of(x).to(dtype)).to(x.dtype)
        gradients.answered(x, logits)
        if x.requires_grad and not logits.requires_grad:  # a constant has a gradient of zero
            logits = logits + 0 * x.flatten(1)[:, :1]
        sound = logits.isfinite().all(1, keepdim=True)
        if bool(sound.all()):
            return logits
        none = torch.cat([torch.zeros_like(logits), torch.ones_like(logits[:, :1])], 1)
        never = torch.full_like(logits[:, :1], torch.finfo(logits.dtype).min / 2)
        return torch.where(sound, torch.cat([logits, never], 1), none)

    return answers


def _restarts(sparse: bool) -> int:
    """Return the restarts of APGD on the cross-entropy; L1 balls need more."""
    return 5 if sparse else 1


def is_installed() -> bool:
    """Return whether ``pyautoattack`` can be used."""
    try:
        _library()
    except ImportError:
        return False
    return True


def _library() -> Any:
    try:
        import pyautoattack.autoattack as library
    except ImportError:
        raise ImportError(
            "AutoAttack needs the package pyautoattack; install it with: "
            "pip install 'morex[autoattack]'"
        ) from None
    return library


@contextmanager
def _isolated(device: torch.device) -> Iterator[None]:
    """Restore the global random states on exit: the library reseeds them.

    Its warnings of zero gradients, which name no image and no row, are left out: they are counted.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*points with zero gradient")
        yield
