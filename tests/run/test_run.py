import hashlib
import json
import multiprocessing
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny import Spy, changed, raw_recipe, results_of, tiny

import morex.core.files
import morex.run.builder
import morex.run.provenance
from morex.artifacts.outcomes import Outcomes
from morex.attacks import PGD, DrawnSteering, RayS, WorstOfDraws
from morex.core.files import write_with_digest
from morex.data import Data, ImageSet
from morex.evaluation.evaluate import evaluate
from morex.models.mixture import LargestLogit, MeanOfExperts, Mixture
from morex.models.named import load_model, open_model
from morex.models.resnet import ResNet
from morex.recipe import RecipeError, load_recipe, parse_recipe
from morex.recipe.extend import extended
from morex.recipe.models import MixtureModel, NetworkModel
from morex.report import make_table, read_results, to_text
from morex.report.material import read_material
from morex.report.page import to_report
from morex.run import Event, Observer, Progressed, RunError, Started, Workshop, estimate, run
from morex.run.checkpoint import FileCheckpoint
from morex.run.cores import _quota
from morex.run.memory import forget_peak, peak_memory
from morex.run.stages import plan_stages
from morex.training import NotFiniteError
from morex.training.objectives import SideBySide
from morex.training.state import Snapshot

pytestmark = pytest.mark.usefixtures("one_thread")

