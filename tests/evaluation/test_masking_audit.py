"""The audit tells a robust model from one that hides its gradients.

All models are constructed, so that what an attack can reach is known, and no rounding decides.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from contrast import Contrast, contrast, halves, with_contrasts
from routed import BALL, Routed, pictures
from torch import Tensor, nn

from morex.artifacts.findings import POINTS, Finding
from morex.artifacts.statistics import wilson_interval
from morex.attacks import PGD, frozen
from morex.data import ImageSet
from morex.evaluation import Limits, audit_attacks, audit_balls
from morex.evaluation.audit_attacks import attacks_in
from morex.evaluation.audit_balls import Searched
from morex.evaluation.audit_basis import Audited
from morex.evaluation.audit_outputs import outputs
from morex.evaluation.masking_audit import audit_model
from morex.perturbations import L1, L2, Ball, Linf

DATA = halves(40, weak=0.13, strong=0.3)
"""Linf(eps) fools the model on an image of contrast c if 2 eps > c: at 0.1 half of these fall."""


class Trick(Contrast):
    """Hides gradients, or answers in a way that misleads attacks."""


class Quantised(Trick):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x * 16).round() / 16)


class Huge(Trick):
    def forward(self, x: Tensor) -> Tensor:
        return 1e4 * super().forward(x)


class Noisy(Trick):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0.1 * torch.randn(len(x), 1) * torch.tensor([1.0, -1.0])


class OfTheBatch(Trick):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - contrast(x).mean()


class Probabilities(Trick):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class Shattered(Trick):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach()) + 0 * contrast(x)[:, None]


class Detached(Trick):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


class HardRouted(Trick):
    """Is half as sure where the contrast is small."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.where(contrast(x) > 0.2, 1, 0.5)[:, None]


class HardGate(Trick):
    """Has a gate that gives one expert all the weight."""

    def gate_weights(self, x: Tensor) -> Tensor:
        first = (contrast(x) > 0).float()
        return torch.stack([first, 1 - first], 1)


def audit(model: nn.Module, ball: Ball = BALL, data: ImageSet = DATA) -> list[Finding]:
    return [*audit_model(model.eval(), data, [ball], steps=20, queries=60).findings]


def audited(model: nn.Module, data: ImageSet = DATA) -> Audited:
    return Audited(model.eval(), data.pixels(slice(None)), data.labels)


def searched(model: nn.Module, data: ImageSet = DATA) -> Searched:
    return Searched(audited(model, data), BALL, steps=20, queries=60)


def flags(found: list[Finding]) -> dict[int, str]:
    return {f.point: f.reason for f in found if f.verdict == "flag"}


# --- the whole -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.1 * 192**0.5)], ids=str)
def test_a_model_that_hides_nothing_passes_every_point(ball: Ball) -> None:
    found = audit(Contrast(), ball)
    assert not flags(found)
    assert sorted(f.point for f in found) == [*POINTS]
    assert [f.point for f in found if f.verdict == "does not apply"] == [7]
    assert {f.ball for f in found} == {str(ball), None}
    by_point = {f.point: f.evidence for f in found}
    assert {*by_point[1].values()} == {50.0}  # the half that is near the boundary falls
    assert [*by_point[2].values()] == [100.0, 50.0, 0.0, 0.0, 0.0]
    assert {*by_point[6].values()} == {50.0}


def test_findings_are_reported_as_they_are_made() -> None:
    seen: list[Finding] = []
    few = halves(4, weak=0.13, strong=0.3)
    made = audit_model(Contrast(), few, [BALL, L2(0.1)], steps=2, queries=5, report=seen.append)
    assert (*seen,) == made.findings
    assert [f.point for f in seen] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 6, 7, 7]
    assert [f.ball for f in seen[:2]] == [str(BALL), str(L2(0.1))]


