"""The section ``network`` of a recipe, and what it adds to the keys of stages."""

import sys
from typing import Any

import pytest
from stand_in_timm import install
from tiny import changed, raw_recipe

from morex.recipe import Recipe, RecipeError, parse_recipe
from morex.recipe.keys import key_part


def with_network(**network: Any) -> Recipe:
    return parse_recipe(changed(raw_recipe(), "network", network))


@pytest.mark.parametrize(
    ("network", "width"),
    [
        ({}, 64),
        ({"architecture": "preactresnet18"}, 64),
        ({"architecture": "preactresnet18", "width": 16}, 16),
        ({"architecture": "wrn-34-15"}, 240),
        ({"architecture": "wrn-34-15", "width": 240}, 240),  # as a run keeps it
    ],
)
def test_the_width_is_the_usual_one_or_that_of_the_name(
    network: dict[str, Any], width: int
) -> None:
    recipe = with_network(**network)
    assert recipe.network.width == width
    assert parse_recipe(recipe.model_dump(mode="json")).network == recipe.network


def test_keys_of_older_runs_stay_as_they_were() -> None:
    old = with_network(architecture="resnet18", width=32, activation="relu")
    assert key_part(old.network) == {"architecture": "resnet18", "width": 32}
    new = with_network(architecture="resnet18", width=32, activation="silu")
    assert key_part(new.network) == {**key_part(old.network), "activation": "silu"}
    assert (old.network.title, new.network.title) == ("resnet18", "resnet18 (silu)")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"architecture": "wrn-28-10", "width": 64}, "has 160 channels, as its name says"),
        ({"architecture": "wrn-27-10"}, "depth of 6n [+] 4"),
        ({"architecture": "wrn-28"}, "did you mean 'wrn-28-10'"),
        ({"activation": "selu"}, "'relu', 'silu' or 'softplus'.*did you mean 'relu'|'silu'"),
        ({"width": 0}, "width"),
    ],
)
def test_wrong_networks_are_errors(network: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        with_network(**network)


def test_networks_of_timm_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RecipeError, match=r"pip install 'morex\[timm\]'"):
        with_network(architecture="timm/tiny_net")
    install(monkeypatch)
    assert with_network(architecture="timm/tiny_net").network.width is None
    with pytest.raises(RecipeError, match="did you mean 'tiny_net'"):
        with_network(architecture="timm/tinynet")
    with pytest.raises(RecipeError, match="timm/tiny_net has no width to choose, got 64"):
        with_network(architecture="timm/tiny_net", width=64)
