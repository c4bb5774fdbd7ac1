"""The trained ResNet-18 that pyautoattack ships: its weights and its figure in morex."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from morex.attacks import AutoAttack
from morex.core.seeding import generator_for
from morex.evaluation import Row, evaluate
from morex.models.network import NetworkConfig
from morex.models.published import load_published
from morex.perturbations import Linf

foolbox = pytest.importorskip("foolbox", exc_type=ImportError)
pyautoattack = pytest.importorskip("pyautoattack")
APGDAttack = pytest.importorskip("pyautoattack.autopgd_base").APGDAttack

EXAMPLES = Path(pyautoattack.__file__).parent / "examples"
WEAK, STEPS, ROW, N = 1 / 255, 3, "apgd-ce", 6


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """Return the network as pyautoattack defines it."""
    spec = importlib.util.spec_from_file_location("their_resnet", EXAMPLES / "resnet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: nn.Module = module.ResNet18()
    weights = torch.load(EXAMPLES / "model_test.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    return network.eval()


@pytest.fixture(scope="module")
def ours() -> nn.Module:
    config = NetworkConfig("resnet18", mean=(0.0,) * 3, std=(1.0,) * 3)
    return load_published(EXAMPLES / "model_test.pt", config)


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    wrapped = foolbox.PyTorchModel(nn.Identity().eval(), bounds=(0, 1), device="cpu")
    return foolbox.utils.samples(wrapped, dataset="cifar10", batchsize=20)  # type: ignore[no-any-return]


def test_the_weights_load_by_name_and_the_answers_are_the_same(
    theirs: nn.Module, ours: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images[0][:8], images[1][:8]
    with torch.no_grad():
        answers = ours(x)
        torch.testing.assert_close(answers, theirs(x), rtol=1e-4, atol=1e-4)
    assert (answers.argmax(1) == y).all()


def test_the_figure_of_a_suite_is_that_of_pyautoattack_for_each_image(
    theirs: nn.Module, ours: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images[0][:N], images[1][:N]
    suite = (Row(ROW, AutoAttack(Linf(WEAK), attacks=("apgd-ce",), steps=STEPS)),)
    found = evaluate(ours, (x, y), suite, seed=0, batch_size=N).right[ROW]
    seed = int(torch.randint(2**31, (), generator=generator_for(0, "evaluation", ROW, 0)))
    attack = APGDAttack(theirs, norm="Linf", eps=WEAK, n_iter=STEPS, seed=seed, device="cpu")
    with torch.random.fork_rng():
        moved = attack.perturb(x, y)
    with torch.no_grad():
        logits = theirs(moved)
    margin = logits.gather(1, y[:, None])[:, 0] - logits.scatter(1, y[:, None], -1e9).amax(1)
    clear = margin.abs() > 0.01  # a rounding does not decide
    assert clear.sum() >= N - 1
    assert found[clear].tolist() == (margin > 0)[clear].tolist()
    assert 0 < found.sum() < N  # both happen, so the figures say something
