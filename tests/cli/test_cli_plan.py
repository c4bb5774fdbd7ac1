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
    assert "workers" not in found


def test_the_time_on_several_workers_is_simulated(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw_recipe("clean", "Minf")))
    code, said, err = call("plan", tmp_path / "tiny.yaml", "--workers", "1,2,64", "--json")
    assert code == 0, err
    one, two, most = json.loads(said)["workers"]
    assert one["seconds"] > two["seconds"] >= most["seconds"] >= most["chain_seconds"] > 0
    assert most["worker_hours"] == 64 * most["seconds"] / 3600
    assert most["chain"][-1].startswith("evaluate-")
    code, _, err = call("plan", tmp_path / "tiny.yaml", "--workers", "8,none")
    assert code == 2
    assert "--workers '8,none': expected numbers from 1, such as 1,8,64" in " ".join(err.split())


def test_the_figures_of_a_cpu_and_of_a_forecast_are_called_that(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(raw_recipe("clean")))
    code, said, err = call("plan", tmp_path / "tiny.yaml", "--device", "cpu")
    assert code == 0, err
    assert "on cpu" in said
    assert "these are times of this CPU; see --as for those of a GPU" in said
    wide = ("network.width=64", "training.epochs=1")
    code, said, err = call("plan", tmp_path / "tiny.yaml", *wide, "--as", "H200")
    assert code == 0, err
    assert "on H200 (forecast)" in said
    assert "not measured here: a forecast from figures of one network on such a GPU" in said
    code, said, err = call("plan", tmp_path / "tiny.yaml", *wide, "--as", "h200", "--json")
    assert json.loads(said)["start_seconds"] > 0


def test_a_gpu_without_figures_is_refused(tmp_path: Path) -> None:
    for given, wrong in (
        (("--as", "h20"), "--as h20: no GPU 'h20'; did you mean 'h200'?"),
        (("--as", "h200", "--device", "cpu"), "--as is for a GPU that is not here; leave out"),
        (("--as", "h200"), "made from networks of width 64"),
    ):
        code, _, err = call("plan", "digits", *given)
        assert code == 2
        assert wrong in " ".join(err.split())
