"""Classifiers that morex did not make, and the ranges of pixels that they expect."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from morex.core.user_code import object_named
from morex.models.external import (
    RANGES,
    ForeignModelError,
    Rescaled,
    better_range,
    check_answers,
    draws,
    import_model,
)

MEAN, STD = (0.2, 0.4, 0.6), (0.1, 0.2, 0.3)


class Sees(nn.Module):
    """Remembers its inputs."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return torch.zeros(len(x), 2)


def pixels(count: int = 5) -> Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", RANGES)
def test_ranges_and_normalisation(name: str) -> None:
    low, high = RANGES[name]
    inner, x = Sees(), pixels()
    Rescaled(inner, low, high, MEAN, STD)(x)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    torch.testing.assert_close(inner.seen, (low + (high - low) * x - mean) / std)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "of_somebody.py").write_text(
        "import torch\n"
        "def make(): return torch.nn.Flatten()\n"
        "def function(): return lambda x: x.flatten(1)[:, :2]\n"
        "def broken(): raise KeyError('weights')\n"
        "def number(): return 3\n"
        "def leaves(): raise SystemExit(0)\n"
        "made = torch.nn.Identity()\n"
    )
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "of_somebody"
    sys.modules.pop("of_somebody", None)


def test_factories_modules_and_functions(module: str) -> None:
    assert isinstance(import_model(f"{module}:make"), nn.Flatten)
    assert isinstance(import_model(f"{module}:made"), nn.Identity)
    assert import_model(f"{module}:function")(pixels()).shape == (5, 2)
    assert isinstance(import_model(f"{module}.py:make"), nn.Flatten)
    assert isinstance(import_model(f"{Path.cwd()}/{module}.py:make"), nn.Flatten)


def test_a_changed_file_is_executed_again(module: str) -> None:
    path = Path(f"{module}.py")
    first = object_named(f"{module}.py:make")
    assert object_named(f"{module}.py:make") == first
    path.write_text(path.read_text().replace("Flatten", "Identity"))
    second = object_named(f"{module}.py:make")
    assert second.version != first.version
    assert isinstance(second.value(), nn.Identity)
    assert isinstance(first.value(), nn.Flatten)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("of_somebody", "expected package.module:factory"),
        ("of_nobody:make", "ModuleNotFoundError"),
        ("of_somebody:nothing", "of_somebody defines no 'nothing'; correct the name"),
        ("of_somebody:mak", "did you mean 'make'"),
        ("of_somebody:broken", "of_somebody:broken: KeyError: 'weights'"),
        ("of_somebody:leaves", r"of_somebody:leaves: code that it uses called sys\.exit\(0\)"),
        (
            "of_somebody.py:leaves",
            r"of_somebody.py:leaves: code that it .* sys\.exit\(0\)",
        ),
        (
            "leaves.py:make",
            r"make: importing leaves.py: code that .* sys\.exit\(0\)",
        ),
        ("nowhere.py:make", "there is no file 'nowhere.py' in /"),
        (":make", "expected package.module:factory or path/to/file.py:factory"),
        ("of_somebody.py:", "expected package.module:factory or path/to/file.py:factory"),
        ("of_somebody:number", "returned an object of type int; expected a torch module"),
    ],
)
def test_what_cannot_be_imported_is_named(module: str, name: str, message: str) -> None:
    with pytest.raises(ForeignModelError, match=message):
        import_model(name)


def test_answers_must_be_logits() -> None:
    check_answers(Sees(), pixels(), 2)
    with pytest.raises(ForeignModelError, match=r"\(5, 2\) for 5 images of 3"):
        check_answers(Sees(), pixels(), 3)
    with pytest.raises(ForeignModelError, match="does not accept images"):
        check_answers(nn.Linear(3, 2), pixels(), 2)


class Answers(nn.Module):
    """Gives one answer to everything."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> object:
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        torch.full((5, 2), torch.nan),
        torch.tensor([[0.0, torch.inf]] * 5),
        torch.ones(5, 2).long(),
        torch.ones(5, 2).numpy(),
    ],
)
def test_answers_must_be_finite_tensors(answer: object) -> None:
    expected = "expected floating-point logits|are not finite .* expected finite ones"
    with pytest.raises(ForeignModelError, match=expected):
        check_answers(Answers(answer), pixels(), 2)


def test_an_evaluation_counts_answers_that_are_not_finite() -> None:
    check_answers(Answers(torch.full((5, 2), torch.nan)), pixels(), 2, finite=False)


class Threshold(nn.Module):
    """Class 1 for bright pictures, in pixels of 0..255."""

    def forward(self, x: Tensor) -> Tensor:
        light = x.mean((1, 2, 3)) - 127.5
        return torch.stack([-light, light], 1)


def test_a_wrong_range_is_noticed() -> None:
    x = torch.cat([pixels(12) * 0.4, 0.6 + pixels(12) * 0.4])
    y = torch.tensor([0] * 12 + [1] * 12)
    statistics = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    bare = Threshold()
    said = better_range(bare, Rescaled(bare), x, y, statistics)
    assert said == "clean accuracy is 50% as declared and 100% with --input-range 0..255 (n = 24)"
    assert better_range(bare, Rescaled(bare, 0, 255), x, y, statistics) is None


@pytest.mark.parametrize(("bright", "noticed"), [(8, False), (11, True)])
def test_a_range_is_reported_if_it_is_better_beyond_chance(bright: int, noticed: bool) -> None:
    x = torch.full((200, 3, 4, 4), 0.2)
    x[:bright] = 0.8  # which are dark to the classifier in the declared range
    y = torch.tensor([1] * bright + [0] * (200 - bright))
    said = better_range(Threshold(), Rescaled(Threshold()), x, y, ((0.5,) * 3, (0.25,) * 3))
    assert (said is not None) == noticed


def test_a_model_that_draws_is_known() -> None:
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), pixels(6)
    assert not draws(net, x)
    assert draws(nn.Sequential(net, nn.Dropout(0.5)), x)
    assert not draws(nn.Sequential(net, nn.Dropout(0.5)).eval(), x)
    assert not draws(lambda z: net(z) * torch.nan, x)  # type: ignore[arg-type]


def test_missing_normalisation_is_noticed() -> None:
    class Signed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            light = x.mean((1, 2, 3))
            return torch.stack([-light, light], 1)

    x = torch.cat([pixels(12) * 0.2, 0.3 + pixels(12) * 0.2])
    y = torch.tensor([0] * 12 + [1] * 12)
    said = better_range(Signed(), Rescaled(Signed()), x, y, ((0.25,) * 3, (0.1,) * 3))
    assert said is not None
    assert "--mean 0.25,0.25,0.25 --std 0.1,0.1,0.1" in said
