"""Settings of PyTorch at the place of a call reach neither attacks nor evaluations."""

from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
from callers_settings import SETTINGS, default_type
from linear import random_linear
from torch import Tensor, nn

from morex import Mixture, NetworkConfig, ResNet, evaluate
from morex.artifacts.findings import Audit
from morex.artifacts.gate_usage import GateUsage
from morex.attacks import (
    APGD,
    PGD,
    Attack,
    DeepFool,
    EoT,
    ExpertTransfer,
    GateSteering,
    GridSearch,
    RandomNoise,
    RayS,
    SearchAround,
    Targeted,
    WorstOfDraws,
    WorstOfStrengths,
    frozen,
)
from morex.data import ImageSet
from morex.evaluation import Row, audit_model, gate_usage
from morex.perturbations import (
    L0,
    L1,
    L2,
    AdversarialJpeg,
    Fog,
    Jpeg,
    Linf,
    Pixelate,
    RotateTranslate,
    Snow,
    compose,
)

FOGGY = compose(Fog(0.0, 0.5), Linf(0.05))
ATTACKS: list[Attack] = [
    PGD(Linf(0.05), steps=3),
    PGD((L2(0.5), L1(2.0)), steps=3),
    Targeted(PGD(L2(0.5), steps=3), rank=1),
    DeepFool(L2(0.5), steps=3),
    RayS(Linf(0.1), queries=30),
    RandomNoise(Linf(0.1)),
    WorstOfDraws(RotateTranslate(30, 2), 3),
    WorstOfDraws(Snow(2.0)),
    WorstOfDraws(Pixelate(5)),
    WorstOfDraws(Jpeg(3)),
    WorstOfStrengths(RotateTranslate(20, 1), draws=1),
    GridSearch(RotateTranslate(30, 1), points=2),
    SearchAround(FOGGY, PGD(Linf(0.05), steps=2)),  # type: ignore[arg-type]
    GateSteering(Linf(0.05), steps=2),
    ExpertTransfer(Linf(0.05), steps=2),
    APGD(Linf(0.05), steps=2, targets=1),
    EoT(Linf(0.05), draws=2, steps=2),
    PGD(Fog(0.0, 0.5), steps=2),
    PGD(Snow(2.0), steps=2),
    PGD(AdversarialJpeg(0.4), steps=2),
    PGD(L0(3.0), steps=2),
]
every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: type(a).__name__)


every_setting = pytest.mark.parametrize("setting", SETTINGS)
some_settings = pytest.mark.parametrize(
    "setting", ["autocast", "inference mode", "float16 by default", "another device by default"]
)


def mixture() -> Mixture:
    torch.manual_seed(0)
    network = partial(NetworkConfig, "resnet10", 4)
    experts = {name: ResNet(network(4)) for name in ("a", "b")}
    return Mixture(experts, ResNet(network(2))).eval()


