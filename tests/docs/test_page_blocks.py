"""Pages as scripts, for a walk through the documentation."""

from pathlib import Path

import pytest
from page_blocks import fewer, script
from pages import PAGES

PAGE = """
`mine.yaml`:

```yaml
training: {epochs: 5}
```

```python
x = 1
```

```sh
morex run mine.yaml training.epochs=7 --out "a b"  # a comment
# a line of its own
morex table "a b"
```

```sh
# not run: it takes hours
morex run cifar10
```

```python
print(x)
```
"""


def test_a_page_is_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-page.md").write_text(PAGE)
    lines = list(script(Path("a-page.md"), reduced=False))
    assert lines == [
        "morex run mine.yaml training.epochs=7 --out 'a b'",
        "morex table 'a b'",
        "python page_a_page.py",
    ]
    assert Path("mine.yaml").read_text() == "training: {epochs: 5}\n"
    assert Path("page_a_page.py").read_text() == "x = 1\nprint(x)\n"
    lines = list(script(Path("a-page.md"), reduced=True))
    assert lines[0] == "morex run mine.yaml training.epochs=0.1 --out 'a b'"
    assert Path("mine.yaml").read_text() == "training: {epochs: 0.1}\n"


def test_every_page_can_be_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sum(len(list(script(page, reduced=True))) for page in PAGES.values()) > 30
    assert fewer("--examples 100 queries=400") == "--examples 4 queries=10"
