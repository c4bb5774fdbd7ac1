"""Every block of code in the documentation works: it is run, or checked if it is marked."""

import shutil
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks, check, play, runs

LEFT = {  # what a page must have left behind when its blocks have run
    "docs/tutorials/own-pictures.md": ("runs/mine/report.html", "answer.html"),
    "docs/tutorials/own-model.md": ("mine.npz", "audit.json"),
    "docs/tutorials/own-perturbation.md": ("hail.png", "weather-hail/models/more-+-hail"),
    "docs/tutorials/extend.md": ("runs/digits-rain/models/mrain", "runs/hail/models/mhail"),
    "docs/tutorials/read-a-report.md": ("gate.svg", "comparison.html"),
    "docs/guides/deploy.md": ("cheap/model.json", "model.onnx", "small.onnx"),
    "docs/guides/python.md": ("runs/clean-only/outcomes/clean.npz",),
}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("page", [name for name, page in PAGES.items() if not runs(page)])
def test_what_is_not_run_is_right_as_far_as_can_be_checked(page: str) -> None:
    for block in blocks(PAGES[page].read_text(encoding="utf-8")):
        check(block)


@pytest.mark.parametrize("page", [name for name, page in PAGES.items() if runs(page)])
def test_a_page_runs_from_top_to_bottom(
    page: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    shutil.copytree(digits / "runs", "runs")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    play(PAGES[page].read_text(encoding="utf-8"), tmp_path, {"digits": digits / "digits.yaml"})
    assert [name for name in LEFT.get(page, ()) if not Path(name).exists()] == []


def test_the_class_of_the_tutorial_is_that_of_the_example() -> None:
    tutorial = (ROOT / "docs/tutorials/own-perturbation.md").read_text(encoding="utf-8")
    (hail,) = (block for block in blocks(tutorial) if block.file == "hail.py")
    assert hail.content in (ROOT / "examples" / "hail.py").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs() -> None:
    found = blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    for block in (block for block in found if block.language == "python"):
        exec(compile(block.content, "README.md", "exec"), {})
