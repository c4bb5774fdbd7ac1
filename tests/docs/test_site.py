"""Every block of code in the documentation works: it is run, or checked if it is marked."""

import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from calling import call
from pages import ROOT, blocks, check, commands, play

PLACES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/**/*.md",
    "results/*/*.md",
)
PAGES = {str(page.relative_to(ROOT)): page for place in PLACES for page in ROOT.glob(place)}
ROWS = ("clean", "pgd-linf", "rays-l2", "fog", "snow")
LEFT = {  # what a page must have left behind when its blocks have run
    "docs/tutorials/own-pictures.md": ("runs/mine/report.html", "answer.html"),
    "docs/tutorials/own-model.md": ("mine.npz", "audit.json"),
    "docs/tutorials/own-perturbation.md": ("hail.png", "weather-hail/models/more-+-hail"),
    "docs/tutorials/extend.md": ("runs/digits-rain/models/mrain", "runs/hail/models/mhail"),
    "docs/tutorials/read-a-report.md": ("gate.svg", "comparison.html"),
    "docs/guides/python.md": ("runs/clean-only/outcomes/clean.npz",),
}
KEPT = ("clean", "Minf", "M2", "Mfog", "Msnow", "AVG (all)", "MoRE (all)", "MoRE+ (all)")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of a part of the digits recipe, almost untrained, and that recipe."""
    raw = yaml.safe_load((ROOT / "src/morex/recipe/shipped/digits.yaml").read_text())
    raw["models"] = {name: raw["models"][name] for name in KEPT}
    for model in raw["models"].values():
        model |= {key: {"epochs": 0.1} for key in ("training", "gate_warmup") if model.get(key)}
        if "experts" in model:
            model["experts"] = [name for name in model["experts"] if name in KEPT]
    robust = raw["models"]["MoRE+ (all)"]["robust_gate"]["experts"]
    robust |= {name: ["M2"] for name in ("clean", "l2", "linf")}
    raw["training"] |= {"epochs": 0.1, "validate_every": None}
    raw["columns"] = ["AVG (all)", "MoRE (all)", "MoRE+ (all)"]
    raw["report"] = {"examples": 4, "pictures": 2}
    rows = {name: raw["evaluation"]["rows"][name] for name in ROWS}
    raw["evaluation"] |= {"examples": 4, "rows": rows}
    for row in rows.values():
        row |= {key: 5 for key in ("queries", "steps", "examples") if key in row}
        row |= {"restarts": 1} if "restarts" in row else {}
    folder = tmp_path_factory.mktemp("digits")
    (folder / "digits.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    code, _, err = call(
        "run", folder / "digits.yaml", "--out", folder / "runs" / "digits", "--jobs", 1
    )
    assert code == 0, err
    return folder


def typed(page: Path) -> set[str]:
    """Return the commands of morex on a page, those that are not run left out."""
    found = blocks(page.read_text(encoding="utf-8"))
    shell = [block for block in found if block.language == "sh" and block.runs]
    lines = (words for block in shell for words in commands(block))
    return {shlex.join(words) for words in lines if words[0] == "morex"}


def runs(page: Path) -> bool:
    """Return whether a page has a block that is run; the README is another matter."""
    found = blocks(page.read_text(encoding="utf-8"))
    return page.name != "README.md" and any(block.runs for block in found)


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


def test_the_commands_of_the_readme_run_on_a_page() -> None:
    elsewhere = set().union(*(typed(page) for page in PAGES.values() if runs(page)))
    ours = typed(ROOT / "README.md")
    assert ours
    assert ours <= elsewhere


def test_the_python_of_the_readme_runs() -> None:
    found = blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    for block in (block for block in found if block.language == "python"):
        exec(compile(block.content, "README.md", "exec"), {})