def test_only_the_first_images_that_are_right_count() -> None:
    data = halves(8, weak=0.13, strong=0.3)
    wrong = replace(data, labels=torch.tensor([0, 0, 0, 1, 0, 1, 0, 1]))
    found = audit_model(Contrast(), wrong, [BALL], examples=4, steps=4, queries=5)
    assert found.findings[0].evidence["2 x 4 steps"] == 66.67
    assert {f.n for f in found.findings} == {3}
    assert [a.accuracy for a in found.accuracies] == [3 / 4, 2 / 4]
    assert [a.n for a in found.accuracies] == [4, 4]


def test_balls_and_images_are_checked() -> None:
    for balls in ([L1(1.0)], []):
        with pytest.raises(ValueError, match="needs Linf or L2 balls"):
            audit_model(Contrast(), DATA, balls)
    wrong = replace(DATA, labels=1 - DATA.labels)
    with pytest.raises(ValueError, match="none of the 40 images right"):
        audit_model(Contrast(), wrong, [L2(0.5)])


def test_an_audit_of_a_model_that_answers_nothing_finite_says_so() -> None:
    class Silent(Contrast):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * torch.nan

    with pytest.raises(ValueError, match=r"of the 40 images right: .*; 40 of its answers are not"):
        audit_model(Silent(), DATA, [BALL])


# --- how much it says ---------------------------------------------------------------------------


def right_on(right: int, images: int = 50) -> ImageSet:
    """Return images of which ``Contrast`` gets only the first ``right`` right."""
    data = with_contrasts(*[0.3] * images)
    wrong = torch.arange(images) >= right
    return replace(data, labels=torch.where(wrong, 1 - data.labels, data.labels))


@pytest.mark.parametrize("right", [1, 34])
def test_few_images_pass_nothing(right: int) -> None:
    made = audit_model(Contrast(), right_on(right), [BALL], steps=2, queries=5)
    assert {f.verdict for f in made.findings} == {"too few to say", "does not apply"}
    assert {f.n for f in made.findings} == {right}
    reason = "too few to say, 35 images that the model gets right are needed"
    assert made.findings[0].reason.startswith(reason)
    assert not made.passes


def test_35_images_are_enough() -> None:
    made = audit_model(Contrast(), right_on(35), [BALL], steps=2, queries=5)
    assert {f.verdict for f in made.findings} == {"pass", "does not apply"}
    assert made.passes


def test_the_fewest_images_bound_what_none_of_them_shows() -> None:
    fewest = Limits().fewest
    ends = [100 * wilson_interval(0, n)[1] for n in (fewest - 1, fewest)]
    assert ends[0] > Limits().unseen >= ends[1]
    smallest = min(Limits().missed, Limits().gate)
    assert 100 / fewest <= smallest  # one image alone is no sign


def test_few_images_show_signs_without_a_flag_but_facts_with_one() -> None:
    few = with_contrasts(*[0.1] * 10)
    seen = outputs(audited(Detached(), few))
    assert seen.verdict == "too few to say"
    assert "seen on these: many images have no gradient" in seen.reason
    assert flags([outputs(audited(Probabilities(), few))])[5].startswith("the outputs are prob")


def test_accuracies_count_the_images_that_are_wrong_without_an_attack() -> None:
    made = audit_model(Contrast(), right_on(40, 100), [BALL, Linf(0.2)], steps=4, queries=5)
    assert [(a.ball, a.accuracy, a.verdict) for a in made.accuracies] == [
        (None, 0.4, "no better than one answer"),
        (str(BALL), 0.4, "not robust"),
        (str(Linf(0.2)), 0.0, "not robust"),
    ]
    best = audit_model(Contrast(), DATA, [BALL], steps=4, queries=5).accuracies
    assert [(a.accuracy, a.one_answer) for a in best] == [(1.0, 0.5), (0.5, 0.5)]
    assert [a.verdict for a in best] == ["better than one answer", "not robust"]


