"""Models on the hub, through the hub's own client, from a server on this machine."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from stand_in_hub import TOKEN, StandInHub, point_client_at, stand_in_hub

import morex
from morex.artifacts.model_sets import SetError
from morex.core.trust import UntrustedCodeError
from morex.models import hub as models_on_hub
from morex.models.errors import ModelError
from morex.models.hub import HubError, hub_model, on_hub, pinned_address
from morex.models.named import load_model, open_model

NETS = "somebody/nets"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    with stand_in_hub(tmp_path / "cache", monkeypatch) as here:
        yield here


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What becomes a repository."""
    folder = tmp_path / "nets"
    folder.mkdir()
    return folder


def network(seed: int) -> morex.ResNet:
    return morex.ResNet(morex.NetworkConfig("resnet10", 2, 3, (8, 8)), seed=seed).eval()


X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_repository_is_a_model(hub: StandInHub, home: Path) -> None:
    morex.save(network(1), home, about={"classes": ["a", "b", "c"]})
    hub.put(NETS, home)
    torch.testing.assert_close(load_model("hf://somebody/nets")(X), network(1)(X))
    assert open_model("hf://somebody/nets@main").about == {"classes": ["a", "b", "c"]}


def test_a_repository_may_be_a_set_of_models(hub: StandInHub, home: Path) -> None:
    for seed, name in enumerate(("clean", "robust")):
        morex.save(network(seed), home / name)
    (home / "set.json").write_text(json.dumps({"description": "two", "default": "robust"}))
    hub.put(NETS, home)
    torch.testing.assert_close(load_model("hf://somebody/nets")(X), network(1)(X))
    assert not [r for r in hub.requests if "clean/model.safetensors" in r]  # nobody asked for it
    torch.testing.assert_close(load_model("hf://somebody/nets/clean")(X), network(0)(X))
    with pytest.raises(HubError, match=r"nets/snow: .* no model 'snow'; it has .*clean, robust"):
        load_model("hf://somebody/nets/snow")


def test_weights_that_a_model_shares_are_downloaded(hub: StandInHub, home: Path) -> None:
    expert = network(1)
    gate = morex.ResNet(morex.NetworkConfig("resnet10", 2, 2, (8, 8)), seed=3)
    mixture = morex.Mixture({"a": expert, "b": network(2)}, gate).eval()
    morex.save(expert, home / "a")
    morex.save(mixture, home / "both", beside=["a"])
    hub.put(NETS, home)
    torch.testing.assert_close(load_model("hf://somebody/nets/both")(X), mixture(X))


def test_a_revision_is_a_commit_a_tag_or_a_branch(hub: StandInHub, home: Path) -> None:
    commits = []
    for seed in (1, 2):
        morex.save(network(seed), home)
        commits.append(hub.put(NETS, home))
    hub.repositories[NETS].tags["v1"] = commits[0]
    for revision, seed in ((commits[0], 1), ("v1", 1), (commits[1], 2), ("main", 2)):
        found = load_model(f"hf://somebody/nets@{revision}")
        torch.testing.assert_close(found(X), network(seed)(X))
    with pytest.raises(HubError, match=r"nets@v9 cannot .* no such branch, tag or commit"):
        load_model("hf://somebody/nets@v9")


def test_a_pinned_address_does_not_change(hub: StandInHub, home: Path) -> None:
    morex.save(network(1), home / "robust")
    commit = hub.put(NETS, home)
    pinned = pinned_address("hf://somebody/nets/robust")
    assert pinned == f"hf://somebody/nets@{commit}/robust"
    morex.save(network(2), home / "robust")
    hub.put(NETS, home)
    models_on_hub._snapshot.cache_clear()
    torch.testing.assert_close(load_model(pinned)(X), network(1)(X))
    torch.testing.assert_close(load_model("hf://somebody/nets/robust")(X), network(2)(X))


def test_cached_models_need_no_network(
    hub: StandInHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    morex.save(network(1), home)
    hub.put(NETS, home)
    folder = hub_model("hf://somebody/nets")
    point_client_at("http://127.0.0.1:9", monkeypatch)
    assert hub_model("hf://somebody/nets") == folder
    with pytest.raises(HubError, match=r"http://127\.0\.0\.1:9 does not answer"):
        hub_model("hf://somebody/else")


@pytest.mark.parametrize("part", ["expert", "gate"])
def test_a_factory_of_the_hub_is_not_imported(
    part: str, hub: StandInHub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    morex.save(network(1), home)
    described = json.loads((home / "model.json").read_bytes())
    trap = {"kind": "foreign", "factory": "trap:make", "last_layer": "fc"}
    own = described["model"]
    expert, gate = (trap, own) if part == "expert" else (own, trap)
    described["model"] = {"kind": "mixture", "experts": {"theirs": expert}, "gate": gate}
    (home / "model.json").write_text(json.dumps(described))
    hub.put(NETS, home)
    with pytest.raises(UntrustedCodeError, match=r"model\.json names code to run: trap:make\."):
        load_model("hf://somebody/nets")


def test_damaged_weights_raise(hub: StandInHub, home: Path) -> None:
    morex.save(network(1), home)
    other = home.parent / "other"
    morex.save(network(2), other)
    (home / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    hub.put(NETS, home)
    with pytest.raises(ModelError, match="wrong checksum"):
        load_model("hf://somebody/nets")


def test_missing_models_raise(hub: StandInHub, home: Path) -> None:
    with pytest.raises(HubError, match=r"somebody/else cannot .* no such repository"):
        hub_model("hf://somebody/else")
    (home / "README.md").write_text("nothing here")
    hub.put(NETS, home)
    with pytest.raises(HubError, match=r"no model of morex at its top; it has no model\.json"):
        hub_model("hf://somebody/nets")


def test_a_private_repository_is_shown_to_its_owner(
    hub: StandInHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    morex.save(network(1), home)
    hub.put(NETS, home)
    hub.repositories[NETS].private = True
    monkeypatch.setenv("HF_TOKEN", "of_nobody")
    with pytest.raises(HubError, match=r"no such repository, or does not show it to you"):
        hub_model("hf://somebody/nets@main")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert (hub_model("hf://somebody/nets@main") / "model.safetensors").is_file()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"default": "../up"}', '{"default": 1}'])
def test_a_damaged_set_raises(hub: StandInHub, home: Path, content: str) -> None:
    (home / "set.json").write_text(content)
    hub.put(NETS, home)
    with pytest.raises(SetError, match=r"set\.json is damaged"):
        hub_model("hf://somebody/nets")


@pytest.mark.parametrize(
    "address", ["hf://somebody", "hf://a/b/c/d", "hf://", "hf://a/b@refs/pr/1", "hf://a/b/.."]
)
def test_wrong_addresses_raise(address: str) -> None:
    assert on_hub(address)
    with pytest.raises(HubError, match="expected hf://owner/name"):
        hub_model(address)
