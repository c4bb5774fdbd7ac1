"""Settings of PyTorch that a caller may have made."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

import torch


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)  # also fills memory that is not initialised
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def rounded_products() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def both(*contexts: Callable[[], AbstractContextManager[None]]) -> AbstractContextManager[None]:
    stack = ExitStack()
    for context in contexts:
        stack.enter_context(context())
    return stack


SETTINGS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "autocast": partial(torch.autocast, "cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "float64 by default": partial(default_type, torch.float64),
    "float16 by default": partial(default_type, torch.float16),
    "another device by default": partial(default_device, "meta"),
    "deterministic": deterministic,
    "anomalies": partial(torch.autograd.set_detect_anomaly, True),
    "rounded products": rounded_products,
    "autocast and no gradients": partial(
        both, partial(torch.autocast, "cpu", torch.bfloat16), torch.no_grad
    ),
}
