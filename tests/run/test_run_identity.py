"""A run is what it says: what decides a stage is in its key, and is what the stage reads."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pictures import pictures
from tiny import Spy, changed, raw_recipe, rerun

from morex.artifacts.outcomes import Outcomes
from morex.evaluation.evaluate import evaluate
from morex.recipe import parse_recipe
from morex.run import Event, Finished, Planned, RunError, Started, run, stage_evaluation
from morex.run.events import Progressed

pytestmark = pytest.mark.usefixtures("one_thread")

NET = """
import torch
from torch import nn
{imports}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(192, 10)

    def forward(self, x):
        {within}
        return self.fc(x.flatten(1)) * {factor}

def make():
    return Net()
"""


def net(folder: Path, factor: str = "1", imports: str = "", within: str = "pass") -> None:
    text = NET.format(factor=factor, imports=imports, within=within)
    (folder / "my_net.py").write_text(text)


def foreign(name: str) -> dict[str, Any]:
    """Return a recipe with a factory's classifier, and a mixture that has it as an expert."""
    raw = raw_recipe("clean", "MoRE")
    raw["models"]["theirs"] = {"kind": "saved", "model": name, "against": ["fog"]}
    raw["models"]["MoRE"] |= {"experts": ["clean", "theirs"], "against": ["clean", "fog"]}
    raw["models"]["alone"] = raw["models"]["clean"]
    raw["columns"] = ["theirs", "MoRE", "alone"]
    return raw


TOUCHED = {
    *("train-theirs", "evaluate-theirs", "gate-more", "train-more", "evaluate-more"),
}


@pytest.fixture(params=["path", "module"])
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return {"path": "my_net.py:make", "module": "my_net:make"}[request.param]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda f: net(f), lambda f: net(f, factor="2")),
        (lambda f: net(f, factor="1"), lambda f: net(f, factor="3")),  # as many bytes
    ],
)
def test_another_forward_redoes_all_that_runs_it(
    name: str, before: Callable[[Path], None], after: Callable[[Path], None], tmp_path: Path
) -> None:
    before(tmp_path)
    stat = (tmp_path / "my_net.py").stat()
    rerun(tmp_path / "run", foreign(name))
    after(tmp_path)
    os.utime(tmp_path / "my_net.py", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    spy = rerun(tmp_path / "run", foreign(name))
    assert {*spy.done} == TOUCHED
    assert not rerun(tmp_path / "run", foreign(name)).done


@pytest.mark.parametrize(
    ("imports", "within", "factor"),
    [
        ("import my_parts", "pass", "my_parts.FACTOR"),
        ("", "import my_parts", "my_parts.FACTOR"),
        ("from my_pack.inner import FACTOR", "pass", "FACTOR"),
    ],
)
def test_modules_beside_a_factory_are_its_code(
    name: str, imports: str, within: str, factor: str, tmp_path: Path
) -> None:
    net(tmp_path, factor, imports, within)
    (tmp_path / "my_pack").mkdir()
    (tmp_path / "my_pack" / "__init__.py").write_text("")
    (tmp_path / "my_pack" / "inner.py").write_text("from .deep import FACTOR")
    (tmp_path / "unrelated.py").write_text("A = 1")
    deepest = [tmp_path / "my_parts.py", tmp_path / "my_pack" / "deep.py"]
    for number in (1, 2):
        for path in deepest:
            path.write_text(f"FACTOR = {number}")
        spy = rerun(tmp_path / "run", foreign(name))
        assert {*spy.done} >= TOUCHED
        assert ("train-alone" in spy.done) == (number == 1)
    (tmp_path / "unrelated.py").write_text("A = 2")
    assert not rerun(tmp_path / "run", foreign(name)).done


def test_other_pixels_for_a_factory_redo_its_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    net(tmp_path)
    raw = foreign("my_net.py:make")
    rerun(tmp_path / "run", raw)
    spy = rerun(tmp_path / "run", changed(raw, "models.theirs.input_range", "0..255"))
    assert {*spy.done} == TOUCHED


def test_a_maximum_of_experts_is_not_taken_for_their_mean(tmp_path: Path) -> None:
    raw = raw_recipe("clean", "Minf", "mean")
    raw["columns"] = ["mean"]
    rerun(tmp_path, raw)
    other = changed(raw, "models.mean.kind", "largest-logit")
    assert rerun(tmp_path, other).done == ["train-mean", "evaluate-mean"]  # the same weights
    assert not rerun(tmp_path, other).done


def combined(kind: str) -> dict[str, Any]:
    """Return a recipe whose only column is a combination of two experts."""
    raw = changed(raw_recipe("clean", "Minf", "mean"), "models.mean.kind", kind)
    return raw | {"columns": ["mean"]}


@pytest.mark.parametrize(("kind", "taken"), [("mean-of-experts", True), ("largest-logit", False)])
@pytest.mark.parametrize("unfinished", [True, False])
def test_rows_are_taken_over_only_from_what_computes_the_same(
    kind: str, taken: bool, unfinished: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Progressed) and event.stage.kind == "evaluate" and event.share > 0:
            raise KeyboardInterrupt

    recipe = parse_recipe(combined("mean-of-experts"))
    if unfinished:
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path, observer=stop, checkpoint_every=0, jobs=1)
    else:
        rerun(tmp_path, combined("mean-of-experts"))
    known = list[set[str]]()

    def spied(*args: Any, done: dict[str, Any], **more: Any) -> Outcomes:
        known.append({*done})
        return evaluate(*args, done=done, **more)

    monkeypatch.setattr(stage_evaluation, "evaluate", spied)
    raw = combined(kind)
    if not unfinished:
        raw["evaluation"]["rows"].pop("fog")  # so that the evaluation is done again
    rerun(tmp_path, raw)
    assert [bool(rows) for rows in known] == [taken]


