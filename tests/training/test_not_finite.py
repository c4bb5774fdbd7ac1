"""Losses and weights that are not finite."""

import pytest
import torch
from small_training import CLEAN, Memory, Onlooker, Small, config, same, state
from torch import Tensor, nn

from morex.attacks import Model
from morex.training import NotFiniteError, TrainingData, train
from morex.training.objectives import Single


def test_a_loss_that_is_not_finite_raises_and_the_last_checkpoint_is_good(
    few: TrainingData,
) -> None:
    steps = 0

    def poison(model: Model, x: Tensor, _: torch.Generator) -> Tensor | None:
        nonlocal steps
        steps += len(x) == 20
        return x * torch.nan if steps == 8 and len(x) == 20 else None

    memory = Memory(every=3)
    with pytest.raises(
        NotFiniteError, match=r"net: not finite: loss at step 7 of 10 \(epoch 2, .*Single over 1"
    ):
        train(Small(), Single((Onlooker(poison),)), few, config(), name="net", checkpoint=memory)
    assert [s.values["step"] for s in memory.saved] == [3, 6]
    assert all(t.isfinite().all() for t in memory.saved[-1].tensors.values())
    healed, straight = Small(seed=9), Small()
    again = Memory(start=memory.saved[-1])
    objective = Single((Onlooker(poison),))  # step 8 is over
    train(healed, objective, few, config(), name="net", checkpoint=again)
    train(straight, Single((Onlooker(),)), few, config(), name="net")
    assert same(state(healed), state(straight))


def test_weights_that_are_not_finite_are_never_kept(few: TrainingData) -> None:
    class Steep(Small):
        """A finite loss with an infinite gradient."""

        def __init__(self) -> None:
            super().__init__()
            self.zero = nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.zero.sqrt() * torch.arange(10)

    memory = Memory()
    with pytest.raises(NotFiniteError, match="weights after the update at step 0 of 1"):
        train(
            Steep(),
            Single((CLEAN,)),
            few,
            config(epochs=1, batch_size=100),
            checkpoint=memory,
        )
    assert not memory.saved
