"""Batch size and precision of evaluations, as recipes write them and as the device decides them."""

from types import SimpleNamespace

import pytest
import torch
from tiny import changed, raw_recipe

from morex.core.precision import has_fast_bf16
from morex.evaluation.settings import Settings, batch_size_on
from morex.recipe import parse_recipe
from morex.recipe.errors import RecipeError

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def settings(device: torch.device = CPU, **options: object) -> Settings:
    raw = raw_recipe("clean")
    raw["evaluation"] |= options
    return parse_recipe(raw).evaluation.settings(3, device, (32, 32))


def test_a_recipe_that_says_nothing_is_evaluated_as_before() -> None:
    raw = raw_recipe("clean")
    del raw["evaluation"]["batch_size"]
    assert parse_recipe(raw).evaluation.settings(3, GPU, (32, 32)) == Settings(3, 256, "fp32")


def test_what_is_written_is_taken_on_every_device() -> None:
    for device in (CPU, GPU):
        found = settings(device, batch_size=7, search_precision="bf16")
        assert found == Settings(3, 7, "bf16")


def test_a_cpu_decides_for_256_images_and_the_format_that_it_is_fast_at() -> None:
    fast = "bf16" if has_fast_bf16(CPU) else "fp32"
    assert settings(batch_size="auto", search_precision="auto") == Settings(3, 256, fast)


@pytest.mark.parametrize(
    ("gigabytes", "side", "size"),
    [
        (80, 32, 1000),
        (80, 64, 1000),
        (40, 32, 1000),
        (24, 32, 500),
        (8, 32, 125),
        (80, 128, 250),
        (80, 224, 63),
        (1, 224, 32),
    ],
)
def test_a_gpu_decides_by_its_memory_and_the_size_of_images(
    gigabytes: int, side: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = SimpleNamespace(total_memory=gigabytes * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    assert batch_size_on(GPU, (side, side)) == size


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("batch_size", 0, "input should be greater than or equal to 1, got 0"),
        ("batch_size", True, "expected a whole number, got True"),
        ("batch_size", 2.0, "expected a whole number, got 2.0"),
        ("batch_size", "8", "expected a whole number or auto, got '8'"),
        ("search_precision", "bf61", "got 'bf61'; did you mean 'bf16'?"),
    ],
)
def test_mistakes_are_named(key: str, value: object, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_recipe(changed(raw_recipe("clean"), f"evaluation.{key}", value))
    (line,) = str(error.value).splitlines()[1:]
    assert line.strip().startswith(f"evaluation.{key}: ")
    assert line.endswith(said)
