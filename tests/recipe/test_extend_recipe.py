import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from calling import call
from tiny import Spy, changed, phase, raw_recipe, results_of, tiny

from morex.artifacts.outcomes import Outcomes
from morex.attacks import PGD, AwayFromChoices, WorstOfDraws, search_of
from morex.models.errors import ModelError
from morex.models.external import import_model
from morex.models.gates import ExtendedGate
from morex.models.mixture import Mixture
from morex.models.named import load_model, open_model
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet
from morex.models.save import save_model
from morex.perturbations import AdversarialFog
from morex.recipe import Recipe, RecipeError, load_recipe, parse_recipe
from morex.recipe.extend import extended, last_mixture, shrunk
from morex.recipe.lineage import expert_for, known_and_new
from morex.recipe.models import MixtureModel, NetworkModel, SavedModel
from morex.run import Builder, RunError, run
from morex.run.continuation import continue_run, recipe_of, training_seconds
from morex.run.estimates import estimate
from morex.run.failures import StageError
from morex.run.stages import plan_stages
from morex.training.objectives import Objective, SideBySide

pytestmark = pytest.mark.usefixtures("one_thread")

FEW = ("clean", "Minf", "Mfog", "MoRE")
RAIN = {"rain": {"kind": "rain", "drops": 20}}
GROWN = "MoRE + rain"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a few models. Do not change it."""
    out = tmp_path_factory.mktemp("few") / "run"
    run(tiny(*FEW), out, jobs=1)
    return out


@pytest.fixture(scope="module")
def grown(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Spy, Recipe]:
    """The same with rain. Do not change it."""
    out, spy = tmp_path_factory.mktemp("grown") / "run", Spy()
    recipe = extended(recipe_of(finished), "MoRE", RAIN)
    continue_run(finished, recipe, out, observer=spy, jobs=1)
    return out, spy, recipe


def network(recipe: Recipe, name: str) -> NetworkModel:
    model = recipe.models[name]
    assert isinstance(model, NetworkModel)
    return model


def mixture(recipe: Recipe, name: str) -> MixtureModel:
    model = recipe.models[name]
    assert isinstance(model, MixtureModel)
    return model


# --- recipes


def test_an_extended_recipe_has_an_expert_a_mixture_and_rows_more_and_all_it_had() -> None:
    before = tiny(*FEW)
    after = extended(before, "MoRE", RAIN)
    assert {*after.models} - {*before.models} == {"Mrain", GROWN}
    assert all(after.models[name] == before.models[name] for name in before.models)
    assert after.columns == (*before.columns, "Mrain", GROWN)
    assert {*after.evaluation.rows} - {*before.evaluation.rows} == {"rain"}
    expert, new, old = network(after, "Mrain"), mixture(after, GROWN), mixture(before, "MoRE")
    assert (expert.warm_start, expert.against) == ("Minf", ("rain", "linf"))
    assert (expert.objective, expert.shares) == ("side-by-side", {"rain": 4})
    assert (new.warm_start, new.experts) == ("MoRE", (*old.experts, "Mrain"))
    assert new.against == (*old.against, "rain")
    assert new.training.epochs < old.training.epochs
    assert new.gate_warmup
    for short in (expert.training, new.gate_warmup, new.training):
        assert short.validate_every is None  # there is nothing to choose between


def objective_of_warm_up(recipe: Recipe, model: str) -> Objective:
    builder = Builder.open(recipe, torch.device("cpu"))
    return builder.objective(phase(recipe, model, "gate"))


def test_half_of_what_is_beside_the_gate_learns_from_is_new() -> None:
    recipe = _with_rain_and_scale(tiny(*FEW))
    more = mixture(recipe, f"{GROWN} + scale")
    objective = objective_of_warm_up(recipe, f"{GROWN} + scale")
    assert isinstance(objective, SideBySide)
    assert more.against == ("clean", "linf", "fog", "rain", "scale")
    assert objective.shares == (2, 2, 2, 3, 3)
    attack = objective.members[1]  # on what is beside the gate, away from what is known
    assert isinstance(attack, PGD)
    assert attack.loss == AwayFromChoices((0,))


def test_of_what_is_known_the_gate_sees_as_much_as_the_mixture() -> None:
    raw = changed(raw_recipe(*FEW), "models.MoRE.shares", {"linf": 3})
    recipe = _with_rain_and_scale(parse_recipe(raw))
    more = mixture(recipe, f"{GROWN} + scale")
    objective = objective_of_warm_up(recipe, f"{GROWN} + scale")
    assert isinstance(objective, SideBySide)
    assert more.against == ("clean", "linf", "fog", "rain", "scale")
    assert objective.shares == (2, 6, 2, 5, 5)


def _with_rain_and_scale(recipe: Recipe) -> Recipe:
    recipe = extended(recipe, "MoRE", RAIN)
    return extended(recipe, GROWN, {"scale": {"kind": "scale", "percent": 20}})


def test_without_an_attack_on_the_gate_known_balls_are_left_out_of_its_warm_up() -> None:
    raw = extended(tiny(*FEW), "MoRE", RAIN).model_dump(mode="json")
    recipe = parse_recipe(changed(raw, f"models.{GROWN}.robust_gate", None))
    objective = objective_of_warm_up(recipe, GROWN)
    assert isinstance(objective, SideBySide)
    assert [type(member) for member in objective.members] == [WorstOfDraws] * 3
    assert objective.shares == (1, 1, 2)


def test_what_a_gate_that_goes_on_is_attacked_with_is_all_that_is_said_of_it() -> None:
    raw = extended(tiny(*FEW), "MoRE", RAIN).model_dump(mode="json")
    for key, value in (("start", "Minf"), ("experts", {"rain": ["Mrain"]})):
        with pytest.raises(RecipeError, match="names only new experts; remove start and experts"):
            parse_recipe(changed(raw, f"models.{GROWN}.robust_gate.{key}", value))


def test_a_mixture_that_was_trained_in_turn_can_be_extended() -> None:
    recipe = extended(tiny("clean", "Minf", "MoRE (in turn)"), "MoRE (in turn)", RAIN)
    assert mixture(recipe, "MoRE (in turn) + rain").robust_gate


def test_a_new_ball_brings_an_expert_for_it_alone_and_the_attacks_of_the_other_ball() -> None:
    before = tiny(*FEW)
    after = extended(before, "MoRE", {"l1": {"kind": "l1", "eps": 5}})
    expert = network(after, "Ml1")
    assert (expert.against, expert.objective) == (("l1",), "single")
    rows = {k: r for k, r in after.evaluation.rows.items() if k not in before.evaluation.rows}
    assert {*rows} == {"pgd-l1"}  # RayS knows no L1
    like = before.evaluation.rows["pgd-linf"]
    assert rows["pgd-l1"] == like.model_copy(update={"perturbation": "l1"})


def test_what_is_new_is_shown_where_a_recipe_says_what_is_shown() -> None:
    before = parse_recipe(changed(raw_recipe(*FEW), "report", {"models": ["clean", "MoRE"]}))
    after = extended(before, "MoRE", RAIN)
    assert after.report
    assert after.report.models == ("clean", "MoRE", "Mrain", GROWN)
    smaller = shrunk(before, "MoRE", ["Mfog"])
    assert smaller.report
    assert smaller.report.models == ("clean", "MoRE", "MoRE - Mfog")


def test_extensions_can_be_extended() -> None:
    once = extended(tiny(*FEW), "MoRE", RAIN)
    assert last_mixture(once) == GROWN
    twice = extended(once, GROWN, {"scale": {"kind": "scale", "percent": 20}})
    assert mixture(twice, f"{GROWN} + scale").warm_start == GROWN
    first, second = mixture(once, GROWN), mixture(twice, f"{GROWN} + scale")
    assert second.experts[-2:] == ("Mrain", "Mscale")
    # the gate learns its output for rain again, beside that for scale
    assert known_and_new(twice, second) == (("clean", "linf", "fog"), ("rain", "scale"))
    assert [expert_for(twice, second, name) for name in ("rain", "scale")] == [3, 4]
    # as short as the first extension, not a fraction of it
    assert (second.gate_warmup, second.training) == (first.gate_warmup, first.training)


def test_a_mixture_that_was_shrunk_is_extended_with_the_warm_up_of_the_whole_one() -> None:
    before = tiny(*FEW)
    extension = mixture(extended(before, "MoRE", RAIN), GROWN)
    less = shrunk(before, "MoRE", ["Mfog"])
    again = mixture(extended(less, "MoRE - Mfog", RAIN), "MoRE - Mfog + rain")
    assert (again.gate_warmup, again.training) == (extension.gate_warmup, extension.training)


def test_a_shrunk_recipe_drops_the_expert_and_what_it_was_for() -> None:
    before = tiny(*FEW)
    after = shrunk(before, "MoRE", ["Mfog"])
    new = mixture(after, "MoRE - Mfog")
    assert (new.experts, new.against) == (("clean", "Minf"), ("clean", "linf"))
    assert (new.warm_start, new.gate_warmup) == ("MoRE", None)
    assert after.evaluation.rows == before.evaluation.rows


@pytest.mark.parametrize(
    ("mixture", "new", "message"),
    [
        ("MAX", RAIN, "no mixture 'MAX'; there are MoRE"),
        ("MoRE", {"fog": {"kind": "fog", "t": 1, "light": 1}}, "'fog' is in the recipe already"),
        ("MoRE", {"rain": {"kind": "rain", "drips": 1}}, "perturbations.rain.drips: unknown key"),
        ("MoRE", {"x": {"kind": "nothing"}}, "perturbations.x"),
    ],
)
def test_bad_extensions_raise(mixture: str, new: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        extended(tiny(*FEW, "MAX"), mixture, new)


@pytest.mark.parametrize(
    ("without", "message"),
    [
        (["Msnow"], "no expert 'Msnow'; there are clean, Minf, Mfog"),
        (["clean", "Minf", "Mfog"], "no expert of 'MoRE' would be left"),
    ],
)
def test_bad_shrinking_raises(without: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        shrunk(tiny(*FEW), "MoRE", without)


def test_the_mixture_that_has_an_expert_is_named() -> None:
    recipe = load_recipe("digits")
    with pytest.raises(RecipeError, match=r"no expert 'Msnow'.*; choose 'MoRE \(all\)', which"):
        shrunk(recipe, last_mixture(recipe), ["Msnow"])


def test_nothing_to_extend_raises() -> None:
    with pytest.raises(RecipeError, match="has no mixture"):
        last_mixture(tiny("clean"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"warm_start": "Minf"}, "'Minf' is a network, expected a mixture"),
        ({"experts": ["MoRE"]}, "'MoRE' is a mixture, expected a network"),
        ({"combine": "probabilities"}, "combine is not that of its warm start"),
        ({"experts": ["Mother"]}, "has no expert in common"),
    ],
)
def test_wrong_starts_of_mixtures_are_named(change: dict[str, Any], message: str) -> None:
    raw = raw_recipe(*FEW)
    raw["models"]["Mother"] = {"against": "linf"}
    short = {"kind": "mixture", "warm_start": "MoRE", "experts": ["clean", "Mother"]}
    raw["models"]["new"] = short | {"against": ["clean", "linf"]} | change
    with pytest.raises(RecipeError, match=message):
        parse_recipe(raw)


def test_an_expert_that_is_trained_already_is_taken_as_it_is() -> None:
    after = extended(tiny(*FEW), "MoRE", RAIN, {"rain": "some/folder"})
    expert = after.models["Mrain"]
    assert isinstance(expert, SavedModel)
    assert (expert.model, expert.against) == ("some/folder", ("rain",))
    assert mixture(after, GROWN).gate_warmup  # which is to name it


def test_an_expert_for_nothing_raises() -> None:
    with pytest.raises(RecipeError, match="an expert for 'hail', which is not among rain"):
        extended(tiny(*FEW), "MoRE", RAIN, {"hail": "some/folder"})


# --- runs


def test_only_what_is_new_is_trained_and_only_new_rows_are_attacked(
    grown: tuple[Path, Spy, Recipe],
) -> None:
    _, spy, _ = grown
    trained = [stage for stage in spy.done if not stage.startswith("evaluate")]
    assert trained == ["train-mrain", "gate-more-+-rain", "train-more-+-rain"]
    counts = [30, 30, 30, 30, 20, 30]  # rays-linf sees 20, and rain comes last
    for stage in ("evaluate-clean", "evaluate-more"):
        first_attacked = spy.shares[stage][1]
        known = (len(counts) - 1) / len(counts)
        assert first_attacked > known  # all rows but one were there


def test_the_old_models_and_rows_are_the_same_bits(
    finished: Path, grown: tuple[Path, Spy, Recipe]
) -> None:
    out, _, _ = grown
    before, after = results_of(finished), results_of(out)
    weights = {name for name in before if name.endswith("safetensors")}
    assert {n: after[n] for n in weights} == {n: before[n] for n in weights}
    for name in ("clean", "more"):
        old = Outcomes.load(finished / f"outcomes/{name}.npz").right
        new = Outcomes.load(out / f"outcomes/{name}.npz").right
        assert new.keys() - old.keys() == {"rain"}
        assert all((new[row] == old[row]).all() for row in old)


def test_a_run_from_the_start_gives_the_same(
    grown: tuple[Path, Spy, Recipe], tmp_path: Path
) -> None:
    out, _, recipe = grown
    run(recipe, tmp_path / "fresh", jobs=1)
    assert results_of(tmp_path / "fresh") == results_of(out)


def test_the_grown_mixture_is_what_it_says(grown: tuple[Path, Spy, Recipe]) -> None:
    out, _, _ = grown
    model = load_model(out / "models/more-+-rain")
    assert isinstance(model, Mixture)
    assert model.expert_names == ("clean", "Minf", "Mfog", "Mrain")
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.gate_weights(x).sum(1), torch.ones(4))
    assert training_seconds(out, GROWN) > 0


def test_the_gate_learns_while_the_new_expert_does(
    grown: tuple[Path, Spy, Recipe], tmp_path: Path
) -> None:
    out, _, recipe = grown
    stages = {stage.id: stage for stage in plan_stages(recipe, "", "")}
    assert stages["gate-more-+-rain"].needs == ("train-more",)
    assert {"gate-more-+-rain", "train-mrain", "train-more"} <= {*stages["train-more-+-rain"].needs}
    gate, model = (load_model(out / f"models/more-+-rain{part}") for part in ("/gate", ""))
    assert isinstance(gate, ExtendedGate)
    assert isinstance(model, Mixture)
    assert isinstance(model.gate, ExtendedGate)
    learnt, before = gate.joined.state_dict(), gate.known.state_dict()
    assert any(not torch.equal(learnt[name], before[name]) for name in before if "head" not in name)
    assert open_model(out / "models/more-+-rain/gate").about.keys() == {"name"}  # no classifier
    code, _, error = call("evaluate", out / "models/more-+-rain/gate")
    assert code != 0
    assert "has no recipe; add --recipe" in error

    other, spy = tmp_path / "other", Spy()
    raw = changed(recipe.model_dump(mode="json"), "models.Mrain.training.learning_rate", 0.01)
    continue_run(out, parse_recipe(raw), other, observer=spy, jobs=1)
    trained = {stage for stage in spy.done if not stage.startswith("evaluate")}
    assert trained == {"train-mrain", "train-more-+-rain"}  # whatever the expert is


def test_without_an_attack_on_itself_the_gate_waits_for_the_expert(
    grown: tuple[Path, Spy, Recipe], tmp_path: Path
) -> None:
    out, _, recipe = grown
    raw = changed(recipe.model_dump(mode="json"), "models.MoRE + rain.robust_gate", None)
    recipe = parse_recipe(raw)
    stages = {stage.id: stage for stage in plan_stages(recipe, "", "")}
    assert "train-mrain" in stages["gate-more-+-rain"].needs
    continue_run(out, recipe, tmp_path / "run", jobs=1)
    assert isinstance(load_model(tmp_path / "run/models/more-+-rain/gate"), Mixture)


def test_a_row_of_another_strength_is_attacked_again(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    raw = changed(raw_recipe(*FEW), "evaluation.rows.pgd-linf.steps", 1)
    run(parse_recipe(raw), out, jobs=1)
    run(parse_recipe(raw), tmp_path / "fresh", jobs=1)
    assert results_of(out) == results_of(tmp_path / "fresh")


def test_rows_of_damaged_outcomes_are_attacked_again(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    good = (out / "outcomes/clean.npz").read_bytes()
    wrong = Outcomes.load(out / "outcomes/clean.npz").right
    Outcomes({name: ~right for name, right in wrong.items()}).save(out / "outcomes/clean.npz")
    run(tiny(*FEW), out, jobs=1)
    assert (out / "outcomes/clean.npz").read_bytes() == good


def test_a_run_that_goes_on_from_itself_raises(finished: Path) -> None:
    with pytest.raises(RunError, match="is the run to continue; give --out another folder"):
        continue_run(finished, tiny(*FEW), finished)


def test_what_is_no_run_raises(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"it has no recipe\.yaml"):
        recipe_of(tmp_path)


def _expert_from_elsewhere(folder: Path, classes: tuple[str, ...] | None = None) -> ResNet:
    """Save a network of another architecture and width, as if somebody else had trained it."""
    config = NetworkConfig("resnet18", 2, 10, (8, 8), (0.5,) * 3, (0.3,) * 3)
    made = ResNet(config, seed=3).eval()
    save_model(made, folder, about={"classes": classes} if classes else None)
    return made


def test_an_expert_from_elsewhere_joins_with_its_own_architecture(
    finished: Path, tmp_path: Path
) -> None:
    theirs = _expert_from_elsewhere(tmp_path / "theirs")
    recipe = extended(recipe_of(finished), "MoRE", RAIN, {"rain": str(tmp_path / "theirs")})
    out, spy = tmp_path / "run", Spy()
    continue_run(finished, recipe, out, observer=spy, jobs=1)
    model = load_model(out / "models/more-+-rain")
    assert isinstance(model, Mixture)
    joined = model.experts[3]
    assert isinstance(joined, ResNet)
    assert joined.config == theirs.config
    torch.testing.assert_close(joined.stem.state_dict(), theirs.stem.state_dict())
    again = Spy()
    continue_run(finished, recipe, out, observer=again, jobs=1)
    assert not again.done
    with torch.no_grad():
        theirs.head.bias.add_(1)
    save_model(theirs, tmp_path / "theirs")
    continue_run(finished, recipe, out, observer=again, jobs=1)
    assert "train-mrain" in again.done


THEIRS = """
import torch
from torch import nn