FEW = ("clean", "Minf", "Mfog", "MoRE")
TWO = ("clean", "Minf")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Spy]:
    """A finished run of the whole tiny recipe, and its events. Do not change it."""
    out, spy = tmp_path_factory.mktemp("whole") / "run", Spy()
    run(tiny(), out, observer=spy)
    return out, spy


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a few models. Do not change it."""
    out = tmp_path_factory.mktemp("few") / "run"
    run(tiny(*FEW), out)
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run of a few models."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    return copy


def rerun(out: Path, raw: dict[str, Any] | None = None) -> Spy:
    spy = Spy()
    run(parse_recipe(raw or raw_recipe(*FEW)), out, observer=spy, jobs=1)
    assert sorted(spy.skipped + spy.done) == sorted(stage.id for stage in spy.stages)
    return spy


# --- a whole run


def test_a_run_does_every_stage_once_and_after_what_it_needs(whole: tuple[Path, Spy]) -> None:
    _, spy = whole
    assert not spy.skipped
    assert not spy.notices
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
    assert [*table.rows] == [*tiny().rows()]
    cells = [cell for line in table.measured.values() for cell in line]
    assert all(cell is not None for cell in cells)
    assert {cell.n for cell in table.rows["clean"] if cell} == {30}
    assert {cell.n for cell in table.rows["rays-linf"] if cell} == {20}
    assert "tiny: test accuracy (%) on digits" in to_text(table)


def test_results_say_where_they_come_from(whole: tuple[Path, Spy]) -> None:
    out, spy = whole
    results = json.loads((out / "results.json").read_text())
    assert results["format"] == 1
    assert (results["name"], results["seed"], results["missing"]) == ("tiny", 0, [])
    assert results["setting"]["n_test"] == 30
    assert results["stages"].keys() == {stage.id for stage in spy.stages}
    for made in (results, *results["stages"].values()):
        origin = made["provenance"]
        assert origin["versions"]["torch"] == torch.__version__
        assert {"python", "morex", "numpy"} <= origin["versions"].keys()
        assert origin["hardware"]["processor"]
        assert origin["hardware"]["threads"] == 1
        assert origin["command"]
        assert origin["commit"] is None or len(origin["commit"].rstrip("+")) == 40
    for stage in results["stages"].values():
        assert stage["seconds"] >= 0
        assert stage["peak_memory_bytes"] > 10_000_000
        assert stage["finished"].endswith("+00:00")


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
    workshop = Workshop.open(tiny(), CPU)
    (stage,) = (s for s in spy.stages if s.model == name and s.kind == "evaluate")
    model = workshop.ready(load_model(out / stage.output.replace("outcomes", "models")[:-4]))
    again = evaluate(model, workshop.test_data, workshop.suite(), seed=0, batch_size=16)
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
    for name, tensor in gate.state_dict().items():  # the warm-up changes the gate alone
        if name.startswith("experts.0."):
            assert torch.equal(tensor, expert[name.removeprefix("experts.0.")])


def test_of_a_mixture_the_gate_alone_can_learn(tmp_path: Path) -> None:
    raw = raw_recipe("clean", "Minf", "Mfog", "MoRE")
    gate = {"start": "Minf", "experts": {"clean": ["clean", "Minf"]}, "inner": {"steps": 1}}
    raw["models"]["MoRE"] |= {"training": None, "robust_gate": gate}
    raw["columns"], raw["report"] = ["MoRE"], {"examples": 4, "pictures": 2}
    out, recipe = tmp_path / "run", parse_recipe(raw)
    assert "train-more" in {one.stage.id for one in estimate(recipe, torch.device("cpu"))}
    run(recipe, out, jobs=1)
    record = json.loads((out / "stages/train-more.json").read_text())
    assert "passes" not in record
    trained, warm = (load_model(out / f"models/more{part}") for part in ("", "/gate"))
    assert isinstance(trained, Mixture)
    for name, value in warm.state_dict().items():
        assert torch.equal(trained.state_dict()[name], value)
    last = load_model(out / "models/minf").state_dict()["head.weight"]
    assert torch.equal(trained.last_layers()[1].weight, last)
    assert "MoRE, warm-up of the gate" in to_report(read_material(out))
    column = read_results(out).file.columns["MoRE"]
    assert column.training
    assert column.training.backward > 0  # of its warm-up
    warmed = json.loads((out / "stages/gate-more.json").read_text())
    assert column.training.seconds == warmed["seconds"]  # putting together is no training
    grown = extended(recipe, "MoRE", {"rain": {"kind": "rain"}}).models["MoRE + rain"]
    assert isinstance(grown, MixtureModel)
    assert grown.gate_warmup
    assert not grown.training  # nor does the whole in its extension
    assert grown.robust_gate
    assert grown.robust_gate.start is None  # it goes on from the gate that there is


def test_only_what_columns_need_is_trained(tmp_path: Path) -> None:
    spy = rerun(tmp_path, changed(raw_recipe(), "columns", ["Mfog"]))
    assert spy.done == ["train-clean", "train-mfog", "evaluate-mfog"]


def test_the_same_recipe_gives_the_same_bits_anywhere(
    whole: tuple[Path, Spy], finished: Path
) -> None:
    everything, few = results_of(whole[0]), results_of(finished)
    assert len(few) == 4 + 1 + 4
    assert few == {name: everything[name] for name in few}


# --- what is redone


def test_a_second_call_does_nothing(out: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    spy = rerun(out)
    assert not spy.done
    assert not spy.notices
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before
    assert make_table(read_results(out)).columns == FEW


def test_a_changed_suite_redoes_the_evaluations_only(out: Path) -> None:
    before = results_of(out)
    spy = rerun(out, changed(raw_recipe(*FEW), "evaluation.rows.pgd-linf.steps", 3))
    assert {*spy.done} == {f"evaluate-{name.lower()}" for name in FEW}
    after = results_of(out)
    assert all(after[name] == before[name] for name in before if name.endswith("safetensors"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("evaluation.examples", 20),
        ("evaluation.batch_size", 20),
        ("evaluation.rows.rays-linf.examples", 10),
        ("perturbations.l2.eps", 0.4),  # only a row uses it
    ],
)
def test_everything_that_decides_outcomes_redoes_them(path: str, value: object, out: Path) -> None:
    spy = rerun(out, changed(raw_recipe(*FEW), path, value))
    assert {*spy.done} == {f"evaluate-{name.lower()}" for name in FEW}


MORE = {"gate-more", "train-more", "evaluate-more"}
FOG = {"train-mfog", "evaluate-mfog"}


@pytest.mark.parametrize(
    ("path", "value", "redone"),
    [
        ("models.Minf.training", {"epochs": 1}, {"train-minf", "evaluate-minf"} | MORE),
        ("models.clean.training", {"epochs": 1}, {"train-clean", "evaluate-clean"} | FOG | MORE),
        ("models.Mfog.inner", {"steps": 3}, {"train-mfog"}),  # unused by fog: the same bits
        ("models.MoRE.gate_warmup", {"epochs": 2}, MORE),
        ("models.MoRE.training", {"epochs": 2}, {"train-more", "evaluate-more"}),
        ("gate", {"architecture": "resnet10", "width": 3}, MORE),
    ],
)
def test_a_changed_model_is_redone_with_all_that_depends_on_it(
    path: str, value: object, redone: set[str], out: Path
) -> None:
    raw = changed(raw_recipe(*FEW), path, value)
    spy = rerun(out, raw)
    assert {*spy.done} == redone
    assert not spy.notices
    assert not rerun(out, raw).done


def test_what_is_known_is_in_the_results_while_the_rest_is_done(out: Path) -> None:
    raw = changed(raw_recipe(*FEW), "models.clean.training.epochs", 1)
    known: list[set[str]] = []

    def look(event: Event) -> None:
        if isinstance(event, Started):
            known.append({*json.loads((out / "results.json").read_text())["columns"]})

    run(parse_recipe(raw), out, observer=look, jobs=1)
    assert known[0] == {"Minf"}


def test_another_strength_redoes_who_trains_or_is_attacked_with_it(out: Path) -> None:
    spy = rerun(out, changed(raw_recipe(*FEW), "perturbations.linf.eps", 0.05))
    evaluations = {f"evaluate-{name.lower()}" for name in FEW}
    assert {*spy.done} == evaluations | {"train-minf"} | MORE


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 1),
        ("threads", 1),
        ("data.train_examples", 100),
        ("data.crop", 0),
        ("network.width", 5),
    ],
)
def test_seed_data_and_network_redo_everything(path: str, value: object, out: Path) -> None:
    spy = rerun(out, changed(raw_recipe(*FEW), path, value))
    assert not spy.skipped


def test_a_new_version_redoes_nothing() -> None:
    """Change the number on purpose alone: every finished run of a user is done again then."""
    stages = plan_stages(tiny(), "train", "test")
    keys = {stage.id: stage.key({need: need for need in stage.needs}) for stage in stages}
    digest = hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()
    assert digest[:16] == "93a10b29a2eaebd4"


@pytest.mark.parametrize(("path", "value"), [("name", "other"), ("description", "other")])
def test_words_about_a_recipe_redo_nothing(path: str, value: object, out: Path) -> None:
    assert not rerun(out, changed(raw_recipe(*FEW), path, value)).done
    assert yaml.safe_load((out / "recipe.yaml").read_text())[path] == value


def test_other_names_of_perturbations_redo_nothing_that_they_do_not_decide(out: Path) -> None:
    text = yaml.safe_dump(raw_recipe(*FEW), sort_keys=False)
    renamed = text.replace("against: fog", "against: haze").replace(
        "  fog:\n    kind", "  haze:\n    kind"
    )
    renamed = renamed.replace("perturbation: fog", "perturbation: haze").replace("- fog", "- haze")
    raw = yaml.safe_load(renamed)
    assert "fog" not in raw["perturbations"]
    assert not rerun(out, raw).done


def pictures(folder: Path, classes: int = 3, each: int = 14) -> Path:
    """Write class folders with random pictures."""
    from PIL import Image

    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(classes):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for i in range(each):
                pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{i:02}.png")
    return folder


def test_where_the_data_lies_redoes_nothing_but_what_is_in_it_does(tmp_path: Path) -> None:
    from PIL import Image

    here, there = pictures(tmp_path / "here"), tmp_path / "there"
    shutil.copytree(here, there)
    raw = raw_recipe("clean")
    raw["data"] = {"name": "mine", "folder": str(here), "validation": 0.3, "train_examples": 20}
    raw["training"]["batch_size"] = 8
    out = tmp_path / "run"
    assert rerun(out, raw).done == ["train-clean", "evaluate-clean"]
    raw["data"] |= {"name": "ours", "folder": str(there)}
    assert not rerun(out, raw).done

    # any training picture can move the pixel statistics, also one that is not sampled
    for split, redone in (("test", ["evaluate-clean"]), ("train", ["train-clean"])):
        for i in range(14):
            Image.new("RGB", (8, 8)).save(there / split / "class1" / f"{i:02}.png")
        assert rerun(out, raw).done[: len(redone)] == redone
    assert not rerun(out, raw).done


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


# --- damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink], ids=["flip", "cut", "unlink"])
@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("models/mfog/model.safetensors", "train-mfog"),
        ("models/mfog/model.json", "train-mfog"),
        ("models/more/gate/model.safetensors", "gate-more"),
        ("outcomes/more.npz", "evaluate-more"),
    ],
)
def test_a_damaged_file_is_named_and_its_stage_redone(
    damage: Callable[[Path], None], file: str, stage: str, out: Path
) -> None:
    before = results_of(out)
    damage(out / file)
    spy = rerun(out)
    assert spy.done == [stage]  # what depends on it finds the same bits again
    (notice,) = spy.notices
    assert str(out / file) in notice
    assert stage in notice
    assert ("missing" if damage is Path.unlink else "damaged") in notice
    assert results_of(out) == before
    assert not rerun(out).done


def edit_seconds(path: Path) -> None:
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"seconds": 0.0}))


def write(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


@pytest.mark.parametrize(
    "damage",
    [cut, edit_seconds, write(b""), write(b"[]"), write(b"null"), write(b"{}"), write(b"\xff")],
)
def test_a_damaged_record_is_named_and_its_stage_redone(
    damage: Callable[[Path], None], out: Path
) -> None:
    before = results_of(out)
    record = out / "stages/evaluate-mfog.json"
    damage(record)
    spy = rerun(out)
    assert spy.done == ["evaluate-mfog"]
    (notice,) = spy.notices
    assert f"{record} is damaged" in notice
    assert results_of(out) == before


def test_a_lost_record_redoes_its_stage(out: Path) -> None:
    (out / "stages/train-clean.json").unlink()
    assert rerun(out).done == ["train-clean"]


@pytest.mark.parametrize("name", ["results.json", "recipe.yaml"])
def test_lost_summaries_are_written_again(name: str, out: Path) -> None:
    (out / name).write_bytes(b"\xff")
    assert not rerun(out).done
    assert make_table(read_results(out)).columns == FEW
    assert load_recipe(str(out / "recipe.yaml")) == tiny(*FEW)


def assert_same_bits(run: Path, whole: Path) -> None:
    """Compare all that ``run`` holds with the same files of ``whole``."""
    found, expected = results_of(run), results_of(whole)
    assert len(found) == 4
    assert found == {name: expected[name] for name in found}


class InterruptionError(Exception):
    """An interruption."""


def stop_in(stage_id: str) -> Observer:
    """Return an observer that interrupts a run at the first progress of a stage."""

    def stop(event: Event) -> None:
        if isinstance(event, Progressed) and event.stage.id == stage_id and event.share:
            raise InterruptionError

    return stop


def interrupted(out: Path, stage: str) -> Path:
    """Begin a run, interrupt it in a stage, and return the stage's folder in the works."""
    with pytest.raises(InterruptionError):
        run(tiny(*TWO), out, observer=stop_in(stage), checkpoint_every=0)
    (work,) = (out / "work").glob(f"{stage}-*")
    return work


