from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import changed, phase, raw_recipe, tiny
from torch import Tensor, nn

import morex.run.estimates
from morex.data import ImageSet
from morex.evaluation.evaluate import evaluate
from morex.models.gates import ExtendedGate
from morex.models.mixture import Mixture
from morex.models.resnet import ResNet
from morex.recipe import Recipe, load_recipe, parse_recipe
from morex.recipe.extend import extended
from morex.recipe.models import MixtureModel
from morex.run import Builder, Stage, estimate, run, stage_evaluation, stage_runner
from morex.run.calibration import Speed
from morex.run.costs import StageCost, examples, network_passes, stage_passes
from morex.run.stages import plan_stages
from morex.training import train

CPU = torch.device("cpu")


class Counter:
    """Counts the images that go forward and backward through a module."""

    def __init__(self, module: nn.Module) -> None:
        self.forward = self.backward = 0
        self.handle = module.register_forward_hook(self._through)

    def _through(self, _: nn.Module, given: tuple[Tensor, ...], logits: Tensor) -> None:
        self.forward += len(logits)
        if logits.requires_grad:
            logits.register_hook(self._back)

    def _back(self, gradient: Tensor) -> None:
        self.backward += len(gradient)

    @property
    def cost(self) -> StageCost:
        return StageCost(self.forward, self.backward)


def counting(work: Callable[..., Any], counters: list[Counter]) -> Callable[..., Any]:
    """Return ``work`` on a model whose images are counted.

    Every pass through a mixture is one through its gate, and its warm-up passes the gate alone.
    """

    def counted(model: nn.Module, *args: Any, **options: Any) -> Any:
        counters.append(Counter(model.gate if isinstance(model, Mixture) else model))
        result = work(model, *args, **options)
        counters[-1].handle.remove()
        return result

    return counted


def recipe() -> Recipe:
    raw = raw_recipe()
    raw["models"]["one step"] = {
        "objective": "average",
        "against": ["linf", "fog"],
        "inner": {"steps": 3, "single_step": {"noise": 2}},
    }
    raw["models"]["trades"] = {
        "objective": "average",
        "against": ["linf", "fog"],
        "inner": {"steps": 3},
        "trades": {"beta": 1},
        "training": {"awp": {"gamma": 0.01, "warm_up": 1}},
    }
    raw["columns"] += ["one step", "trades"]
    # whole turns of the members, for which the mean cost per step is exact
    return parse_recipe(changed(raw, "models.MoRE (in turn).training.epochs", 2))


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[StageCost, StageCost]]:
    """For every stage of a run: what it should cost, and what went through its model."""
    counters: list[Counter] = []
    out = tmp_path_factory.mktemp("counted")
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((stage_runner, "train"), (stage_evaluation, "evaluate")):
            patch.setattr(module, name, counting(getattr(module, name), counters))
        run(recipe(), out, device=CPU)
    builder = Builder.open(recipe(), CPU)
    stages = [
        s for s in plan_stages(recipe(), "", "") if s.id not in ("train-mean", "train-largest")
    ]
    return {
        stage.id: (stage_passes(builder, stage), counter.cost)
        for stage, counter in zip(stages, counters, strict=True)
    }


TRAININGS = (
    "clean",
    "minf",
    "mfog",
    "max",
    "msd",
    "drawn",
    "more",
    "more-in-turn",
    "one-step",
    "trades",
)


@pytest.mark.parametrize("stage", [*(f"train-{name}" for name in TRAININGS), "gate-more"])
def test_the_passes_of_a_training_are_exact(
    stage: str, counted: dict[str, tuple[StageCost, StageCost]]
) -> None:
    expected, found = counted[stage]
    assert (found.forward, found.backward) == pytest.approx((expected.forward, expected.backward))