made = 0

def make():
    global made
    made += 1
    torch.manual_seed(5)
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
    return nn.Sequential(*layers)
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of somebody else's with a classifier, which is found where morex is called."""
    module = f"theirs_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    return f"{module}:make"


def test_any_torch_classifier_joins_by_its_factory(
    factory: str, finished: Path, tmp_path: Path
) -> None:
    recipe = extended(recipe_of(finished), "MoRE", RAIN, {"rain": factory})
    given = {"last_layer": "4", "input_range": "-1..1", "mean": (0.1,) * 3, "std": (0.7,) * 3}
    raw = recipe.model_dump(mode="json")
    raw["models"]["Mrain"] |= given
    recipe, out, spy = parse_recipe(raw), tmp_path / "run", Spy()
    continue_run(finished, recipe, out, jobs=1)
    continue_run(finished, recipe, out, observer=spy, jobs=1)
    assert not spy.done
    mixture, alone = load_model(out / "models/more-+-rain"), load_model(out / "models/mrain")
    assert isinstance(mixture, Mixture)
    x = torch.rand(6, 3, 8, 8)
    theirs = import_model(factory).eval()
    torch.testing.assert_close(alone(x), theirs((2 * x - 1 - 0.1) / 0.7), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        mixture.experts[3].state_dict()["classifier.0.weight"], theirs[0].weight.detach()
    )
    planned = {one.stage.id: one.parameters for one in estimate(recipe, torch.device("cpu"))}
    assert planned["train-more-+-rain"] == sum(p.numel() for p in mixture.parameters())
    again = tmp_path / "again"
    save_model(mixture, again)
    torch.testing.assert_close(load_model(again)(x), mixture(x))


