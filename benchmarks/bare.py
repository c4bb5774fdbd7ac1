"""Training steps written out, without anything of morex but the networks and the weather.

The same body is executed in two ways: as a script would do it (eager), and compiled and captured in
a CUDA graph, which is the best that PyTorch does with these kernels.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS_LINF, EPS_L2, STEPS = 8 / 255, 1.0, 10
_LENGTH = 2.5
"""The length of all steps of an attack together, in radii."""

Model = Callable[[Tensor], Tensor]


class PlainMixture(nn.Module):
    """f(x) = sum_i softmax(g(x))_i E_i(x)."""

    def __init__(self, experts: list[nn.Module], gate: nn.Module) -> None:
        super().__init__()
        self.experts, self.gate = nn.ModuleList(experts), gate

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted logits."""
        weights = self.gate(x).float().softmax(1)
        logits = torch.stack([expert(x).float() for expert in self.experts], 1)
        return torch.einsum("nm,nmk->nk", weights, logits)


def step_linf(z: Tensor, gradient: Tensor, x: Tensor) -> Tensor:
    """Take a step along the signs, and project."""
    moved = z + _LENGTH * EPS_LINF / STEPS * gradient.sign()
    return torch.min(torch.max(moved, x - EPS_LINF), x + EPS_LINF).clamp(0, 1)


def step_l2(z: Tensor, gradient: Tensor, x: Tensor) -> Tensor:
    """Take a step of fixed length along the gradient, and project."""
    delta = z + _LENGTH * EPS_L2 / STEPS * gradient / _norm(gradient).clamp_min(1e-12) - x
    return (x + delta * (EPS_L2 / _norm(delta).clamp_min(1e-12)).clamp(max=1)).clamp(0, 1)


def start_linf(x: Tensor) -> Tensor:
    """Draw a point of the cube."""
    return (x + (torch.rand_like(x) * 2 - 1) * EPS_LINF).clamp(0, 1)


def start_l2(x: Tensor) -> Tensor:
    """Draw a point near the middle of the Euclidean ball; how it is drawn costs nothing."""
    drawn = torch.randn_like(x)
    return (x + drawn / _norm(drawn) * EPS_L2 * torch.rand(len(x), 1, 1, 1, device=x.device)).clamp(
        0, 1
    )


def _norm(t: Tensor) -> Tensor:
    norms: Tensor = t.flatten(1).norm(dim=1)[:, None, None, None]
    return norms


