"""Saved models to serve, and servers that run for the length of a block."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from starlette.types import ASGIApp
from torch import Tensor, nn

from morex.deploy.classify import Classifier
from morex.deploy.intake import Limits
from morex.deploy.server import Server, address_of, bound
from morex.deploy.service import Service
from morex.models import Mixture, NetworkConfig, ResNet, save_model

HOSTILE = "<img src=x onerror=alert(1)>"
CLASSES = (HOSTILE, "</script><b>two</b>", "three", "four")
EXPERTS = ("clean", "Minf", 'the "third"\n')
RECIPE = {
    "data": {"name": "nowhere"},
    "perturbations": {
        "clean": {"kind": "clean"},
        "linf": {"kind": "linf", "eps": 0.2},
        "l2": {"kind": "l2", "eps": 1.0},
        "fog": {"kind": "fog", "t": 0.15, "light": 0.6},
        "snow": {"kind": "snow", "darkness": 4},
    },
    "evaluation": {"rows": {"clean": {"attack": "draws", "perturbation": "clean"}}},
}


def saved_mixture(folder: Path) -> Path:
    """Save a mixture of three networks that nobody trained, whose classes have hostile names."""
    shape = ((8, 8), (0.5,) * 3, (0.25,) * 3)

    def network(outputs: int, seed: int) -> ResNet:
        return ResNet(NetworkConfig("resnet10", 4, outputs, *shape), seed=seed)

    experts = {name: network(len(CLASSES), seed) for seed, name in enumerate(EXPERTS)}
    mixture = Mixture(experts, network(len(EXPERTS), 9)).eval()
    about = {"name": "Tiny", "classes": CLASSES, "image_size": (8, 8), "recipe": RECIPE}
    save_model(mixture, folder, about=about)
    return folder


def picture(seed: int = 0, size: tuple[int, int] = (12, 10), kind: str = "PNG") -> bytes:
    """Return an encoded picture of noise, larger than the model's images."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


class Waiting(nn.Module):
    """A model that waits to be let go, and remembers the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.sizes = threading.Event(), list[int]()
        self.entered = threading.Event()

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        self.entered.set()
        assert self.go.wait(30)
        return torch.stack([x.mean((1, 2, 3)), -x.mean((1, 2, 3))], 1)


def service_of(network: nn.Module, **limits: Any) -> Service:
    """Return the service of a network for images of 8x8 pixels."""
    classifier = Classifier(network, ("up", "down"), (8, 8), torch.device("cpu"), 99)
    return Service(classifier, {"model": "test"}, lambda prediction: (), Limits(**limits))


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("this did not happen in half a minute")


class Running:
    """A server that runs in a thread: its address, and how to end it."""

    def __init__(self, app: ASGIApp, grace: float = 20.0) -> None:
        started = threading.Event()
        self.server = Server(app, grace, started.set)
        self.socket = bound("127.0.0.1", 0)
        self.address = address_of(self.socket)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})
        self.thread.start()
        assert started.wait(30)

    def end(self) -> None:
        """Ask it to end, as a signal does."""
        self.server.should_exit = True


@contextmanager
def running(app: ASGIApp) -> Iterator[Running]:
    """Serve an application for the length of a block."""
    made = Running(app)
    try:
        yield made
    finally:
        made.end()
        made.thread.join()
