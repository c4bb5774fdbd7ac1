"""Runs an application until it is asked to end, and then answers what was accepted."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import uvicorn
from starlette.types import ASGIApp


def bound(host: str, port: int) -> socket.socket:
    """Return a socket at an address; port 0 stands for any that is free.

    Raises:
        ValueError: if the address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ValueError(
            f"--host {host}: {_words(error)}; give an address of this machine"
        ) from None
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise ValueError(
            f"cannot listen at {host}, port {port}: {_words(error)}; choose another --port"
        ) from None
    return made


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def address_of(listening: socket.socket) -> str:
    """Return the address of a socket for a browser, such as ``http://127.0.0.1:8000``."""
    host, port, *_ = listening.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: ASGIApp, listening: socket.socket, grace: float, started: Callable[[], None]
) -> None:
    """Answer requests until a signal asks the process to end (SIGINT, SIGTERM or SIGHUP).

    Then no more are accepted. Those that were are answered, for at most ``grace`` seconds.

    Args:
        app: what answers.
        listening: where; it is closed in the end.
        grace: seconds.
        started: called once connections are accepted.
    """
    server = Server(app, grace, started)
    with server.hung_up(), suppress(KeyboardInterrupt):  # uvicorn repeats the signal at its end
        server.run(sockets=[listening])


class Server(uvicorn.Server):
    """uvicorn, quiet, which tells when it has started."""

    def __init__(self, app: ASGIApp, grace: float, started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="error",
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=int(grace),
            )
        )
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        await super().startup(sockets)
        self._tell()

    @contextmanager
    def hung_up(self) -> Iterator[None]:
        """Treat SIGHUP, which a closed terminal sends, as uvicorn treats SIGTERM."""
        number = getattr(signal, "SIGHUP", None)
        if number is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(number)
        if before is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, self._end)
        try:
            yield
        finally:
            signal.signal(number, before)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.should_exit = True
