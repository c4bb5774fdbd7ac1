"""The playground in a real browser: what a person does, and the figures that appear.

Skipped where no browser is installed, unless MOREX_REQUIRE_BROWSER is set, as in CI.
"""

import base64
import json
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
import torch
from browser import Browser, browser, find_browser
from serving import CLASSES, HOSTILE, RECIPE, picture, running, saved_mixture

from morex.attacks import PGD
from morex.core.seeding import generator_for
from morex.deploy.classify import Classifier
from morex.deploy.guard import LOOPBACK
from morex.deploy.intake import Limits
from morex.deploy.serving import served
from morex.models.named import FromFolder
from morex.perturbations import Fog, Linf
from morex.recipe import parse_recipe

if not os.environ.get("MOREX_REQUIRE_BROWSER"):
    pytestmark = pytest.mark.skipif(
        find_browser() is None,
        reason="no Chromium is installed; apt-get install chromium, or set MOREX_REQUIRE_BROWSER",
    )


class Page(NamedTuple):
    """A tab with the playground, its address, and the model behind it."""

    tab: Browser
    address: str
    model: Classifier

    def open(self, fragment: str = "", **window: Any) -> None:
        """Open the page anew, and wait for its first figures."""
        self.tab.open("about:blank")
        self.tab.open(f"{self.address}/{fragment}", **window)
        self.settle()

    def settle(self) -> None:
        """Wait until nothing is asked any more."""
        for _ in range(600):
            busy = "document.querySelector('.seen').getAttribute('aria-busy')"
            if self.tab.evaluate(busy) == "false":
                return
            time.sleep(0.02)
        raise AssertionError("the page is still busy")

    def do(self, script: str) -> None:
        """Run a script, and wait for what it asks."""
        self.tab.evaluate(script)
        self.settle()

    def text(self, id: str) -> str:
        """Return the text of an element."""
        return str(self.tab.evaluate(f"document.getElementById('{id}').innerText"))

    def classes(self, when: str) -> list[list[str]]:
        """Return the classes that are shown, with their probabilities."""
        found: list[list[str]] = self.tab.evaluate(
            f"[...document.querySelectorAll('#{when}-classes tr')].map(tr =>"
            " [tr.cells[0].textContent, tr.cells[2].textContent])"
        )
        return found

    def expected(self, x: torch.Tensor) -> list[list[str]]:
        """Return the classes of the library for an image, as the page shows them."""
        shares, order = self.model.network(x).softmax(1)[0].sort(descending=True)
        return [
            [CLASSES[k], f"{100 * share:.1f}%"]
            for k, share in zip(order.tolist(), shares.tolist(), strict=True)
        ]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = saved_mixture(tmp_path_factory.mktemp("play") / "tiny")
    raw = {"name": "x", "network": {}, "models": {"m": {"against": "clean"}}, "columns": ["m"]}
    recipe, cpu = parse_recipe({**RECIPE, **raw}), torch.device("cpu")
    found = served(FromFolder(folder), recipe, cpu, LOOPBACK, Limits())
    found.service.classifier.network.requires_grad_(False)
    with running(found.app) as run, browser() as tab:
        yield Page(tab, run.address, found.service.classifier)
    found.close()


@pytest.fixture
def page(everything: Page) -> Iterator[Page]:
    everything.open()
    yield everything
    kinds = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
    assert not everything.tab.reported(*kinds)
    asked = {r["request"]["url"] for r in everything.tab.reported("Network.requestWillBeSent")}
    assert asked
    assert all(url.startswith((everything.address, "data:")) for url in asked)


def prepared(page: Page, content: bytes) -> torch.Tensor:
    return (page.model.prepared(content) / 255)[None]


def drop(content: bytes) -> str:
    """Return a script that drops a file on the page."""
    encoded = base64.b64encode(content).decode()
    return (
        f"(() => {{ const bytes = Uint8Array.from(atob('{encoded}'), c => c.charCodeAt(0));"
        " const data = new DataTransfer(); data.items.add(new File([bytes], 'mine.png'));"
        " dispatchEvent(new DragEvent('drop', {dataTransfer: data, cancelable: true})); })()"
    )


def dropped(page: Page, content: bytes) -> torch.Tensor:
    """Drop a picture, wait for its figures, and return it as the model sees it."""
    page.tab.evaluate(drop(content))
    for _ in range(600):
        if "picture=" in page.tab.evaluate("location.hash"):
            break
        time.sleep(0.02)
    page.settle()
    return prepared(page, content)


def move(name: str, index: int) -> str:
    """Return a script that moves a slider as a person does."""
    return (
        f"(() => {{ const label = [...document.querySelectorAll('.slider label')]"
        f".find(one => one.textContent === '{name}'); const input = label.control;"
        f" input.value = {index}; input.dispatchEvent(new Event('input')); }})()"
    )


