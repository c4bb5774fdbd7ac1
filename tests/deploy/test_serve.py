"""The server of a model, over real sockets."""

import http.client
import io
import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import torch
from calling import call
from PIL import Image
from serving import (
    EXPERTS,
    Running,
    Waiting,
    picture,
    running,
    saved_mixture,
    service_of,
    until,
)
from torch import Tensor, nn

from morex.deploy.classify import Classifier
from morex.deploy.guard import LOOPBACK
from morex.deploy.intake import Limits
from morex.deploy.lab import Lab
from morex.deploy.lessons import GateLessons
from morex.deploy.playground import Playground
from morex.deploy.samples import Sample
from morex.deploy.service import Service, application, one_sentence
from morex.deploy.serving import served
from morex.deploy.worker import Worker
from morex.models import load_model
from morex.models.named import FromFolder
from morex.perturbations import Linf
from morex.report.predictions import ExpertSays, Prediction

LIMITS = Limits(bytes=100_000, pixels=10_000, queue=64)


class Served(NamedTuple):
    """A server, and the folder of its model."""

    address: str
    model: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = saved_mixture(tmp_path_factory.mktemp("served") / "tiny")
    found = served(FromFolder(folder), None, torch.device("cpu"), LOOPBACK, LIMITS, page=False)
    with running(found.app) as run:
        yield Served(run.address, folder)
    found.close()


def ask(server: Served, **request: Any) -> httpx.Response:
    return httpx.post(f"{server.address}/predict", timeout=30, **request)


@pytest.mark.parametrize("form", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_answers_are_those_of_predict_to_the_last_digit(
    server: Served, tmp_path: Path, form: bool, kind: str
) -> None:
    content = picture(3, kind=kind)
    (tmp_path / "picture").write_bytes(content)
    code, out, err = call("predict", "--model", server.model, tmp_path / "picture", "--json")
    assert code == 0, err
    (expected,) = json.loads(out)["pictures"]
    del expected["file"]
    given = {"files": {"anything": ("a.bin", content)}} if form else {"content": content}
    answer = ask(server, **given)
    assert answer.status_code == 200
    found = answer.json()
    gate = found.pop("gate")
    assert found == expected
    assert re.fullmatch(r"the gate .* \(entropy .* of 1\.58 bits\)", gate["decision"])


def test_a_client_chooses_how_many_classes_it_gets(server: Served) -> None:
    sizes = [len(ask(server, content=picture(), params={"top": n}).json()["top"]) for n in (1, 99)]
    assert sizes == [1, 4]


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 1000):
        yield bytes(1000)


