"""``morex push``: into a folder, and to a stand-in for the hub."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from calling import call
from huggingface_hub import ModelCard
from published_run import network, write_published_run
from stand_in_hub import StandInHub, point_client_at, stand_in_hub
from torch import Tensor

import morex
from morex.deploy.portable import portable
from morex.models.named import open_saved
from morex.report.results import read_results
from morex.report.table import make_table

X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
DICE = "hf://somebody/dice"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_published_run(tmp_path / "run")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    with stand_in_hub(tmp_path / "cache", monkeypatch) as here:
        yield here


def logits(name: object) -> Tensor:
    """Return what a loaded model answers."""
    with torch.no_grad():
        found: Tensor = morex.load(str(name))(X)
    return found


def test_a_folder_holds_what_a_push_uploads(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "card"
    code, out, err = call("push", run, folder, "--license", "mit")
    assert code == 0, err
    assert out.startswith("4 models in 14 files, ")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("0", "1", "2", "3", "README.md", "audit-3.json", "recipe.yaml"),
        *("results-adaptive.json", "results.json", "set.json"),
    ]
    torch.testing.assert_close(logits(folder), logits(run / "models/3"))  # the mixture
    torch.testing.assert_close(logits(folder / "1"), logits(run / "models/1"))
    assert open_saved(str(folder)).about["classes"] == ["class 0", "class 1", "class 2"]
    assert call("push", run, folder)[0] == 2  # it is not empty any more


def test_nothing_private_is_published(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "card"
    assert call("push", run, folder)[0] == 0
    private = ["alice", "secret", str(Path.home()), str(tmp_path), "--out"]
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert [word for word in private if word.encode() in content] == [], path
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert recipe["data"] == {"name": "dice", "note": "from dice, cut"}
    assert recipe["perturbations"]["hail"]["kind"] == "hail.py:Hail"
    described = json.loads((folder / "0/model.json").read_bytes())
    assert described["about"]["recipe"]["data"] == recipe["data"]
    assert "signature" not in described  # of this user's key
    assert "The recipe names code that is not in this repository: hail.py:Hail" in (
        folder / "README.md"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/alice/my nets/a.py:make", "a.py:make"),
        ("~/nets/robust", "robust"),
        ("nets/../../alice/robust", "robust"),
        ("see /home/alice/notes.txt, and ~/x/y", "see notes.txt, and y"),
        ("examples/hail.py:Hail", "examples/hail.py:Hail"),
        ("linf eps 8/255 and/or https://a.org/b/c <sub>1</sub>",) * 2,
        ("hf://owner/name/model",) * 2,
    ],
)
def test_paths_of_this_machine_are_shortened(text: str, left: str) -> None:
    assert portable({"key": [text]}) == {"key": [left]}


def test_a_push_is_one_commit_that_loads(run: Path, hub: StandInHub) -> None:
    code, out, err = call("push", run, DICE, "--license", "cc-by-4.0")
    assert code == 0, err
    made = hub.repositories["somebody/dice"]
    assert made.private
    (_, _, first), (commit, message, files) = made.commits
    assert (message, set(files) - set(first)) == (
        "made-up: clean, Mfog, AVG, MoRE",
        {
            *("README.md", "audit-3.json", "recipe.yaml", "results-adaptive.json", "results.json"),
            *(f"{n}/model.{kind}" for n in range(4) for kind in ("json", "safetensors")),
            "set.json",
        },
    )
    assert out.count("\n") == 3
    assert "only its owner sees it" in out
    assert f'morex.load("{DICE}@{commit}")' in out
    for address in (DICE, f"{DICE}@{commit}", f"{DICE}@main/3"):
        torch.testing.assert_close(logits(address), logits(run / "models/3"))
    torch.testing.assert_close(logits(f"{DICE}/2"), logits(run / "models/2"))


def test_the_card_on_the_hub_has_the_results_of_the_table(run: Path, hub: StandInHub) -> None:
    assert call("push", run, DICE, "--license", "cc-by-4.0", "--model", "AVG")[0] == 0
    _, _, files = hub.repositories["somebody/dice"].commits[-1]
    card = ModelCard(files["README.md"].decode()).data
    assert (card.license, card.library_name, card.model_name) == ("cc-by-4.0", "morex", "AVG")
    table = make_table(read_results(run))
    place = table.columns.index("AVG")
    expected = [round(100 * line[place], 2) for line in table.values.values() if line[place]]
    assert [result.metric_value for result in card.eval_results or ()] == expected


def test_a_second_push_replaces_the_first(run: Path, hub: StandInHub) -> None:
    assert call("push", run, DICE)[0] == 0
    made = hub.repositories["somebody/dice"]
    before = made.commits[-1][0]
    morex.save(network(3, 7), run / "models/2")
    assert call("push", run, DICE, "--model", "2", "--model", "clean")[0] == 0
    commit, message, files = made.commits[-1]
    assert message == "made-up: clean, AVG"
    assert sorted({name.partition("/")[0] for name in files if "/" in name}) == ["0", "2"]
    assert "audit-3.json" not in files
    torch.testing.assert_close(logits(f"{DICE}@{commit}"), network(3, 7)(X).detach())
    torch.testing.assert_close(logits(f"{DICE}@{before}/2"), network(3, 2)(X).detach())


def test_a_repository_of_something_else_is_not_overwritten(
    run: Path, hub: StandInHub, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text("{}")
    hub.put("somebody/dice", tmp_path / "other")
    code, _, err = call("push", run, DICE)
    assert (code, len(hub.repositories["somebody/dice"].commits)) == (2, 1)
    assert "holds something that morex did not push (config.json)" in err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["hf://somebody/dice@v1"], "without a revision or a model"),
        (["hf://somebody"], "expected hf://owner/name"),
        ([DICE, "--model", "Avg"], "no evaluated model 'Avg'; did you mean 'AVG'?"),
        ([DICE, "--license", "MIT license"], "expected an identifier of the hub, such as mit"),
        ([DICE, "--license", "mine"], '"license" must be one of'),
        (["hf://others/dice"], "does not let you"),
    ],
)
def test_a_push_that_cannot_be_is_one_message(
    arguments: list[str], problem: str, run: Path, hub: StandInHub
) -> None:
    code, _, err = call("push", run, *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert problem in err
    assert all(len(made.commits) == 1 for made in hub.repositories.values())


def test_a_push_needs_a_token_and_a_hub(
    run: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "of_nobody")
    code, _, err = call("push", run, DICE)
    assert code == 2
    assert "log in with `hf auth login`" in err
    monkeypatch.delenv("HF_TOKEN")
    code, _, err = call("push", run, DICE)
    assert code == 2
    assert "pushing needs a token of the hub" in err
    assert hub.repositories == {}


def test_models_that_others_cannot_load_are_not_pushed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = run / "models/1/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    code, _, err = call("push", run, tmp_path / "card")
    assert code == 2
    assert "wrong checksum" in err
    (tmp_path / "own_net.py").write_text("import torch\nnet = lambda: torch.nn.Linear(192, 3)\n")
    monkeypatch.chdir(tmp_path)
    described = json.loads((run / "models/1/model.json").read_bytes())
    described["model"] = {"kind": "foreign", "factory": "own_net.py:net", "last_layer": "fc"}
    (run / "models/1/model.json").write_text(json.dumps(described))
    code, _, err = call("push", run, tmp_path / "card")
    assert code == 2
    assert "is made by code, own_net.py:net, which is not published" in err
    assert not (tmp_path / "card").exists()


def test_a_hub_that_does_not_answer_is_one_message(
    run: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_client_at("http://127.0.0.1:9", monkeypatch)
    code, _, err = call("push", run, DICE)
    assert (code, err.count("\n")) == (2, 1)
    assert "hf://somebody/dice was not pushed: the client of http://127.0.0.1:9 reports" in err
