"""Illustrations for the report: a model's answers, curves and pictures on a few test images."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from morex.artifacts.class_words import NOT_FINITE
from morex.artifacts.illustration import Curve, Illustration, Pictures
from morex.attacks import PGD, Attack, RayS, SearchAround, WorstOfDraws, frozen
from morex.core.precision import exact_settings
from morex.core.seeding import generator_for
from morex.data import ImageSet
from morex.evaluation.evaluate import evaluate
from morex.evaluation.gate_usage import moved_batches, one_run
from morex.evaluation.settings import Settings
from morex.evaluation.strength_curves import curve_suite, possible
from morex.evaluation.suite import Row, Suite
from morex.models.answers import ExpertAnswers, expert_answers, predicted
from morex.perturbations import Clean, Perturbation

_QUERIES = 100
"""At most this many queries of RayS per picture; a table needs more."""


@dataclass(frozen=True)
class Illustrator:
    """The settings of illustrations, the same for all models of a run.

    Args:
        suite: the attacks of the table.
        perturbations: those that get a curve, by name.
        factors: factors on their strength, the points of the curves.
        examples: how many of the first test images answers and curves use.
        pictures: how many of those are shown.
        steps: of PGD in the curves.
        settings: the seed of all attacks and of the choice of pictures, the batch size, and the
            number format in which the attacks of the curves see the model.
    """

    suite: Suite
    perturbations: Mapping[str, Perturbation]
    factors: tuple[float, ...]
    examples: int
    pictures: int
    steps: int
    settings: Settings = field(default_factory=partial(Settings, 0, 256, "fp32"))

    @property
    def answered(self) -> Suite:
        """The attacks behind the answers: the quick ones of the table."""
        return tuple(
            Row(row.name, _modest(row.attack)) for row in self.suite if one_run(row.attack)
        )

    @property
    def shown(self) -> Suite:
        """The attacks behind the pictures: first none, then all of the table."""
        others = (row for row in self.suite if not isinstance(row.attack.perturbation, Clean))
        modest = (Row(row.name, _modest(row.attack)) for row in others)
        return (Row("clean", WorstOfDraws(Clean())), *modest)

    def curve_suites(self) -> dict[str, tuple[tuple[float, ...], Suite]]:
        """Return for every perturbation its valid factors and the suite with a row for each."""
        suites = {}
        for name, perturbation in self.perturbations.items():
            if not isinstance(perturbation, Clean):
                factors = tuple(possible(perturbation, self.factors))
                suite = curve_suite(perturbation, factors, steps=self.steps, restarts=1)
                suites[name] = factors, suite
        return suites

    def illustrate(self, model: nn.Module, data: ImageSet, *, gallery: bool) -> Illustration:
        """Attack ``model`` on the first test images and return its illustration.

        Args:
            model: images in [0, 1] to logits, on the device of the data.
            data: the test images.
            gallery: whether to add pictures.
        """
        images = data.first(self.examples)
        with exact_settings(data.device), frozen(model):
            answers = {row.name: self._answers(model, images, row) for row in self.answered}
            pictures = self._gallery(model, images, answers) if gallery else None
            return Illustration(
                labels=images.labels.cpu().numpy(),
                answers={row: said.cpu().numpy() for row, said in answers.items()},
                curves=self._curves(model, images),
                pictures=pictures,
            )

    @torch.no_grad()
    def _answers(self, model: nn.Module, images: ImageSet, row: Row) -> Tensor:
        """Return the classes that a model predicts under one attack, (n,)."""
        moved = self._moved(model, images, row, "illustration")
        return torch.cat([predicted(model(x)) for x in moved])

    def _curves(self, model: nn.Module, images: ImageSet) -> dict[str, Curve]:
        curves = {}
        for name, (factors, suite) in self.curve_suites().items():
            if suite:
                found = evaluate(model, images, suite, **asdict(self.settings)).right
                right = np.stack([found[row.name] for row in suite])
                curves[name] = Curve(np.array(factors), right)
        return curves

    def _gallery(
        self, model: nn.Module, images: ImageSet, answers: Mapping[str, Tensor]
    ) -> Pictures | None:
        right = torch.stack([said == images.labels for said in answers.values()]).all(0)
        chosen = drawn_half_and_half(right.cpu(), self.pictures, self.settings.seed)
        return self._pictures(model, images.take(chosen), chosen) if len(chosen) else None

    @torch.no_grad()
    def _pictures(self, model: nn.Module, images: ImageSet, index: Tensor) -> Pictures:
        seen, experts = zip(*(self._seen(model, images, row) for row in self.shown), strict=True)
        moved, said, confidence = (torch.stack(s) for s in zip(*seen, strict=True))
        nothing = moved.new_zeros(len(images), 0)
        weights = [nothing if e.weights is None else e.weights for e in experts]
        return Pictures(
            index=index.numpy(),
            labels=images.labels.cpu().numpy(),
            rows=np.array([row.name for row in self.shown]),
            moved=moved.half().cpu().numpy(),
            said=said.cpu().numpy(),
            confidence=confidence.half().cpu().numpy(),
            experts=np.array(experts[0].names, dtype=np.str_),
            experts_say=torch.stack([e.classes for e in experts]).cpu().numpy(),
            weights=torch.stack(weights).half().cpu().numpy(),
        )

    def _seen(
        self, model: nn.Module, images: ImageSet, row: Row
    ) -> tuple[tuple[Tensor, ...], ExpertAnswers]:
        """Return the attacked images, and what the model and its experts predict for them."""
        moved = torch.cat([*self._moved(model, images, row, "pictures")])
        logits = model(moved).float()
        said = predicted(logits)
        confidence = torch.softmax(logits, 1).amax(1).masked_fill(said == NOT_FINITE, 0)
        return (moved, said, confidence), expert_answers(model, moved)

    def _moved(
        self, model: nn.Module, images: ImageSet, row: Row, purpose: str
    ) -> Iterator[Tensor]:
        """Yield the attacked images, batch by batch; draws depend on the purpose and the row."""
        seed, size = self.settings.seed, self.settings.batch_size
        return moved_batches(model, images, row.attack, (purpose, row.name), seed, size)


def drawn_half_and_half(right: Tensor, count: int, seed: int) -> Tensor:
    """Draw ``count`` examples, half of them right and half wrong if there are enough of each.

    Args:
        right: where a model is right under everything, (n,), on the CPU.
        count: how many to draw; all examples if there are fewer.
        seed: of the draw.

    Returns:
        The indices of the examples, the right ones first.
    """
    order = torch.randperm(len(right), generator=generator_for(seed, "pictures"), device="cpu")
    good, bad = order[right[order]], order[~right[order]]
    wanted = min(count // 2, len(bad))
    good = good[: count - wanted]
    return torch.cat([good, bad[: count - len(good)]])


def _modest(attack: Attack) -> Attack:
    """Return the attack with a budget that is small, but enough to show its effect."""
    if isinstance(attack, PGD):
        return replace(attack, restarts=1)
    if isinstance(attack, RayS):
        return replace(attack, queries=min(attack.queries, _QUERIES))
    if isinstance(attack, SearchAround):
        return replace(attack, attack=_modest(attack.attack))
    return attack
