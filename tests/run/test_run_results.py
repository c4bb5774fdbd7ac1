"""The results of a whole run: its table, files, costs, models and outcomes."""

import json
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CPU, FEW, Spy, changed, raw_recipe, rerun, results_of, tiny

import morex.core.files
import morex.run.builder
import morex.run.provenance
from morex.artifacts.outcomes import Outcomes
from morex.attacks import PGD, RayS, WorstOfDraws
from morex.core.threads import cores
from morex.data import Data, ImageSet
from morex.evaluation.evaluate import evaluate
from morex.models.mixture import LargestLogit, MeanOfExperts, Mixture
from morex.models.named import load_model, open_model
from morex.models.resnet import ResNet
from morex.recipe import load_recipe, parse_recipe
from morex.report import make_table, read_results, to_text
from morex.run import Builder, Event, Started, run

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_run_does_every_stage_once_and_after_what_it_needs(whole: tuple[Path, Spy]) -> None:
    _, spy = whole
    assert not spy.skipped
    assert not spy.notices
    head, *splits = spy.data
    assert head == "digits: 8x8 pixels, 10 classes"
    assert [line.split(": ")[0].split() for line in splits] == [
        ["training", "120", "images"],
        ["validation", "40", "images"],
        ["test", "359", "images"],
    ]
    assert spy.done == [stage.id for stage in spy.stages]
    assert len(set(spy.done)) == len(spy.done) == 10 + 10 + 1  # one gate is warmed up
    for stage in spy.stages:
        assert all(spy.done.index(need) < spy.done.index(stage.id) for need in stage.needs)


def test_progress_rises_to_one_in_every_stage_that_trains_or_evaluates(
    whole: tuple[Path, Spy],
) -> None:
    _, spy = whole
    assert spy.work.keys() == {stage.id for stage in spy.stages} == spy.shares.keys()
    for stage in spy.stages:
        shares = spy.shares[stage.id]
        if stage.id in ("train-mean", "train-largest"):
            assert spy.work[stage.id] == 0
            continue
        assert spy.work[stage.id] > 0
        assert shares == sorted(shares)
        assert shares[-1] == 1


def test_results_make_a_table(whole: tuple[Path, Spy]) -> None:
    out, _ = whole
    table = make_table(read_results(out))
    assert table.columns == tiny().columns
    assert [*table.rows] == [*tiny().evaluation.rows]
    cells = [cell for line in table.measured.values() for cell in line]
    assert all(cell is not None for cell in cells)
    assert {cell.n for cell in table.rows["clean"] if cell} == {30}
    assert {cell.n for cell in table.rows["rays-linf"] if cell} == {20}
    assert "tiny: test accuracy (%) on digits" in to_text(table)


def test_results_describe_the_run_and_its_stages(whole: tuple[Path, Spy]) -> None:
    out, spy = whole
    results = json.loads((out / "results.json").read_text())
    assert results["format"] == 1
    assert (results["name"], results["seed"], results["missing"]) == ("tiny", 0, [])
    assert results["setting"]["n_test"] == 30
    assert results["stages"].keys() == {stage.id for stage in spy.stages}
    for stage in results["stages"].values():
        assert stage["seconds"] >= 0
        assert stage["peak_memory_bytes"] > 10_000_000
        assert stage["finished"].endswith("+00:00")


def test_every_stage_keeps_the_provenance_of_the_run_that_did_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_as(commit: str, argv: list[str]) -> dict[str, Any]:
        monkeypatch.setattr(morex.run.provenance, "commit", lambda: commit)
        monkeypatch.setattr("sys.argv", argv)
        run(tiny("clean", "Minf") if commit == "b" else tiny("clean"), tmp_path, jobs=1)
        results: dict[str, Any] = json.loads((tmp_path / "results.json").read_text())
        return results

    run_as("a", ["/usr/bin/morex", "run", "my recipe.yaml"])
    results = run_as("b", ["/somewhere/cli/__main__.py", "run", "tiny.yaml"])
    found = {name: stage["provenance"] for name, stage in results["stages"].items()}
    found["results"] = results["provenance"]
    assert {name: (origin["commit"], origin["command"]) for name, origin in found.items()} == {
        "train-clean": ("a", "morex run 'my recipe.yaml'"),
        "evaluate-clean": ("a", "morex run 'my recipe.yaml'"),
        "train-minf": ("b", "morex run tiny.yaml"),
        "evaluate-minf": ("b", "morex run tiny.yaml"),
        "results": ("b", "morex run tiny.yaml"),
    }
    for origin in found.values():
        release, _, _ = origin["versions"]["torch"].partition(
            "+"
        )  # some wheels leave out the build
        assert release == torch.__version__.partition("+")[0]
        assert origin["versions"]["python"] == platform.python_version()
        assert {"morex", "numpy"} <= origin["versions"].keys()
        assert origin["hardware"]["processor"]
        assert origin["hardware"]["threads"] == 1
        assert origin["hardware"]["cores"] == cores()


