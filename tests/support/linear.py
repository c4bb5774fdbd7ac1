"""Linear models f(x) = W x + b, whose robustness in every ball is known exactly."""

import torch
from torch import Tensor, nn

from morex.perturbations import L1, L2, Ball, Linf

SHAPE = (3, 4, 4)


class Linear(nn.Module):
    """Logits W x + b of flattened images, in double precision."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.double())
        self.bias = nn.Parameter(bias.double())

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


class Counting:
    """A plain callable that notes how many images each call of it gets."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.calls = model, list[int]()

    def __call__(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        return self.model(x)


def random_linear(
    classes: int, seed: int, margin: float = 0.05, count: int = 64
) -> tuple[Linear, Tensor, Tensor]:
    """Return a model, images in [margin, 1 - margin] and the labels that the model gives them.

    The bias puts the classes' mean logits at 0, so that the labels are mixed.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, *SHAPE, generator=generator, dtype=torch.float64)
    x = margin + (1 - 2 * margin) * x
    weight = torch.randn(classes, x[0].numel(), generator=generator, dtype=torch.float64)
    model = Linear(weight, -weight.sum(1) / 2)
    return model, x, model(x).argmax(1)


def largest_gain(ball: Ball, v: Tensor, x: Tensor) -> Tensor:
    """Return max {<v_n, d> : ||d|| <= eps, x_n + d in [0, 1]}: (N, C, H, W) twice -> (N,)."""
    v, x = v.flatten(1), x.flatten(1)
    room, slope = torch.where(v > 0, 1 - x, x), v.abs()
    match ball:
        case Linf(eps):
            moved = room.clamp(max=eps)
        case L1(eps):  # a fractional knapsack: the steepest pixels first
            order = slope.argsort(1, descending=True)
            sorted_room = room.gather(1, order)
            before = sorted_room.cumsum(1) - sorted_room
            filled = torch.minimum(sorted_room, (eps - before).clamp(min=0))
            moved = torch.zeros_like(room).scatter(1, order, filled)
        case L2(eps):  # KKT: d_i = min(t |v_i|, room_i), with t found by bisection
            low, high = torch.zeros(len(x), 1).to(x), torch.full((len(x), 1), 1e3).to(x)
            for _ in range(100):
                t = (low + high) / 2
                inside = torch.minimum(t * slope, room).norm(dim=1, keepdim=True) <= eps
                low, high = torch.where(inside, t, low), torch.where(inside, high, t)
            moved = torch.minimum(low * slope, room)
        case _:
            raise TypeError(f"no closed form for {ball}")
    return (slope * moved).sum(1)


def robust_gap(model: Linear, ball: Ball, x: Tensor, y: Tensor) -> Tensor:
    """Return min over k != y of f_y - f_k at the worst point of the ball: > 0 means robust."""
    with torch.no_grad():
        logits, gaps = model(x), []
        for k in range(logits.shape[1]):
            v = (model.weight[k] - model.weight[y]).view_as(x)
            gap = logits.gather(1, y[:, None])[:, 0] - logits[:, k] - largest_gain(ball, v, x)
            gaps.append(torch.where(y == k, torch.inf, gap))
    return torch.stack(gaps).amin(0)


def right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return which images the model gets right, (N,)."""
    with torch.no_grad():
        return model(x).argmax(1) == y
