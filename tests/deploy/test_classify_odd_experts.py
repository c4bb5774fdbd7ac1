"""An expert whose answer is not finite predicts no class."""

import torch
from torch import Tensor, nn

from morex.deploy.classify import Classifier
from morex.models.mixture import MeanOfExperts


class Fixed(nn.Module):
    """Answers the same to every image."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits, self.head = torch.tensor(logits), nn.Linear(1, len(logits))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)


def test_an_expert_whose_answer_is_not_finite_predicts_no_class() -> None:
    model = MeanOfExperts({"sound": Fixed([0.0, 1.0]), "odd": Fixed([0.0, torch.nan])}).eval()
    classifier = Classifier(model, ("cat", "dog"), (4, 4), torch.device("cpu"), 2)
    (prediction,) = classifier.predictions(["a"], torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    assert [(e.name, e.said) for e in prediction.experts] == [
        ("sound", "dog"),
        ("odd", "not finite"),
    ]
