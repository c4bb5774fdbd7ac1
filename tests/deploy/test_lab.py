"""What the playground does to a picture is what the library does."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from serving import CLASSES, EXPERTS, RECIPE, saved_mixture
from torch import Tensor

from morex.artifacts.illustration import Illustration, Pictures
from morex.attacks import PGD, GateSteering
from morex.core.seeding import generator_for
from morex.deploy.lab import USUAL, Lab, Trial
from morex.deploy.lessons import GateLessons
from morex.deploy.samples import drawings, samples
from morex.deploy.views import view
from morex.deploy.wishes import read_wish
from morex.models import Mixture, load_model
from morex.models.named import FromFolder
from morex.perturbations import AdversarialFog, Fog, Linf, Snow
from morex.recipe import parse_recipe

CPU = torch.device("cpu")
PIXELS = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 8, 8), dtype=np.uint8))
X = (PIXELS / 255)[None]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_mixture(tmp_path_factory.mktemp("lab") / "tiny")


@pytest.fixture(scope="module")
def network(model: Path) -> Mixture:
    found = load_model(model)
    assert isinstance(found, Mixture)
    found.requires_grad_(False)
    return found


@pytest.fixture(scope="module")
def lab(network: Mixture) -> Lab:
    known = {"fog": Fog(0.15, 0.6), "snow": Snow(4.0), "linf": Linf(0.2)}
    return Lab(network, known, CPU)


def seen(lab: Lab, trial: Trial, label: int | None = None) -> dict[str, Any]:
    return view(lab, GateLessons({"fog": (EXPERTS[1],)}), CLASSES, PIXELS, label, trial)


def shown(x: Tensor) -> list[int]:
    """Return the bytes of an image that a page would show."""
    return (x[0] * 255).round().clamp(0, 255).to(torch.uint8).flatten().tolist()


def decoded(address: str) -> list[int]:
    import base64

    content = base64.b64decode(address.partition(",")[2])
    return np.moveaxis(np.array(Image.open(io.BytesIO(content))), -1, 0).flatten().tolist()


def test_transforms_are_drawn_one_after_the_other(lab: Lab, network: Mixture) -> None:
    found = seen(lab, Trial({"snow": 0.5, "fog": 2.0 / 2}, seed=3))
    x = Fog(0.15, 0.6)(X)
    snow = Snow(4.0).scaled(0.5)
    x = snow(x, generator=generator_for(3, "playground", "snow"))
    assert decoded(found["after"]["picture"]) == shown(x)
    assert decoded(found["before"]["picture"]) == shown(X)
    probabilities = network(x).softmax(1)[0]
    top = found["after"]["classes"][0]
    assert top["probability"] == pytest.approx(float(probabilities.max()), abs=1e-6)
    assert top["name"] == CLASSES[int(probabilities.argmax())]


@pytest.mark.parametrize("kind", ["pgd", "steering"])
@pytest.mark.parametrize("label", [None, 2])
def test_attacks_are_those_of_the_library(
    lab: Lab, network: Mixture, kind: Any, label: int | None
) -> None:
    found = seen(lab, Trial({}, (kind, "linf"), 0.5, steps=7, seed=5), label)
    ball = Linf(0.1)
    attack = {
        "pgd": PGD(ball, steps=7, relative_step=10),
        "steering": GateSteering(ball, steps=7, relative_step=10),
    }[kind]
    y = network(X).argmax(1) if label is None else torch.tensor([label])
    moved = attack(network, X, y, generator=generator_for(5, "playground", "attack"))
    assert decoded(found["after"]["picture"]) == shown(moved)
    assert found["norms"]["linf"] <= 0.1 + 1e-6
    weights = [expert["weight"] for expert in found["after"]["experts"]]
    assert weights == pytest.approx(network.gate_weights(moved)[0].tolist(), abs=1e-6)
    said = network.expert_logits(moved).softmax(2)[0].max(1)
    assert [e["class"] for e in found["after"]["experts"]] == [CLASSES[k] for k in said.indices]
    shares = [expert["probability"] for expert in found["after"]["experts"]]
    assert shares == pytest.approx(said.values.tolist(), abs=1e-6)
    assert found["label"] == (None if label is None else CLASSES[label])


def test_an_attack_is_around_the_transformed_picture(lab: Lab, network: Mixture) -> None:
    found = seen(lab, Trial({"fog": 1.0}, ("pgd", "linf"), steps=3))
    centre = Fog(0.15, 0.6)(X)
    y = network(X).argmax(1)
    generator = generator_for(0, "playground", "attack")
    moved = PGD(Linf(0.2), steps=3, relative_step=10)(network, centre, y, generator=generator)
    assert decoded(found["after"]["picture"]) == shown(moved)


def test_an_attacker_may_choose_the_weather(network: Mixture) -> None:
    fog = AdversarialFog(0.5)
    lab = Lab(network, {"fog": Fog(0.2, 0.8), "chosen": fog}, torch.device("cpu"))
    assert [*lab.searched] == ["chosen"]  # fog is drawn
    y = network(X).argmax(1)
    generator = generator_for(3, "playground", "attack")
    expected = PGD(fog, steps=4, relative_step=10)(network, X, y, generator=generator)
    assert torch.equal(lab.changed(X, y, Trial({}, ("pgd", "chosen"), steps=4, seed=3)), expected)


def test_the_same_wish_is_the_same_view_and_another_seed_is_another(lab: Lab) -> None:
    trial = Trial({"snow": 1.0}, ("pgd", "linf"), seed=1)
    assert seen(lab, trial) == seen(lab, trial)
    assert seen(lab, trial) != seen(lab, Trial({"snow": 1.0}, ("pgd", "linf"), seed=2))


def test_nothing_done_is_no_difference(lab: Lab) -> None:
    found = seen(lab, Trial({"fog": 0.0}))
    assert found["difference"] is None
    assert found["before"] == found["after"]
    assert set(found["norms"].values()) == {0.0}
    json.dumps(found, allow_nan=False)


def test_the_model_that_answers_is_left_alone(lab: Lab, network: Mixture) -> None:
    before = network(X)
    seen(lab, Trial({}, ("steering", "linf")))
    assert lab.network is not network
    assert torch.equal(network(X), before)


def test_strengths_are_those_that_exist(network: Mixture) -> None:
    lab = Lab(network, dict(USUAL), CPU)
    fog = lab.strengths("fog")
    assert fog[0.0] == "off"
    assert fog[1.0] == "Fog(t=0.15, light=0.6)"
    assert max(fog) == 1.8  # the haze cannot weigh more than everything
    assert max(lab.strengths("linf")) == 2.0
    assert lab.strengths("linf")[0.5] == "Linf(eps=4/255)"


BAD = {
    "not JSON": (b"{", "Invalid JSON"),
    "no picture": (b"{}", "expected either a sample or a picture"),
    "two pictures": (b'{"sample": 0, "picture": "AA"}', "either a sample or a picture"),
    "no such sample": (b'{"sample": 2}', "below 2, got 2"),
    "no such transform": (b'{"sample": 0, "strengths": {"fgo": 1}}', "fog"),
    "too strong": (b'{"sample": 0, "strengths": {"fog": 2.0}}', "the haze a weight"),
    "far too strong": (b'{"sample": 0, "strengths": {"fog": 11}}', "less than or equal to 10"),
    "negative": (b'{"sample": 0, "strengths": {"fog": -1}}', "greater than or equal to 0"),
    "not finite": (b'{"sample": 0, "strengths": {"fog": NaN}}', "strengths.fog"),
    "no such ball": (b'{"sample": 0, "attack": {"kind": "pgd", "within": "l9"}}', "linf"),
    "no such attack": (b'{"sample": 0, "attack": {"kind": "fgsm", "within": "linf"}}', "'pgd'"),
    "too many steps": (
        b'{"sample": 0, "attack": {"kind": "pgd", "within": "linf", "steps": 101}}',
        "less than or equal to 100",
    ),
    "no seed": (b'{"sample": 0, "seed": 2147483648}', "less than 2147483648"),
    "too many values": (b'{"sample": 0, "strengths": {' + b'"a":1,' * 1000 + b"}}", "at most 1000"),
    "a long name": (
        b'{"sample": 0, "attack": {"kind": "pgd", "within": "' + b"a" * 1001 + b'"}}',
        "at most 1000 characters",
    ),
    "unknown key": (b'{"sample": 0, "restarts": 9}', "restarts"),
}


@pytest.mark.parametrize("name", BAD)
def test_wishes_are_checked(lab: Lab, name: str) -> None:
    content, words = BAD[name]
    with pytest.raises(ValueError, match=words) as caught:
        read_wish(content, lab, 2)
    assert "\n" not in str(caught.value)


def test_a_gate_takes_a_picture_for_the_group_with_the_most_weight() -> None:
    lessons = GateLessons({"clean": ("a", "b"), "fog": ("c",), "l2": ("a", "b")})
    assert lessons.taken_for({"a": 0.3, "b": 0.3, "c": 0.4}) == ("clean", "l2")
    assert lessons.taken_for({"a": 0.2, "b": 0.2, "c": 0.6}) == ("fog",)
    assert GateLessons().taken_for({"a": 1.0}) == ()


def test_samples_are_the_illustrated_images_of_the_run(tmp_path: Path) -> None:
    model = FromFolder(saved_mixture(tmp_path / "run/models/tiny"))
    recipe = parse_recipe(
        {
            **RECIPE,
            "name": "x",
            "network": {},
            "models": {"m": {"against": "clean"}},
            "columns": ["m"],
        }
    )
    assert [s.label for s in samples(model, recipe, (8, 8), {})] == [None] * 3  # drawings
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
    moved = (images[None] / 255).astype(np.float16)
    nothing = np.zeros((1, 2))
    pictures = Pictures(
        np.array([1, 0]), np.array([3, 2]), np.array(["clean"]), moved, *[nothing] * 2,
        np.array(["a"]), nothing, nothing,
    )  # fmt: skip
    Illustration(np.zeros(2), {}, {}, pictures).save(tmp_path / "run/illustrations/tiny.npz")
    (tmp_path / "run/test-labels.json").write_text('{"index": [40, 41]}')
    found = samples(model, recipe, (8, 8), {})
    assert [(s.name, s.label) for s in found] == [("Test image 41", 3), ("Test image 40", 2)]
    assert [s.pixels.tolist() for s in found] == images.tolist()
    (tmp_path / "run/test-labels.json").write_text('{"index": [40]}')  # too few
    assert [s.label for s in samples(model, recipe, (8, 8), {})] == [None] * 3


def test_samples_of_digits_need_no_run_and_other_sizes_get_drawings(model: Path) -> None:
    raw = {
        **RECIPE,
        "data": {"name": "digits"},
        "name": "x",
        "network": {},
        "models": {"m": {"against": "clean"}},
        "columns": ["m"],
    }
    recipe, named = parse_recipe(raw), FromFolder(model)
    found = samples(named, recipe, (8, 8), {})
    assert len(found) == 12
    assert {s.label for s in found} <= {*range(10)}
    sizes = {s.pixels.shape for s in samples(named, recipe, (16, 20), {})}
    assert sizes == {(3, 16, 20)}
    assert [s.pixels.shape for s in drawings((64, 64))] == [(3, 64, 64)] * 3


def test_a_single_network_has_no_experts_and_no_gate(network: Mixture) -> None:
    alone = network.experts[0]
    lab = Lab(alone, {"linf": Linf(0.2)}, CPU)
    assert not lab.has_gate
    found = view(lab, GateLessons(), (), PIXELS, None, Trial({}, ("pgd", "linf"), steps=2))
    for side in (found["before"], found["after"]):
        assert side["experts"] == []
        assert (side["gate"], side["taken_for"]) == ("", [])
        assert {row["name"] for row in side["classes"]} == {"0", "1", "2", "3"}
    shares = alone(X).softmax(1)[0]
    assert found["before"]["classes"][0]["name"] == str(int(shares.argmax()))