REFUSED: dict[str, tuple[int, str, dict[str, Any]]] = {
    "too many bytes": (413, "more than 0 MiB", {"content": bytes(100_001)}),
    "too many bytes in parts": (413, "more than 0 MiB", {"content": chunks(300_000)}),
    "too many bytes in a form": (413, "more than", {"files": {"a": ("a", bytes(100_001))}}),
    "too many pixels": (413, "more than 0 megapixels", {"content": picture(0, (101, 100))}),
    "no picture": (415, "it is no BMP, GIF", {"content": b"hello"}),
    "JSON": (415, "it is no BMP, GIF", {"json": {"picture": 1}}),
    "half a picture": (422, "cannot be decoded", {"content": picture()[:200]}),
    "nothing": (422, "there is no picture in the request", {}),
    "a form without a file": (422, "there is no picture", {"files": {"a": (None, "text")}}),
    "a broken form": (
        422,
        "the form cannot be read",
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
    ),
    "top of 0": (422, "top: expected", {"content": picture(), "params": {"top": "0"}}),
    "top that is no number": (422, "top: expected", {"content": picture(), "params": {"top": "²"}}),
    "another site": (403, "other sites", {"headers": {"origin": "http://evil.example"}}),
    "a sandboxed page": (403, "other sites", {"headers": {"origin": "null"}}),
    "a damaged origin": (403, "other sites", {"headers": {"origin": "http://[evil"}}),
    "another host": (421, "does not answer to the host", {"headers": {"host": "evil.example"}}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_requests_get_a_status_and_one_sentence(server: Served, name: str) -> None:
    status, words, request = REFUSED[name]
    answer = ask(server, **request)
    assert answer.status_code == status, answer.text
    (error,) = answer.json().values()
    assert words in error
    assert "\n" not in error
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert ask(server, content=picture()).status_code == 200


def test_a_page_of_the_server_may_ask(server: Served) -> None:
    answer = ask(server, content=picture(), headers={"origin": server.address})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/", "/static/x", "/..%2f..%2fetc%2fpasswd", "/docs", "/play"])
def test_nothing_else_is_served(server: Served, path: str) -> None:
    answer = httpx.get(f"{server.address}{path}")
    assert answer.status_code == 404
    assert "no such page" in answer.json()["error"]


def test_health_names_the_model(server: Served) -> None:
    found = httpx.get(f"{server.address}/health").json()
    assert found == {
        "status": "ok",
        "model": "Tiny",
        "weights": FromFolder(server.model).digest,
    }


def samples_of(address: str) -> dict[str, float]:
    """Return the metrics of a server, after a check of the format."""
    text = httpx.get(f"{address}/metrics").text
    line = r'[a-z_]+(\{[a-z]+="(\\.|[^"\\\n])*"(,[a-z]+="(\\.|[^"\\\n])*")*\})? [0-9.e+-]+'
    for each in text.splitlines():
        assert each.startswith(("# HELP ", "# TYPE ")) or re.fullmatch(line, each), each
    pairs = (each.rsplit(" ", 1) for each in text.splitlines() if not each.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_metrics_count_requests_batches_and_the_weights_of_the_gate(server: Served) -> None:
    before = samples_of(server.address)
    contents = [picture(seed) for seed in range(3)]
    for content in contents:
        assert ask(server, content=content).status_code == 200
    after = samples_of(server.address)

    def more(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert more('morex_requests_total{path="/predict",status="200"}') == 3
    assert more("morex_request_seconds_count") == more("morex_batch_size_sum") == 3
    assert more('morex_batch_size_bucket{le="1"}') == 3
    assert after["morex_queue_length"] == 0
    mixture = load_model(server.model)
    classifier = Classifier.open(FromFolder(server.model), torch.device("cpu"), 1)
    x = torch.stack([classifier.prepared(content) for content in contents]) / 255
    weights = mixture.gate_weights(x).detach().sum(0)
    for name, weight in zip(("clean", "Minf", 'the \\"third\\"\\n'), weights, strict=True):
        assert more(f'morex_gate_weight_sum{{expert="{name}"}}') == pytest.approx(float(weight))
        assert more(f'morex_gate_weight_count{{expert="{name}"}}') == 3
    recent = [after[key] for key in after if key.startswith("morex_gate_recent")]
    assert len(recent) == len(EXPERTS)
    assert sum(recent) == pytest.approx(1)


def many(run: Running, count: int) -> "list[httpx.Response]":
    with ThreadPoolExecutor(count) as pool, httpx.Client(timeout=30) as client:
        address = f"{run.address}/predict"
        return [*pool.map(lambda k: client.post(address, content=picture(k)), range(count))]


def test_requests_that_wait_together_are_classified_together() -> None:
    network = Waiting()
    service = service_of(network)
    with running(application(service, ())) as run, ThreadPoolExecutor(1) as pool:
        first = pool.submit(many, run, 1)
        assert network.entered.wait(20)
        with ThreadPoolExecutor(1) as others:
            rest = others.submit(many, run, 5)
            until(lambda: service.worker.waiting == 5)
            network.go.set()
            answers = [*first.result(), *rest.result()]
    service.close()
    assert [answer.status_code for answer in answers] == [200] * 6
    assert network.sizes == [1, 5]


def test_a_full_queue_refuses_and_loses_nothing() -> None:
    network = Waiting()
    service = service_of(network, queue=3)
    with running(application(service, ())) as run, ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(many, run, 3)
        until(lambda: service.accepted == 3)
        refused = many(run, 4)
        network.go.set()
        assert [answer.status_code for answer in accepted.result()] == [200] * 3
    service.close()
    assert {answer.status_code for answer in refused} == {503}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert service.accepted == 0


def listens(address: str) -> bool:
    place = urlsplit(address)
    try:
        socket.create_connection((str(place.hostname), place.port or 0)).close()
    except ConnectionRefusedError:
        return False
    return True


def half_a_request(address: str) -> socket.socket:
    """Return a connection on which half of a picture was sent."""
    place = urlsplit(address)
    assert place.hostname
    assert place.port
    made = socket.create_connection((place.hostname, place.port))
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(picture())}\r\n\r\n"
    made.sendall(head.encode() + picture()[:100])
    return made


def test_clients_that_hang_up_take_nothing_from_others() -> None:
    network = Waiting()
    service = service_of(network, queue=4)
    with running(application(service, ())) as run:
        connections = [half_a_request(run.address) for _ in range(2)]
        whole = half_a_request(run.address)
        whole.sendall(picture()[100:])
        assert network.entered.wait(20)
        for each in (*connections, whole):
            each.close()
        until(lambda: service.accepted == 1)  # the third waits for its answer
        network.go.set()
        assert [answer.status_code for answer in many(run, 4)] == [200] * 4
        until(lambda: service.accepted == 0)
        until(lambda: service.metrics.requests["/predict", 499] == 2)
    service.close()


def test_a_slow_client_is_refused() -> None:
    service = service_of(nn.Identity(), seconds=0.05)
    with running(application(service, ())) as run:
        slow = half_a_request(run.address)
        answer = http.client.HTTPResponse(slow)
        answer.begin()
        assert answer.status == 408
        slow.close()
    service.close()


def test_what_was_accepted_is_answered_before_the_end() -> None:
    network = Waiting()
    service = service_of(network)
    with running(application(service, ())) as run, ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(many, run, 3)
        until(lambda: service.accepted == 3)
        run.end()
        until(lambda: not listens(run.address))
        network.go.set()
        assert [answer.status_code for answer in accepted.result()] == [200] * 3
    service.close()


class Broken(nn.Module):
    """A model that fails, or returns NaN, as it is told by the first pixel."""

    def forward(self, x: Tensor) -> Tensor:
        if x.flatten(1).amax() == 0:
            raise RuntimeError("out of memory\nand more")
        return torch.full((len(x), 2), torch.nan)


@pytest.mark.parametrize(("grey", "words"), [(0, "out of memory"), (200, "not finite")])
def test_a_model_that_fails_is_reported(grey: int, words: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (grey,) * 3).save(buffer, "PNG")
    service = service_of(Broken())
    with running(application(service, ())) as run:
        answer = httpx.post(f"{run.address}/predict", content=buffer.getvalue())
        assert answer.status_code == 500
        assert words in answer.json()["error"]
        assert "\n" not in answer.json()["error"]
        assert httpx.get(f"{run.address}/health").status_code == 200
    service.close()


def test_a_failure_of_the_server_is_counted_as_one() -> None:
    def fails(prediction: Prediction) -> tuple[str, ...]:
        raise KeyError("secret")

    def gated(*given: Any) -> list[Prediction]:
        return [Prediction("", np.zeros((3, 8, 8)), (("up", 1.0),), (ExpertSays("a", "up", 1.0),))]

    service = service_of(nn.Identity())
    service.taken_for = fails
    service.worker.close()
    service.worker = Worker("test", gated)
    with running(application(service, ())) as run:
        answer = httpx.post(f"{run.address}/predict", content=picture())
    service.close()
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server failed; its log has the reason"}
    assert service.metrics.requests == {("/predict", 500): 1}


def test_pictures_of_any_size_are_classified_one_by_one() -> None:
    classifier = Classifier(nn.Identity(), (), (), torch.device("cpu"), 9)
    service = Service(classifier, {}, lambda prediction: ())
    assert service.worker._most == 1
    service.close()


def test_an_error_is_one_short_line() -> None:
    assert one_sentence(ValueError("x" * 10**6)) == "x" * 500 + "…"
    assert one_sentence(ValueError("one\ntwo")) == "one"
    assert one_sentence(ValueError()) == "ValueError"


def test_a_playground_of_a_model_that_is_not_finite_says_so() -> None:
    service = service_of(Broken())
    lab = Lab(Broken(), {"linf": Linf(0.1)}, torch.device("cpu"))
    pixels = torch.full((3, 8, 8), 9, dtype=torch.uint8)
    sample = Sample("grey", pixels, label=1)
    samples = [sample, Sample("grey", pixels, label=7)]
    page = Playground(service, lab, "broken", "", samples, GateLessons())
    assert [each["label"] for each in page.setup()["samples"]] == ["down", "7"]
    with running(application(service, (), page.routes())) as run:
        answer = httpx.post(f"{run.address}/play", content=b'{"sample": 0}')
        wrong = httpx.post(f"{run.address}/play", content=b'{"sample": 2}')
    service.close()
    page.close()
    assert answer.status_code == 500
    assert answer.json() == {"error": "the model failed: its answers are not finite"}
    assert wrong.status_code == 422