@pytest.mark.parametrize("steps", [1, 10])
def test_steps_are_those_of_pgd(steps: int) -> None:
    attacks = attacks_in(BALL, Routed(), 48, steps, 5)
    budgets = {n: (a.steps, a.restarts) for n, a in attacks[1].items() if isinstance(a, PGD)}
    assert budgets == {"one step": (1, 1), "strong": (steps, 2), "more": (2 * steps, 4)}
    assert {a.steps for a in attacks[2].values() if isinstance(a, PGD)} == {steps}
    assert len(attacks[6]) == 3
    assert all(f"steps={steps}," in str(attack) for attack in attacks[6].values())
    halves = [attacks[7]["steering"], attacks[7]["transfer"]]
    assert all(f"steps={max(1, steps // 2)}," in str(attack) for attack in halves)


def test_square_is_left_out_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_attacks, "is_installed", lambda: False)
    found = {f.point: f for f in audit(Contrast())}
    for point in (3, 4):
        assert "pip install 'morex[autoattack]'" in found[point].reason
        assert found[point].verdict == "pass"
        assert not any("Square" in name for name in found[point].evidence)
    assert "Square" not in found[6].reason


def test_the_progress_of_an_audit_ends_at_one() -> None:
    seen: list[tuple[float, str]] = []
    report = lambda share, part: seen.append((share, part))  # noqa: E731
    audit_model(Contrast(), DATA, [BALL, L2(0.5)], steps=2, queries=5, progress=report)
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert {part.rpartition(")")[0] + ")" for _, part in seen} == {str(BALL), str(L2(0.5))}


# --- tricks that are known to mislead attacks ----------------------------------------------------


@pytest.mark.parametrize(
    ("trick", "reason"),
    [
        (Quantised, "no gradient"),
        (Quantised, "jumps"),
        (Huge, "no gradient"),
        (Shattered, "no gradient"),
        (Detached, "no gradient"),
        (Noisy, "two answers to one image differ"),
        (OfTheBatch, "depends on the other images"),
        (Probabilities, "probabilities"),
        (HardRouted, "jumps"),
        (HardGate, "hides the others"),
    ],
)
def test_outputs_that_mislead_attacks_are_flagged(trick: type[Trick], reason: str) -> None:
    model = trick().eval()
    with frozen(model):
        found = outputs(audited(model))
    assert reason in flags([found])[5]
    assert not flags([outputs(audited(Contrast()))])


@pytest.mark.parametrize("trick", [Quantised, Shattered])
def test_attacks_without_gradients_find_models_without_gradients(trick: type[Trick]) -> None:
    found = {f.point: f for f in audit(trick())}
    assert found[3].evidence["RayS"] == found[4].evidence["PGD and RayS"] == 50.0
    assert found[3].evidence["noise"] == 0.0
    flagged = flags([*found.values()])
    assert "without gradients fool what PGD does not" in flagged[3]
    assert "without gradients lowers accuracy" in flagged[4]


class Around(nn.Module):
    """Predicts class 0 unless the pixels moved away from grey in a way that fools it.

    Attributes:
        pull: what the gradient of the loss increases, from the moves (N, D) in radii of the ball.
        fooled: whether the model is wrong, from the same moves.
    """

    pull: ClassVar[Callable[[Tensor], Tensor]]
    fooled: ClassVar[Callable[[Tensor], Tensor]]

    def forward(self, x: Tensor) -> Tensor:
        moved = (x.flatten(1) - 128 / 255) / BALL.eps
        margin = torch.where(type(self).fooled(moved), -1.0, 1.0)
        pull = type(self).pull(moved)
        margin = margin - 0.1 * (pull - pull.detach())
        return torch.stack([margin, 0 * margin], 1)


GREY = with_contrasts(*[0.001] * 40)


class Needle(Around):
    """Falls to one step from the image itself, which alone has a gradient; strong PGD misses it."""

    pull = staticmethod(lambda z: z.mean(1) * (z.abs().amax(1) < 0.1))
    fooled = staticmethod(lambda z: z.amin(1) > 0.99)


