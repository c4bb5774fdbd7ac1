"""A headless Chromium, controlled through a pipe: for screenshots, and for tests of pages."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
)


def find_browser() -> str | None:
    """Return the path of an installed browser, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator["Browser"]:
    """Start a browser with an empty profile, and end it after the block.

    Raises:
        FileNotFoundError: if none is installed.
    """
    program = find_browser()
    if program is None:
        raise FileNotFoundError(f"no browser: none of {', '.join(NAMES)} is installed")
    (to_read, ours_out), (ours_in, to_write) = os.pipe(), os.pipe()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (to_read, to_write)]

    def wire() -> None:
        os.dup2(high[0], 3)  # where the browser reads
        os.dup2(high[1], 4)  # and where it answers

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}"],
            close_fds=False,
            preexec_fn=wire,
            stderr=subprocess.DEVNULL,
        )
        for fd in (*high, to_read, to_write):
            os.close(fd)
        try:
            with open(ours_out, "wb") as out, open(ours_in, "rb") as into:
                yield Browser(out, into)
        finally:
            process.kill()
            process.wait()


class Browser:
    """One tab; ``events`` holds the events that it reported since the page was opened."""

    def __init__(self, out: Any, into: Any) -> None:
        self.out, self.into = out, into
        self.events: list[dict[str, Any]] = []
        self.number, self.session, self.buffer = 0, "", b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the Chrome DevTools protocol and return its result.

        Raises:
            RuntimeError: if the browser reports an error, or has ended.
        """
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.out.write(json.dumps(message).encode() + b"\0")
        self.out.flush()
        while (answer := self._next()).get("id") != self.number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            read = self.into.read1(1 << 16)
            if not read:
                raise RuntimeError("the browser has ended")
            self.buffer += read
        message, _, self.buffer = self.buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def open(
        self, address: str, *, width: int = 1280, height: int = 900, dark: bool = False
    ) -> None:
        """Open a page in a window of the given size, and wait until it is loaded."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression.

        Raises:
            RuntimeError: if it throws.
        """
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def reported(self, *methods: str) -> list[dict[str, Any]]:
        """Return the content of the events of these kinds since the page was opened."""
        return [event["params"] for event in self.events if event["method"] in methods]

    def screenshot(self, *, whole: bool = False, height: int | None = None) -> bytes:
        """Return a PNG of the window, of the whole page, or of its top."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        options: dict[str, Any] = {"captureBeyondViewport": True, "clip": clip}
        if height:
            clip["height"] = height
        answer = self.call("Page.captureScreenshot", **(options if whole or height else {}))
        return base64.b64decode(answer["data"])

    def pdf(self) -> bytes:
        """Return the page as it is printed, a PDF."""
        options = {"preferCSSPageSize": True, "printBackground": False}
        return base64.b64decode(self.call("Page.printToPDF", **options)["data"])