def test_an_interrupted_training_goes_on(finished: Path, tmp_path: Path) -> None:
    work = interrupted(tmp_path, "train-minf")
    saved = FileCheckpoint(work, 0, print).load()
    assert saved is not None
    assert saved.values["step"] == 6  # two epochs of three batches: only the end is left
    spy = rerun(tmp_path, raw_recipe(*TWO))
    assert spy.skipped == ["train-clean", "evaluate-clean"]
    assert spy.shares["train-minf"] == [1.0]  # where it began: no step was taken again
    assert_same_bits(tmp_path, finished)


def test_an_interrupted_evaluation_keeps_its_rows(finished: Path, tmp_path: Path) -> None:
    work = interrupted(tmp_path, "evaluate-minf")
    kept = Outcomes.load(work / "rows.npz").right
    assert {name: len(right) for name, right in kept.items()} == {"clean": 16}  # of 30: a batch
    spy = rerun(tmp_path, raw_recipe(*TWO))
    assert spy.shares["evaluate-minf"][:2] == pytest.approx([16 / 30 / 5, 1 / 5])  # begins there
    assert_same_bits(tmp_path, finished)


@pytest.mark.parametrize(
    ("stage", "file", "again"),
    [
        ("train-minf", "checkpoint", "the stage starts again"),
        ("evaluate-minf", "rows.npz", "the evaluation starts again"),
    ],
)
@pytest.mark.parametrize("damage", [flip, cut, write(b"")], ids=["flip", "cut", "empty"])
def test_damage_in_the_works_is_named_and_the_stage_starts_again(
    stage: str,
    file: str,
    again: str,
    damage: Callable[[Path], None],
    finished: Path,
    tmp_path: Path,
) -> None:
    work = interrupted(tmp_path, stage)
    damage(work / file)
    spy = rerun(tmp_path, raw_recipe(*TWO))
    (notice,) = spy.notices
    assert str(work / file) in notice
    assert again in notice
    assert_same_bits(tmp_path, finished)


