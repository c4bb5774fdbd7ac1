"""The tutorial works as it is written: its files are written and its commands are called."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from calling import call
from PIL import Image

from morex.report import read_results

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "own-perturbation.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.usefixtures("one_thread")


def test_its_class_is_that_of_the_example() -> None:
    block = TUTORIAL.partition("`hail.py`:\n\n```python\n")[2].partition("```")[0]
    assert block in (ROOT / "examples" / "hail.py").read_text(encoding="utf-8")


def test_it_works_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    written, called = [], []
    blocks = re.findall(r"(?:`(\S+)`:\n\n)?```(\w+)\n(.*?)```", TUTORIAL, flags=re.DOTALL)
    for file, language, content in blocks:
        if language == "sh":
            for line in content.splitlines():
                program, *arguments = shlex.split(line)
                called.append(arguments[0])
                if program == "python":
                    runpy.run_path(arguments[0])
                else:
                    assert program == "morex"
                    code, _, err = call(*arguments)
                    assert code == 0, err
        else:
            (tmp_path / file).write_text(content)
            written.append(file)
    assert written == ["hail.py", "look.py", "weather.yaml", "hard.yaml", "alone.py"]
    assert called == ["look.py", "run", "extend", "evaluate", "curve", "alone.py"]
    with Image.open("hail.png") as picture:
        assert picture.size == (480, 160)
    results = read_results(tmp_path / "weather-hail")
    assert [*results.outcomes] == ["clean", "Minf", "Mfog", "MoRE", "Mhail", "MoRE + hail"]
    assert "hail" in results.file.rows
