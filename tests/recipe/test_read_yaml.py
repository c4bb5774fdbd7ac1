import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import raw_recipe

import morex.recipe
from morex.recipe import RecipeError, load_recipe, load_suite, parse_recipe, shipped_recipes
from morex.recipe.read_yaml import parse_yaml, to_yaml


def mistake(text: str) -> str:
    """Return what is said about a text, without its source."""
    with pytest.raises(RecipeError) as caught:
        parse_yaml(text, "mine.yaml")
    return str(caught.value).removeprefix("mine.yaml is not valid YAML: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((word, word) for word in ("yes", "Yes", "no", "on", "On", "off", "y", "n")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, None) for word in ("null", "Null", "NULL", "~", "")),
        ("10", 10),
        ("010", 10),
        ("-007", -7),
        ("+3", 3),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("1_000", "1_000"),
        ("1_000.5", "1_000.5"),
        ("8/255", "8/255"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01 10:00:00", "2024-01-01 10:00:00"),
        ("1e-3", 0.001),
        ("1.5E+2", 150.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", -math.inf),
        (".INF", math.inf),
        ("nan", "nan"),
        ("=", "="),
        ("'yes'", "yes"),
        ("'10'", "10"),
        ('"~"', "~"),
        ("!!str 10", "10"),
        ("!!float 10", 10.0),
        ("[a, 1, {b: 2}]", ["a", 1, {"b": 2}]),
        ("{yes: 1, on: 2}", {"yes": 1, "on": 2}),
    ],
)
def test_plain_text_has_the_types_of_yaml_1_2(text: str, expected: object) -> None:
    found = parse_yaml(text, "text")
    assert found == expected
    assert type(found) is type(expected)


def test_nan_is_a_number() -> None:
    assert math.isnan(parse_yaml(".nan", "text"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: the key 'a' is there twice, first on line 1"),
        ("a:\n  x: 1\n  x: 1\n", "line 3, column 3: the key 'x' is there twice, first on line 2"),
        ("a: 1\n'a': 2\n", "line 2, column 1: the key 'a' is there twice"),
        ("b: {<<: {a: 1}, <<: {c: 1}}", "line 1, column 17: the key '<<' is there twice"),
        ("1: a\n", "line 1, column 1: the key 1 is no text; write '1' in quotes"),
        ("a: 1\ntrue: a\n", "line 2, column 1: the key true is no text"),
        ("[a, b]: c\n", "line 1, column 1: expected text as a key"),
        ("? {a: 1}\n: c\n", "line 1, column 3: expected text as a key"),
        ("~: c\n", "line 1, column 1: the key ~ is no text"),
        ("?\n: c\n", "expected text as a key"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: a second document begins here"),
        ("a:\n\tb: 1\n", "line 2, column 1: "),
        ("a: [1\n", "line 2, column 1: "),
        ("a: *b\n", "line 1, column 4: found undefined alias 'b'"),
        ("a: !!python/object/apply:os.getcwd []\n", "line 1, column 4: the tag "),
        ("a: !!python/name:os.getcwd\n", "line 1, column 4: the tag "),
        ("a: !!set {b}\n", "line 1, column 4: the tag "),
        ("a: !!timestamp 2024-01-01\n", "line 1, column 4: the tag "),
        ("a: !mine 1\n", "line 1, column 4: the tag '!mine' is not known; remove it"),
        ("a: !!int 1:30\n", "line 1, column 4: '1:30' is no int"),
        ("a: !!bool yes\n", "line 1, column 4: 'yes' is no bool"),
        ("a: {<<: 3}\n", "line 1, column 9: << merges in mappings only"),
        ("a: &a [*a]\n", "line 1, column 4: this value is a part of itself"),
        (f"a: {5000 * '1'}", "line 1, column 4: a number of 5000 digits is too long"),
        ("[" * 20_000, "it is nested too deeply"),
        ("a: \x07", "special characters are not allowed"),
    ],
)
def test_mistakes_have_their_line(text: str, problem: str) -> None:
    said = mistake(text)
    assert problem in said
    assert "\n" not in said


def test_tabs_are_answered_with_spaces() -> None:
    assert "indent with spaces" in mistake("a:\n\tb: 1\n")


def test_aliases_that_stand_for_billions_are_refused_at_once() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join(10 * [f'*a{i - 1}'])}]" for i in range(1, 12)]
    assert "more than 200,000 values" in mistake("\n".join(lines))
    merged = ["m0: &m0 {a: 1}"]
    merged += [f"m{i}: &m{i} {{<<: [{', '.join(10 * [f'*m{i - 1}'])}]}}" for i in range(1, 12)]
    assert "more than 200,000 values" in mistake("\n".join(merged))