class Band(Around):
    """Falls where the darkest pixel is in a band that only steps of a quarter radius meet."""

    pull = staticmethod(lambda z: z.mean(1))
    fooled = staticmethod(lambda z: (z.amin(1) > -0.26) & (z.amin(1) < -0.02))


class Near(Around):
    """Falls in half the radius, and far outside; between them there is no gradient."""

    pull = staticmethod(lambda z: z.mean(1) * (z.abs().amax(1) < 0.51))
    fooled = staticmethod(
        lambda z: ((z.amin(1) > 0.45) & (z.amax(1) < 0.51)) | (z.abs().amax(1) > 2.5)
    )


class Immovable(Around):
    """Never falls."""

    pull = staticmethod(lambda z: z.mean(1))
    fooled = staticmethod(lambda z: z.amax(1) > 99)


def test_one_step_that_beats_many_is_flagged() -> None:
    found = audit_balls.effort(searched(Needle(), GREY))
    assert found.evidence == {
        "one step": 0.0,
        "2 x 20 steps": 100.0,
        "4 x 40 steps": 100.0,
    }
    assert flags([found]) == {1: "one step fools more than many steps"}


def test_effort_that_still_lowers_accuracy_is_flagged() -> None:
    found = audit_balls.effort(searched(Band(), GREY))
    assert flags([found]) == {1: "twice the steps and restarts lower accuracy further"}
    one, usual, most = found.evidence.values()
    assert one == usual == 100.0
    assert most < 20


def test_accuracy_that_grows_with_the_radius_is_flagged() -> None:
    found = audit_balls.sizes(searched(Near(), GREY))
    assert [*found.evidence.values()] == [0.0, 100.0, 100.0, 0.0, 0.0]
    assert flags([found]) == {2: "accuracy grows with the radius"}


def test_accuracy_in_a_ball_where_no_model_can_be_right_is_flagged() -> None:
    found = audit_balls.sizes(searched(Immovable(), GREY))
    assert [*found.evidence.values()] == [100.0] * 5
    assert [*found.evidence] == ["eps 0.05", "eps 0.1", "eps 0.2", "eps 0.4", "eps 0.5"]
    assert flags([found]) == {2: "some images stay right where no model can be"}


def test_a_margin_that_finds_what_the_cross_entropy_does_not_is_flagged() -> None:
    found = audit_balls.losses(searched(Huge()))
    assert found.evidence["cross-entropy"] == 100.0
    assert found.evidence["margin"] == found.evidence["all"] == 50.0
    assert "another loss finds much" in flags([found])[6]
    assert not flags([audit_balls.losses(searched(Contrast()))])


class ThirdClass(nn.Module):
    """Only the third likeliest class can win; the second one climbs faster, but never wins."""

    def forward(self, x: Tensor) -> Tensor:
        up = contrast(x) / (2 * BALL.eps)
        vain, wins = (0.4 + 0.55 * up).clamp_min(0.01).log(), -2 - 2.4 * up
        return torch.stack([0 * up, vain, wins], 1)


def test_a_target_that_finds_what_nothing_else_does_is_flagged() -> None:
    grey = replace(GREY, labels=0 * GREY.labels)
    found = audit_balls.losses(searched(ThirdClass(), grey))
    assert found.evidence == {
        "cross-entropy": 100.0,
        "margin": 100.0,
        "second class": 100.0,
        "third class": 0.0,
        "all": 0.0,
    }
    assert "another loss finds much" in flags([found])[6]


def test_a_gate_that_hides_a_weak_expert_is_flagged() -> None:
    x, y = (part.repeat_interleave(5, 0) for part in pictures())
    images = ImageSet((x * 255).round().to(torch.uint8), y, ("a", "b"))
    found = audit_balls.parts(Searched(audited(Routed(), images), BALL, steps=40, queries=1))
    assert "steering lowers accuracy: plain PGD overrates the model" in flags([found])[7]
    assert found.evidence["PGD"] == 100.0
    assert found.evidence["PGD and steering"] == 0.0


