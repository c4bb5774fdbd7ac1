"""RayS: hard-label search over the corners of the cube (Chen & Gu 2020).

    min over s in {-1, +1}^D of r(s),   r(s) = min {||z - x|| : z = clamp(x + t s), f(z) wrong}

Only the decision f(z) is used. The search flips smaller and smaller blocks of signs. It keeps a
flip if the flipped ray fools within the best radius so far, and then bisects for the new radius.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from morex.attacks.base import Attack, Passes, is_right, wide
from morex.attacks.freezing import Model
from morex.attacks.standing import Standing
from morex.core.asking import asking_is_free
from morex.core.number_checks import check_numbers
from morex.perturbations import L2, Ball, Linf

_SATURATIONS = 6
"""Rounds of ``_stride`` in L2. Too few only make a ray slightly shorter than allowed."""


@dataclass(frozen=True)
class RayS(Attack):
    """Ray search that uses only the model's decisions.

    An example's search ends at the first fooling image inside the ball, or when the budget is
    spent; then the result is the end of its best ray inside the ball. In every round each remaining
    example makes one query at its own stage of the search, so that batches stay as large as
    possible. The search is deterministic.

    Three departures from the authors' code save queries. No radius below eps is tried before eps
    itself. A flip that only equals the best radius, within the tolerance, is kept. In L2 a radius
    is measured after clipping to [0, 1]: black or white pixels cost nothing.

    Args:
        perturbation: an Linf or L2 ball.
        queries: at most this many decisions per example, including the one at x.
        tolerance: a ray's radius is bisected to this length, in the ball's norm.

    Raises:
        ValueError: if the ball is of another norm or a number is out of its range.
    """

    only_for_evaluation: ClassVar[bool] = True

    perturbation: Ball
    queries: int = 10_000
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        """Check the ball and the budget."""
        check_numbers(self)
        if not isinstance(self.perturbation, Linf | L2):
            raise ValueError(f"RayS needs an Linf or L2 ball, got {self.perturbation}")
        if self.queries < 1 or not 0 < self.tolerance < float("inf"):
            raise ValueError(
                "RayS needs queries >= 1 and a finite tolerance > 0, got "
                f"{self.queries}, {self.tolerance}"
            )

    @property
    def passes(self) -> Passes:
        """One forward pass per decision."""
        return Passes(forward=self.queries)

    @torch.no_grad()
    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return an image in the ball for every example, a fooling one where it is found."""
        end = x.clone()
        standing = Standing(x, ~is_right(model, x, y))
        rays, y = _Rays(self.perturbation, x[standing.rows], self.tolerance), y[standing.rows]
        for query in range(self.queries - 1):
            if not len(y):
                return end
            z = rays.ask()
            done = rays.learn(z, ~is_right(model, z, y))
            standing.put(end, done, z)
            if (kept := standing.drop(done, query)) is not None:
                y = y[kept]
                rays.keep(kept)
        standing.put(end, torch.ones_like(y, dtype=torch.bool), rays.best())
        return end


