"""One finished run, which the tests of all commands share and none changes."""

from importlib.util import find_spec

import pytest
import yaml
from calling import FinishedRun, call
from tiny import changed, raw_recipe

REPORT = {"models": ["MoRE"], "examples": 6, "pictures": 2, "steps": 1, "factors": [0, 1]}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A run of three experts and a mixture; it has event files if TensorBoard is installed."""
    folder = tmp_path_factory.mktemp("cli")
    raw = changed(raw_recipe("clean", "Minf", "Mfog", "MoRE"), "report", REPORT)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(raw))
    events = ["--tensorboard"] if find_spec("tensorboard") else []
    options = ("training.epochs=1", *events, "--out", folder / "run")
    code, out, err = call("run", folder / "tiny.yaml", *options)
    assert code == 0, err
    return FinishedRun(folder / "run", out, err)