def test_a_run_makes_a_classifier_from_a_factory_once(
    factory: str, finished: Path, tmp_path: Path
) -> None:
    raw = extended(recipe_of(finished), "MoRE", RAIN, {"rain": factory}).model_dump(mode="json")
    raw["models"]["Mrain"] |= {"last_layer": "4"}
    recipe = parse_recipe(raw)
    builder = Builder.open(recipe, torch.device("cpu"))
    plan_stages(recipe, "", "", builder.opened)
    made = [builder.untrained("Mrain", builder.network) for _ in range(2)]
    assert made[0] is made[1]
    assert sys.modules[factory.partition(":")[0]].made == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"last_layer": "fc"}, "has no layer 'classifier.fc'"),
        ({"last_layer": "0"}, "is a Conv2d, expected nn.Linear"),
        ({"last_layer": "4", "mean": [0.1], "std": [0.0]}, "std > 0"),
        ({"model": "nowhere:make"}, "nowhere:make: ModuleNotFoundError"),
    ],
)
def test_what_a_factory_makes_is_checked(
    given: dict[str, Any], message: str, factory: str, finished: Path, tmp_path: Path
) -> None:
    raw = extended(recipe_of(finished), "MoRE", RAIN, {"rain": factory}).model_dump(mode="json")
    raw["models"]["Mrain"] |= given
    with pytest.raises((ValueError, StageError), match=re.escape(message)):
        continue_run(finished, parse_recipe(raw), tmp_path / "run", jobs=1)


