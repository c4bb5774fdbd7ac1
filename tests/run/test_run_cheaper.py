"""Sparse mixtures and distilled networks in a run: stages, keys, lineage, cost."""

from pathlib import Path

import pytest
from tiny import CPU, FEW, changed, phase, raw_recipe, rerun, results_of

from morex.models.mixture import Mixture
from morex.models.named import load_model
from morex.models.routing import Routing
from morex.recipe import RecipeError, parse_recipe
from morex.recipe.lineage import networks_of, unused_models, weighted_experts
from morex.run import Builder, estimate
from morex.run.costs import network_passes, stage_passes, teacher_passes
from morex.run.stages import plan_stages
from morex.training import AnswersOfTeacher

pytestmark = pytest.mark.usefixtures("one_thread")
SPARSE = {"kind": "sparse", "of": "MoRE", "threshold": 0.3}
STUDENT = {
    "kind": "distilled",
    "teacher": "MoRE",
    "warm_start": "clean",
    "objective": "side-by-side",
    "against": ["clean", "linf", "fog"],
    "training": {"epochs": 1},
}


def cheaper(sparse=SPARSE, student=STUDENT):
    """Return the recipe with a sparse mixture and a distilled network."""
    raw = raw_recipe(*FEW)
    raw["models"] |= {"cheap": sparse, "student": student}
    raw["columns"] += ["cheap", "student"]
    return raw


def test_both_are_made_measured_and_done_once(out: Path) -> None:
    spy = rerun(out, cheaper())
    assert {*spy.done} == {*("train-cheap", "evaluate-cheap", "train-student", "evaluate-student")}
    model = load_model(out / "models" / "cheap")
    assert isinstance(model, Mixture)
    assert model.routing == Routing(threshold=0.3)
    assert load_model(out / "models" / "student").head.out_features == 10
    assert not rerun(out, cheaper()).done


def test_another_threshold_redoes_what_depends_on_it_and_no_outcome_is_taken_over(
    out: Path,
) -> None:
    rerun(out, cheaper())
    before = results_of(out)
    spy = rerun(out, cheaper(sparse={"kind": "sparse", "of": "MoRE", "top": 1}))
    assert {*spy.done} == {"train-cheap", "evaluate-cheap"}
    fresh = rerun(
        out, changed(cheaper(sparse={"kind": "sparse", "of": "MoRE", "top": 1}), "seed", 0)
    )
    assert not fresh.done
    weights = "models/cheap/model.safetensors"
    assert results_of(out)[weights] == before[weights]  # only the routing differs


def test_rows_of_another_routing_have_other_keys() -> None:
    keys = []
    for sparse in (SPARSE, SPARSE | {"threshold": 0.2}):
        stages = {s.id: s for s in plan_stages(parse_recipe(cheaper(sparse)), "", "")}
        keys.append(stages["evaluate-cheap"].row_keys("the same weights")["clean"])
    assert keys[0] != keys[1]


def test_a_student_reads_its_start_and_its_teacher() -> None:
    recipe = parse_recipe(cheaper())
    stages = {s.id: s for s in plan_stages(recipe, "", "")}
    assert stages["train-student"].needs == ("train-clean", "train-more")
    assert stages["train-cheap"].needs == ("train-more",)
    assert stages["train-student"].decided_by["model"]["teacher"] == "MoRE"
    only = parse_recipe(changed(cheaper(), "columns", ["student"]))
    assert unused_models(only) == ("cheap",)
    assert phase(recipe, "student").teacher == "MoRE"


def test_costs_count_the_teacher_and_the_experts_of_the_dense_mixture() -> None:
    builder = Builder.open(parse_recipe(cheaper()), CPU)
    stages = {s.id: s for s in plan_stages(builder.recipe, "", "")}
    train = stages["train-student"]
    updates = 3 * 32  # steps of a batch
    assert teacher_passes(builder, train) == 4 * updates  # three experts and a gate
    whole, own = network_passes(builder, train), stage_passes(builder, train)
    assert whole.forward == own.forward + 4 * updates
    assert whole.backward == own.backward
    assert networks_of(builder.recipe, "cheap") == 4
    assert weighted_experts(builder.recipe, "cheap") == ("clean", "Minf", "Mfog")
    dense, sparse = (network_passes(builder, stages[f"evaluate-{n}"]) for n in ("more", "cheap"))
    assert sparse == dense


def test_a_plan_prices_both() -> None:
    found = {e.stage.id: e for e in estimate(parse_recipe(cheaper()), CPU)}
    assert found["train-cheap"].seconds == 0
    assert found["train-student"].seconds > 0
    assert found["evaluate-cheap"].parameters == found["evaluate-more"].parameters


def test_the_criterion_is_the_teachers_answers() -> None:
    builder = Builder.open(parse_recipe(cheaper()), CPU)
    asked = []

    def finished(name: str):
        asked.append(name)
        return builder.network(name)

    criterion = builder.criterion(phase(builder.recipe, "student"), finished)
    assert isinstance(criterion, AnswersOfTeacher)
    assert asked == ["MoRE"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("cheap.of", "Minf", "models.cheap.of: 'Minf' is a network, expected a mixture"),
        (
            "cheap.of",
            "student",
            "models.cheap.of: 'student' is a distilled network, expected a mixture",
        ),
        ("cheap.of", "MoRF", "models.cheap: no model 'MoRF'"),
        ("cheap.threshold", 1.5, r"models.cheap: threshold must be in \[0, 1\), got 1.5"),
        ("cheap.threshold", None, "models.cheap: expected either a threshold or top"),
        ("cheap.top", 1, "models.cheap: expected either a threshold or top, got threshold 0.3"),
        ("cheap", {"kind": "sparse", "of": "MoRE", "top": 4}, "'MoRE' has 3 experts, got 4"),
        ("cheap.training", {"epochs": 1}, "models.cheap.training: unknown key"),
        ("student.teacher", None, "models.student: a distilled network needs a teacher"),
        ("student.teacher", "student", "models.student: is made from itself"),
        ("student.teacher", "nobody", "models.student: no model 'nobody'"),
        ("student.kind", "network", "models.student: a network has no teacher"),
        ("student.warm_start", "MoRE", "models.student: 'MoRE' is a mixture, expected a network"),
        (
            "MoRE.warm_start",
            "cheap",
            "models.MoRE: 'cheap' is a sparse mixture, expected a mixture",
        ),
    ],
)
def test_mistakes_are_named(path: str, value: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(changed(cheaper(), f"models.{path}", value))