def press(kind: str, within: str) -> str:
    return f"document.querySelector('[data-kind={kind}][data-within={within}]').click()"


def test_a_dropped_picture_is_classified(page: Page) -> None:
    x = dropped(page, picture(5))
    assert page.classes("before") == page.expected(x)
    assert page.classes("after") == page.expected(x)
    assert "none" in page.text("sides")


def test_a_slider_and_an_attack_show_the_figures_of_the_library(page: Page) -> None:
    x = dropped(page, picture(5))
    page.do(move("fog", 5))
    fog = Fog(0.15, 0.6).scaled(0.5)(x)
    assert page.classes("after") == page.expected(fog)
    assert page.classes("before") == page.expected(x)
    page.do(press("pgd", "linf"))
    y = page.model.network(x).argmax(1)
    generator = generator_for(0, "playground", "attack")
    moved = PGD(Linf(0.2), relative_step=10)(page.model.network, fog, y, generator=generator)
    assert page.classes("after") == page.expected(moved)
    verdict = page.text("verdict")
    assert verdict.startswith("Tiny says ")
    assert "after fog, then PGD in linf" in verdict
    weights = page.tab.evaluate(
        "[...document.querySelectorAll('#experts .pair i:not(.quiet)')].map(i => i.textContent)"
    )
    mixture: Any = page.model.network
    assert weights == [f"{w:.2f}" for w in mixture.gate_weights(moved)[0].tolist()]
    page.do(press("pgd", "linf"))
    assert page.classes("after") == page.expected(fog)


def test_the_address_reproduces_the_view(page: Page) -> None:
    dropped(page, picture(7))
    for script in (move("snow", 12), move("linf", 3), press("steering", "linf")):
        page.do(script)
    page.do("document.getElementById('again').click()")
    state = "[location.hash, document.querySelector('main').innerText]"
    address, shown = page.tab.evaluate(state)
    assert "seed=1" in address
    page.open(address)
    assert page.tab.evaluate(state) == [address, shown]


def test_samples_are_chosen_with_the_keyboard(page: Page) -> None:
    page.tab.evaluate("document.querySelector('#samples input:checked').focus()")
    for kind in ("keyDown", "keyUp"):
        page.tab.call(
            "Input.dispatchKeyEvent",
            type=kind,
            key="ArrowRight",
            code="ArrowRight",
            windowsVirtualKeyCode=39,
        )
    page.settle()
    assert page.tab.evaluate("location.hash") == "#image=1"
    chosen = page.tab.evaluate(
        "document.querySelector('#samples input:checked').getAttribute('aria-label')"
    )
    assert chosen == "Drawing of a truck"
    order = page.tab.evaluate(
        "[...document.querySelectorAll('input, button')].every(one => one.tabIndex === 0"
        " && (one.labels?.length || one.textContent || one.ariaLabel))"
    )
    assert order is True


def test_hostile_names_are_text(page: Page) -> None:
    names = page.tab.evaluate(
        "[...document.querySelectorAll('#before-classes th')].map(th => th.textContent).sort()"
    )
    assert names == sorted(CLASSES)
    assert HOSTILE in names
    assert page.tab.evaluate("document.querySelectorAll('img[src=x], .bars b').length") == 0


def test_what_does_not_work_is_said(page: Page) -> None:
    page.tab.evaluate(drop(b"no picture"))
    for _ in range(600):
        if page.text("trouble"):
            break
        time.sleep(0.02)
    assert "it is no BMP, GIF" in page.text("trouble")
    page.do(move("fog", 3))
    assert page.text("trouble") == ""
    # the browser itself reports the refused request
    page.tab.events[:] = [e for e in page.tab.events if e["method"] != "Log.entryAdded"]


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_every_window_and_can_be_read(page: Page, width: int, dark: bool) -> None:
    page.open("#image=1&at.fog=1&attack=pgd:linf", width=width, dark=dark)
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    cut = page.tab.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth + 1)"
        ".length"
    )
    assert cut == 0
    ink, paper = page.tab.evaluate(
        "(() => {const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        ".map(c => c.match(/[0-9]+/g).map(Number))})()"
    )
    assert (sum(ink) > sum(paper)) == dark
    assert abs(sum(ink) - sum(paper)) > 450


def test_the_endpoints_of_the_page_refuse_in_one_sentence(everything: Page) -> None:
    address = f"{everything.address}/play"
    for content, words in ((b"{", "JSON"), (b'{"picture": "%"}', "base64")):
        answer = httpx.post(address, content=content)
        assert answer.status_code == 422
        assert words in answer.json()["error"]
    asked = json.dumps({"picture": base64.b64encode(b"hello").decode()})
    assert httpx.post(address, content=asked).status_code == 415


def test_the_page_may_load_nothing_else(everything: Page) -> None:
    headers = httpx.get(everything.address).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; connect-src 'self'")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
