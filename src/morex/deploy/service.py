"""The server of a model: ``POST /predict``, ``GET /health`` and ``GET /metrics``.

A request is accepted if fewer than ``Limits.queue`` are in progress. Its picture is then read,
decoded in one of a few threads, and handed to the one thread that computes, which classifies what
waits together.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import torch
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from torch import Tensor

from morex.core.units import printable
from morex.data.errors import DataError, TooLargeError, UnknownFormatError
from morex.deploy.classify import Classifier, in_json
from morex.deploy.guard import Guard
from morex.deploy.intake import Limits, Refusal, let_finish, read_picture
from morex.deploy.metrics import CONTENT_TYPE, Metrics
from morex.deploy.worker import Worker
from morex.report.predictions import Prediction

TOP = 5
"""How many of the most probable classes are in an answer, unless the client asks for others."""

_DECODERS = 2
"""How many pictures are decoded at a time; each may take a few hundred megabytes."""

_LONGEST = 500
"""How many characters of an error are sent: it may repeat what a client sent."""

_LOG = logging.getLogger(__name__)
_BUSY = "all places in the queue are taken; try again"

TakenFor = Callable[[Prediction], Sequence[str]]
"""Returns the perturbations for which the gate takes a picture; none if that is not known."""


@dataclass(eq=False)
class Service:
    """A model that answers requests.

    Args:
        classifier: the model; it keeps as many classes as a client may ask for.
        about: what ``/health`` tells of it, such as its name.
        taken_for: what the gate takes a picture for.
        limits: how much is taken.
    """

    classifier: Classifier
    about: dict[str, Any]
    taken_for: TakenFor
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    accepted: int = 0

    def __post_init__(self) -> None:
        """Start the thread that computes."""
        # without a size for all, pictures may be large: each is classified by itself
        most = self.limits.batch if self.classifier.size else 1
        self.worker = Worker("predict", self._classify, most, lambda pixels: pixels.shape)
        self.decoders = CapacityLimiter(_DECODERS)

    def routes(self) -> list[Route]:
        """Return the paths that are answered."""
        return [
            Route("/predict", self.predict, methods=["POST"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/metrics", self.show_metrics, methods=["GET"]),
        ]

    def close(self) -> None:
        """End the thread; what still waits is dropped, since the server has ended."""
        self.worker.close(drop=True)

    async def predict(self, request: Request) -> Response:
        """Classify the picture in a request."""
        top = self._top(request)
        async with self.place(request):
            pixels = await self.prepared(await read_picture(request, self.limits))
            prediction = await self._predicted(pixels)
        answer = in_json(replace(prediction, classes=prediction.classes[:top]))
        del answer["file"]
        if prediction.gate:
            taken = {"taken_for": [*found]} if (found := self.taken_for(prediction)) else {}
            answer["gate"] = {"decision": prediction.decision} | taken
        return JSONResponse(answer)

    async def _predicted(self, pixels: Tensor) -> Prediction:
        try:
            prediction = await asyncio.wrap_future(self.worker.ask(pixels))
        except Exception as error:
            _LOG.exception("the model failed")
            raise Refusal(500, f"the model failed: {one_sentence(error)}") from None
        if not isfinite(prediction.classes[0][1]):
            raise Refusal(500, "the model failed: its probabilities are not finite")
        return prediction

    async def prepared(self, content: bytes) -> Tensor:
        """Return an encoded picture as the model sees it.

        Raises:
            Refusal: if it cannot be used.
        """
        try:
            return await to_thread.run_sync(
                self.classifier.prepared, content, self.limits.pixels, limiter=self.decoders
            )
        except TooLargeError as error:
            raise Refusal(413, one_sentence(error)) from None
        except UnknownFormatError as error:
            raise Refusal(415, one_sentence(error)) from None
        except DataError as error:
            raise Refusal(422, one_sentence(error)) from None

    async def health(self, request: Request) -> Response:
        """Return that the server answers, and about which model."""
        return JSONResponse({"status": "ok"} | self.about)

    async def show_metrics(self, request: Request) -> Response:
        """Return what was counted."""
        return PlainTextResponse(self.metrics.to_text(self.accepted), media_type=CONTENT_TYPE)

    def _top(self, request: Request) -> int:
        text = request.query_params.get("top", str(TOP))
        if not text.isascii() or not text.isdigit() or not 0 < len(text) < 9 or int(text) < 1:
            raise Refusal(422, f"top: expected a whole number from 1, got {text[:20]!r}")
        return int(text)

    @asynccontextmanager
    async def place(self, request: Request) -> AsyncIterator[None]:
        """Take a place in the queue for the length of a block.

        Raises:
            Refusal: if there is none.
        """
        if self.accepted >= self.limits.queue:
            await let_finish(request, self.limits.bytes)
            raise Refusal(503, _BUSY, retry=1)
        self.accepted += 1
        try:
            yield
        finally:
            self.accepted -= 1

    def _classify(self, pixels: Sequence[Tensor]) -> list[Prediction]:
        """Classify a batch, in the thread that computes."""
        found = self.classifier.predictions([""] * len(pixels), torch.stack([*pixels]))
        self.metrics.count_batch(len(found), [prediction.gate for prediction in found])
        return found


def application(
    service: Service, hosts: Collection[str], more_routes: Sequence[Route] = ()
) -> Starlette:
    """Return the whole application.

    Args:
        service: the model.
        hosts: the names under which the server may be addressed; any if there are none.
        more_routes: further paths, such as those of the playground.
    """
    routes = [*service.routes(), *more_routes]
    guard = Middleware(
        Guard,
        metrics=service.metrics,
        hosts=hosts,
        paths=frozenset(route.path for route in routes),
        timed="/predict",
    )
    handlers: dict[Any, Any] = {
        Refusal: _refused,
        HTTPException: _no_such_thing,
        Exception: _failed,
    }
    return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers)


def one_sentence(error: BaseException) -> str:
    """Return the first line of an error, shortened, without control characters."""
    text = str(error).partition("\n")[0]
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return printable(short) or type(error).__name__


async def _refused(request: Request, refusal: Refusal) -> Response:
    headers = {} if refusal.retry is None else {"Retry-After": str(refusal.retry)}
    return JSONResponse({"error": str(refusal)}, refusal.status, headers)


async def _no_such_thing(request: Request, error: HTTPException) -> Response:
    if error.status_code == 405:
        text = f"{request.url.path} does not answer {request.method}"
    else:
        text = "there is no such page here; see / , /predict, /health and /metrics"
    return JSONResponse({"error": text}, error.status_code, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the server failed; its log has the reason"}, 500)
