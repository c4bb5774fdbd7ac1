"""What stands before every request: which hosts and origins are answered, and what is counted."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from morex.deploy.intake import HUNG_UP
from morex.deploy.metrics import Metrics

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""The names by which a machine calls itself."""

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


@dataclass(frozen=True)
class Guard:
    """Refuses requests from other sites, and counts all requests.

    A page on another site can make a browser send requests to a server on the same machine. Their
    Origin header betrays them, or, if the site renames the address (DNS rebinding), their Host.

    Args:
        app: what answers the requests that pass.
        metrics: where they are counted.
        hosts: the names under which the server may be addressed; any if there are none.
        paths: the paths that are counted by name; others are counted as ``other``.
        timed: the path whose seconds are measured.
    """

    app: ASGIApp
    metrics: Metrics
    hosts: Collection[str]
    paths: Collection[str]
    timed: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.monotonic(), HUNG_UP

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            refused = self._refusal(Headers(scope=scope))
            await (refused or self.app)(scope, receive, noted)
        except Exception:
            status = 500  # the answer comes from outside, so it is not noted
            raise
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            seconds = time.monotonic() - started if path == self.timed else None
            self.metrics.count_request(path, status, seconds)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        """Return the answer to a request that is refused; None if it may pass."""
        host = headers.get("host", "")
        if self.hosts and _name(host) not in self.hosts:
            text = f"this server does not answer to the host {host!r}; start it with --host"
            return JSONResponse({"error": text}, 421)
        origin = headers.get("origin")
        if origin is not None and _place(origin) != host:
            return JSONResponse({"error": "this server does not answer pages of other sites"}, 403)
        return None


def _place(origin: str) -> str | None:
    """Return the host and port in an Origin header; None if it cannot be read."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
