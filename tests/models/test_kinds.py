"""The form in JSON of every kind of model that can be saved, and the way back from it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from morex.core.trust import code_named
from morex.models.errors import ModelError
from morex.models.external import Foreign, ForeignConfig
from morex.models.gates import ExtendedGate
from morex.models.kinds import KINDS, build, describe
from morex.models.mixture import LargestLogit, MeanOfExperts, Mixture
from morex.models.named import load_model
from morex.models.network import NetworkConfig
from morex.models.networks import make_network
from morex.models.resnet import ResNet
from morex.models.save import save_model

FACTORY = "classifier_of_kinds:make"


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with a factory, which is not imported yet."""
    name = FACTORY.partition(":")[0]
    (tmp_path / f"{name}.py").write_text(
        "from torch import nn\ndef make(): return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def network(outputs: int) -> ResNet:
    return ResNet(NetworkConfig("resnet10", 2, outputs, (8, 6), (0.1,) * 3, (0.2, 0.3, 0.4)))


def network_form(outputs: int) -> str:
    return (
        f'{{"kind": "resnet", "architecture": "resnet10", "width": 2, "outputs": {outputs}, '
        '"image_size": [8, 6], "mean": [0.1, 0.1, 0.1], "std": [0.2, 0.3, 0.4]}'
    )


def foreign() -> Foreign:
    return Foreign(ForeignConfig(FACTORY, "0..255", (0.5,), (2.0,), "1"))


def experts() -> dict[str, nn.Module]:
    return {"b 1": network(2), "a": network(2)}


EXPERTS = f'"experts": {{"b 1": {network_form(2)}, "a": {network_form(2)}}}'

MODELS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: network(2),
    "preact-resnet": lambda: make_network(
        NetworkConfig("wrn-10-1", None, 2, (8, 8), activation="silu")
    ),
    "foreign": foreign,
    "extended-gate": lambda: ExtendedGate(network(3), network(1)),
    "mixture": lambda: Mixture(experts(), network(2)),
    "mixture of probabilities": lambda: Mixture(experts(), network(2), combine="probabilities"),
    "mean-of-experts": lambda: MeanOfExperts(experts()),
    "largest-logit": lambda: LargestLogit(experts()),
}
FORMS = {
    "resnet": network_form(2),
    "preact-resnet": (
        '{"kind": "preact-resnet", "architecture": "wrn-10-1", "width": 16, "outputs": 2, '
        '"image_size": [8, 8], "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], '
        '"activation": "silu"}'
    ),
    "foreign": (
        f'{{"kind": "foreign", "factory": "{FACTORY}", "input_range": "0..255", "mean": [0.5], '
        '"std": [2.0], "last_layer": "1"}'
    ),
    "extended-gate": (
        f'{{"kind": "extended-gate", "known": {network_form(3)}, "joined": {network_form(1)}}}'
    ),
    "mixture": f'{{"kind": "mixture", {EXPERTS}, "gate": {network_form(2)}}}',
    "mixture of probabilities": (
        f'{{"kind": "mixture", {EXPERTS}, "gate": {network_form(2)}, "combine": "probabilities"}}'
    ),
    "mean-of-experts": f'{{"kind": "mean-of-experts", {EXPERTS}}}',
    "largest-logit": f'{{"kind": "largest-logit", {EXPERTS}}}',
}


@pytest.mark.parametrize("name", MODELS)
def test_a_form_is_the_one_in_finished_files_and_leads_back(name: str) -> None:
    model = MODELS[name]()
    assert json.dumps(describe(model)) == FORMS[name]  # the order of keys included
    again = build(json.loads(FORMS[name]))
    assert type(again) is type(model)
    assert json.dumps(describe(again)) == FORMS[name]
    assert again.state_dict().keys() == model.state_dict().keys()


def test_every_kind_is_tried() -> None:
    elsewhere = {"timm"}  # test_timm_network
    assert {json.loads(form)["kind"] for form in FORMS.values()} == KINDS.keys() - elsewhere


TRAP: dict[str, Any] = {"kind": "foreign", "factory": FACTORY}
OWN: dict[str, Any] = json.loads(network_form(1))


@pytest.mark.parametrize(
    "description",
    [
        TRAP,
        {"kind": "extended-gate", "known": TRAP, "joined": OWN},
        {"kind": "extended-gate", "known": OWN, "joined": TRAP},
        {"kind": "mean-of-experts", "experts": {"a": OWN, "b": TRAP}},
        {"kind": "largest-logit", "experts": {"a": TRAP}},
        {"kind": "mixture", "experts": {"a": TRAP}, "gate": OWN},
        {
            "kind": "mixture",
            "experts": {"a": OWN},
            "gate": {"kind": "extended-gate", "known": OWN, "joined": TRAP},
        },
    ],
    ids=["itself", "known", "joined", "mean", "largest", "expert", "deep"],
)
def test_a_factory_is_found_wherever_it_is(description: dict[str, Any]) -> None:
    assert code_named(description) == (FACTORY,)


def test_models_without_a_factory_name_no_code() -> None:
    for name in MODELS.keys() - {"foreign"}:
        assert not code_named(json.loads(FORMS[name]))


def test_a_part_that_cannot_be_described_is_named() -> None:
    with pytest.raises(ModelError, match="cannot save a Linear"):
        describe(ExtendedGate(network(2), nn.Linear(2, 1)))


def test_a_classifier_of_one_layer_shares_weights_only_with_its_own_expert(tmp_path: Path) -> None:
    model = MeanOfExperts({"network": network(2), "linear": foreign()}).eval()
    save_model(model.experts[1], tmp_path / "linear")
    save_model(model, tmp_path / "mean", beside=["linear"])
    saved = load_model(tmp_path / "mean").state_dict()
    assert saved.keys() == model.state_dict().keys()
    assert all(torch.equal(t, saved[name]) for name, t in model.state_dict().items())