def test_values_with_an_alias_are_separate() -> None:
    found = parse_yaml("a: &x {n: [1]}\nb: *x\n", "text")
    found["a"]["n"].append(2)
    assert found["b"] == {"n": [1]}


def test_an_override_of_an_alias_changes_one_model() -> None:
    before, after = load_recipe("digits"), load_recipe("digits", ["models.MAX.training.epochs=3"])
    changed = [name for name, model in after.models.items() if model != before.models[name]]
    assert changed == ["MAX"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{<<: {a: 1, b: 2}, b: 3}", {"a": 1, "b": 3}),
        ("{b: 3, <<: {a: 1, b: 2}}", {"a": 1, "b": 3}),
        ("{<<: [{a: 1}, {a: 2, b: 2}]}", {"a": 1, "b": 2}),
        ("{<<: {<<: {a: 1, b: 1}, b: 2}}", {"a": 1, "b": 2}),
        ("{'<<': {a: 1}}", {"<<": {"a": 1}}),
    ],
)
def test_merge_keys_give_way_to_written_keys(text: str, expected: dict[str, Any]) -> None:
    assert parse_yaml(text, "text") == expected


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_say_the_same_in_yaml_1_1(name: str) -> None:
    path = Path(morex.recipe.__file__).parent / "shipped" / f"{name}.yaml"
    assert load_recipe(name) == parse_recipe(yaml.safe_load(path.read_text(encoding="utf-8")))


ODD = st.sampled_from(
    [
        *("yes", "no", "on", "true", "null", "~", "", "=", "<<", ".nan", "2024-01-01"),
        *("1e-3", "010", "0o17", "1_000", "1:30", "5\n", " a", "- a", "a: b", "#", "!x", "*a"),
        *("&a", "\u2028", "é", "😀"),
    ]
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ODD | st.text(),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(ODD | st.text(), part, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(TREES)
def test_what_is_written_reads_back_here_and_in_yaml_1_1(content: Any) -> None:
    text = to_yaml(content)
    for found in (parse_yaml(text, "text"), yaml.safe_load(text)):
        assert found == content
        assert repr(found) == repr(content)  # True is not 1


@pytest.mark.parametrize("code", [b"\xff\xfea", b"a: \xe9", b"\x80"])
def test_files_are_utf_8(code: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(code)
    for read in (load_recipe, lambda name: load_suite(name, {})):
        with pytest.raises(RecipeError, match="cannot be read as text") as caught:
            read(str(path))
        assert str(path) in str(caught.value)


def test_a_section_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(to_yaml(raw_recipe()) + "inner: {steps: 9}\n")
    with pytest.raises(RecipeError, match=r"'inner' is there twice, first on line \d+, again"):
        load_recipe(str(path))


@pytest.mark.parametrize("override", ["inner={steps: 1, steps: 2}", "seed=[1", "name=!x y"])
def test_overrides_are_read_in_the_same_way(override: str) -> None:
    with pytest.raises(RecipeError, match="the value is not valid YAML: line 1") as caught:
        load_recipe("digits", [override])
    assert repr(override) in str(caught.value)


def test_one_file_reads_yaml() -> None:
    root = Path(morex.__file__).parent
    reads = re.compile(r"yaml\.(?!safe_dump\b)\w+|from yaml")  # writing is no danger
    users = [f for f in root.rglob("*.py") if reads.search(f.read_text(encoding="utf-8"))]
    assert [str(f.relative_to(root)) for f in users] == ["recipe/read_yaml.py"]