@pytest.mark.parametrize("name", [*TRAININGS, "mean", "largest"])
def test_the_passes_of_an_evaluation_are_an_upper_bound(
    name: str, counted: dict[str, tuple[StageCost, StageCost]]
) -> None:
    most, found = counted[f"evaluate-{name}"]
    assert 30 * 3 <= found.forward <= most.forward
    assert found.backward <= most.backward


def test_backward_passes_are_counted(
    counted: dict[str, tuple[StageCost, StageCost]],
) -> None:
    assert sum(found.backward for _, found in counted.values()) > 5000


class Unshakable(nn.Module):
    """Always predicts class 0."""

    def forward(self, x: Tensor) -> Tensor:
        sums = x.flatten(1).sum(1, keepdim=True)
        return torch.cat([1e6 + sums, sums * torch.arange(9)], dim=1)


def test_a_model_that_is_never_fooled_reaches_the_bound() -> None:
    builder = Builder.open(tiny("clean"), CPU)
    test = builder.test_data
    zeros = ImageSet(test.images, torch.zeros_like(test.labels), test.classes)
    model = Unshakable()
    counter = Counter(model)
    outcomes = evaluate(model, zeros, builder.suite(), batch_size=16)
    assert outcomes.mean() == 1
    evaluation = next(s for s in plan_stages(tiny("clean"), "", "") if s.kind == "evaluate")
    assert counter.cost == stage_passes(builder, evaluation)


def test_validations_and_incomplete_batches_count_as_they_happen() -> None:
    raw = raw_recipe("clean")
    raw["training"] |= {"epochs": 5, "validate_every": 2, "batch_size": 50}
    builder = Builder.open(parse_recipe(raw), CPU)
    (training,) = (s for s in plan_stages(builder.recipe, "", "") if s.kind == "train")
    updates, validations = 5 * 2 * 50, 3 * 40  # 120 images are two batches; epochs 2, 4 and 5
    assert stage_passes(builder, training) == StageCost(updates + validations, updates)
    raw["training"]["validate_every"] = None
    builder = Builder.open(parse_recipe(raw), CPU)
    assert stage_passes(builder, training) == StageCost(updates, updates)


def test_natural_training_costs_another_update() -> None:
    raw = changed(raw_recipe("Minf"), "models.Minf.training.average", None)
    beside = changed(raw, "models.Minf.training.gradient_projection", 0.5)
    costs = []
    for recipe in map(parse_recipe, (raw, beside)):
        builder = Builder.open(recipe, CPU)
        costs.append(stage_passes(builder, builder.stages["train-minf"]))
        images = examples(builder, recipe.networks["Minf"].training)
    assert costs[1].forward - costs[0].forward == images
    assert costs[1].backward - costs[0].backward == images


def test_a_backward_pass_weighs_two_forward_ones() -> None:
    assert StageCost(3, 2).total == 7


# --- estimates


