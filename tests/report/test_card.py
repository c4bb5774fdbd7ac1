"""The model card: its metadata, tables, audits and gaps."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from report_run import FINDINGS, MODELS, ROWS, write_run

from morex.report.card import Subject, model_card
from morex.report.card.gaps import gaps
from morex.report.material import Material, read_material
from morex.report.results import read_results
from morex.report.table import Table, make_table

SUBJECT = Subject(
    "hf://somebody/dice",
    "MoRE",
    {model: str(i) for i, model in enumerate(MODELS)},
    dict.fromkeys(MODELS, 2_500_000),
    classes=("one", "two", "three"),
    image_size=(8, 8),
)


@pytest.fixture
def material(tmp_path: Path) -> Material:
    return read_material(write_run(tmp_path / "run"))


def table_with(tmp_path: Path, rows: dict[str, dict[str, Any]]) -> Table:
    return make_table(read_results(write_run(tmp_path / "rows", rows=rows)))


def test_the_hub_reads_the_metadata(material: Material) -> None:
    subject = replace(SUBJECT, license="mit", dataset="somebody/dice")
    card = ModelCard(model_card(material, subject)).data
    assert (card.license, card.pipeline_tag, card.datasets) == (
        *("mit", "image-classification"),
        ["somebody/dice"],
    )
    found = {result.metric_name: result.metric_value for result in card.eval_results or ()}
    values = {line: round(100 * (v[-1] or 0), 2) for line, v in material.table.values.items()}
    assert found == {
        "accuracy (%), clean": values["clean"],
        "accuracy (%), pgd-l2 (l2 eps 1)": values["pgd-l2"],
        "accuracy (%), pgd-linf (linf eps 8/255)": values["pgd-linf"],
        "accuracy (%), fog (fog t 0.15 light 0.6)": values["fog"],
        "accuracy (%), union (over all rows)": values["union"],
        "accuracy (%), mean (over all rows)": values["mean"],
    }


def test_a_license_that_is_not_stated_is_called_that(material: Material) -> None:
    text = model_card(material, SUBJECT)
    assert ModelCard(text).data.to_dict()["license_name"] == "not-stated"
    assert "The license of the weights is not stated" in text


def test_every_figure_has_its_interval_and_n(material: Material) -> None:
    text = model_card(material, SUBJECT)
    detail = text.partition("### MoRE\n")[2].partition("### All models")[0].splitlines()
    for row, cells in material.table.measured.items():
        low, high = (100 * end for end in cells[-1].interval)  # type: ignore[union-attr]
        value = f"{100 * cells[-1].value:.1f}"  # type: ignore[union-attr]
        (line,) = [line for line in detail if line.startswith(f"| {row} |")]
        assert f"{value}{'**' if row == 'union' else ''} | {low:.1f}-{high:.1f} |" in line
        assert f" | {cells[-1].n} | " in line  # type: ignore[union-attr]
        for cell in cells:
            low, high = (100 * end for end in cell.interval)  # type: ignore[union-attr]
            assert f"<sub>{low:.0f}-{high:.0f}</sub>" in text


def test_a_part_of_a_run_is_not_called_the_best(material: Material) -> None:
    whole, part = (model_card(material, replace(SUBJECT, left_out=n)) for n in (0, 2))
    assert "the best mean over" in whole
    assert "the best mean over" not in part
    assert "The run has 2 more evaluated models, which are not here." in part
    share = material.table.union[-1]
    assert share
    for text in (whole, part):
        assert (
            f"> MoRE gets {100 * share.value:.1f}% of the test images right under each of" in text
        )


def test_the_card_says_how_each_model_is_loaded_and_what_it_took(material: Material) -> None:
    text = model_card(material, SUBJECT)
    assert (
        'morex.load("hf://somebody/dice")  # images (N, 3, 8, 8) in [0, 1] to logits (N, 3)' in text
    )
    for i, model in enumerate(MODELS):
        assert f"| {model} | `hf://somebody/dice/{i}` |" in text
    assert "| average: clean, fog | 6.00k | 10.0 s | 2.5 |" in text
    assert "a mixture of the experts clean and Mfog, trained against clean and fog" in text


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (("pass", "does not apply"), "no sign of hidden gradients in 2 checks"),
        (("pass", "flag"), "1 of 2 checks flagged; the gradients may be hidden"),
        (("too few to say", "pass"), "too few images to say, in 1 of 2 checks"),
    ],
)
def test_the_verdict_of_an_audit_is_at_the_top(
    tmp_path: Path, verdicts: tuple[str, str], said: str
) -> None:
    run = write_run(tmp_path / "run")
    findings = [one | {"verdict": v} for one, v in zip(FINDINGS, verdicts, strict=True)]
    (run / "audits/more.json").unlink()
    (run / "audits/3.json").write_text(json.dumps({"findings": findings}))
    top, _, rest = model_card(read_material(run), SUBJECT).partition("## Use")
    assert f"The audit: {said}" in top
    assert f"**MoRE**: {said}" in rest
    assert ("- flagged: gate and experts in L2: steered" in rest) == ("flag" in verdicts)


def test_a_model_without_an_audit_is_said_to_have_none(material: Material) -> None:
    text = model_card(replace(material, audits={}), SUBJECT)
    assert "It was not audited." in text
    assert "**No model was audited.**" in text


def test_names_cannot_break_out_of_the_card(tmp_path: Path) -> None:
    hostile = ("clean", "<script>|[a](b)")
    material = read_material(write_run(tmp_path / "run", models=hostile))
    subject = replace(
        SUBJECT,
        default=hostile[1],
        folders={name: str(i) for i, name in enumerate(hostile)},
        sizes=dict.fromkeys(hostile, 1),
    )
    text = model_card(material, subject)
    body = text.partition("\n---\n")[2]
    assert "<script>" not in body
    assert "|[a](b)" not in body.replace("\\|", "")
    assert ModelCard(text).data.model_name == hostile[1]


def test_gaps_are_what_no_row_tests(tmp_path: Path) -> None:
    table = table_with(tmp_path, ROWS)
    found = gaps([table], "dice", gated=True)
    assert found[0] == "perturbations in the L1 ball"
    assert "attacks that know the gate and steer it (suite `adaptive`)" in found
    assert "several perturbations of one image at the same time" in found
    assert not [gap for gap in gaps([table], "dice", gated=False) if "gate" in gap]


def test_what_a_suite_tests_is_no_gap(tmp_path: Path) -> None:
    parts = [{"kind": "fog", "t": 0.1, "light": 0.5}, {"kind": "l1", "eps": 12.0}]
    rows = {
        "steering": {"kind": "linf", "eps": 0.1},
        "autoattack": {"kind": "l2", "eps": 1.0},
        "both": {"kind": "compose", "parts": parts},
        "noise": {"kind": "gaussian-noise", "severity": 3},
    }
    found = gaps([table_with(tmp_path, rows)], "dice", gated=True)
    assert found[0] == "balls with larger radii than those in the tables"
    for word in ("L1", "AutoAttack", "gate", "corruptions", "several"):
        assert not [gap for gap in found if word in gap]
