"""The house: few rooms, no loose modules, short files and short functions.

The length of a function is the number of lines from the first line of its body to its last line;
its signature and its docstring do not count, the functions inside it do.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "src" / "morex"
SOURCES = sorted(HOUSE.rglob("*.py"))
ROOMS, LINES, BODY = 13, 350, 40

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    """Yield all functions and methods, those inside of others too."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def body_lines(function: Function) -> int:
    """Return the length of a function, as defined above."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def too_long(source: str) -> list[str]:
    """Return the functions that are longer than allowed."""
    lengths = [(node.name, body_lines(node)) for node in functions(ast.parse(source))]
    return [f"{name}: {length} lines" for name, length in lengths if length > BODY]


def test_there_are_few_rooms_and_nothing_beside_them() -> None:
    rooms = {path.relative_to(HOUSE).parts[0] for path in SOURCES if path.parent != HOUSE}
    assert len(rooms) <= ROOMS
    beside = {path.name for path in HOUSE.iterdir() if path.is_file()}
    assert beside == {"__init__.py", "py.typed"}
    assert [room for room in rooms if not (HOUSE / room / "__init__.py").exists()] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(HOUSE).as_posix())
def test_files_and_functions_are_short(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= LINES
    assert too_long(source) == []


@pytest.mark.parametrize(("lines", "found"), [(BODY, []), (BODY + 1, [f"long: {BODY + 1} lines"])])
def test_signatures_and_docstrings_do_not_count(lines: int, found: list[str]) -> None:
    body = "\n".join(f"    x = {line}" for line in range(lines))
    source = f'def long(\n    a: int,\n) -> None:\n    """Do.\n\n    More.\n    """\n{body}\n'
    assert too_long(source) == found


def test_a_function_with_a_docstring_alone_has_no_length() -> None:
    assert too_long('def nothing() -> None:\n    """Do nothing."""\n') == []


def test_tables_of_contents_name_all_files() -> None:
    rooms = [path for path in SOURCES if path.name == "__init__.py" and path.parent.parent == HOUSE]
    missing = [
        path.relative_to(HOUSE).as_posix()
        for room in rooms
        for path in sorted(room.parent.glob("*.py"))
        if not path.stem.startswith("__") and f"``{path.stem}``" not in room.read_text("utf-8")
    ]
    assert missing == []
