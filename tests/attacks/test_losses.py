"""What attacks maximise, by hand."""

from functools import partial
from math import exp, log

import pytest
import torch

from morex.attacks.losses import (
    OfLogits,
    cross_entropy,
    margin,
    most_likely_wrong,
    scale_free_cross_entropy,
)

LOGITS = torch.tensor([[1.0, 4.0, 2.5], [3.0, -1.0, 0.0], [-2.0, -3.0, -5.0]])
Y = torch.tensor([1, 2, 1])


def test_the_margin_is_the_best_wrong_logit_less_the_right_one():
    assert margin(LOGITS, Y).tolist() == [-1.5, 3.0, 1.0]


def test_the_cross_entropy_is_minus_the_logarithm_of_the_softmax():
    expected = [
        -log(exp(row[label]) / sum(map(exp, row)))
        for row, label in zip(LOGITS.tolist(), Y.tolist(), strict=True)
    ]
    assert cross_entropy(LOGITS, Y).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [cross_entropy, scale_free_cross_entropy])
def test_answers_that_are_nearly_sure_can_be_told_apart(loss):
    odds = torch.tensor([6.0, 12, 17, 20, 40, 79])
    logits = torch.stack([odds, torch.zeros(6)], 1).requires_grad_()
    values = loss(logits, torch.zeros(6, dtype=torch.int64))
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=0)
    close(values, (-odds.double()).exp().log1p().float())
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    close(gradient[:, 1], odds.neg().sigmoid())


def test_usual_and_unusual_examples_of_a_batch_get_what_each_gets_alone():
    logits, y = torch.cat([LOGITS, 1e-4 * LOGITS[:1]]), torch.cat([Y, Y[:1]])

    def with_gradient(rows, loss=scale_free_cross_entropy):
        given = logits[rows].requires_grad_()
        values = loss(given, y[rows])
        return values, torch.autograd.grad(values.sum(), given)[0]

    usual, unusual = slice(0, 3), slice(3, 4)
    for together, *alone in zip(
        with_gradient(slice(0, 4)), with_gradient(usual), with_gradient(unusual), strict=True
    ):
        assert torch.equal(together, torch.cat(alone))
    plain = with_gradient(slice(0, 4), cross_entropy)[1]
    assert torch.equal(with_gradient(usual)[1], plain[usual])
    assert not torch.allclose(with_gradient(unusual)[1], plain[unusual])


@pytest.mark.parametrize("loss", [margin, cross_entropy])
def test_half_precision_is_computed_in_single(loss):
    half = torch.tensor([[300.25, 299.5, 1.0]], dtype=torch.bfloat16)  # 300 and 300 in bfloat16
    found = loss(half, torch.tensor([2]))
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(half.float(), torch.tensor([2])))


def test_the_most_likely_wrong_classes_come_in_order():
    assert most_likely_wrong(LOGITS, Y, 2).tolist() == [[2, 0], [0, 1], [0, 2]]
    assert most_likely_wrong(LOGITS, Y, 1).tolist() == [[2], [0], [0]]


def test_a_loss_of_logits_calls_the_model_once():
    images = torch.rand(3, 1, 2, 2)
    asked = []

    def model(x):
        asked.append(x)
        return LOGITS

    logits, values = OfLogits(margin)(model, images, Y)
    assert len(asked) == 1
    assert asked[0] is images
    assert logits is LOGITS
    assert values.tolist() == [-1.5, 3.0, 1.0]