def test_what_is_in_the_works_is_not_used_for_another_recipe(tmp_path: Path) -> None:
    interrupted(tmp_path, "train-minf")
    raw = changed(raw_recipe(*TWO), "models.Minf.training", {"learning_rate": 0.04})
    rerun(tmp_path, raw)
    run(parse_recipe(raw), tmp_path / "fresh")
    fresh = results_of(tmp_path / "fresh")
    assert {name: results_of(tmp_path)[name] for name in fresh} == fresh


def test_a_stage_clears_its_own_works_only(tmp_path: Path) -> None:
    raw = raw_recipe("clean", "Minf")
    raw["models"]["Minf clean"] = raw["models"]["clean"]  # train-minf-clean begins with train-minf
    raw["columns"] = ["Minf clean", "Minf"]
    recipe = parse_recipe(raw)
    first = recipe.model_copy(update={"columns": ("Minf",)})
    with pytest.raises(InterruptionError):
        run(recipe, tmp_path, observer=stop_in("train-minf-clean"), checkpoint_every=0)
    with pytest.raises(InterruptionError):
        run(first, tmp_path, observer=stop_in("evaluate-minf"))
    assert [*(tmp_path / "work").glob("train-minf-clean-*/checkpoint")]
    assert not [*(tmp_path / "work").glob("train-minf-????????????????")]


