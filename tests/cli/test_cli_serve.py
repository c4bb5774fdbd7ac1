"""``morex serve`` as a process, and ``morex demo``."""

import http.client
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from calling import call
from serving import picture, saved_mixture, until

from morex.cli import demo as demo_command
from morex.cli import serve as serve_command


def refuses(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigterm_ends_the_process_once_what_it_accepted_is_answered(tmp_path: Path) -> None:
    folder = saved_mixture(tmp_path / "tiny")
    command = [sys.executable, "-m", "morex.cli", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        found = re.search(
            r"is served at (http://127\.0\.0\.1:\d+) \(the playground, and POST", line
        )
        assert found, line
        place = urlsplit(found[1])
        host, port = str(place.hostname), place.port or 0
        client = http.client.HTTPConnection(host, port)
        client.request("GET", "/health")
        health = client.getresponse()
        assert health.status == 200
        health.read()
        content = picture()
        client.putrequest("POST", "/predict")
        client.putheader("Content-Length", str(len(content)))
        client.endheaders(content[:50])
        until(lambda: b"morex_queue_length 1" in metrics(host, port))
        process.send_signal(signal.SIGTERM)
        until(lambda: refuses(host, port))
        client.send(content[50:])
        assert client.getresponse().status == 200
        client.close()
        rest = process.stdout.read()
    assert process.returncode == 0
    assert re.fullmatch(r"ended; \d+ requests answered\n", rest)


def metrics(host: str, port: int) -> bytes:
    client = http.client.HTTPConnection(host, port)
    client.request("GET", "/metrics")
    content = client.getresponse().read()
    client.close()
    return content


def test_a_port_that_is_taken_and_an_address_that_is_not_here(tmp_path: Path) -> None:
    folder = saved_mixture(tmp_path / "tiny")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = call("serve", folder, "--port", port)
    assert code == 2
    assert err == (
        f"error: cannot listen at 127.0.0.1, port {port}: address already in use; choose another "
        "--port\n"
    )
    code, _, err = call("serve", folder, "--host", "192.0.2.1")
    assert code == 2
    assert "cannot listen at 192.0.2.1" in err


def test_without_the_extra_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_command, "find_spec", lambda name: None)
    monkeypatch.setattr(demo_command, "run", lambda *a, **k: pytest.fail("it worked first"))
    for arguments in (["serve", "cifar10-small"], ["demo", "--play"]):
        code, _, err = call(*arguments)
        assert code == 2
        assert err.endswith("pip install 'morex[serve]'\n")
        assert err.count("\n") == 1


def test_a_server_of_the_api_alone_has_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved_mixture(tmp_path / "tiny")
    paths: list[list[str]] = []
    monkeypatch.setattr(
        "morex.deploy.server.serve",
        lambda app, *more: paths.append([route.path for route in app.routes]),
    )
    for options in ([], ["--api-only"]):
        assert call("serve", folder, "--port", 0, *options)[0] == 0
    common = ["/predict", "/health", "/metrics"]
    assert paths == [[*common, "/", "/picture", "/play"], common]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What ``morex demo`` runs, opens and serves, instead of doing it."""
    found: list[Any] = []
    monkeypatch.setattr(demo_command, "run", lambda recipe, out: found.append((recipe, out)))
    monkeypatch.setattr(demo_command.webbrowser, "open", found.append)
    monkeypatch.setattr(
        serve_command, "serve_model", lambda model, **options: found.append((model, options))
    )
    return found


def test_demo_runs_digits_and_opens_nothing_without_a_terminal(
    played: list[Any], tmp_path: Path
) -> None:
    code, out, err = call("demo")
    assert (code, err) == (0, "")
    assert played == [("digits", "runs/digits")]
    assert out == "play with MoRE+ (all): morex serve runs/digits/models/more+-all\n"


@pytest.mark.parametrize("browser", [True, False])
def test_demo_opens_the_report_or_the_playground_on_a_terminal(
    browser: bool, played: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_command, "on_terminal", lambda: True)
    options = ["--out", tmp_path / "run", *([] if browser else ["--no-browser"])]
    assert call("demo", *options)[0] == 0
    page = (tmp_path / "run/report.html").resolve().as_uri()
    assert played[1:] == ([page] if browser else [])
    played.clear()
    assert call("demo", "--play", *options)[0] == 0
    model = str(tmp_path / "run/models/more+-all")
    assert played[1:] == [(model, {"port": 0, "opens": browser})]


def test_the_demo_plays_with_a_model_of_the_recipe() -> None:
    from morex.recipe import load_recipe
    from morex.recipe.schema import slug

    assert demo_command._LEAD in map(slug, load_recipe("digits").columns)
