"""Records of stages keep their form, and the published ones can still be read."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from morex.artifacts.provenance import Provenance
from morex.artifacts.records import Epoch, Passes, StageRecord

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = sorted(RESULTS.glob("*/stages/*.json"))
COMMON = {
    "stage": "train-m2",
    "key": "ab",
    "files": {"models/m2/model.json": "cd"},
    "seconds": 1.5,
    "finished": "2026-01-01T00:00:00+00:00",
    "provenance": {"versions": {"python": "3.11"}, "commit": None},
}


def test_only_what_is_known_is_written() -> None:
    record = StageRecord(
        stage="train-m2",
        key="ab",
        files={"models/m2/model.json": "cd"},
        validation=None,
        passes=Passes(forward=3, backward=2),
        history=(
            Epoch(epoch=1, loss=2.0, learning_rate=0.1),
            Epoch(epoch=2, loss=1.0, learning_rate=0.05, validation=(0.5, 0.25), score=0.375),
        ),
        seconds=1.5,
        peak_memory_bytes=7,
        finished="2026-01-01T00:00:00+00:00",
        provenance=Provenance(versions={"python": "3.11"}, commit=None),
    )
    written = json.loads(json.dumps(record.content()))
    assert written == COMMON | {
        "validation": None,
        "passes": {"forward": 3, "backward": 2},
        "history": [
            {"epoch": 1, "loss": 2.0, "learning_rate": 0.1},
            {
                "epoch": 2,
                "loss": 1.0,
                "learning_rate": 0.05,
                "validation": [0.5, 0.25],
                "score": 0.375,
            },
        ],
        "peak_memory_bytes": 7,
    }
    assert StageRecord.model_validate(written) == record


def test_there_are_published_records() -> None:
    assert PUBLISHED


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: f"{path.parts[-3]}/{path.stem}")
def test_published_records_lose_nothing(path: Path) -> None:
    written = json.loads(path.read_text())
    del written["checksum"]
    record = StageRecord.model_validate(written)
    assert json.loads(json.dumps(record.content())) == written


def test_a_gate_of_an_older_version_has_no_entropy() -> None:
    gate = {"experts": ["a"], "weights": {"fog": [1.0]}, "leads": {"fog": [1.0]}, "n": 3}
    record = StageRecord.model_validate(COMMON | {"gate": gate})
    assert record.gate
    assert record.gate.entropy == {}
    assert json.loads(json.dumps(record.content()))["gate"] == gate


@pytest.mark.parametrize("lacking", ["stage", "key", "files", "seconds", "finished", "provenance"])
def test_every_record_has_its_origin_and_cost(lacking: str) -> None:
    with pytest.raises(ValidationError, match=lacking):
        StageRecord.model_validate({k: v for k, v in COMMON.items() if k != lacking})