def test_rows_are_described_by_attack_perturbation_and_budget(whole: tuple[Path, Spy]) -> None:
    rows = json.loads((whole[0] / "results.json").read_text())["rows"]
    assert rows["pgd-linf"]["perturbation"] == {"kind": "linf", "eps": 16 / 255}
    text = rows["pgd-linf"]["attack"]
    assert text.startswith("pgd in Linf(eps=16/255) with steps=2, ")
    assert "perturbation=" not in text


def test_costs_with_parents_count_every_ancestor_once(whole: tuple[Path, Spy]) -> None:
    columns = read_results(whole[0]).file.columns  # as tables read them
    own = {name: column.training for name, column in columns.items()}
    everything = {name: column.training_with_parents for name, column in columns.items()}
    for key in ("forward", "backward"):

        def total(*names: str, key: str = key) -> int:
            return sum(getattr(own[name], key) for name in names)

        # clean is an expert of the mixture, and the start of another of its experts
        assert getattr(everything["MoRE"], key) == total("clean", "Minf", "Mfog", "MoRE") > 0
        assert getattr(everything["mean"], key) == total("clean", "Minf")
        assert total("mean") == 0
    assert everything["clean"] == own["clean"]


def test_a_finished_run_leaves_results_and_nothing_else(whole: tuple[Path, Spy]) -> None:
    out, spy = whole
    names = {path.name for path in out.iterdir()} - {".lock", ".owner.json"}
    files = {"recipe.yaml", "results.json", "test-labels.json", "models", "outcomes", "stages"}
    assert names == files
    assert {path.stem for path in (out / "stages").iterdir()} == {s.id for s in spy.stages}
    assert not [*out.rglob("*.part")]


def test_the_run_keeps_the_resolved_recipe(whole: tuple[Path, Spy]) -> None:
    assert load_recipe(str(whole[0] / "recipe.yaml")) == tiny()


@pytest.mark.parametrize(
    ("folder", "cls"),
    [
        ("clean", ResNet),
        ("more", Mixture),
        ("more/gate", Mixture),
        ("mean", MeanOfExperts),
        ("largest", LargestLogit),
    ],
)
def test_saved_models_load_ready_for_use(folder: str, cls: type, whole: tuple[Path, Spy]) -> None:
    model = load_model(whole[0] / "models" / folder)
    assert type(model) is cls
    assert not model.training
    about = open_model(whole[0] / "models" / folder).about
    assert about["classes"] == [str(digit) for digit in range(10)]
    assert about["image_size"] == [8, 8]
    assert about["recipe"].keys() == {"threads", "data", "perturbations", "evaluation"}


@pytest.mark.parametrize("name", ["clean", "MoRE (in turn)", "largest"])
def test_stored_outcomes_are_those_of_the_saved_model(name: str, whole: tuple[Path, Spy]) -> None:
    out, spy = whole
    builder = Builder.open(tiny(), CPU)
    (stage,) = (s for s in spy.stages if s.model == name and s.kind == "evaluate")
    model = builder.ready(load_model(out / stage.output.replace("outcomes", "models")[:-4]))
    again = evaluate(model, builder.test_data, builder.suite(), seed=0, batch_size=16)
    stored = Outcomes.load(out / stage.output)
    assert again.rows == stored.rows
    for row in stored.rows:
        np.testing.assert_array_equal(again.right[row], stored.right[row])


