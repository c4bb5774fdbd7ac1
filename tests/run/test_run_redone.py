"""Which stages a second call does again, after a recipe or its data has changed."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import yaml
from pictures import pictures
from tiny import CPU, FEW, changed, phase, raw_recipe, rerun, results_of, tiny

from morex.artifacts.outcomes import Outcomes
from morex.attacks import PGD
from morex.core.precision import has_fast_bf16
from morex.models.mixture import Mixture
from morex.models.named import load_model
from morex.perturbations import Linf
from morex.recipe import parse_recipe
from morex.report import make_table, read_results, to_text
from morex.run import Builder
from morex.run.stages import plan_stages

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_second_call_does_nothing(out: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    spy = rerun(out)
    assert not spy.done
    assert not spy.notices
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before
    assert make_table(read_results(out)).columns == FEW


def test_models_that_no_column_needs_are_named(out: Path) -> None:
    spy = rerun(out, changed(raw_recipe(*FEW), "columns", ["Mfog"]))
    assert spy.notices == ["not trained, because no column needs them: Minf, MoRE"]
    assert not spy.done


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
        ("evaluation.batch_size", "auto"),
        ("evaluation.search_precision", "bf16"),
        ("evaluation.rows.rays-linf.examples", 10),
        ("perturbations.l2.eps", 0.4),  # only a row uses it
    ],
)
def test_everything_that_decides_outcomes_redoes_them(path: str, value: object, out: Path) -> None:
    spy = rerun(out, changed(raw_recipe(*FEW), path, value))
    assert {*spy.done} == {f"evaluate-{name.lower()}" for name in FEW}


def test_what_the_device_decides_is_in_the_keys_as_if_it_was_written(out: Path) -> None:
    written = changed(raw_recipe(*FEW), "evaluation.batch_size", 256)
    assert rerun(out, written).done
    left = changed(raw_recipe(*FEW), "evaluation.batch_size", "auto")
    assert not rerun(out, left).done  # 256 on a CPU
    assert not rerun(out, changed(written, "evaluation.search_precision", "fp32")).done
    coarse = changed(written, "evaluation.search_precision", "bf16")
    assert rerun(out, coarse).done
    origins = Outcomes.load(out / "outcomes/minf.npz").origins
    searched = {row: origin.search_precision for row, origin in origins.items()}
    exact = dict.fromkeys(["clean", "fog", "deepfool-l2"], "fp32")
    assert searched == exact | dict.fromkeys(["pgd-linf", "rays-linf"], "bf16")
    spy = rerun(out, changed(written, "evaluation.search_precision", "auto"))
    assert bool(spy.done) != has_fast_bf16(CPU)


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


def test_another_strength_redoes_the_stages_that_use_it(out: Path) -> None:
    spy = rerun(out, changed(raw_recipe(*FEW), "perturbations.linf.eps", 0.05))
    evaluations = {f"evaluate-{name.lower()}" for name in FEW}
    assert {*spy.done} == evaluations | {"train-minf"} | MORE


def test_another_revision_redoes_the_stages_that_use_it(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Linf, "revision", Linf.revision + 1)
    spy = rerun(out)
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
    """Change the number only on purpose: it makes users repeat all their finished runs."""
    stages = plan_stages(tiny(), "train", "test")
    keys = {stage.id: stage.key({need: need for need in stage.needs}) for stage in stages}
    digest = hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()
    assert digest[:16] == "93a10b29a2eaebd4"


def test_a_deterministic_run_is_another_run() -> None:
    raw = raw_recipe()
    keys = [
        {s.id: s.key(dict.fromkeys(s.needs, "")) for s in plan_stages(recipe, "train", "test")}
        for recipe in map(parse_recipe, (raw, raw | {"deterministic": True}))
    ]
    assert keys[0].keys() == keys[1].keys()
    for stage in ("train-clean", "gate-more", "train-more", "evaluate-clean"):
        assert keys[0][stage] != keys[1][stage]


@pytest.mark.parametrize(("path", "value"), [("name", "other"), ("description", "other")])
def test_words_about_a_recipe_redo_nothing(path: str, value: object, out: Path) -> None:
    assert not rerun(out, changed(raw_recipe(*FEW), path, value)).done
    assert yaml.safe_load((out / "recipe.yaml").read_text())[path] == value


def test_renamed_perturbations_redo_only_what_their_names_decide(out: Path) -> None:
    text = yaml.safe_dump(raw_recipe(*FEW), sort_keys=False)
    renamed = text.replace("against: fog", "against: haze").replace(
        "  fog:\n    kind", "  haze:\n    kind"
    )
    renamed = renamed.replace("perturbation: fog", "perturbation: haze").replace("- fog", "- haze")
    raw = yaml.safe_load(renamed)
    assert "fog" not in raw["perturbations"]
    assert not rerun(out, raw).done


def test_moved_data_redoes_nothing_but_changed_data_does(tmp_path: Path) -> None:
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

    # any training picture can move the pixel statistics, even one that is not sampled
    for split, redone in (("test", ["evaluate-clean"]), ("train", ["train-clean"])):
        for i in range(14):
            Image.new("RGB", (8, 8)).save(there / split / "class1" / f"{i:02}.png")
        assert rerun(out, raw).done[: len(redone)] == redone
    assert not rerun(out, raw).done


def test_a_note_on_the_data_is_shown_and_redoes_nothing(out: Path) -> None:
    spy = rerun(out, changed(raw_recipe(*FEW), "data.note", "a copy"))
    assert not spy.done
    assert "digits (a copy)" in to_text(make_table(read_results(out)))


def test_the_number_format_decides_every_stage(out: Path) -> None:
    spy = rerun(out, raw_recipe(*FEW) | {"saved_precision": "bf16"})
    assert not spy.skipped


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


@pytest.mark.parametrize(
    ("inner", "redone"),
    [
        ({"keep": "best"}, set[str]()),  # the default
        ({"keep": "last"}, {"train-minf", "evaluate-minf"} | MORE),
    ],
)
def test_the_iterate_that_a_search_keeps_decides_a_training(
    inner: dict[str, str], redone: set[str], out: Path
) -> None:
    raw = changed(raw_recipe(*FEW), "models.Minf.inner", inner)
    builder = Builder.open(parse_recipe(raw), CPU)
    (member,) = builder.objective(phase(builder.recipe, "Minf")).members
    assert isinstance(member, PGD)
    assert member.keep == inner["keep"]
    assert {*rerun(out, raw).done} == redone
