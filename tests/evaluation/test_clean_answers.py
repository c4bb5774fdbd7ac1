"""Predictions per class, counted over all batches."""

import pytest
import torch
from torch import Tensor, nn

from morex.data import ImageSet
from morex.evaluation.clean_answers import answers_per_class

LEVELS = [0, 40, 100, 160, 200, 250, 30]


class ByBrightness(nn.Module):
    """Predicts class 0 for dark images, 2 for bright ones, and nothing finite in between."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise AssertionError("a model is measured in evaluation mode")
        bright = x.mean((1, 2, 3))
        logits = torch.stack([1 - bright, torch.zeros_like(bright), bright], 1)
        return torch.where((bright - 0.5).abs()[:, None] < 0.2, float("nan"), logits)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_predictions_are_counted_and_those_that_are_not_finite_left_out(batch_size: int) -> None:
    pixels = torch.tensor(LEVELS, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    data = ImageSet(
        pixels.contiguous(), torch.zeros(len(LEVELS), dtype=torch.long), ("a", "b", "c")
    )
    model = ByBrightness().train()
    assert answers_per_class(model, data, batch_size=batch_size) == (3, 0, 2)
    assert model.training