class BareStep:
    """A training step on one batch that stays the same.

    Args:
        kind: ``clean``, ``linf``, ``l2``, ``msd``, ``max``, ``avg``, ``mixture`` or ``gate``.
        model: a network, or a ``PlainMixture`` for the last two.
        learning: the parameters that learn.
        x, y: the batch. That of a mixture has five equal parts: clean, L2, Linf, fog, snow; the
            last two are in fog and snow already.
        half: whether to compute in bfloat16.
    """

    def __init__(
        self,
        kind: str,
        model: nn.Module,
        learning: list[nn.Parameter],
        x: Tensor,
        y: Tensor,
        *,
        half: bool,
    ) -> None:
        self.kind, self.model, self.learning = kind, model, learning
        self.x, self.y, self.half = x, y, half
        self.weights = [*model.parameters()]
        fused: dict[str, Any] = {"fused": True} if x.device.type == "cuda" else {}
        rate = torch.tensor(0.1, device=x.device) if fused else 0.1
        self.optimizer = torch.optim.SGD(learning, rate, momentum=0.9, weight_decay=5e-4, **fused)
        self.answer: Model = model

    def __call__(self) -> Tensor:
        """Attack, then update; return the loss."""
        with self._frozen():
            moved, y = self._moved()
        self.model.train()
        learner: Model = self.model.gate if self.kind == "gate" else self.answer  # type: ignore[assignment]
        with self._autocast():
            loss = F.cross_entropy(learner(moved).float(), self._right(y))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    def _right(self, y: Tensor) -> Tensor:
        """Return the labels; of a gate in its warm-up, which part of the batch an image is in."""
        if self.kind != "gate":
            return y
        return (torch.arange(len(y), device=y.device) * 5 // len(y)).clamp(max=3)

    def _moved(self) -> tuple[Tensor, Tensor]:
        x, y = self.x, self.y
        if self.kind in ("mixture", "gate"):
            return self._side_by_side(x, y), y
        linf, l2 = (start_linf, step_linf), (start_l2, step_l2)
        one = {"linf": linf, "l2": l2}
        if self.kind in one:
            return self.search(x, y, *one[self.kind]), y
        if self.kind == "msd":
            return self._msd(x, y), y
        if self.kind == "clean":
            return x, y
        both = [self.search(x, y, *linf), self.search(x, y, *l2)]
        if self.kind == "avg":
            return torch.cat(both), torch.cat([y, y])
        with torch.no_grad():
            losses = torch.stack([self._losses(z, y) for z in both])
        return torch.where((losses[0] > losses[1]).view(-1, 1, 1, 1), both[0], both[1]), y

    def search(
        self,
        x: Tensor,
        y: Tensor,
        start: Callable[[Tensor], Tensor],
        step: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Do PGD and return the last iterate."""
        z = start(x)
        for _ in range(STEPS):
            gradient = self._gradient(z, y)
            with torch.no_grad():
                z = step(z, gradient, x)
        return _innermost(z.detach())

    def _msd(self, x: Tensor, y: Tensor) -> Tensor:
        z = start_linf(x)
        for _ in range(STEPS):
            gradient = self._gradient(z, y)
            with torch.no_grad():
                both = [step_linf(z, gradient, x), step_l2(z, gradient, x)]
                losses = torch.stack([self._losses(proposal, y) for proposal in both])
                z = torch.where((losses[0] > losses[1]).view(-1, 1, 1, 1), both[0], both[1])
        return _innermost(z.detach())

    def _side_by_side(self, x: Tensor, y: Tensor) -> Tensor:
        fifth = len(x) // 5
        clean, l2, linf, *weather = torch.split(x, fifth)

        def start(x: Tensor) -> Tensor:
            return torch.cat([start_l2(x[:fifth]), start_linf(x[fifth:])])

        def step(z: Tensor, gradient: Tensor, x: Tensor) -> Tensor:
            parts = (torch.split(t, fifth) for t in (z, gradient, x))
            (z1, z2), (g1, g2), (x1, x2) = parts
            return torch.cat([step_l2(z1, g1, x1), step_linf(z2, g2, x2)])

        moved = self.search(torch.cat([l2, linf]), y[fifth : 3 * fifth], start, step)
        return _innermost(torch.cat([clean, moved, *weather]))

    def _gradient(self, z: Tensor, y: Tensor) -> Tensor:
        z = _innermost(z.detach()).requires_grad_()
        with self._autocast():
            loss = F.cross_entropy(self.answer(z).float(), y, reduction="sum")
        return torch.autograd.grad(loss, z)[0]

    def _losses(self, z: Tensor, y: Tensor) -> Tensor:
        with self._autocast():
            return F.cross_entropy(self.answer(_innermost(z)).float(), y, reduction="none")

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        self.model.eval()
        for p in self.weights:
            p.requires_grad_(False)
        yield
        for p in self.learning:
            p.requires_grad_(True)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.x.device.type, torch.bfloat16, enabled=self.half)


def _innermost(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def compiled_and_captured(step: BareStep) -> Callable[[], object]:
    """Return the step with compiled networks, captured in a CUDA graph."""
    if isinstance(step.model, PlainMixture):
        for network in (*step.model.experts, step.model.gate):
            network.compile(dynamic=False)
    else:
        step.answer = torch.compile(step.model, dynamic=False)
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
