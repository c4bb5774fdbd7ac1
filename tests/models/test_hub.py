"""Models on the hub, through the hub's own client, from a server on this machine."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

import morex
from morex.artifacts.model_sets import SetError
from morex.core.trust import UntrustedCodeError
from morex.models.errors import ModelError
from morex.models.hub import HubError, _snapshot, hub_model, on_hub
from morex.models.named import load_model, open_model

SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The parts of the hub that its client uses: the list of files, and the files."""

    home: Path

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        found = {str(p.relative_to(self.home)): p for p in self.home.rglob("*") if p.is_file()}
        if path.startswith("/api/models/somebody/nets/revision/"):
            files = [{"rfilename": name} for name in found]
            self._send({"id": "somebody/nets", "sha": SHA, "siblings": files})
        elif path.startswith("/api/models/somebody/nets/tree/"):
            sizes = {name: p.stat().st_size for name, p in found.items()}
            self._send(
                [{"type": "file", "oid": SHA, "path": n, "size": s} for n, s in sizes.items()]
            )
        elif path.startswith(f"/somebody/nets/resolve/{SHA}/"):
            content = (self.home / path.partition(f"{SHA}/")[2]).read_bytes()
            self._send(content, body=body)
        else:
            self.send_error(404)

    def _send(
        self, content: bytes | dict[str, Any] | list[dict[str, Any]], *, body: bool = True
    ) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("ETag", f'"{hashlib.sha256(raw).hexdigest()}"')
        self.send_header("X-Repo-Commit", SHA)
        self.end_headers()
        if body:
            self.wfile.write(raw)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that the hub serves as ``somebody/nets``."""
    home = tmp_path / "nets"
    home.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Hub,), {"home": home}))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    _snapshot.cache_clear()
    yield home
    _snapshot.cache_clear()
    server.shutdown()
    server.server_close()


def network(seed: int) -> morex.ResNet:
    return morex.ResNet(morex.NetworkConfig("resnet10", 2, 3, (8, 8)), seed=seed).eval()


def test_a_repository_is_a_model(hub: Path) -> None:
    morex.save(network(1), hub, about={"classes": ["a", "b", "c"]})
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(load_model("hf://somebody/nets")(x), network(1)(x))
    assert open_model("hf://somebody/nets@main").about == {"classes": ["a", "b", "c"]}


def test_a_repository_may_be_a_set_of_models(hub: Path) -> None:
    for seed, name in enumerate(("clean", "robust")):
        morex.save(network(seed), hub / name)
    (hub / "set.json").write_text(json.dumps({"description": "two", "default": "robust"}))
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(load_model("hf://somebody/nets")(x), network(1)(x))
    torch.testing.assert_close(load_model("hf://somebody/nets/clean")(x), network(0)(x))
    with pytest.raises(ModelError, match="no model in"):
        load_model("hf://somebody/nets/snow")


def test_cached_models_need_no_network(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    morex.save(network(1), hub)
    folder = hub_model("hf://somebody/nets")
    _snapshot.cache_clear()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", "http://127.0.0.1:9")
    assert hub_model("hf://somebody/nets") == folder


@pytest.mark.parametrize("part", ["expert", "gate"])
def test_a_factory_of_the_hub_is_not_imported(
    part: str, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    morex.save(network(1), hub)
    described = json.loads((hub / "model.json").read_bytes())
    trap = {"kind": "foreign", "factory": "trap:make", "last_layer": "fc"}
    own = described["model"]
    expert, gate = (trap, own) if part == "expert" else (own, trap)
    described["model"] = {"kind": "mixture", "experts": {"theirs": expert}, "gate": gate}
    (hub / "model.json").write_text(json.dumps(described))
    with pytest.raises(UntrustedCodeError, match=r"model\.json names code to run: trap:make\."):
        load_model("hf://somebody/nets")


def test_missing_models_raise(hub: Path) -> None:
    with pytest.raises(HubError, match="somebody/else cannot be downloaded"):
        hub_model("hf://somebody/else")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"default": "../up"}', '{"default": 1}'])
def test_a_damaged_set_raises(hub: Path, content: str) -> None:
    (hub / "set.json").write_text(content)
    with pytest.raises(SetError, match=r"set\.json is damaged"):
        hub_model("hf://somebody/nets")


@pytest.mark.parametrize(
    "address", ["hf://somebody", "hf://a/b/c/d", "hf://", "hf://a/b@refs/pr/1"]
)
def test_wrong_addresses_raise(address: str) -> None:
    assert on_hub(address)
    with pytest.raises(HubError, match="expected hf://owner/name"):
        hub_model(address)
