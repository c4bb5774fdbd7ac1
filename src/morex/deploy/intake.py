"""What a server reads from its clients, and within which bounds."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from morex.core.units import memory

HUNG_UP = 499
"""The status that is counted, though nobody receives it, if a client hangs up."""

_ENVELOPE = 2**16
"""Bytes that a form may have around the picture."""

_PATIENCE = 5.0
"""Seconds for which a client may send on after it was refused."""

_HOW = "send it as the body of the request, or as a file in a form"


@dataclass(frozen=True)
class Limits:
    """How much a server takes.

    Attributes:
        bytes: of an encoded picture.
        pixels: of a decoded picture.
        queue: requests that are accepted and not answered yet.
        batch: pictures that are classified together.
        seconds: that a client may take to send a picture.
        grace: seconds in which what was accepted is answered when the server ends.
    """

    bytes: int = 8 * 2**20
    pixels: int = 2**24
    queue: int = 256
    batch: int = 64
    seconds: float = 30.0
    grace: float = 30.0


class Refusal(Exception):  # noqa: N818 (it is no fault of the server)
    """A request that is not answered as the client wished.

    Args:
        status: of the answer.
        text: one sentence for the client.
        retry: after how many seconds the client may try again, if that may help.
    """

    def __init__(self, status: int, text: str, retry: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry = retry


async def read_picture(request: Request, limits: Limits) -> bytes:
    """Return the encoded picture in a request: its body, or the first file of a form.

    Raises:
        Refusal: if it is too large, too slow, or not there.
    """
    is_form = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    most = limits.bytes + (_ENVELOPE if is_form else 0)
    body = await read_body(request, most, limits)
    content = await _file_in_form(request, body) if is_form else body
    if len(content) > limits.bytes:
        raise too_large(limits)
    if not content:
        raise Refusal(422, f"there is no picture in the request; {_HOW}")
    return content


async def read_body(request: Request, most: int, limits: Limits) -> bytes:
    """Return the body of a request.

    Raises:
        Refusal: if it has more than ``most`` bytes, takes too long, or the client hangs up.
    """
    if int(request.headers.get("content-length", "0")) > most:  # the HTTP parser has checked it
        await let_finish(request, 4 * most)
        raise too_large(limits)
    found = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                found += part
                if len(found) > most:
                    break
    except TimeoutError:
        raise Refusal(408, f"the picture did not arrive in {limits.seconds:g} seconds") from None
    except ClientDisconnect:
        raise Refusal(HUNG_UP, "the client hung up") from None
    if len(found) > most:
        raise too_large(limits)
    return bytes(found)


async def let_finish(request: Request, most: int) -> None:
    """Read and forget the rest of a request that is refused.

    A client that still sends when the connection is closed might never see the answer.
    """
    if request.headers.get("expect", "").lower() == "100-continue":
        return  # it asks before it sends
    left = most
    try:
        async with asyncio.timeout(_PATIENCE):
            async for part in request.stream():
                left -= len(part)
                if left < 0:
                    return
    except (TimeoutError, ClientDisconnect):
        return


def too_large(limits: Limits) -> Refusal:
    """Return the answer to more bytes than are read."""
    return Refusal(413, f"the picture has more than {memory(limits.bytes)}; send a smaller file")


async def _file_in_form(request: Request, body: bytes) -> bytes:
    """Return the content of the first file of a form; empty if it has none."""

    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(request.headers, whole(), max_files=1, max_fields=8).parse()
    except (MultiPartException, KeyError):
        raise Refusal(
            422, f"the form cannot be read; expected one with a picture; {_HOW}"
        ) from None
    try:
        files = [part for part in form.values() if isinstance(part, UploadFile)]
        return await files[0].read() if files else b""
    finally:
        await form.close()
