"""The playground: the page that a server shows, and what the page asks.

=================  ==========================================================================
``GET /``          the page: one file that asks nothing of other servers
``POST /picture``  a picture as the model sees it, as PNG
``POST /play``     what the model answers before and after perturbations and an attack
=================  ==========================================================================
"""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from anyio import to_thread
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from torch import Tensor

from morex.artifacts.class_words import class_name, word_of
from morex.deploy.intake import Refusal, let_finish, read_body, read_picture
from morex.deploy.lab import MOST_STEPS, Lab
from morex.deploy.lessons import GateLessons
from morex.deploy.samples import Sample
from morex.deploy.service import Service, one_sentence
from morex.deploy.views import view
from morex.deploy.wishes import Wish, read_wish
from morex.deploy.worker import Worker
from morex.report.images import exact_address
from morex.report.page import asset, environment

_ROOM = "morex.deploy"
"""The package with the templates of the playground."""

_PLACES = 16
"""How many requests of pages may be in progress."""

_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data:; style-src 'unsafe-inline'; "
    "script-src {script}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load: nothing but itself, whatever a class is called."""

_Job = tuple[Tensor, int | None, Wish]
"""A picture with its class, and what to do to it."""


@dataclass(eq=False)
class Playground:
    """The page of a model.

    Args:
        service: the model that answers requests.
        lab: its copy that is attacked.
        title: what the model is called.
        subject: one line about it.
        samples: pictures to begin with.
        lessons: what its gate tells apart.
    """

    service: Service
    lab: Lab
    title: str
    subject: str
    samples: Sequence[Sample]
    lessons: GateLessons
    accepted: int = 0
    worker: Worker[_Job, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        """Start the thread that attacks."""
        self.worker = Worker("playground", self._work)

    def routes(self) -> list[Route]:
        """Return the paths that are answered."""
        return [
            Route("/", self.page, methods=["GET"]),
            Route("/picture", self.picture, methods=["POST"]),
            Route("/play", self.play, methods=["POST"]),
        ]

    def close(self) -> None:
        """End the thread; what still waits is dropped, since the server has ended."""
        self.worker.close(drop=True)

    async def page(self, request: Request) -> Response:
        """Return the page."""
        return HTMLResponse(self._html, headers={"Content-Security-Policy": self._policy})

    async def picture(self, request: Request) -> Response:
        """Return the picture in a request as the model sees it."""
        async with self.service.place(request):
            content = await read_picture(request, self.service.limits)
            pixels = await self.service.prepared(content)
            address = await to_thread.run_sync(_shown, pixels, limiter=self.service.decoders)
        return JSONResponse({"picture": address})

    async def play(self, request: Request) -> Response:
        """Return a picture and the answers to it, before and after what the page asks."""
        limits = self.service.limits
        if self.accepted >= _PLACES:
            await let_finish(request, 2 * limits.bytes)
            raise Refusal(503, "too many attacks are waiting; try again", retry=2)
        self.accepted += 1
        try:
            wish = self._wish(await read_body(request, 2 * limits.bytes, limits))
            pixels, label = await self._chosen(wish)
            found = await asyncio.wrap_future(self.worker.ask((pixels, label, wish)))
        finally:
            self.accepted -= 1
        try:
            return JSONResponse(found)
        except ValueError:
            raise Refusal(500, "the model failed: its answers are not finite") from None

    def _wish(self, content: bytes) -> Wish:
        try:
            return read_wish(content, self.lab, len(self.samples))
        except ValueError as error:
            raise Refusal(422, one_sentence(error)) from None

    async def _chosen(self, wish: Wish) -> tuple[Tensor, int | None]:
        """Return the picture that a page wants, and its class if that is known."""
        if wish.sample is not None:
            sample = self.samples[wish.sample]
            return sample.pixels, sample.label
        try:
            content = base64.b64decode(wish.picture or "", validate=True)
        except binascii.Error:
            raise Refusal(422, "picture: expected base64 of a PNG") from None
        return await self.service.prepared(content), None

    def _work(self, jobs: Sequence[_Job]) -> list[dict[str, Any]]:
        """Do what pages ask, in the thread that attacks."""
        classes = self.service.classifier.classes
        return [
            view(self.lab, self.lessons, classes, pixels, label, wish.trial)
            for pixels, label, wish in jobs
        ]

    def setup(self) -> dict[str, Any]:
        """Return what the page has to know."""
        classes = self.service.classifier.classes
        return {
            "title": self.title,
            "gate": self.lab.has_gate,
            "transforms": [self._strengths(name) for name in self.lab.transforms],
            "searched": [self._strengths(name) for name in self.lab.searched],
            "most_steps": MOST_STEPS,
            "samples": [
                {
                    "name": sample.name,
                    "label": None if sample.label is None else _class(classes, sample.label),
                    "picture": _shown(sample.pixels),
                }
                for sample in self.samples
            ],
        }

    def _strengths(self, name: str) -> dict[str, Any]:
        found = self.lab.strengths(name).items()
        return {"name": name, "strengths": [{"factor": f, "text": text} for f, text in found]}

    @cached_property
    def _script(self) -> Markup:
        return asset("playground.js", _ROOM)

    @cached_property
    def _policy(self) -> str:
        digest = hashlib.sha256(self._script.encode()).digest()
        return _POLICY.format(script=f"'sha256-{base64.b64encode(digest).decode()}'")

    @cached_property
    def _html(self) -> str:
        return (
            environment(_ROOM)
            .get_template("playground.html")
            .render(
                title=self.title,
                subject=self.subject,
                style=asset("style.css") + asset("playground.css", _ROOM),
                script=self._script,
                setup=self.setup(),
            )
        )


def _shown(pixels: Tensor) -> str:
    """Return a picture, uint8 (3, H, W), as an address."""
    return exact_address(pixels.numpy() / 255)


def _class(classes: Sequence[str], label: int) -> str:
    return word_of(class_name(classes, label))
