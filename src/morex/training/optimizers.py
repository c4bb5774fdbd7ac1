"""The optimizer of a training, and the tensors that a training changes."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from morex.training.config import TrainingConfig


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, part: str = "optimizer"
) -> dict[str, Tensor]:
    """Return the state of an optimizer as ``<part>/<index of parameter>/<name>``."""
    return {
        f"{part}/{index}/{key}": tensor
        for index, state in optimizer.state_dict()["state"].items()
        for key, tensor in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    """Give an optimizer its state from ``<index of parameter>/<name>``."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for path, tensor in saved.items():
        index, _, key = path.partition("/")
        parameter = parameters[int(index)]
        same = tensor.shape == parameter.shape
        # a fused optimizer counts its steps on the device of the parameter
        restored = like(tensor, parameter) if same else tensor.to(parameter.device, copy=True)
        optimizer.state[parameter][key] = restored


@torch.no_grad()
def copy_tensors(source: Mapping[str, Tensor], destination: Mapping[str, Tensor]) -> None:
    """Copy every tensor of ``source`` into the one of the same name."""
    for name, tensor in source.items():
        destination[name].copy_(tensor)


@torch.no_grad()
def like(tensor: Tensor, pattern: Tensor) -> Tensor:
    """Copy to the device and memory layout of ``pattern``, on which summation order depends."""
    return torch.empty_like(pattern).copy_(tensor)


def new_optimizer(
    parameters: list[nn.Parameter], config: TrainingConfig, *, captured: bool
) -> torch.optim.Optimizer:
    """Return the optimizer; ``captured`` makes its learning rate a tensor."""
    rate: float | Tensor = config.learning_rate
    if captured:
        rate = torch.tensor(rate, device=parameters[0].device)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, rate, weight_decay=config.weight_decay, fused=True, capturable=captured
        )
    return torch.optim.SGD(
        parameters,
        rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
        fused=captured or None,
    )


def learning_tensors(model: nn.Module, parameters: list[nn.Parameter]) -> dict[str, Tensor]:
    """Return what training changes, by name: the parameters that learn, and all buffers."""
    chosen = {id(p) for p in parameters}
    learning: dict[str, Tensor] = {n: p for n, p in model.named_parameters() if id(p) in chosen}
    learning.update(model.named_buffers())
    return learning