HELPED = """
from dataclasses import dataclass
from morex.perturbations import Transform

@dataclass(frozen=True)
class Mine(Transform):
    name = "mine"
    def scaled(self, factor): return self
    def __call__(self, x, *, generator):
        from my_strength import STRENGTH
        return (x * STRENGTH).clamp(0, 1)
"""


def helped(folder: Path, strength: str) -> dict[str, Any]:
    """Return a recipe with a perturbation that imports a module beside it, when it is called."""
    (folder / "mine.py").write_text(HELPED)
    (folder / "my_strength.py").write_text(f"STRENGTH = {strength}")
    raw = raw_recipe("clean")
    raw["threads"] = 1
    raw["perturbations"]["own"] = {"kind": f"{folder / 'mine.py'}:Mine"}
    raw["models"] = {"Mown": {"against": "own"}, "clean": {"against": "clean"}}
    raw["columns"] = ["clean", "Mown"]
    return raw


def test_modules_beside_a_perturbation_are_its_code(tmp_path: Path) -> None:
    rerun(tmp_path / "run", helped(tmp_path, "0.5"))
    spy = rerun(tmp_path / "run", helped(tmp_path, "0.9"))
    assert spy.done == ["train-mown", "evaluate-mown"]
    assert not rerun(tmp_path / "run", helped(tmp_path, "0.9")).done


def at_the_first(kind: type[Event], do: Callable[[], object]) -> Callable[[Event], None]:
    """Return an observer that does something at the first event of a kind."""
    left = [do]

    def observe(event: Event) -> None:
        if isinstance(event, kind) and left:
            left.pop()()

    return observe


def test_a_process_that_reads_other_code_ends_the_run(tmp_path: Path) -> None:
    recipe = parse_recipe(helped(tmp_path, "0.5"))
    helper = tmp_path / "my_strength.py"
    helper.write_text("STRENGTH = 0.9")  # the process begins after this
    with pytest.raises(RunError) as caught:
        run(recipe, tmp_path / "run", jobs=2)
    assert f"{helper} changed while the run was in progress" in str(caught.value)
    assert not [*(tmp_path / "run").glob("models/*")]
    helper.write_text("STRENGTH = 0.5")
    rerun(tmp_path / "run", helped(tmp_path, "0.5"))


def test_a_process_that_reads_other_data_ends_the_run(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data")
    raw = raw_recipe("clean")
    raw["data"] = {"name": "mine", "folder": str(data), "validation": 0.3, "train_examples": 20}
    raw["training"]["batch_size"] = 8
    one, other = (data / "train" / name / "00.png" for name in ("class0", "class1"))
    change = at_the_first(Planned, lambda: one.write_bytes(other.read_bytes()))
    with pytest.raises(RunError, match=r"train-clean: the training data in .*data changed while"):
        run(parse_recipe(raw), tmp_path / "run", observer=change, jobs=2)
    assert not [*(tmp_path / "run").glob("models/*")]


def test_this_process_executes_what_it_read_at_the_start(tmp_path: Path) -> None:
    recipe, helper = parse_recipe(helped(tmp_path, "0.5")), tmp_path / "my_strength.py"
    run(parse_recipe(helped(tmp_path, "0.5")), tmp_path / "whole", jobs=1)
    sys.modules.pop("my_strength", None)
    change = at_the_first(Started, lambda: helper.write_text("STRENGTH = 0.9"))
    run(recipe, tmp_path / "run", observer=change, jobs=1)
    ours, theirs = (tmp_path / out / "models/mown/model.safetensors" for out in ("run", "whole"))
    assert ours.read_bytes() == theirs.read_bytes()
    assert rerun(tmp_path / "run", helped(tmp_path, "0.9")).done == ["train-mown", "evaluate-mown"]


def test_a_suite_that_changes_is_read_once(tmp_path: Path) -> None:
    suite = tmp_path / "mine.yaml"
    text = "name: mine\nrows: {'s-*': {attack: pgd, over: linf, steps: 1}}"
    suite.write_text(text)
    use = {"mine": {"file": str(suite), "examples": 5}}
    raw = changed(raw_recipe("clean"), "evaluation.suites", use)
    change = at_the_first(Finished, lambda: suite.write_text(text.replace("steps: 1", "steps: 2")))
    run(parse_recipe(raw), tmp_path / "run", observer=change, jobs=1)
    results = (tmp_path / "run" / "results-mine.json").read_text()
    assert "steps=1" in results
    assert rerun(tmp_path / "run", raw).done == ["evaluate-clean@mine"]


def test_weights_that_change_before_a_stage_reads_them_end_the_run(tmp_path: Path) -> None:
    raw = raw_recipe("clean", "Minf", "Mfog")
    raw["columns"] = ["clean", "Minf", "Mfog"]
    out = tmp_path / "run"

    def replace() -> None:
        for file in ("model.json", "model.safetensors"):
            (out / "models/clean" / file).write_bytes((out / "models/minf" / file).read_bytes())

    def observe(event: Event) -> None:
        if isinstance(event, Finished) and event.stage.id == "train-minf":
            replace()

    with pytest.raises(RunError, match=r"models/clean/model\.safetensors changed while"):
        run(parse_recipe(raw), out, observer=observe, jobs=1)
    spy = Spy()
    run(parse_recipe(raw), out, observer=spy, jobs=1)
    assert "train-clean" in spy.done
