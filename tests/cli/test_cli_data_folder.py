from pathlib import Path

import pytest

from morex.cli.options import all_overrides, read_recipe
from morex.data import DataError, load_data


@pytest.mark.parametrize("name", ["pictures", "my 'own' pictures", "Ünïcode \U0001f600"])
def test_a_relative_data_folder_is_kept_as_an_absolute_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = read_recipe("cifar10", ["seed=1"], Path(name))
    assert recipe.seed == 1
    assert recipe.data.folder == str(tmp_path / name)


def test_a_data_folder_may_be_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_recipe("cifar10", None, Path("~/pictures")).data.folder == str(
        tmp_path / "pictures"
    )
    assert all_overrides(None, None) == []


def test_the_image_size_is_an_option() -> None:
    assert read_recipe("cifar10", None, None, 48).data.image_size == 48
    assert read_recipe("cifar10", ["data.image_size=16"], None).data.image_size == 16


def test_a_missing_folder_is_answered_with_the_option(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing or not a folder; .* name the folder with --data"):
        load_data("mine", tmp_path / "nowhere")
