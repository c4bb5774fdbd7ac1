"""Words for the classes of Tiny-ImageNet."""

import json
from importlib.resources import files

import pytest

from morex.artifacts.class_words import word_of


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("n01443537", "goldfish"),
        ("n02364673", "guinea pig"),
        ("n12267677", "acorn"),
        ("n99999999", "n99999999"),
        ("n0144353", "n0144353"),
        ("frog", "frog"),
        ("#", "#"),
    ],
)
def test_identifiers_become_words_and_other_names_stay(name: str, word: str) -> None:
    assert word_of(name) == word


def test_every_class_of_the_shipped_models_has_a_word_that_no_other_has() -> None:
    model = files("morex") / "models" / "pretrained" / "tiny-imagenet-small" / "clean"
    about = json.loads((model / "model.json").read_text())["about"]
    words = {word_of(name) for name in about["classes"]}
    assert len(words) == 200
    assert words.isdisjoint(about["classes"])
