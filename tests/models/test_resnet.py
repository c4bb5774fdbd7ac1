from dataclasses import replace
from math import sqrt
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from morex.attacks import frozen
from morex.models.architectures import RESNETS
from morex.models.conv_bn import ConvNorm
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet


def config(**changes: Any) -> NetworkConfig:
    return NetworkConfig(**{"architecture": "resnet10", "width": 4, "image_size": (8, 8)} | changes)


def images(n: int, size: int = 8) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(n))


def states_equal(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_a_gate_from_a_network_has_its_body_and_is_undecided() -> None:
    network = ResNet(NetworkConfig("resnet10", 4, 10, (8, 8)), seed=3).eval()
    gate = network.with_outputs(3).eval()
    x = images(2)
    assert torch.equal(gate(x), torch.zeros(2, 3))
    gate.head = network.head
    assert torch.equal(gate(x), network(x))
    assert gate.stem is not network.stem


@pytest.mark.parametrize(("size", "first"), [(8, 8), (32, 32), (64, 32)])
@pytest.mark.parametrize("architecture", RESNETS)
def test_logits_have_one_value_per_output_at_every_size(
    architecture: str, size: int, first: int
) -> None:
    net = ResNet(config(architecture=architecture, outputs=7, image_size=(size, size))).eval()
    with torch.no_grad():
        assert net.stem(images(2, size)).shape == (2, 4, first, first)
        assert net(images(2, size)).shape == (2, 7)


@pytest.mark.parametrize(
    ("architecture", "count"),
    [("resnet18", 11_173_962), ("resnet34", 21_282_122), ("resnet50", 23_520_842)],
)
def test_the_usual_networks_have_the_usual_number_of_parameters(
    architecture: str, count: int
) -> None:
    with torch.device("meta"):
        net = ResNet(NetworkConfig(architecture))
    assert sum(p.numel() for p in net.parameters()) == count


def test_normalisation_happens_inside() -> None:
    mean, std = (0.1, 0.5, 0.7), (0.2, 0.3, 0.4)
    inside = ResNet(config(mean=mean, std=std), seed=3).eval()
    outside = ResNet(config(mean=(0.0,) * 3, std=(1.0,) * 3), seed=3).eval()
    x = images(5)
    normalised = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert torch.equal(inside(x), outside(normalised))
    assert not torch.allclose(inside(x), outside(x))


def test_weights_depend_only_on_the_seed() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = ResNet(config(), seed=5)
        torch.manual_seed(2)
        second = ResNet(config(), seed=5)
    assert states_equal(first, second)
    other = ResNet(config(), seed=6)
    for name, p in first.named_parameters():
        drawn = p.ndim > 1 or name == "head.bias"  # BatchNorm starts at 1 and 0
        assert torch.equal(p, other.get_parameter(name)) != drawn, name


def test_no_global_generator_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    def reseed(seed: int) -> None:
        raise AssertionError("torch.manual_seed also reseeds every accelerator")

    monkeypatch.setattr(torch, "manual_seed", reseed)
    before = torch.get_rng_state()
    ResNet(config(), seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_convolutions_are_drawn_as_for_a_relu() -> None:
    weight = ResNet(config(width=32)).body[3].first.conv.weight  # twice as many out as in
    assert weight.std().item() == pytest.approx(sqrt(2 / (9 * weight.shape[0])), rel=0.02)


def test_a_sibling_has_the_same_shape_and_its_own_weights() -> None:
    net = ResNet(config(mean=(0.1, 0.2, 0.3)), seed=5)
    gate = net.sibling(4, seed=9)
    assert gate.config == replace(net.config, outputs=4)
    assert states_equal(gate, ResNet(gate.config, seed=9))
    assert gate.head.weight.shape == (4, net.head.in_features)
    assert not torch.equal(gate.stem.conv.weight, net.stem.conv.weight)


@pytest.mark.parametrize("architecture", ["resnet10", "resnet50"])
def test_shortcuts_are_strided_convolutions(architecture: str) -> None:
    net = ResNet(config(architecture=architecture))
    strided = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    pointwise = [m for m in strided if m.kernel_size == (1, 1)]
    assert len(pointwise) == 3
    for conv in pointwise:
        x = torch.rand(2, conv.in_channels, 7, 6)
        torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, stride=2))