def test_leftovers_of_killed_writes_are_removed(out: Path) -> None:
    torn = out / "models/clean/.model.safetensors.123.part"
    torn.write_bytes(b"half")
    rerun(out)
    assert not torn.exists()


# --- side by side


def test_stages_side_by_side_give_the_same_bits(finished: Path, tmp_path: Path) -> None:
    spy = Spy()
    recipe = parse_recipe(changed(raw_recipe(*FEW), "threads", 1))
    run(recipe, tmp_path, observer=spy, jobs=2)
    assert sorted(spy.done) == sorted(stage.id for stage in spy.stages)
    for stage in spy.stages:
        assert all(spy.done.index(need) < spy.done.index(stage.id) for need in stage.needs)
        assert spy.shares[stage.id][-1] == 1  # progress comes through
    assert results_of(tmp_path) == results_of(finished)
    stages = json.loads((tmp_path / "results.json").read_text())["stages"]
    assert [*stages] == [stage.id for stage in spy.stages]  # in the order of the table
    again = Spy()
    run(recipe, tmp_path, observer=again, jobs=1)
    assert not again.done  # the number of jobs decides no result


def test_a_training_that_diverges_side_by_side_is_told_as_usual(tmp_path: Path) -> None:
    raw = changed(raw_recipe(*TWO), "models.Minf.training", {"learning_rate": 1e30})
    before = multiprocessing.active_children()
    with pytest.raises(NotFiniteError, match=r"train-minf: not finite: .* learning rate"):
        run(parse_recipe(raw), tmp_path, jobs=2)
    assert multiprocessing.active_children() == before


def kill_processes(event: Event) -> None:
    """Kill the processes of a run at its first progress."""
    if isinstance(event, Progressed):
        for process in multiprocessing.active_children():
            process.kill()


def test_a_process_of_a_run_that_dies_ends_it_in_a_sentence(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"ended unexpectedly \(exit code -9.* --jobs"):
        run(tiny(*TWO), tmp_path, observer=kill_processes, jobs=2)
    rerun(tmp_path, raw_recipe(*TWO))
    assert_same_bits(tmp_path, finished)


