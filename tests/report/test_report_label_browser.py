"""Words in charts as a browser draws them: none covers another or a point, none is cut off.

Skipped where no browser is installed, unless MOREX_REQUIRE_BROWSER is set, as in CI.
"""

import json
import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from browser import Browser, browser, find_browser
from report_run import write_run
from test_report_labels import LONG, awkward

from morex.report.charts import PHONE
from morex.report.page import write_report

if not os.environ.get("MOREX_REQUIRE_BROWSER"):
    pytestmark = pytest.mark.skipif(
        find_browser() is None,
        reason="no Chromium is installed; apt-get install chromium, or set MOREX_REQUIRE_BROWSER",
    )

FAULTS = """(() => {
  const faults = [];
  for (const svg of document.querySelectorAll('svg.chart-svg')) {
    if (!svg.checkVisibility()) continue;
    const title = svg.querySelector('title').textContent, frame = svg.getBoundingClientRect();
    const scale = frame.width / Number(svg.getAttribute('width'));
    const box = e => e.getBoundingClientRect();
    const meet = (p, q, x, y) => p.left + x < q.right && q.left + x < p.right &&
      p.top + y < q.bottom && q.top + y < p.bottom;
    const texts = [...svg.querySelectorAll('text')].filter(t => t.textContent);
    for (const t of texts) {
      const b = box(t);
      if (b.left < frame.left - 1 || b.right > frame.right + 1 ||
          b.top < frame.top - 1 || b.bottom > frame.bottom + 1)
        faults.push(`${t.textContent} is cut off in ${title}`);
    }
    const straight = texts.filter(t => !t.getAttribute('transform'));
    straight.forEach((t, i) => straight.slice(i + 1).forEach(u => {
      if (meet(box(t), box(u), 1, 3.5 * scale))
        faults.push(`${t.textContent} and ${u.textContent} in ${title}`);
    }));
    for (const t of svg.querySelectorAll('text.name'))
      for (const m of svg.querySelectorAll('path.mark'))
        if (meet(box(t), box(m), 0, 2 * scale))
          faults.push(`${t.textContent} and a point in ${title}`);
  }
  return faults;
})()"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as started:
        yield started


def crowded(run: Path) -> Path:
    """Return a run with 15 models of long names, which cost about the same and do equally well."""
    names = tuple(f"{LONG} {n}" for n in range(14))
    write_run(run, models=(*names, "W" * 25))
    content = json.loads((run / "results.json").read_text())
    for n, column in enumerate(content["columns"].values()):
        column["training_with_parents"] = {"forward": 10**6 + n, "backward": 10, "seconds": 1.0}
    content["columns"]["W" * 25]["gate"]["experts"] = [f"{LONG} a", "W" * 30]
    content["perturbations"]["fog"] |= {f"option-{n}": 0.5 for n in range(12)}
    (run / "results.json").write_text(json.dumps(content))
    return run


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    usual = write_run(folder / "usual")
    runs = {"usual": usual, "crowded": crowded(folder / "crowded")}
    return {name: write_report(run).resolve().as_uri() for name, run in runs.items()}


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
@pytest.mark.parametrize("name", ["usual", "crowded"])
def test_words_in_the_charts_of_a_page_are_whole_and_apart(
    tab: Browser, pages: dict[str, str], name: str, width: int
) -> None:
    tab.open(pages[name], width=width)
    assert tab.evaluate(FAULTS) == []


@pytest.mark.parametrize("width", [480, PHONE])
def test_names_of_awkward_spots_are_whole_and_apart(
    tab: Browser, tmp_path: Path, width: int
) -> None:
    style = files("morex.report").joinpath("templates", "style.css").read_text(encoding="utf-8")
    drawings = "<p>".join(awkward(width).values())
    page = tmp_path / "drawings.html"
    page.write_text(f"<meta charset=utf-8><style>{style}</style>{drawings}", encoding="utf-8")
    tab.open(page.as_uri(), width=800)
    assert tab.evaluate("document.querySelectorAll('text.name').length") > 60
    assert tab.evaluate(FAULTS) == []


@pytest.mark.parametrize("width", [360, 390])
def test_the_charts_of_models_need_no_scrolling_on_a_phone(
    tab: Browser, pages: dict[str, str], width: int
) -> None:
    tab.open(pages["crowded"], width=width)
    sizes = tab.evaluate(
        """[...document.querySelectorAll('#models svg.chart-svg')].filter(s =>
          s.closest('.panel') && s.checkVisibility()).map(s => {
            const b = s.getBoundingClientRect(), f = s.closest('figure').getBoundingClientRect();
            const text = s.querySelector('text.label');
            return [b.right <= f.right && b.left >= f.left,
                    parseFloat(getComputedStyle(text).fontSize) * b.width / s.viewBox.baseVal.width]
        })"""
    )
    assert len(sizes) == 2
    assert all(inside and size >= 12 for inside, size in sizes)


@pytest.mark.parametrize("width", [900, 1280])
def test_no_panel_stands_alone_in_the_last_row(
    tab: Browser, pages: dict[str, str], width: int
) -> None:
    tab.open(pages["crowded"], width=width)
    rows = tab.evaluate(
        """[...document.querySelectorAll('.panels.fit4, .panels.fit3')].map(panels => {
          const tops = [...panels.children].map(p => Math.round(p.getBoundingClientRect().top));
          return [...new Set(tops)].map(t => tops.filter(u => u === t).length);
        })"""
    )
    assert len(rows) >= 3
    assert any(len(row) > 1 for row in rows)
    for row in rows:
        assert len(row) == 1 or min(row) > 1
        assert max(row) - min(row) <= 1
