"""Commands suggest the nearest name to one that is not there."""

import shutil
from pathlib import Path

import pytest
from calling import FinishedRun, call


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("gate RUN --model mor", "no mixture 'mor' with a gate; did you mean 'MoRE'? it has MoRE"),
        ("table RUN --format jsn", "no format 'jsn'; did you mean 'json'? there are text,"),
        ("table RUN --suite quik", "; did you mean 'quick'? these were: Table 1 "),
        (
            "curve RUN/models/clean LINF",
            "'LINF'; did you mean 'linf'? the recipe has",
        ),
        ("evaluate RUN/models/cleen", "did you mean 'RUN/models/clean'? expected a folder"),
        ("evaluate RUN/models/clean --device cdua", "device string: cdua); did you mean 'cuda'?"),
        ("evaluate RUN/models/clean --suite quik", "no suite 'quik': did you mean 'quick'?"),
        ("evaluate RUN", "models, clean, mfog, minf, more; name one, such as 'RUN/models/clean'"),
        ("audit RUN/models", "it holds several models, clean, mfog, minf, more; name one, such as"),
        ("predict a.png --model cifar10-smal", "did you mean 'cifar10-small'? expected a folder"),
        ("predict a.png --model cifar10-small/Minf", "did you mean 'cifar10-small/minf'?"),
        ("predict RUN/recipe.yml --model RUN/models/clean", "did you mean 'RUN/recipe.yaml'?"),
        ("evalute RUN", "No such command 'evalute'. Did you mean 'evaluate'?"),
        ("shrink RUN --without minf", "no expert 'minf'; did you mean 'Minf'? there are clean,"),
        ("evaluate RUN/nets.py:Net --recipe digits", "defines no 'Net'; did you mean 'net'?"),
    ],
)
def test_the_nearest_name_is_suggested(
    finished: FinishedRun, tmp_path: Path, command: str, message: str
) -> None:
    run = shutil.copytree(finished.folder, tmp_path / "run")
    shutil.copy(run / "results.json", run / "results-quick.json")
    (run / "nets.py").write_text("def net(): pass\n")
    code, _, err = call(*command.replace("RUN", str(run)).split())
    assert code == 2
    assert message.replace("RUN", str(run)) in err
