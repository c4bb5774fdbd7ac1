"""Whether a saved state is one of this training, checked before anything of it is used."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from morex.core.checksums import digest_of_tensors
from morex.core.plain import first_difference, plain
from morex.training.batches import TrainingData
from morex.training.config import TrainingConfig
from morex.training.criteria import Criterion
from morex.training.objectives import Objective
from morex.training.state import Snapshot, TrainingState


class CheckpointError(ValueError):
    """A saved state belongs to another training, or is none."""


def fingerprint(
    model: nn.Module,
    objective: Objective,
    criterion: Criterion,
    data: TrainingData,
    config: TrainingConfig,
    *,
    seed: int,
    name: str,
) -> dict[str, Any]:
    """Return what decides a training, apart from the weights that learn, as JSON values."""
    return {
        **plain(config),
        "objective": plain(objective),
        "criterion": plain(criterion),
        "training images": data.train.fingerprint(),
        "validation images": data.validation.fingerprint(),
        "augment": plain(data.augment),
        "extra images": data.extra
        and {"share": data.extra.share, "fingerprint": data.extra.images.fingerprint()},
        "seed": seed,
        "name": name,
        "weights that do not learn": _digest_of_fixed(model, criterion),
    }


def _digest_of_fixed(model: nn.Module, criterion: Criterion) -> str:
    learning = {id(p) for p in criterion.parameters(model)}
    return digest_of_tensors(
        (name, p) for name, p in model.named_parameters() if id(p) not in learning
    )


def check_resumable(
    saved: Snapshot, state: TrainingState, training: Mapping[str, Any], *, steps: int, epoch: int
) -> None:
    """Raise ``CheckpointError`` unless a training can continue from ``saved``.

    Args:
        saved: what the checkpoint has.
        state: the state of the training that has not begun.
        training: its ``fingerprint``.
        steps: its number of steps.
        epoch: the number of steps in an epoch.
    """
    before = saved.values.get("training", training)  # older versions kept no fingerprint
    if found := first_difference(before, training):
        what, then, now = found
        raise _unlike(f"{what} was {_short(then)} and is {_short(now)} now")
    learning = state.learning
    _check_part(saved, "model", learning, whole=True)
    _check_part(saved, "best", learning, whole=False)
    _check_part(saved, "average", learning if state.average else {}, whole=True)
    natural = learning if state.natural else {}
    _check_part(saved, "natural", natural, whole=True)
    _check_part(saved, "before", natural, whole=True)
    for part in ("optimizer", "natural_optimizer"):
        _check_optimizer(saved, part, state.parameters)
    _check_values(saved, steps, epoch)
    if state.tally.numel():
        _check_tally(saved, state.tally)


def _unlike(why: str) -> CheckpointError:
    return CheckpointError(
        f"the checkpoint is not of this training: {why}; resume with what it was made with, or "
        "remove it to begin again"
    )


def _short(value: Any) -> str:
    """Return a plain value in a few words: an object by its kind, a digest by its beginning."""
    kind = value.get("kind") if isinstance(value, Mapping) else None
    text = str(kind or value)
    return text if len(text) <= 60 else f"{text[:12]}..."


def _check_part(saved: Snapshot, part: str, expected: Mapping[str, Tensor], *, whole: bool) -> None:
    """Check names, shapes and types in a part, which may be empty unless ``whole``."""
    found = saved.part(part)
    other = sorted(found.keys() ^ expected.keys())
    if other and (whole or found):
        raise _unlike(f"its {part} tensors and those of the model differ in {other[0]}")
    for name, tensor in found.items():
        if (tensor.shape, tensor.dtype) != (expected[name].shape, expected[name].dtype):
            raise _unlike(
                f"{name} is {tensor.dtype} {tuple(tensor.shape)} in it, and "
                f"{expected[name].dtype} {tuple(expected[name].shape)} in the model"
            )


def _check_optimizer(saved: Snapshot, part: str, parameters: list[nn.Parameter]) -> None:
    for path, tensor in saved.part(part).items():
        index, _, _ = path.partition("/")
        known = index.isdecimal() and int(index) < len(parameters)
        if not known or (tensor.ndim and tensor.shape != parameters[int(index)].shape):
            raise _unlike(f"its optimizer has a state {path} of shape {tuple(tensor.shape)}")


def _check_tally(saved: Snapshot, tally: Tensor) -> None:
    found = saved.tensors.get("tally")
    if found is None or found.shape != tally.shape or "errors" not in saved.values:
        raise _unlike(f"it has no errors of {tally.shape[1]} members")


def _check_values(saved: Snapshot, steps: int, epoch: int) -> None:
    values = saved.values
    step, history = values.get("step"), values.get("history")
    if not isinstance(step, int) or not isinstance(history, list) or not 0 <= step <= steps:
        raise _unlike(f"it is at step {step!r} of {steps}")
    ended = step // epoch + (step == steps and steps % epoch > 0)
    if len(history) != ended:
        raise _unlike(f"it has {len(history)} epochs after {step} steps, expected {ended}")
    needed = {"best_score", "average_updates", "seconds"}
    if missing := needed - values.keys() or {"loss_sum"} - saved.tensors.keys():
        raise _unlike(f"it has no {min(missing)}")
