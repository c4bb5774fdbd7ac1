"""The page in a real browser: it opens from disk, makes no requests, and its buttons work.

Skipped where no browser is installed, unless MOREX_REQUIRE_BROWSER is set, as in CI.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, browser, find_browser
from report_run import write_run

from morex.report import make_table, read_results
from morex.report.page import write_report

if not os.environ.get("MOREX_REQUIRE_BROWSER"):
    pytestmark = pytest.mark.skipif(
        find_browser() is None,
        reason="no Chromium is installed; apt-get install chromium, or set MOREX_REQUIRE_BROWSER",
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("browser") / "run")


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return write_report(run).resolve().as_uri()


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    with browser() as tab:
        yield tab


@pytest.fixture
def tab(started: Browser, page: str) -> Browser:
    started.open(page)
    return started


def test_the_page_opens_from_disk_without_errors_and_without_requests(
    tab: Browser, page: str
) -> None:
    assert not tab.reported("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
    asked = {r["request"]["url"] for r in tab.reported("Network.requestWillBeSent")}
    assert page in asked
    assert all(url == page or url.startswith("data:") for url in asked)


def test_every_chart_is_drawn(tab: Browser) -> None:
    sizes = tab.evaluate(
        """[...document.querySelectorAll('figure.chart .panels svg')]
          .filter(svg => svg.checkVisibility()).map(svg => [...svg.querySelectorAll('.mark')]
            .filter(m => m.getBoundingClientRect().width > 1).length)"""
    )
    assert len(sizes) >= 12
    assert min(sizes) >= 3


def test_no_chart_is_cut_off_where_there_is_room(tab: Browser) -> None:
    cut = tab.evaluate(
        "[...document.querySelectorAll('.panel .scroll, .exhibit .scroll')]"
        ".filter(s => s.scrollWidth > s.clientWidth + 1).map(s => s.textContent.slice(0, 60))"
    )
    assert cut == []


def test_the_table_on_the_screen_has_the_figures_of_the_run(tab: Browser, run: Path) -> None:
    shown = tab.evaluate(
        "[...document.querySelectorAll('#table .results tbody tr')].map(tr =>"
        " [...tr.querySelectorAll('td b')].map(b => Number(b.textContent)))"
    )
    values = make_table(read_results(run)).values
    assert shown[: len(values)] == [[round(100 * v, 1) for v in line] for line in values.values()]


def test_legend_buttons_switch_their_series_and_no_other(tab: Browser) -> None:
    visible = (
        "['mean', 'union'].map(s => [...document.querySelectorAll("
        "`#models-1 .panels [data-series=${s}]`)].filter(m => m.checkVisibility()).length)"
    )
    before = tab.evaluate(visible)
    assert before[0] == 4
    button = "document.querySelector('#models-1 [data-toggle=mean]')"
    tab.evaluate(f"{button}.click()")
    assert tab.evaluate(visible) == [0, before[1]]
    assert tab.evaluate(f"{button}.getAttribute('aria-pressed')") == "false"
    tab.evaluate(f"{button}.click()")
    assert tab.evaluate(visible) == before


def test_marks_show_their_figures_on_hover(tab: Browser) -> None:
    place = tab.evaluate(
        "(() => {const m = document.querySelector('#models-1 .panels .mark[data-series=mean]');"
        " m.scrollIntoView({block: 'center', behavior: 'instant'});"
        " const b = m.getBoundingClientRect();"
        " return [b.x + b.width / 2, b.y + b.height / 2, m.dataset.tip]})()"
    )
    assert tab.evaluate("document.getElementById('tip').hidden")
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
    assert tab.evaluate("document.getElementById('tip').textContent") == place[2]
    assert "clean: mean" in place[2]


def test_pictures_can_be_filtered_by_outcome(tab: Browser) -> None:
    count = "[...document.querySelectorAll('.exhibit')].filter(e => e.checkVisibility()).length"
    whole = tab.evaluate(count)
    tab.evaluate("document.querySelector('[data-filter=stands]').click()")
    stands = tab.evaluate(count)
    tab.evaluate("document.querySelector('[data-filter=broken]').click()")
    assert stands + tab.evaluate(count) == whole == 12


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_never_scrolls_sideways(started: Browser, page: str, width: int) -> None:
    started.open(page, width=width)
    assert started.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast(started: Browser, page: str, dark: bool) -> None:
    started.open(page, dark=dark)
    ink, paper = started.evaluate(
        "(() => {const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        ".map(c => c.match(/[0-9]+/g).map(Number))})()"
    )
    assert (sum(ink) > sum(paper)) == dark
    assert abs(sum(ink) - sum(paper)) > 450


def test_the_page_prints(tab: Browser) -> None:
    assert tab.pdf().startswith(b"%PDF")
