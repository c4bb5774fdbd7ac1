"""The batches of an evaluation: which images are attacked together, and what each batch covers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor, nn

from morex.artifacts.notes import What
from morex.artifacts.pieces import Piece
from morex.attacks import Model
from morex.data import ImageSet
from morex.evaluation.attacked import Answers, attacked
from morex.evaluation.feasibility import balls_of
from morex.evaluation.settings import Settings
from morex.evaluation.suite import Row, Suite
from morex.evaluation.workload import most_work


@dataclass(frozen=True)
class Part:
    """One of several parts of an evaluation that are about equally long.

    Args:
        number: which part this is, from 1.
        of: how many there are.

    Raises:
        ValueError: if there is no such part.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 1 <= self.number <= self.of:
            raise ValueError(f"expected a part from 1 to {self.of}, got {self.number}")

    def __str__(self) -> str:
        """Return it as in ``2of4``."""
        return f"{self.number}of{self.of}"


@dataclass(frozen=True)
class Batch:
    """Images of a row that are attacked together.

    Attributes:
        row: the row.
        number: the number of the batch in the row, from 0; it decides all random draws.
        images: indices of the images that are attacked; none if no image needs an attack.
        start: index of the first image that the batch covers. Images in between that the model
            gets wrong without an attack need none in a ball.
        end: the index after that of the last image that it covers.
    """

    row: Row
    number: int
    images: Tensor
    start: int
    end: int

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from all other batches of an evaluation."""
        return self.row.name, self.number


def batches_of(row: Row, clean: Answers, size: int) -> list[Batch]:
    """Return the batches of a row in their order; together they cover all of its images.

    Args:
        row: the row.
        clean: the answers to all images as they are.
        size: images attacked at a time.
    """
    n = row.count(len(clean.right))
    every = torch.arange(n, device=clean.right.device)
    in_balls = balls_of(row.attack.perturbation)
    images = torch.split(every[clean.right[:n]] if in_balls else every, size)
    # a batch covers all images up to the first one of the next batch
    ends = [*torch.stack([rows[0] for rows in images[1:]]).tolist(), n] if images[1:] else [n]
    starts = [0, *ends[:-1]]
    numbers = range(len(images))
    return [Batch(row, *its) for its in zip(numbers, images, starts, ends, strict=True)]


def digest_of_batches(clean: Answers, settings: Settings) -> str:
    """Return a checksum of what decides the batches of all rows."""
    right = np.packbits(clean.right.cpu().numpy()).tobytes()
    return hashlib.sha256(f"{settings} {len(clean.right)} ".encode() + right).hexdigest()


def share_of(
    part: Part, model: Model, suite: Suite, data: ImageSet, clean: Answers, size: int
) -> list[Batch]:
    """Return the batches of a part.

    The batches of all rows in their order are cut where the most work that they can be reaches
    equal shares.
    """
    batches = [batch for row in suite for batch in batches_of(row, clean, size)]
    classes = len(data.classes)
    module = model if isinstance(model, nn.Module) else nn.Identity()
    work = [most_work(b.row.attack, module, len(b.images), classes) for b in batches]
    places = _parts(work, part.of)
    return [b for b, place in zip(batches, places, strict=True) if place == part.number]


def _parts(work: Sequence[float], of: int) -> list[int]:
    """Return the part, from 1, that each piece of work is in: that of its middle."""
    total = sum(work) or 1.0
    ends = accumulate(work)
    middles = (end - 0.5 * its for end, its in zip(ends, work, strict=True))
    return [min(int(of * middle / total) + 1, of) for middle in middles]


def attack_batch(
    model: Model, data: ImageSet, batch: Batch, clean: Answers, settings: Settings, known: int = 0
) -> Piece:
    """Attack a batch, and return what is now known of the images that it covers.

    Args:
        model: the model.
        data: all images.
        batch: which of them to attack.
        clean: the answers to all images as they are.
        settings: of the evaluation.
        known: the first images, on which nothing is noticed again.
    """
    cover = slice(batch.start, batch.end)
    right = clean.right[cover].clone()
    # an image that needs no attack in a ball is not looked at again
    odd = ~clean.finite[cover] if balls_of(batch.row.attack.perturbation) else right & False
    noticed: dict[What, Tensor] = {
        "answers not finite": odd,
        "gradients not finite": odd & False,
        "gradients zero": odd & False,
        "fooled in bfloat16 only": odd & False,
    }
    if len(batch.images):  # some models cannot take an empty batch
        found = attacked(model, data, batch.row, batch.images, settings, batch.number)
        at = batch.images - batch.start
        right[at] = found.answers.right
        noticed["answers not finite"][at] = ~found.answers.finite
        noticed["gradients not finite"][at] = found.not_finite
        noticed["gradients zero"][at] = found.zero
        noticed["fooled in bfloat16 only"][at] = found.again
    new = max(known - batch.start, 0)
    counts = torch.stack([*noticed.values()])[:, new:].sum(1).tolist()
    return Piece(batch.start, right.cpu().numpy(), dict(zip(noticed, counts, strict=True)))