@pytest.mark.parametrize("what", ["a mixture", "other classes", "nothing"])
def test_what_cannot_be_an_expert_is_said(what: str, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    if what == "a mixture":
        folder = finished / "models/more"
    elif what == "other classes":
        _expert_from_elsewhere(folder, ("cat", "dog"))
    recipe = extended(recipe_of(finished), "MoRE", RAIN, {"rain": str(folder)})
    message = {
        "a mixture": "expected a single network",
        "other classes": "has the classes cat, dog, which are not",
    }
    with pytest.raises((ModelError, StageError), match=message.get(what, "no model in")):
        continue_run(finished, recipe, tmp_path / "run", jobs=1)


# --- the commands


def test_extend_and_shrink_print_the_table_and_the_cost(finished: Path, tmp_path: Path) -> None:
    source = tmp_path / "run"
    shutil.copytree(finished, source)
    columns = "columns=[MoRE, MoRE + rain]"
    code, out, err = call(
        "extend", source, "--with", "rain: {kind: rain, drops: 20}", columns, "--jobs", "1"
    )
    assert code == 0, err
    assert "training took" in out
    assert (tmp_path / "run-rain/models/more-+-rain/model.json").is_file()
    *_, page, change = out.splitlines()
    assert page == f"report: {tmp_path / 'run-rain/report.html'}"
    assert change.startswith("MoRE + rain against MoRE: ")
    assert (tmp_path / "run-rain/report.html").is_file()
    columns = "columns=[MoRE + rain, MoRE + rain - Mfog]"
    code, out, err = call("shrink", tmp_path / "run-rain", "--without", "Mfog", columns)
    assert code == 0, err
    made = load_recipe(str(tmp_path / "run-rain-without-Mfog/recipe.yaml"))
    assert mixture(made, "MoRE + rain - Mfog").experts == ("clean", "Minf", "Mrain")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extend"], "name at least one perturbation"),
        (["extend", "--with", "[1]"], "expected a kind such as rain"),
        (["extend", "--with", "a: {kind: rain}", "--with", "a: {kind: rain}"], "twice"),
        (["extend", "--with", "a: {"], "not valid YAML"),
        (["extend", "--with", "nothing"], "perturbations.nothing"),
        (
            ["extend", "--with", "rain", "--expert", "rain"],
            "expected NAME=MODEL, such as rain=FOLDER",
        ),
        (["shrink"], "name at least one expert"),
    ],
)
def test_mistakes_are_told_plainly(arguments: list[str], message: str, finished: Path) -> None:
    command, *rest = arguments
    code, _, err = call(command, finished, *rest)
    assert code == 2
    assert message in err


def test_what_an_attacker_chooses_is_learnt_beside_the_balls() -> None:
    fog = {"kind": "adversarial-fog", "density": 0.5}
    recipe = extended(load_recipe("digits"), "MoRE+ (all)", {"mist": fog})
    expert = recipe.networks["Mmist"]
    assert expert.against[0] == "mist"
    assert {"l2", "linf"} <= {*expert.against}
    row = recipe.evaluation.rows["pgd-mist"].build(recipe.perturbations)
    assert isinstance(row, PGD)
    assert row.perturbation == AdversarialFog(0.5)
    searches = [search_of(recipe.perturbations[n], expert.inner.attack) for n in expert.against]
    assert isinstance(searches[0], PGD)
