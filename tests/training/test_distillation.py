"""A network learns the answers of a teacher, which stays as it is."""

from math import log

import pytest
import torch
from small_training import CLEAN, config, network, state
from torch import Tensor, nn

from morex.attacks import PGD
from morex.core.plain import plain
from morex.perturbations import Linf
from morex.training import AnswersOfTeacher, SideBySide, TrainingData, train
from morex.training.criteria import ClassOfImage
from morex.training.objectives import Batch

IMAGES = torch.zeros(2, 3, 2, 2)
BATCH = Batch(IMAGES, torch.tensor([0, 1]), torch.tensor([0, 0]))


class Fixed(nn.Module):
    """The same logits for every image; they can learn."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)


def test_the_loss_is_the_divergence_from_the_teachers_answers() -> None:
    criterion = AnswersOfTeacher(Fixed(log(3.0), 0.0))  # 3/4 and 1/4
    student = Fixed(0.0, 0.0)
    expected = 0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.5)
    assert criterion.loss(student, BATCH).item() == pytest.approx(expected)
    assert criterion.loss(Fixed(log(6.0), log(2.0)), BATCH).item() == pytest.approx(0, abs=1e-6)


def test_only_the_student_gets_gradients_and_labels_judge_it() -> None:
    teacher, student = Fixed(1.0, 0.0), Fixed(0.0, 2.0)
    criterion = AnswersOfTeacher(teacher)
    criterion.loss(student, BATCH).backward()
    assert teacher.logits.grad is None
    assert teacher.logits.requires_grad
    wanted = 2.0 - 1.0  # more of the first class, as the teacher says
    assert (student.logits.grad[0] < 0) == (wanted > 0)
    assert criterion.hits(student, BATCH).tolist() == [False, True]
    assert criterion.parameters(student) == [student.logits]


def test_another_teacher_is_another_training() -> None:
    one, same, other = (plain(AnswersOfTeacher(Fixed(v, 0.0))) for v in (1.0, 1.0, 2.0))
    assert one == same != other
    assert one == {"kind": "AnswersOfTeacher", "weights": one["weights"]}


def test_a_student_agrees_more_with_its_teacher_afterwards(digits: TrainingData) -> None:
    teacher, student = network(1), network(2)
    train(teacher, SideBySide((CLEAN,)), digits, config(epochs=3), criterion=ClassOfImage())
    before, x = state(teacher), digits.validation.pixels(slice(0, 100))
    criterion = AnswersOfTeacher(teacher)
    batch = Batch(x, digits.validation.labels[:100], torch.zeros(100, dtype=torch.int64))

    def distance() -> float:
        with torch.no_grad():
            return criterion.loss(student.eval(), batch).item()

    start = distance()
    members = (CLEAN, PGD(Linf(0.05), steps=2))
    train(student, SideBySide(members), digits, config(epochs=4), criterion=criterion)
    assert distance() < start / 2
    assert all(torch.equal(before[name], t) for name, t in teacher.state_dict().items())
