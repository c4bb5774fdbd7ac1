"""Figures are shown only for the weights and the recipe that they are about."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import FEW, changed, raw_recipe, rerun

from morex.artifacts.results import ResultsFile
from morex.core.files import digest_of, digest_of_all
from morex.models.named import open_model
from morex.recipe import parse_recipe
from morex.report import make_table, read_results
from morex.report.material import read_material
from morex.run import Event, Started, run

pytestmark = pytest.mark.usefixtures("one_thread")


class StoppedError(Exception):
    """The run is stopped."""


def stop_at_the_first_stage(event: Event) -> None:
    if isinstance(event, Started):
        raise StoppedError


def results_in(run: Path, name: str = "results.json") -> ResultsFile:
    return ResultsFile.model_validate_json((run / name).read_bytes())


def test_a_run_that_ends_in_its_first_stage_shows_nothing_of_an_earlier_recipe(out: Path) -> None:
    raw = changed(raw_recipe(*FEW), "seed", 1)
    with pytest.raises(StoppedError):
        run(parse_recipe(raw), out, observer=stop_at_the_first_stage, jobs=1)
    found = results_in(out)
    assert (found.seed, found.columns, found.missing) == (1, {}, FEW)
    assert not read_material(out).outcomes


def test_suites_that_were_dropped_are_not_shown(out: Path) -> None:
    suites = changed(raw_recipe(*FEW), "evaluation.suites", {"quick": {"examples": 4}})
    rerun(out, suites)
    assert {*read_material(out).suites} == {"quick"}
    rerun(out)
    assert not read_material(out).suites
    assert not (out / "results-quick.json").exists()
    assert not rerun(out, suites).done  # the outcomes are still there


def replaced(run: Path) -> None:
    """Give Minf the weights of clean, as if it had been trained again elsewhere."""
    for name in ("model.json", "model.safetensors"):
        content = (run / "models" / "clean" / name).read_bytes()
        (run / "models" / "minf" / name).write_bytes(content)


def test_figures_of_other_weights_are_not_shown(out: Path) -> None:
    columns = results_in(out).columns
    for name, column in columns.items():
        folder = out / "models" / name.lower()
        assert column.weights == open_model(folder).digest
        assert column.weights == digest_of_all([digest_of(folder / "model.safetensors")])
    replaced(out)
    results = read_results(out)
    assert [*results.outcomes] == ["clean", "Mfog", "MoRE"]
    assert results.file.missing == ("Minf",)
    assert rerun(out).done == ["train-minf"]
    assert make_table(read_results(out)).columns == FEW


def write_audit(run: Path, model: str, **content: Any) -> None:
    finding = {"point": 1, "verdict": "pass", "name": "iterations and restarts"}
    (run / "audits").mkdir(exist_ok=True)
    text = json.dumps({"findings": [finding], **content})
    (run / "audits" / f"{model}.json").write_text(text)


def test_audits_of_other_weights_are_not_shown(out: Path) -> None:
    write_audit(out, "minf", weights=open_model(out / "models/minf").digest)
    write_audit(out, "clean")  # by an older version
    write_audit(out, "mfog", weights="0" * 64)
    material = read_material(out)
    assert [*material.audits] == ["clean", "Minf"]
    (note,) = material.notes
    assert "mfog.json is about other weights: run morex audit again" in note
    replaced(out)
    assert [*read_material(out).audits] == ["clean"]