def images(model: nn.Module, count: int = 12) -> ImageSet:
    """Return images and the labels that the model gives them."""
    drawn = torch.randint(
        256, (count, 3, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    with torch.no_grad():
        labels = model(drawn / 255).argmax(1)
    return ImageSet(drawn, labels, ("a", "b", "c", "d"))


@cache
def found_under_default_settings(attack: Attack) -> Tensor:
    model = mixture()
    data = images(model)
    return attack(model, data.pixels(slice(None)), data.labels)


@every_attack
@every_setting
def test_an_attack_does_not_depend_on_the_settings_around_it(setting: str, attack: Attack) -> None:
    model = mixture()
    data = images(model)
    x, y = data.pixels(slice(None)), data.labels
    expected = found_under_default_settings(attack)
    with SETTINGS[setting]():
        found = attack(model, x, y)
    assert torch.equal(found, expected)
    assert not found.is_inference()


def evaluated(model: Mixture, data: ImageSet) -> dict[str, list[bool]]:
    suite = tuple(Row(f"row-{i}", attack) for i, attack in enumerate(ATTACKS))
    right = evaluate(model, data, suite).right
    return {name: row.tolist() for name, row in right.items()}


def audited(model: Mixture, data: ImageSet) -> tuple[Audit, GateUsage]:
    suite = (Row("fog", WorstOfDraws(Fog(0.0, 0.5))),)
    audit = audit_model(model, data, [Linf(0.02)], steps=1, queries=9)
    return audit, gate_usage(model, data, suite)


@pytest.fixture(scope="module")
def evaluated_under_default_settings() -> dict[str, list[bool]]:
    model = mixture()
    return evaluated(model, images(model))


@pytest.fixture(scope="module")
def audited_under_default_settings() -> tuple[Audit, GateUsage]:
    pytest.importorskip("pyautoattack")
    model = mixture()
    return audited(model, images(model, 4))


@some_settings
def test_an_evaluation_does_not_depend_on_the_settings_around_it(
    setting: str, evaluated_under_default_settings: dict[str, list[bool]]
) -> None:
    model = mixture()
    data = images(model)
    with SETTINGS[setting]():
        found = evaluated(model, data)
    for name, right in evaluated_under_default_settings.items():
        assert right == found[name], name


@some_settings
def test_an_audit_and_gate_usage_do_not_depend_on_the_settings_around_them(
    setting: str, audited_under_default_settings: tuple[Audit, GateUsage]
) -> None:
    model = mixture()
    data = images(model, 4)
    with SETTINGS[setting]():
        found = audited(model, data)
    assert found == audited_under_default_settings


@every_attack
def test_images_that_were_made_in_inference_mode_can_be_attacked(attack: Attack) -> None:
    model = mixture()
    data = images(model)
    x, y = data.pixels(slice(None)), data.labels
    with torch.inference_mode():
        inside = x.clone(), y.clone()
        held = ImageSet(data.images.clone(), data.labels.clone(), data.classes)
    assert inside[0].is_inference()
    assert torch.equal(attack(model, *inside), attack(model, x, y))
    suite = (Row("row", attack),)
    expected = evaluate(model, data, suite).right["row"]
    assert evaluate(model, held, suite).right["row"].tolist() == expected.tolist()


def test_weights_that_were_made_in_inference_mode_are_named() -> None:
    with torch.inference_mode():
        made = mixture()
    data = images(mixture())
    x, y = data.pixels(slice(None)), data.labels
    with pytest.raises(ValueError, match="weights of this model were made in"):
        PGD(Linf(0.1))(made, x, y)
    with pytest.raises(ValueError, match="load or build the model outside of it"):
        evaluate(made, data)


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "not contiguous": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "expanded": lambda x: x[:1].expand_as(x),
    "with a gradient": lambda x: x.clone().requires_grad_(),
    "part of a graph": lambda x: x.clone().requires_grad_() * 1,
}


@every_attack
@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_images_changes_neither_result_nor_images(
    form: str, attack: Attack
) -> None:
    model, x, _ = random_linear(4, 0, count=6)
    x = FORMS[form](x)
    y = model(x).argmax(1).detach()
    plain = x.detach().clone(memory_format=torch.contiguous_format)
    expected = attack(model, plain, y)
    found = attack(model, x, y)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(x, plain)
    assert not found.requires_grad


@every_attack
def test_no_images_give_no_images(attack: Attack) -> None:
    model = mixture()
    x, y = torch.zeros(0, 3, 8, 8), torch.zeros(0, dtype=torch.int64)
    assert attack(model, x, y).shape == x.shape


def test_anomaly_detection_does_not_end_an_attack_on_a_gradient_that_is_not_finite() -> None:
    def steep(x: Tensor) -> Tensor:
        light = x.sqrt().mean((1, 2, 3))[:, None]  # the slope at black is infinite
        return torch.cat([0.5 - light, light - 0.5], 1)

    x, y = torch.zeros(2, 3, 2, 2), torch.zeros(2, dtype=torch.int64)
    attack = PGD(Linf(0.5), steps=3, random_start=False)
    expected = attack(steep, x, y)
    with torch.autograd.set_detect_anomaly(True):
        assert torch.equal(attack(steep, x, y), expected)


def test_settings_come_back_after_an_error() -> None:
    def fails(x: Tensor) -> Tensor:
        raise RuntimeError

    x, y = torch.zeros(1, 3, 2, 2), torch.zeros(1, dtype=torch.int64)
    with default_type(torch.float64), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(RuntimeError):
            PGD(Linf(0.1))(fails, x, y)
        assert torch.get_default_dtype() == torch.float64
        assert torch.is_autocast_enabled("cpu")
        assert not torch.is_grad_enabled()


def test_a_search_for_hot_loops_keeps_the_autocast_of_its_training() -> None:
    model = mixture()
    data = images(model)
    x, y = data.pixels(slice(None)), data.labels
    kinds = set[torch.dtype]()

    def noting(x: Tensor) -> Tensor:
        logits = model.experts[0](x)
        kinds.add(logits.dtype)
        return logits

    attack = PGD(Linf(0.1), steps=1)
    with torch.autocast("cpu", torch.bfloat16), frozen(model):
        attack.search(noting, x, y, torch.Generator())
        assert kinds == {torch.bfloat16}
        attack(noting, x, y)
    assert kinds == {torch.bfloat16, torch.float32}
