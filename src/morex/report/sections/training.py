"""The trainings: loss and validation, stage by stage, and what accuracy cost."""

from collections.abc import Sequence

from morex.report.charts import (
    DataTable,
    Figure,
    Key,
    Line,
    LineAxes,
    Panel,
    Spot,
    line_chart,
    scatter_chart,
)
from morex.report.charts.svg import percent
from morex.report.formats import cost_cell
from morex.report.material import Material, Training
from morex.report.sections.base import Section, plural
from morex.report.sections.summary import ranked

_SERIES = ("single expert", "one network, several perturbations", "mixture")


def training_section(material: Material) -> Section | None:
    """Return what the trainings looked like, and accuracy against their cost."""
    figures = [f for f in (_cost(material), _validations(material), _losses(material)) if f]
    if not figures:
        return None
    lead = "Models are chosen on validation images that are cut from the training set."
    return Section("training", "Training", lead, figures)


def _cost(material: Material) -> Figure | None:
    table = material.table
    found = [
        (name, entry.training_with_parents, mean)
        for name, mean in zip(table.columns, table.mean, strict=True)
        if (entry := table.source.columns.get(name)) and mean is not None
    ]
    spots = [
        Spot(
            name,
            _SERIES[kind := _kind(material, name)],
            kind,
            x=cost.forward + cost.backward,
            y=mean,
            tip=f"{name}: mean {percent(mean)} for {cost_cell(cost.forward + cost.backward)} passes",
        )
        for name, cost, mean in found
        if cost and cost.forward + cost.backward > 0
    ]
    if len(spots) < 2:
        return None
    x_title = "images through single networks in training, ancestors included (log scale)"
    drawing = scatter_chart(
        spots,
        "Mean accuracy against the cost of training",
        x_title=x_title,
        y_title="mean accuracy over the rows",
        write=lambda value: cost_cell(round(value)),
    )
    kinds = sorted({spot.slot for spot in spots})
    return Figure(
        message=_worth(material, spots),
        note="Passes forward and backward. Up and to the left is better.",
        panels=[Panel(drawing)],
        numbers=DataTable(
            ["model", "kind", "passes in all", "mean (%)"],
            [[s.name, s.series, round(s.x), round(100 * s.y, 1)] for s in spots],
        ),
        keys=[Key(_SERIES[kind], kind) for kind in kinds],
    )


def _kind(material: Material, name: str) -> int:
    entry = material.file.columns[name]
    if entry.gate or not entry.trained_on:
        return 2
    return 0 if entry.trained_on.startswith("single") else 1


def _worth(material: Material, spots: Sequence[Spot]) -> str:
    best = ranked(material.table, material.table.mean)[0][0]
    by_name = {spot.name: spot for spot in spots}
    if best not in by_name:
        return "What accuracy costs"
    leader = by_name[best]
    cheaper = [s for s in spots if s.x < leader.x]
    if not cheaper:
        return f"{best} has the best mean and is the cheapest to train"
    rival = max(cheaper, key=lambda spot: spot.y)
    points, share = 100 * (leader.y - rival.y), leader.x / rival.x
    return f"{best} is {points:.1f} points above {rival.name} for {share:.1f} times the passes"


def _members(trainings: Sequence[Training]) -> dict[str, int]:
    """Return a slot for everything that is trained against."""
    names = dict.fromkeys(name for training in trainings for name in training.against)
    return {name: slot for slot, name in enumerate(names)}


def _validations(material: Material) -> Figure | None:
    judged = [t for t in material.trainings if any(e.validation for e in t.epochs)]
    if not judged:
        return None
    slots = _members(judged)
    panels = [Panel(_validation(t, slots), _name(t)) for t in judged]
    rows = [
        [_name(t), e.epoch, name, round(100 * value, 1)]
        for t in judged
        for e in t.epochs
        for name, value in zip(t.against, e.validation, strict=False)
    ]
    return Figure(
        message=_still_rising(judged),
        note=(
            "Accuracy on validation images under each perturbation of the training (PGD in its few "
            "steps). For the warm-up of a gate: how often it names the right expert."
        ),
        panels=panels,
        numbers=DataTable(["training", "epoch", "perturbation", "accuracy (%)"], rows),
        keys=[Key(name, slot, line=True) for name, slot in slots.items()],
    )


def _name(training: Training) -> str:
    return f"{training.model}, warm-up of the gate" if training.warms_up else training.model


def _validation(training: Training, slots: dict[str, int]) -> object:
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
    axes = LineAxes("epoch", "validation accuracy", (0, 100), unit="%", width=260, height=180)
    return line_chart(lines, axes, f"Validation of {_name(training)}")


def _still_rising(judged: Sequence[Training]) -> str:
    """Say how many trainings were at their best when they ended."""
    fitted = [t for t in judged if not t.warms_up] or list(judged)
    scores = [[e.score for e in t.epochs if e.score is not None] for t in fitted]
    rising = sum(s[-1] == max(s) for s in scores if s)
    end = "more epochs may help" if 2 * rising > len(fitted) else "more epochs would not help most"
    return (
        f"{rising} of {plural(len(fitted), 'training')} were at their best when they ended: {end}"
    )


def _losses(material: Material) -> Figure | None:
    trainings = [t for t in material.trainings if t.epochs]
    if not trainings:
        return None
    top = max(e.loss for t in trainings for e in t.epochs)
    panels = [Panel(_loss(t, top), _name(t)) for t in trainings]
    falls = sum(t.epochs[-1].loss < t.epochs[0].loss for t in trainings if len(t.epochs) > 1)
    several = sum(len(t.epochs) > 1 for t in trainings)
    return Figure(
        message=f"The loss ended below its start in {falls} of {plural(several, 'training')}",
        note="Mean loss of every epoch, in nats, on what the objective made of the images.",
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


def _loss(training: Training, top: float) -> object:
    points = [
        (float(e.epoch), e.loss, f"epoch {e.epoch}: loss {e.loss:.3f}") for e in training.epochs
    ]
    axes = LineAxes("epoch", "loss", (0, top * 1.05), width=260, height=150)
    return line_chart([Line("loss", 0, points)], axes, f"Loss of {_name(training)}")