@pytest.mark.parametrize("width", [3, 4, 8])
def test_channels_last_gradients_of_narrow_networks_are_right(width: int) -> None:
    """A strided 1x1 convolution here overwrites memory of other tensors."""
    x, y = images(32), torch.arange(32) % 10

    def gradients(net: nn.Module, x: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(F.cross_entropy(net(x), y), list(net.parameters())))

    exact = gradients(ResNet(config(width=width)).double(), x.double())
    fast = ResNet(config(width=width)).to(memory_format=torch.channels_last)
    found = gradients(fast, x.contiguous(memory_format=torch.channels_last))
    for a, b in zip(found, exact, strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm() + 1e-6


def test_in_evaluation_mode_an_image_does_not_depend_on_its_batch() -> None:
    net, x = ResNet(config()), images(6)
    changed = torch.cat([x[:1], x[1:] * 0.5])
    assert not torch.allclose(net(x)[0], net(changed)[0])
    net.eval()
    torch.testing.assert_close(net(x)[0], net(changed)[0])


def well_used(architecture: str) -> ResNet:
    """Return a network whose normalisation is far from the identity."""
    net = ResNet(config(architecture=architecture)).double()
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.load_state_dict(
                {
                    "num_batches_tracked": torch.tensor(1),
                    **{
                        name: torch.rand(module.num_features, generator=generator) + 0.5
                        for name in ("weight", "bias", "running_mean", "running_var")
                    },
                }
            )
    return net


@pytest.mark.parametrize("architecture", ["resnet10", "resnet50"])
def test_folded_networks_are_the_same_function(architecture: str) -> None:
    net, x = well_used(architecture).eval(), images(3).double().requires_grad_()
    expected = net(x)
    gradient = torch.autograd.grad(expected.square().sum(), x)[0]
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with frozen(net):
        assert all(m.folded for m in net.modules() if isinstance(m, ConvNorm))
        logits = net(x)
        torch.testing.assert_close(logits, expected)
        torch.testing.assert_close(torch.autograd.grad(logits.square().sum(), x)[0], gradient)
    torch.testing.assert_close(net(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(dict(net.state_dict()), state, rtol=0, atol=0)


def test_networks_are_unfolded_where_they_were_folded() -> None:
    net = ResNet(config())
    pairs = [m for m in net.modules() if isinstance(m, ConvNorm)]

    def interrupted() -> None:
        with frozen(net):
            with frozen(net):
                pass
            assert all(pair.folded for pair in pairs)
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert not any(pair.folded for pair in pairs)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript_modules_are_frozen_too() -> None:
    net, x = torch.jit.script(nn.Sequential(nn.BatchNorm2d(3))).train(), images(4)
    with frozen(net):
        answer = net(x)
    torch.testing.assert_close(answer, nn.BatchNorm2d(3).eval()(x))
    assert net.training
    assert not torch.allclose(net(x), answer)


def test_experts_that_are_not_used_are_not_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ConvNorm] = []
    one = ConvNorm._one_convolution

    def noted(pair: ConvNorm) -> tuple[Tensor, Tensor]:
        made.append(pair)
        return one(pair)

    monkeypatch.setattr(ConvNorm, "_one_convolution", noted)
    pair = nn.ModuleList([ResNet(config()), ResNet(config())])
    with frozen(pair):  # type: ignore[arg-type]
        for _ in range(2):
            pair[0](images(2))
    assert made == [m for m in pair[0].modules() if isinstance(m, ConvNorm)]


def test_folding_uses_the_current_weights() -> None:
    net, x = ResNet(config()), images(2)
    with frozen(net):
        before = net(x)
    with torch.no_grad():
        net.stem.norm.running_mean.add_(1)
    with frozen(net):
        assert not torch.allclose(net(x), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"architecture": "resnet11"},
            "no architecture 'resnet11'; did you mean 'resnet18'[?] there are resnet10, ",
        ),
        ({"width": 0}, "at least 1"),
        ({"outputs": 0}, "at least 1"),
        ({"image_size": (8, 0)}, "at least 1"),
        ({"std": (0.5, 0.0, 0.5)}, "std > 0"),
        ({"mean": (0.5,)}, "one entry per channel"),
    ],
)
def test_bad_configurations_raise(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**change)
