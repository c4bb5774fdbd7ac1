"""Illustrations show what the models predict, and a run makes them once."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Spy, changed, raw_recipe
from torch import Tensor, nn

from morex.artifacts.class_words import NOT_FINITE
from morex.artifacts.illustration import Curve, Illustration
from morex.artifacts.outcomes import Outcomes
from morex.attacks import PGD, DeepFool, RayS, WorstOfDraws
from morex.data import load_data
from morex.evaluation.evaluate import evaluate
from morex.evaluation.feasibility import check_feasible
from morex.evaluation.illustrate import Illustrator, drawn_half_and_half
from morex.evaluation.settings import Settings
from morex.evaluation.strength_curves import curve_suite, possible
from morex.evaluation.suite import Row, Suite
from morex.models.mixture import MeanOfExperts, Mixture
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet
from morex.perturbations import L2, Clean, Fog, Jpeg, Linf, Transform
from morex.recipe import RecipeError, parse_recipe
from morex.recipe.illustrated import illustrated, in_pictures
from morex.report.page import write_report
from morex.run import Builder, run
from morex.run.costs import stage_passes
from morex.run.stages import plan_stages

pytestmark = pytest.mark.usefixtures("one_thread")

LINF = Linf(0.1)
SUITE: Suite = (
    Row("clean", WorstOfDraws(Clean())),
    Row("pgd", PGD(LINF, steps=2, restarts=3, stop_when_fooled=True)),
    Row("deepfool", DeepFool(L2(0.5), steps=2, candidates=3)),
    Row("rays", RayS(LINF, queries=900)),
    Row("fog", WorstOfDraws(Fog(0.15, 0.6))),
)
OVER = {"clean": Clean(), "linf": LINF, "fog": Fog(0.15, 0.6)}
EXAMPLES = 20


def network(outputs: int, seed: int) -> ResNet:
    return ResNet(NetworkConfig("resnet10", 4, outputs, (8, 8)), seed=seed)


@pytest.fixture(scope="module")
def images() -> Any:
    return load_data("digits").test.first(60)


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    return Mixture({"a": network(10, 1), "b": network(10, 2)}, network(2, 3)).eval()


@pytest.fixture(scope="module")
def illustrator() -> Illustrator:
    settings = Settings(0, 8, "fp32")
    return Illustrator(SUITE, OVER, (0.0, 1.0, 2.0), EXAMPLES, 4, 3, settings)


@pytest.fixture(scope="module")
def made(mixture: Mixture, images: Any, illustrator: Illustrator) -> Illustration:
    return illustrator.illustrate(mixture, images, gallery=True)


def test_answers_are_given_under_quick_attacks(
    made: Illustration, mixture: Mixture, images: Any
) -> None:
    assert [*made.answers] == ["clean", "pgd", "fog"]
    assert made.labels.tolist() == images.labels[:EXAMPLES].tolist()
    with torch.no_grad():
        said = mixture(images.first(EXAMPLES).pixels(slice(None))).argmax(1)
    assert made.answers["clean"].tolist() == said.tolist()


def test_curves_begin_at_clean_accuracy_and_are_those_of_an_evaluation(
    made: Illustration, mixture: Mixture, images: Any
) -> None:
    clean = made.answers["clean"] == made.labels
    factors = {name: curve.factors.tolist() for name, curve in made.curves.items()}
    assert factors == {"linf": [0, 1, 2], "fog": [0, 1]}  # twice that fog would be opaque
    for curve in made.curves.values():
        assert curve.right[0].tolist() == clean.tolist()
    suite = curve_suite(LINF, (1.0,), steps=3, restarts=1)
    found = evaluate(mixture, images.first(EXAMPLES), suite, batch_size=8).right["at-1"]
    assert made.curves["linf"].right[1].tolist() == found.tolist()


def test_pictures_are_in_their_balls_with_their_predictions(
    made: Illustration, mixture: Mixture, images: Any
) -> None:
    shown = made.pictures
    assert shown is not None
    assert shown.rows.tolist() == [row.name for row in SUITE]
    x = images.pixels(torch.from_numpy(shown.index))
    moved = torch.from_numpy(shown.moved.astype(np.float32))
    assert torch.allclose(moved[0], x, atol=1e-3)
    for row, after in zip(SUITE, moved, strict=True):
        ball = row.attack.perturbation
        if isinstance(ball, Linf | L2):
            check_feasible(type(ball)(ball.eps + 0.02), x, after, row.name)  # stored with 11 bits
    with torch.no_grad():
        assert shown.said[0].tolist() == mixture(x).argmax(1).tolist()
        assert np.allclose(shown.weights[0], mixture.gate_weights(x), atol=2e-3)
        experts = mixture.expert_logits(x).argmax(2)
    assert shown.experts.tolist() == ["a", "b"]
    assert shown.experts_say[0].tolist() == experts.tolist()
    assert shown.labels.tolist() == images.labels[shown.index].tolist()


class Speechless(nn.Module):
    """Answers NaN to all images that are darker than most."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.head = network, nn.Linear(1, 10)

    def forward(self, x: Tensor) -> Tensor:
        dark = x.mean((1, 2, 3)) < 0.3
        answer: Tensor = self.network(x)
        return torch.where(dark[:, None], torch.nan, answer)


