"""``morex plan``."""

import json
from pathlib import Path

import yaml
from calling import call
from tiny import raw_recipe


def test_json_has_every_stage_with_its_cost(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw_recipe("clean")))
    code, said, err = call("plan", tmp_path / "tiny.yaml", "training.epochs=1", "--json")
    assert code == 0, err
    found = json.loads(said)
    stages = {stage["stage"]: stage for stage in found["stages"]}
    assert [*stages][:2] == ["train-clean", "evaluate-clean"]
    assert found["jobs"] >= 1
    for stage in stages.values():
        assert stage["seconds"] >= stage["usual_seconds"] >= 0
        assert stage["bytes"] > stage["parameters"] > 0
    assert stages["train-clean"]["seconds"] == stages["train-clean"]["usual_seconds"]
    assert stages["evaluate-clean"]["backward"] > 0