@pytest.fixture(scope="module")
def digits() -> dict[str, Any]:
    """The estimates of the digits recipe by stage, made where nothing can be trained."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("an estimate must not train")

    before = torch.get_rng_state()
    with pytest.MonkeyPatch.context() as patch:
        for optimizer in (torch.optim.SGD, torch.optim.AdamW):
            patch.setattr(optimizer, "step", never)
        found = estimate(load_recipe("digits"), CPU)
    assert torch.equal(torch.get_rng_state(), before)
    return {one.stage.id: one for one in found}


def test_every_stage_of_the_digits_recipe_is_estimated(digits: dict[str, Any]) -> None:
    assert [*digits] == [stage.id for stage in plan_stages(load_recipe("digits"), "", "")]
    for name, one in digits.items():
        trains = name != "train-more+-all"  # only its gate trains, in the warm-up
        assert (one.seconds > 0) is trains
        assert (one.cost.forward > 0) is trains
        assert one.parameters > 10_000
        assert one.bytes > 4 * one.parameters


def test_larger_stages_have_larger_estimates(digits: dict[str, Any]) -> None:
    assert digits["train-more-all"].parameters > 5 * digits["train-clean"].parameters
    assert digits["train-minf"].cost.total > 3 * digits["train-clean"].cost.total
    assert digits["train-minf"].seconds > digits["train-clean"].seconds
    assert digits["train-clean"].cost.backward > 0
    assert digits["evaluate-more-all"].seconds > digits["evaluate-clean"].seconds


def test_what_does_not_train_costs_nothing() -> None:
    found: dict[str, Stage] = {}
    for one in estimate(tiny("clean", "Minf", "mean"), CPU):
        found[one.stage.id] = one.stage
        if one.stage.id == "train-mean":
            assert one.seconds == 0
            assert one.cost == StageCost(0, 0)
        else:
            assert one.seconds > 0
    assert "train-mean" in found


def test_a_mixture_costs_as_much_as_its_networks() -> None:
    builder = Builder.open(recipe(), CPU)
    for stage in plan_stages(builder.recipe, "", ""):
        spec = builder.recipe.models[stage.model]
        networks = len(getattr(spec, "experts", ())) + (spec.kind in ("network", "mixture"))
        one, all_of_them = stage_passes(builder, stage), network_passes(builder, stage)
        if stage.kind != "gate":
            assert all_of_them == StageCost(networks * one.forward, networks * one.backward)


def warm_up(builder: Builder, stage: Stage, mixture: Mixture) -> None:
    its = phase(builder.recipe, stage.model, "gate")
    criterion, objective = builder.criterion(its, builder.network), builder.objective(its)
    train(mixture, objective, builder.training_data, its.training, criterion=criterion)


def test_a_robust_gate_warms_up_without_experts() -> None:
    raw = raw_recipe()
    raw["models"]["MoRE"]["robust_gate"] = {"start": "Minf", "inner": {"steps": 2}}
    builder = Builder.open(parse_recipe(raw), CPU)
    spec = builder.recipe.models["MoRE"]
    assert isinstance(spec, MixtureModel)
    assert spec.gate_warmup
    stage = next(s for s in plan_stages(builder.recipe, "", "") if s.kind == "gate")
    mixture = builder.mixture("MoRE", spec, {n: builder.network(n) for n in spec.experts})
    gate, *experts = (Counter(network) for network in (mixture.gate, *mixture.experts))
    warm_up(builder, stage, mixture)
    assert gate.cost == network_passes(builder, stage) == stage_passes(builder, stage)
    assert not any(expert.forward for expert in experts)


def test_a_robust_gate_is_priced_as_the_gate_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def calibrated(_: Builder, model: nn.Module, *__: object) -> Speed:
        assert isinstance(model, ResNet)
        return Speed(2, 3, 7, 5, 0)

    monkeypatch.setattr(morex.run.estimates, "calibrate", calibrated)
    raw = raw_recipe()
    found = {}
    for name in ("usual", "robust"):
        one = next(e for e in estimate(parse_recipe(raw), CPU) if e.stage.kind == "gate")
        found[name] = one
        raw["models"]["MoRE"]["robust_gate"] = {"start": "Minf", "inner": {"steps": 2}}
    robust = found["robust"]
    learnt = len(Builder.open(parse_recipe(raw), CPU).training_data.train) // 32 * 32
    assert robust.seconds == 2 * robust.cost.forward + 3 * robust.cost.backward + 2 * learnt
    usual = found["usual"]  # an attack asks three experts and the gate
    assert usual.seconds > 4 * 2 * (usual.cost.forward - learnt)
    assert found["usual"].bytes > robust.bytes


def test_the_warm_up_of_a_gate_runs_experts_only_in_the_search() -> None:
    builder = Builder.open(recipe(), CPU)
    stage = next(s for s in plan_stages(builder.recipe, "", "") if s.kind == "gate")
    spec = builder.recipe.models[stage.model]
    assert isinstance(spec, MixtureModel)
    assert spec.gate_warmup
    mixture = builder.mixture("MoRE", spec, {n: builder.network(n) for n in spec.experts})
    networks = [Counter(network) for network in (mixture.gate, *mixture.experts)]
    warm_up(builder, stage, mixture)
    found = network_passes(builder, stage)
    assert sum(n.forward for n in networks) == pytest.approx(found.forward)
    assert sum(n.backward for n in networks) == pytest.approx(found.backward)


@pytest.mark.parametrize("attacked", [False, True])
def test_the_warm_up_of_an_extended_gate_teaches_the_network_beside_it(attacked: bool) -> None:
    recipe = extended(tiny("clean", "Minf", "Mfog", "MoRE"), "MoRE", {"rain": {"kind": "rain"}})
    raw = recipe.model_dump(mode="json")
    raw = changed(raw, "models.MoRE + rain.gate_warmup.batch_size", 12)  # six parts, all whole
    if not attacked:
        raw = changed(raw, "models.MoRE + rain.robust_gate", None)
    recipe = parse_recipe(raw)
    builder = Builder.open(recipe, CPU)
    stage = [s for s in plan_stages(recipe, "", "") if s.kind == "gate"][-1]
    spec = recipe.models[stage.model]
    assert isinstance(spec, MixtureModel)
    assert spec.gate_warmup
    mixture = builder.mixture(stage.model, spec, {n: builder.network(n) for n in spec.experts})
    assert isinstance(mixture.gate, ExtendedGate)
    known, joined, *experts = map(
        Counter, (mixture.gate.known, mixture.gate.joined, *mixture.experts)
    )
    warm_up(builder, stage, mixture)
    assert joined.cost == network_passes(builder, stage) == stage_passes(builder, stage)
    taught = spec.gate_warmup.steps(len(builder.training_data.train)) * 12
    assert (joined.forward > taught) is attacked
    assert known.cost == StageCost(0, 0)
    assert all(expert.cost == StageCost(0, 0) for expert in experts)


def test_memory_counts_every_image_that_a_step_learns_from() -> None:
    raw = raw_recipe("clean", "Minf")
    raw["models"]["AVG"] = {"objective": "average", "against": ["linf", "fog"]}
    raw["columns"] = ["clean", "Minf", "AVG"]
    found = {e.stage.id: e for e in estimate(parse_recipe(raw), CPU)}
    weights = 4 * 5 * found["train-avg"].parameters
    single, average = (found[stage].bytes - weights for stage in ("train-minf", "train-avg"))
    assert average == pytest.approx(2 * single, rel=0.05)


def test_deepfool_among_all_classes_has_a_finite_bound() -> None:
    raw = changed(raw_recipe("clean"), "evaluation.rows.deepfool-l2.candidates", None)
    builder = Builder.open(parse_recipe(raw), CPU)
    (stage,) = (s for s in plan_stages(builder.recipe, "", "") if s.kind == "evaluate")
    every = stage_passes(builder, stage)
    raw = changed(raw, "evaluation.rows.deepfool-l2.candidates", 10)
    assert every == stage_passes(Builder.open(parse_recipe(raw), CPU), stage)


def test_steering_costs_a_search_per_expert() -> None:
    raw = raw_recipe("clean", "Minf", "Mfog", "MoRE")
    raw["evaluation"]["rows"] = {"steer": {"attack": "steering", "perturbation": "linf"}}
    raw["evaluation"]["rows"]["steer"] |= {"steps": 4, "pushes": [1.0]}
    builder = Builder.open(parse_recipe(raw), torch.device("cpu"))
    stages = {s.id: s for s in plan_stages(builder.recipe, "", "")}
    single = stage_passes(builder, stages["evaluate-clean"])
    mixture = stage_passes(builder, stages["evaluate-more"])
    assert single.backward == 30 * 2 * 4
    assert mixture.backward == 3 * single.backward