def test_an_answer_that_is_not_finite_is_no_class(illustrator: Illustrator, images: Any) -> None:
    model = Mixture({"a": Speechless(network(10, 1)), "b": network(10, 2)}, network(2, 3)).eval()
    made = illustrator.illustrate(model, images, gallery=True)
    x = images.first(EXAMPLES).pixels(slice(None))
    dark = (x.mean((1, 2, 3)) < 0.3).numpy()
    assert 0 < dark.sum() < EXAMPLES
    with torch.no_grad():
        said = model(x).argmax(1).numpy()
    assert np.array_equal(made.answers["clean"], np.where(dark, NOT_FINITE, said))
    shown = made.pictures
    assert shown is not None
    dark = dark[shown.index]
    assert 0 < dark.sum() < 4
    assert (shown.said[0][dark] == NOT_FINITE).all()
    assert (shown.confidence[0][dark] == 0).all()
    assert (shown.confidence[0][~dark] > 0).all()
    assert (shown.experts_say[0][dark, 0] == NOT_FINITE).all()
    assert (shown.experts_say[0][~dark] >= 0).all()


def test_models_without_gate_or_experts_have_pictures_too(
    illustrator: Illustrator, images: Any
) -> None:
    single = illustrator.illustrate(network(10, 1).eval(), images, gallery=True).pictures
    assert single
    assert single.experts.size == single.weights.size == single.experts_say.size == 0
    several = MeanOfExperts({"a": network(10, 1), "b": network(10, 2)}).eval()
    shown = illustrator.illustrate(several, images, gallery=True).pictures
    assert shown
    assert shown.experts_say.shape == (len(SUITE), 4, 2)
    assert shown.weights.shape == (len(SUITE), 4, 0)
    assert illustrator.illustrate(several, images, gallery=False).pictures is None


def test_pictures_take_less_effort_than_a_table(illustrator: Illustrator) -> None:
    attacks = {row.name: row.attack for row in illustrator.shown}
    assert attacks["pgd"] == PGD(LINF, steps=2, restarts=1, stop_when_fooled=True)
    assert attacks["rays"] == RayS(LINF, queries=100)


def test_successes_and_failures_are_drawn_in_equal_shares() -> None:
    right = torch.arange(40) % 4 == 0  # ten are right
    chosen = drawn_half_and_half(right, 12, seed=0)
    assert right[chosen].tolist() == [True] * 6 + [False] * 6
    assert drawn_half_and_half(right, 12, seed=0).equal(chosen)
    assert not drawn_half_and_half(right, 12, seed=1).equal(chosen)
    assert drawn_half_and_half(right, 30, seed=0).shape == (30,)
    assert right[drawn_half_and_half(right, 30, seed=0)].sum() == 10
    for everything in (torch.ones(9, dtype=torch.bool), torch.zeros(9, dtype=torch.bool)):
        assert sorted(drawn_half_and_half(everything, 4, seed=0).unique().tolist()) == sorted(
            drawn_half_and_half(everything, 4, seed=0).tolist()
        )
        assert len(drawn_half_and_half(everything, 4, seed=0)) == 4