def test_experts_in_a_mixture_keep_their_bodies(whole: tuple[Path, Spy]) -> None:
    out, _ = whole
    mixture, gate = load_model(out / "models/more"), load_model(out / "models/more/gate")
    expert = load_model(out / "models/clean").state_dict()
    inside = {
        name.removeprefix("experts.0."): tensor
        for name, tensor in mixture.state_dict().items()
        if name.startswith("experts.0.")
    }
    assert inside.keys() == expert.keys()
    changed_layers = {name for name in inside if not torch.equal(inside[name], expert[name])}
    assert changed_layers == {"head.weight", "head.bias"}
    for name, tensor in gate.state_dict().items():  # the warm-up changes only the gate
        if name.startswith("experts.0."):
            assert torch.equal(tensor, expert[name.removeprefix("experts.0.")])


def test_only_what_columns_need_is_trained(tmp_path: Path) -> None:
    spy = rerun(tmp_path, changed(raw_recipe(), "columns", ["Mfog"]))
    assert spy.done == ["train-clean", "train-mfog", "evaluate-mfog"]


def test_the_same_recipe_gives_the_same_bits_anywhere(
    whole: tuple[Path, Spy], finished: Path
) -> None:
    everything, few = results_of(whole[0]), results_of(finished)
    assert len(few) == 4 + 1 + 4
    assert few == {name: everything[name] for name in few}


def test_results_are_written_after_every_stage(out: Path) -> None:
    raw = changed(raw_recipe(*FEW), "models.clean.training.epochs", 1)
    known: list[set[str]] = []

    def look(event: Event) -> None:
        if isinstance(event, Started):
            known.append({*json.loads((out / "results.json").read_text())["columns"]})

    run(parse_recipe(raw), out, observer=look, jobs=1)
    assert known[0] == {"Minf"}


def test_results_say_how_the_gate_weights_its_experts(finished: Path) -> None:
    columns = read_results(finished).file.columns
    gate = columns["MoRE"].gate
    assert gate is not None
    assert gate.experts == ("clean", "Minf", "Mfog")
    assert [*gate.weights] == ["clean", "fog", "pgd-linf"]
    assert columns["clean"].gate is None


def test_results_say_how_often_a_model_predicts_each_class(finished: Path) -> None:
    found = read_results(finished)
    data, model = Builder.open(load_recipe(finished / "recipe.yaml"), CPU).test_data, "Minf"
    said = load_model(finished / "models/minf")(data.pixels(slice(None))).argmax(1)
    assert found.file.columns[model].answers == tuple(said.bincount(minlength=10).tolist())
    assert found.images.labels == tuple(data.labels.tolist())


def test_training_never_sees_the_test_set(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = morex.run.builder.load_data

    def spoilt(*args: Any, **options: Any) -> Data:
        data = original(*args, **options)
        labels = (data.test.labels + 1) % 10
        return replace(data, test=ImageSet(255 - data.test.images, labels, data.test.classes))

    monkeypatch.setattr(morex.run.builder, "load_data", spoilt)
    rerun(tmp_path)
    before, after = results_of(finished), results_of(tmp_path)
    assert before.keys() == after.keys()
    for name in before:
        assert (before[name] == after[name]) == name.endswith(".safetensors"), name


def test_the_suite_is_what_the_recipe_says() -> None:
    builder = Builder.open(tiny(), CPU)
    suite = {row.name: row for row in builder.suite()}
    pgd, draws, rays = (suite[name].attack for name in ("pgd-linf", "fog", "rays-linf"))
    assert isinstance(pgd, PGD)
    assert (pgd.steps, pgd.stop_when_fooled) == (2, True)
    assert isinstance(draws, WorstOfDraws)
    assert draws.draws == 2
    assert isinstance(rays, RayS)
    assert (rays.queries, suite["rays-linf"].examples) == (6, 20)


def test_test_images_are_a_prefix_of_one_order_for_all_seeds() -> None:
    few = Builder.open(tiny(), CPU).test_data
    more = changed(changed(raw_recipe(), "evaluation.examples", 60), "seed", 9)
    assert torch.equal(Builder.open(parse_recipe(more), CPU).test_data.images[:30], few.images)
