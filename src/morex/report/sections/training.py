"""The trainings: loss and validation, stage by stage."""

from collections.abc import Sequence

from markupsafe import Markup

from morex.artifacts.overfitting import overfitted
from morex.core.units import percent, plural
from morex.report.charts import (
    Cell,
    DataTable,
    Figure,
    Key,
    Line,
    LineAxes,
    Panel,
    line_chart,
)
from morex.report.material import Material, Training
from morex.report.sections.base import Section


def training_section(material: Material) -> Section | None:
    """Return the accuracy on validation images and the loss of every training."""
    figures = [f for f in (_validations(material), _losses(material)) if f]
    if not figures:
        return None
    intro = "Models are selected on validation images, which are held out of the training set."
    failed = ((t, overfitted(t.epochs)) for t in material.trainings)
    intro += "".join(f" {_name(training)}: {why}." for training, why in failed if why)
    return Section("training", "Training", intro, figures)


def _members(trainings: Sequence[Training]) -> dict[str, int]:
    """Return a slot for everything that is trained against."""
    names = dict.fromkeys(name for training in trainings for name in training.against)
    return {name: slot for slot, name in enumerate(names)}


def _validations(material: Material) -> Figure | None:
    judged = [t for t in material.trainings if any(e.validation for e in t.epochs)]
    if not judged:
        return None
    slots = _members(judged)
    several = [t for t in judged if sum(e.score is not None for e in t.epochs) > 1]
    shown = several or judged
    panels = [Panel(_validation(t, slots), _name(t)) for t in shown]
    alone = (
        ""
        if len(shown) == len(judged)
        else " Trainings that were validated once are listed only in the numbers."
    )
    rows: list[list[Cell]] = [
        [_name(t), e.epoch, name, round(100 * value, 1)]
        for t in judged
        for e in t.epochs
        for name, value in zip(t.against, e.validation, strict=False)
    ]
    return Figure(
        message=_still_rising(several),
        note=(
            "Accuracy on validation images under each perturbation of the training, searched as in "
            "training. For a gate, in its warm-up: how often it chooses the right expert."
            f"{alone}"
        ),
        panels=panels,
        numbers=DataTable(["training", "epoch", "perturbation", "accuracy (%)"], rows),
        keys=[Key(name, slot, line=True) for name, slot in slots.items()],
    )


def _name(training: Training) -> str:
    return f"gate of {training.model}" if training.warms_up else training.model


def _validation(training: Training, slots: dict[str, int]) -> Markup:
    lines = []
    for member, name in enumerate(training.against):
        points = [
            (
                e.epoch,
                100 * e.validation[member],
                f"epoch {e.epoch}: {percent(e.validation[member])} on {name}",
            )
            for e in training.epochs
            if len(e.validation) > member
        ]
        if points:
            lines.append(Line(name, slots[name], points))
    axes = LineAxes("epoch", "accuracy", (0, 100), unit="%", width=262, height=180)
    return line_chart(lines, axes, f"Validation of {_name(training)}")


def _still_rising(judged: Sequence[Training]) -> str:
    """Return how many of the trainings that were validated several times ended at their best."""
    scores = [[e.score for e in t.epochs if e.score is not None] for t in judged if not t.warms_up]
    if not scores:
        return "Accuracy on validation images"
    rising = sum(s[-1] == max(s) for s in scores)
    return f"{rising} of {plural(len(scores), 'training')} were at their best when they ended"


def _losses(material: Material) -> Figure | None:
    trainings = [t for t in material.trainings if len(t.epochs) > 1]
    if not trainings:
        return None
    panels = [Panel(_loss(t), _name(t)) for t in trainings]
    falls = sum(t.epochs[-1].loss < t.epochs[0].loss for t in trainings)
    of_all = plural(len(trainings), "training")
    return Figure(
        message=f"The loss ended below its start in {falls} of {of_all}",
        note=(
            "Mean loss of each epoch, in nats, on the attacked images of the training. Each panel "
            "has its own scale."
        ),
        panels=panels,
        numbers=DataTable(
            ["training", "epoch", "loss", "learning rate"],
            [
                [_name(t), e.epoch, round(e.loss, 4), f"{e.learning_rate:.3g}"]
                for t in trainings
                for e in t.epochs
            ],
        ),
    )


def _loss(training: Training) -> Markup:
    points = [
        (float(e.epoch), e.loss, f"epoch {e.epoch}: loss {e.loss:.3f}") for e in training.epochs
    ]
    axes = LineAxes(
        "epoch", "loss", (0, 1.05 * max(loss for _, loss, _ in points)), width=262, height=150
    )
    return line_chart([Line("loss", 0, points)], axes, f"Loss of {_name(training)}")