def test_there_is_at_least_one_job(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        run(tiny("clean"), tmp_path, jobs=0)


def test_a_run_sets_its_threads_and_gives_them_back(tmp_path: Path) -> None:
    seen = []

    def look(event: Event) -> None:
        if isinstance(event, Started):
            seen.append(torch.get_num_threads())

    run(parse_recipe(changed(raw_recipe("clean"), "threads", 2)), tmp_path, observer=look, jobs=1)
    assert seen == [2, 2]
    assert torch.get_num_threads() == 1


# --- trouble


def test_a_training_that_diverges_keeps_finished_stages_and_can_be_repaired(
    finished: Path, tmp_path: Path
) -> None:
    raw = changed(raw_recipe(*FEW), "models.Minf.training", {"learning_rate": 1e30})
    with pytest.raises(NotFiniteError, match=r"train-minf: not finite: .* learning rate"):
        run(parse_recipe(raw), tmp_path)
    results = read_results(tmp_path)
    assert [*results.outcomes] == ["clean"]
    assert results.file.missing == FEW[1:]
    assert rerun(tmp_path).skipped == ["train-clean", "evaluate-clean"]
    assert results_of(tmp_path) == results_of(finished)


def test_a_run_directory_that_cannot_be_made_or_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for out in (file, file / "run"):
        with pytest.raises(RunError, match="cannot make the run directory") as caught:
            run(tiny("clean"), out)
        assert str(out) in str(caught.value)
    (tmp_path / "taken" / ".lock").mkdir(parents=True)
    with pytest.raises(RunError, match="cannot write in the run directory"):
        run(tiny("clean"), tmp_path / "taken")


_HOLDER = """
import sys
from pathlib import Path
from morex.run.store import Store
with Store(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_two_processes_cannot_work_in_one_run_directory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(RunError) as caught:
            run(tiny("clean"), tmp_path)
        assert f"is in use by process {holder.pid} on" in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert not (tmp_path / "recipe.yaml").exists()
        holder.kill()
    rerun(tmp_path, raw_recipe("clean"))  # the lock went with the process


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = FileCheckpoint(tmp_path, 0, print)
    checkpoint.save(Snapshot({"a": torch.ones(2)}, {"step": 1}))

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(morex.core.files.os, "replace", fails)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(Snapshot({"a": torch.zeros(2)}, {"step": 2}))
    saved = checkpoint.load()
    assert saved is not None
    assert saved.values == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_checkpoint_keeps_every_bit_and_type(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 4, 4, generator=generator).to(memory_format=torch.channels_last)
    tensors = {
        "a/weights": image,
        "sum": torch.tensor(1 / 3, dtype=torch.float64),
        "count": torch.tensor(3),
        "half": torch.rand(3, generator=generator).bfloat16(),
    }
    values = {"step": 3, "history": [{"loss": 0.1 + 0.2}], "best_score": None}
    checkpoint = FileCheckpoint(tmp_path, 0, print)
    assert checkpoint.load() is None
    checkpoint.save(Snapshot(tensors, values))
    saved = checkpoint.load()
    assert saved is not None
    assert saved.values == values
    assert saved.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert saved.tensors[name].dtype == tensor.dtype
        assert torch.equal(saved.tensors[name], tensor)


def test_checkpoints_are_due_by_the_clock(tmp_path: Path) -> None:
    assert FileCheckpoint(tmp_path, 0, print).due()
    rare = FileCheckpoint(tmp_path, 1e6, print)
    assert not rare.due()
    rare.last -= 2e6
    assert rare.due()
    rare.save(Snapshot({"a": torch.ones(1)}, {}))
    assert not rare.due()


def test_an_intact_file_that_is_no_checkpoint_is_not_mistaken_for_one(tmp_path: Path) -> None:
    write_with_digest(tmp_path / "checkpoint", b"something else")
    with pytest.raises(Exception, match=r"[Hh]eader"):
        FileCheckpoint(tmp_path, 0, print).load()


# --- the suite and provenance


def test_the_suite_is_what_the_recipe_says() -> None:
    workshop = Workshop.open(tiny(), CPU)
    suite = {row.name: row for row in workshop.suite()}
    pgd, draws, rays = (suite[name].attack for name in ("pgd-linf", "fog", "rays-linf"))
    assert isinstance(pgd, PGD)
    assert (pgd.steps, pgd.stop_when_fooled) == (2, True)
    assert isinstance(draws, WorstOfDraws)
    assert draws.draws == 2
    assert isinstance(rays, RayS)
    assert (rays.queries, suite["rays-linf"].examples) == (6, 20)


def test_test_images_are_a_prefix_of_one_order_for_all_seeds() -> None:
    few = Workshop.open(tiny(), CPU).test_data
    more = changed(changed(raw_recipe(), "evaluation.examples", 60), "seed", 9)
    assert torch.equal(Workshop.open(parse_recipe(more), CPU).test_data.images[:30], few.images)


def test_an_installed_package_has_no_commit_of_the_repository_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / ".venv/morex/run"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (tmp_path / ".gitignore").write_text(".venv\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    monkeypatch.setattr(morex.run.provenance, "__file__", str(package / "provenance.py"))
    assert morex.run.provenance.commit.__wrapped__() is None
    subprocess.run([*git, "add", "-f", str(package.parent)], check=True)
    subprocess.run([*git, "commit", "-qm", "y"], check=True)
    commit = morex.run.provenance.commit.__wrapped__()
    assert commit is not None
    assert len(commit) == 40
    (package.parent / "__init__.py").write_text("# changed\n")
    assert morex.run.provenance.commit.__wrapped__() == commit + "+"


def test_a_run_leaves_the_files_of_others_alone(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    for name in ("work/thesis.txt", ".notes.part"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match=r"not a run directory: it holds '\.notes\.part'.*--out"):
        run(tiny("clean"), tmp_path)
    (tmp_path / ".notes.part").unlink()
    (tmp_path / "work" / "thesis.txt").rename(tmp_path.parent / "thesis.txt")
    (tmp_path / "work").rmdir()
    run(tiny("clean"), tmp_path)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("mine, later")
    run(tiny("clean"), tmp_path)
    assert (tmp_path / "work" / "thesis.txt").read_text() == "mine, later"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "50000 100000"}, 0),
        ({"cpu.max": "max 100000"}, sys.maxsize),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, sys.maxsize),
        ({}, sys.maxsize),
    ],
)
def test_quotas_of_containers_count(files: dict[str, str], cores: int, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert _quota(tmp_path) == cores


# --- the number format of saved models


def test_models_are_judged_as_they_were_saved(tmp_path: Path) -> None:
    raw = raw_recipe("clean", "Minf", "Mfog", "MoRE") | {"saved_precision": "bf16"}
    rerun(tmp_path / "run", raw)
    for folder in (tmp_path / "run/models").iterdir():
        weights = load_file(folder / "model.safetensors")
        assert {t.dtype for t in weights.values() if t.is_floating_point()} == {torch.bfloat16}
        workshop = Workshop.open(tiny(), CPU)
        model = workshop.ready(load_model(folder))
        again = evaluate(model, workshop.test_data, workshop.suite(), seed=0, batch_size=16)
        stored = Outcomes.load(tmp_path / f"run/outcomes/{folder.name}.npz")
        for row in stored.rows:
            np.testing.assert_array_equal(again.right[row], stored.right[row])
    mixture, expert = (load_model(tmp_path / "run/models" / name) for name in ("more", "clean"))
    assert torch.equal(mixture.experts[0].stem.conv.weight, expert.stem.conv.weight)


def test_the_number_format_decides_every_stage(out: Path) -> None:
    spy = rerun(out, raw_recipe(*FEW) | {"saved_precision": "bf16"})
    assert not spy.skipped


def test_results_say_how_the_gate_weights_its_experts(finished: Path) -> None:
    columns = read_results(finished).file.columns
    gate = columns["MoRE"].gate
    assert gate is not None
    assert gate.experts == ("clean", "Minf", "Mfog")
    assert [*gate.weights] == ["clean", "fog", "pgd-linf"]
    assert columns["clean"].gate is None


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can forget")
def test_the_peak_memory_is_that_of_the_stage() -> None:
    big = np.ones(2**26)  # 512 MiB
    with_it = peak_memory(CPU)["peak_memory_bytes"]
    del big
    forget_peak(CPU)
    assert peak_memory(CPU)["peak_memory_bytes"] < with_it - 2**28


def test_a_note_on_the_data_is_shown_and_redoes_nothing(out: Path) -> None:
    spy = rerun(out, changed(raw_recipe(*FEW), "data.note", "a copy"))
    assert not spy.done
    assert "digits (a copy)" in to_text(make_table(read_results(out)))


# --- further suites


def with_suites(**uses: dict[str, Any]) -> dict[str, Any]:
    return changed(raw_recipe(*FEW), "evaluation.suites", uses)


def test_further_suites_have_tables_of_their_own(out: Path) -> None:
    spy = rerun(out, with_suites(quick={"examples": 12}))
    assert sorted(spy.done) == sorted(f"evaluate-{name}@quick" for name in map(str.lower, FEW))
    table = make_table(read_results(out, "quick"))
    assert table.columns == FEW
    assert {*table.rows} == {"clean", "fog", "pgd-linf", "pgd-l2"}
    assert {cell.n for cells in table.rows.values() for cell in cells if cell} == {12}
    assert "tiny, suite quick" in to_text(table)
    assert not rerun(out, with_suites(quick={"examples": 12})).done
    assert make_table(read_results(out)).columns == FEW


def test_a_suite_of_one_s_own_in_a_recipe(out: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nrows: {'steer-*': {attack: steering, over: linf, steps: 1}}")
    rerun(out, with_suites(mine={"examples": 5, "file": str(file)}))
    assert [*read_results(out, "mine").file.rows] == ["steer-linf"]


def test_a_suite_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.suites\.nothing: no suite 'nothing'"):
        parse_recipe(with_suites(nothing={}))


def test_shares_decide_a_mixture_and_equal_ones_do_not(out: Path) -> None:
    assert not rerun(out, changed(raw_recipe(*FEW), "models.MoRE.shares", {})).done
    stages = ["evaluate-more", "gate-more", "train-more"]
    spy = rerun(out, changed(raw_recipe(*FEW), "models.MoRE.shares", {"clean": 2}))
    assert sorted(spy.done) == stages
    spy = rerun(out, changed(raw_recipe(*FEW), "models.MoRE.combine", "probabilities"))
    assert sorted(spy.done) == stages
    mixture = load_model(out / "models/more")
    assert isinstance(mixture, Mixture)
    assert mixture.combine == "probabilities"


def test_shares_decide_a_network_that_learns_from_several_members_at_once() -> None:
    spec = {"objective": "side-by-side", "against": ["fog", "linf"], "shares": {"fog": 3}}
    recipe = parse_recipe(changed(raw_recipe("clean"), "models.clean", spec))
    objective = Workshop.open(recipe, CPU).objective(recipe.models["clean"])
    assert isinstance(objective, SideBySide)
    assert objective.shares == (3, 1)
    wrong = changed(raw_recipe("clean"), "models.clean.shares", {"clean": 2})
    with pytest.raises(RecipeError, match="single has none, only side-by-side has"):
        parse_recipe(wrong)


def test_a_push_makes_the_training_of_a_mixture_steer_its_gate(out: Path) -> None:
    before = (out / "models/more/model.safetensors").read_bytes()
    assert not rerun(out, changed(raw_recipe(*FEW), "models.MoRE.inner", {"push": 0})).done
    raw = changed(raw_recipe(*FEW), "models.MoRE.inner", {"push": 2})
    workshop = Workshop.open(parse_recipe(raw), CPU)
    model = workshop.recipe.models["MoRE"]
    assert isinstance(model, MixtureModel)
    linf = workshop.recipe.perturbations["linf"]
    assert workshop.objective(model).members[1] == DrawnSteering(linf, 2, 2.5, 2)  # type: ignore[arg-type]
    spy = rerun(out, raw)
    assert sorted(spy.done) == ["evaluate-more", "gate-more", "train-more"]
    assert (out / "models/more/model.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("inner", "redone"),
    [
        ({"keep": "best"}, set[str]()),  # as usual
        ({"keep": "last"}, {"train-minf", "evaluate-minf"} | MORE),
    ],
)
def test_what_a_search_keeps_is_part_of_what_is_done(
    inner: dict[str, str], redone: set[str], out: Path
) -> None:
    raw = changed(raw_recipe(*FEW), "models.Minf.inner", inner)
    workshop = Workshop.open(parse_recipe(raw), CPU)
    model = workshop.recipe.models["Minf"]
    assert isinstance(model, NetworkModel)
    (member,) = workshop.objective(model).members
    assert isinstance(member, PGD)
    assert member.keep == inner["keep"]
    assert {*rerun(out, raw).done} == redone


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("models.Minf.inner", {"push": 1}, r"models\.Minf\.inner\.push: a network has no gate"),
        ("models.MoRE.inner", {"push": -1}, r"models\.MoRE\.inner\.push"),
        ("models.MoRE.inner", {"push": 1, "restarts": 2}, "has no restarts"),
        ("models.MoRE.inner", {"push": 1, "keep": "last"}, "steering keeps the best iterate"),
        ("models.Minf.inner", {"keep": "last", "restarts": 2}, "of 2 restarts none has the last"),
        ("models.Minf.inner", {"keep": "first"}, "models.Minf.inner.keep"),
    ],
)
def test_wrong_searches_are_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_recipe(changed(raw_recipe(*FEW), path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("models.MoRE.shares", {"hail": 2}, r"models\.MoRE\.shares: 'hail' is not in against"),
        ("models.MoRE.shares", {"clean": 0}, r"models\.MoRE\.shares\.clean"),
        ("models.MoRE.objective", "alternate", "alternate has none"),
    ],
)
def test_wrong_shares_are_named(path: str, value: Any, message: str) -> None:
    raw = changed(raw_recipe(*FEW), "models.MoRE.shares", {"clean": 2})
    with pytest.raises(ValueError, match=message):
        parse_recipe(changed(raw, path, value))