def test_what_is_saved_is_what_is_loaded(made: Illustration, tmp_path: Path) -> None:
    made.save(tmp_path / "a" / "one.npz")
    made.save(tmp_path / "two.npz")
    content = (tmp_path / "two.npz").read_bytes()
    assert (tmp_path / "a/one.npz").read_bytes() == content
    found = Illustration.load(tmp_path / "two.npz")
    assert [*found.answers] == [*made.answers]
    assert found.curves["fog"].right.tolist() == made.curves["fog"].right.tolist()
    assert found.pictures
    assert made.pictures
    assert (found.pictures.moved == made.pictures.moved).all()
    (tmp_path / "two.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="not a readable illustration"):
        Illustration.load(tmp_path / "two.npz")


class Flip(Transform):
    """A user's transform, without a strength."""

    def scaled(self, factor: float) -> "Flip":
        raise NotImplementedError

    def __call__(self, x: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
        return x.flip(3)


@pytest.mark.parametrize(
    ("perturbation", "factors"),
    [(Fog(0.15, 0.6), [0, 0.5, 1, 1.5]), (Jpeg(1), [0, 1, 1.5]), (Flip(), [])],
)
def test_impossible_and_repeated_strengths_are_left_out(
    perturbation: Transform, factors: list[float]
) -> None:
    assert [*possible(perturbation, (0, 0.5, 1, 1.5, 2))] == factors


def test_names_of_perturbations_may_have_any_sign(tmp_path: Path) -> None:
    curve = Curve(np.array([1.0]), np.ones((1, 2), dtype=bool))
    made = Illustration(np.zeros(2), {"a/b": np.zeros(2)}, {"linf 8/255": curve})
    made.save(tmp_path / "one.npz")
    found = Illustration.load(tmp_path / "one.npz")
    assert ([*found.curves], [*found.answers]) == (["linf 8/255"], ["a/b"])


# --- in a run

REPORT = {"examples": 12, "pictures": 3, "steps": 2, "factors": [0, 1]}
FEW = ("clean", "Minf", "Mfog", "MoRE")


def recipe_with(**report: Any) -> dict[str, Any]:
    return changed(raw_recipe(*FEW), "report", REPORT | report)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("illustrated") / "run"
    run(parse_recipe(recipe_with(models=["clean", "MoRE"])), out, jobs=1)
    return out


def redone(out: Path, raw: dict[str, Any]) -> list[str]:
    spy = Spy()
    run(parse_recipe(raw), out, observer=spy, jobs=1)
    return spy.done


def test_a_run_illustrates_what_its_recipe_names(finished: Path) -> None:
    files = sorted(path.name for path in (finished / "illustrations").iterdir())
    assert files == ["clean.npz", "more.npz"]
    assert Illustration.load(finished / "illustrations/more.npz").pictures
    assert not Illustration.load(finished / "illustrations/clean.npz").pictures
    html = write_report(finished).read_text()
    for section in ("gate", "pictures", "curves", "breaks", "training"):
        assert f'id="{section}"' in html
    assert "Left out" not in html


def test_labels_are_in_the_order_of_the_outcomes(finished: Path) -> None:
    found = Illustration.load(finished / "illustrations/clean.npz")
    right = Outcomes.load(finished / "outcomes/clean.npz").right["clean"][:12]
    assert (found.answers["clean"] == found.labels).tolist() == right.tolist()
    images = json.loads((finished / "test-labels.json").read_text())
    assert images["labels"][:12] == found.labels.tolist()
    whole = load_data("digits").test.labels
    assert whole[images["index"]].tolist() == images["labels"]


def test_illustrations_are_made_once_and_again_if_they_are_damaged(
    finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    raw = recipe_with(models=["clean", "MoRE"])
    assert redone(out, raw) == []
    before = (out / "illustrations/more.npz").read_bytes()
    (out / "illustrations/more.npz").write_bytes(b"damaged")
    assert redone(out, raw) == ["illustrate-more"]
    assert (out / "illustrations/more.npz").read_bytes() == before
    both = ["illustrate-clean", "illustrate-more"]
    assert redone(out, changed(raw, "report.pictures", 2)) == both
    assert redone(out, changed(raw, "report", None)) == []
    assert "Pictures" not in write_report(out).read_text()


def test_the_passes_of_an_illustration_are_an_upper_bound() -> None:
    recipe = parse_recipe(recipe_with(models=["clean"]))
    builder = Builder.open(recipe, torch.device("cpu"))
    stage = next(s for s in plan_stages(recipe, "", "") if s.kind == "illustrate")
    seen = 0

    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = builder.network("clean")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nonlocal seen
            seen += len(x)
            return self.net(x)

    builder.illustrator().illustrate(Counting().eval(), builder.test_data, gallery=True)
    bound = stage_passes(builder, stage).forward
    assert 0 < seen <= bound < 20 * seen


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (("clean", "Minf", "Mfog", "MAX", "MoRE"), ("clean", "Minf", "Mfog", "MAX", "MoRE")),
        (("clean", "Minf", "Mfog", "MAX", "MSD", "drawn", "MoRE"),
         ("clean", "MAX", "MSD", "drawn", "MoRE")),
    ],
)  # fmt: skip
def test_morex_chooses_few_models_that_can_be_compared(
    models: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    recipe = parse_recipe(changed(raw_recipe(*models), "report", {}))
    assert illustrated(recipe) == expected
    assert in_pictures(recipe) == "MoRE"


def test_a_run_without_mixtures_shows_its_last_model() -> None:
    recipe = parse_recipe(changed(raw_recipe("clean", "Minf"), "report", {}))
    assert in_pictures(recipe) == "Minf"
    without = parse_recipe(raw_recipe("clean"))
    assert illustrated(without) == ()
    assert in_pictures(without) is None


@pytest.mark.parametrize("factors", [[1, 1.0], [2, 1], [0, 1, 1.0000001]])
def test_strengths_that_do_not_rise_raise_before_any_training(
    factors: list[float],
) -> None:
    with pytest.raises(RecipeError, match="expected rising factors on the strength"):
        parse_recipe(recipe_with(factors=factors))


def test_unknown_models_are_named() -> None:
    with pytest.raises(RecipeError, match=r"report\.models: no column 'MOR'"):
        parse_recipe(recipe_with(models=["MOR"]))
