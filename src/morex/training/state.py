"""The state of a training, taken apart into tensors and numbers, and put back bit for bit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Snapshot:
    """The state of a training between two steps: tensors, and JSON values.

    The tensors are the training's own, which go on changing: copy what is to outlast ``save``.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with ``name/``, without that."""
        paths = (path.partition("/") for path in self.tensors)
        return {rest: self.tensors[f"{name}/{rest}"] for head, _, rest in paths if head == name}


class Checkpoint(Protocol):
    """Where a training keeps its state."""

    def load(self) -> Snapshot | None:
        """Return the last state that was saved, or None."""

    def due(self) -> bool:
        """Say whether it is time to save again."""

    def save(self, snapshot: Snapshot) -> None:
        """Keep ``snapshot`` in place of the last one."""


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimizer as ``optimizer/<index of parameter>/<name>``."""
    return {
        f"optimizer/{index}/{key}": tensor
        for index, state in optimizer.state_dict()["state"].items()
        for key, tensor in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Snapshot) -> None:
    """Give an optimizer the state of a snapshot."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for path, tensor in saved.part("optimizer").items():
        index, _, key = path.partition("/")
        parameter = parameters[int(index)]
        same = tensor.shape == parameter.shape
        # a fused optimizer counts its steps on the device of the parameter
        restored = like(tensor, parameter) if same else tensor.to(parameter.device, copy=True)
        optimizer.state[parameter][key] = restored


@torch.no_grad()
def like(tensor: Tensor, pattern: Tensor) -> Tensor:
    """Copy to the device and memory layout of ``pattern``, on which summation order depends."""
    return torch.empty_like(pattern).copy_(tensor)


@torch.no_grad()
def copy_tensors(source: Mapping[str, Tensor], destination: Mapping[str, Tensor]) -> None:
    """Copy every tensor of ``source`` into the one of the same name."""
    for name, tensor in source.items():
        destination[name].copy_(tensor)