# --- limits: what may be chance -----------------------------------------------


def points_3_and_4(searched: Searched) -> list[Finding]:
    return [audit_balls.per_example(searched), audit_balls.decisions(searched)]


LOSSES = {"strong": 50, "margin": 50, "second class": 50, "third class": 50}
SIZES = {"radius 0.05": 60, "strong": 50, "radius 0.2": 50, "radius 0.4": 50, "radius 0.5": 0}
BLIND = {"strong": 50, "Square": 99, "RayS": 99, "noise": 99}


@pytest.mark.parametrize(
    ("measure", "right", "changed", "limit", "points"),
    [
        (audit_balls.effort, {"strong": 50, "one step": 50}, "more", 46, [1]),
        (audit_balls.effort, {"strong": 50, "more": 50}, "one step", 47, [1]),
        (audit_balls.sizes, SIZES, "radius 0.05", 47, [2]),
        (points_3_and_4, BLIND, "Square", 47, [3, 4]),
        (points_3_and_4, BLIND, "RayS", 47, [3, 4]),
        (points_3_and_4, BLIND, "noise", 47, [3]),
        (audit_balls.losses, LOSSES, "margin", 45, [6]),
        (audit_balls.losses, LOSSES, "second class", 45, [6]),
        (audit_balls.losses, LOSSES, "third class", 45, [6]),
        (audit_balls.parts, {"strong": 50, "transfer": 50}, "steering", 47, [7]),
        (audit_balls.parts, {"strong": 50, "steering": 50}, "transfer", 47, [7]),
    ],
)
def test_a_drop_to_the_limit_passes_and_one_example_more_is_flagged(
    monkeypatch: pytest.MonkeyPatch,
    measure: Callable[[Searched], Finding | list[Finding]],
    right: dict[str, int],
    changed: str,
    limit: int,
    points: list[int],
) -> None:
    """``right``: how many of 100 images the model gets right, by name of the attack."""

    def flagged(count: int) -> list[int]:
        counts = right | {changed: count}
        monkeypatch.setattr(
            Audited, "standing", lambda self, attack, name: torch.arange(100) < counts[name]
        )
        found = measure(searched(Routed()))
        return [*flags(found if isinstance(found, list) else [found])]

    assert flagged(limit) == []
    assert flagged(limit - 1) == points


def test_accuracy_that_remains_is_flagged_above_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, expected in ((5, {}), (6, {2: "some images stay right where no model can be"})):
        counts = SIZES | {"radius 0.5": count}
        monkeypatch.setattr(
            Audited,
            "standing",
            lambda self, attack, name, counts=counts: torch.arange(100) < counts[name],
        )
        assert flags([audit_balls.sizes(searched(Contrast()))]) == expected


class PartlySilent(Trick):
    """Has no gradient where the contrast is large."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return torch.where(contrast(x)[:, None] > 0.2, logits.detach(), logits)


@pytest.mark.parametrize(
    ("silent", "expected"), [(10, {}), (11, {5: "many images have no gradient"})]
)
def test_silent_images_are_flagged_above_the_limit(silent: int, expected: dict[int, str]) -> None:
    data = with_contrasts(*[0.3] * silent, *[0.1] * (100 - silent))
    found = outputs(audited(PartlySilent(), data))
    assert found.evidence["no gradient"] == silent
    assert flags([found]) == expected


@pytest.mark.parametrize(
    ("sure", "share", "flagged"), [([5], 6.25, []), ([5, 15], 12.5, [5]), ([5, 6], 6.25, [])]
)
def test_jumps_are_flagged_above_the_limit(
    sure: list[int], share: float, flagged: list[int]
) -> None:
    data = with_contrasts(*(0.3 if n in sure else 0.1 for n in range(40)))
    found = outputs(audited(HardRouted(), data))
    assert found.evidence["jumps"] == share  # paths to and from an image of large contrast
    assert [*flags([found])] == flagged