class _Rays:
    """The search of N examples, each at its own stage; D pixels per image.

    An example either *tests* its best ray with one block of signs flipped, within the best radius
    so far, or *bisects* the radius of a ray that passed this test.
    """

    def __init__(self, ball: Ball, x: Tensor, tolerance: float) -> None:
        self.ball, self.x, self.dtype = ball, x.to(wide(x.dtype)), x.dtype
        pixels = x.shape[1:].numel()
        self.blocks, self.finest = _schedule(pixels, x.device)
        # A stride of t moves x by at most t * ||1||, so this gap bounds the radius' error.
        unit = pixels**0.5 if isinstance(ball, L2) else 1.0
        self.gap = tolerance / unit
        self.rounding = torch.finfo(x.dtype).eps * unit  # of a length in the ball's norm
        self.enough = max(ball.eps - self.rounding, 0.0)
        self.pixel = torch.arange(pixels, device=x.device, dtype=self.x.dtype)
        self.signs = torch.ones_like(self.x).flatten(1)
        self.radius = self.x.new_full((len(x),), torch.inf)
        self.block = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        self.bisecting = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.low, self.high, self.reached = (torch.zeros_like(self.radius) for _ in range(3))

    def ask(self) -> Tensor:
        """Return the images (N, C, H, W) of each example's next query."""
        first, last = self.blocks[self.block].to(self.pixel.dtype).unsqueeze(2).unbind(1)
        # whole numbers as floats: 1 inside [first, last) and 0 outside; far faster than booleans
        since = (self.pixel - (first - 1)).clamp_(0, 1)
        flipped = (last - self.pixel).clamp_(0, 1).mul_(since)
        self.tried = torch.addcmul(self.signs, self.signs, flipped, value=-2)
        # A radius of eps is enough: a bisection tries it before anything smaller.
        goal = torch.where(self.bisecting, self.enough, self.radius)
        reach, middle = self._stride(self.tried, goal), (self.low + self.high) / 2
        middle = torch.where(self.high > reach, torch.maximum(middle, reach), middle)
        self.stride = torch.where(self.bisecting, middle, reach)
        moved = self.x + (self.stride[:, None] * self.tried).view_as(self.x)
        return moved.clamp(0, 1).to(self.dtype)

    def learn(self, z: Tensor, fooled: Tensor) -> Tensor:
        """Use the decisions at ``z``; return which examples are fooled inside the ball."""
        length = self.ball.norm(z - self.x)
        self.low = torch.where(fooled, self.low * self.bisecting, self.stride)
        self.high = torch.where(fooled, self.stride, self.high)
        self.reached = torch.where(fooled, length, self.reached)
        searching = fooled | self.bisecting
        self.bisecting = searching & (self.high - self.low > self.gap)
        kept = searching & ~self.bisecting & (self.reached <= self.radius + self.rounding)
        self.signs = torch.where(kept[:, None], self.tried, self.signs)
        self.radius = torch.where(kept, torch.minimum(self.reached, self.radius), self.radius)
        following = self.block + 1
        following = torch.where(following < len(self.blocks), following, self.finest)
        self.block = torch.where(self.bisecting, self.block, following)
        return fooled & (length <= self.ball.eps)

    def keep(self, rows: Tensor) -> None:
        """Keep only the examples ``rows``."""
        self.x, self.signs, self.radius = self.x[rows], self.signs[rows], self.radius[rows]
        self.block, self.bisecting = self.block[rows], self.bisecting[rows]
        self.low, self.high, self.reached = self.low[rows], self.high[rows], self.reached[rows]

    def best(self) -> Tensor:
        """Return the ends of the best rays inside the ball: clamp(x + t s) of length eps."""
        return self.ball.project(self.x + self.signs.view_as(self.x), self.x).to(self.dtype)

    def _stride(self, signs: Tensor, radius: Tensor) -> Tensor:
        """Return the t in [0, 1] at which clamp(x + t s) - x has the length ``radius``.

        In L2 it solves sum_i min(t, room_i)^2 = radius^2 from below: pixels without room for the
        current t saturate, and the others share the rest of the radius.
        """
        if isinstance(self.ball, Linf):
            return radius.clamp(max=1)
        x = self.x.flatten(1)
        room = signs.clamp(min=0).sub_(x).abs_()  # 1 - x upwards, x downwards
        squares, square, stride = room.square(), radius.square(), torch.zeros_like(radius)
        for _ in range(_SATURATIONS):
            before = stride
            free = (room - stride[:, None]).sign_().clamp_(min=0)  # 1 with room left, else 0
            spent = torch.addcmul(squares, squares, free, value=-1).sum(1)
            rest = (square - spent).clamp_(min=0)
            stride = torch.maximum(stride, (rest / free.sum(1).clamp_(min=1)).sqrt_())
            if asking_is_free(stride.device) and torch.equal(stride, before):
                break  # on an accelerator the check costs more than the remaining rounds
        return stride.clamp(max=1)


def _schedule(pixels: int, device: torch.device) -> tuple[Tensor, int]:
    """Return the blocks to flip, rows [first, last), and where the finest level begins.

    The first block is empty, to test the initial ray. Level l then cuts the flattened image into
    2^l blocks. The finest level, of single pixels, is repeated.
    """
    blocks, begin, level = [torch.zeros(1, 2, dtype=torch.int64, device=device)], 1, 0
    while True:
        size = -(-pixels // 2**level)
        first = torch.arange(0, pixels, size, device=device)
        blocks.append(torch.stack([first, (first + size).clamp(max=pixels)], 1))
        if size == 1:
            return torch.cat(blocks), begin
        begin, level = begin + len(first), level + 1
