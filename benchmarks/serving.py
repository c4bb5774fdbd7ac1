"""``morex serve`` under load, against the bare model at the batch that the server reached.

The server is a process of its own, with one thread for torch; the clients are threads of this one.
Ratios are of CPU time, which other programs on the machine disturb little. Requests per second and
latencies are of the clock, and need an idle machine.
"""

import http.client
import io
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from PIL import Image

from benchmarks.measuring import Measurement
from morex import load

MODEL = "cifar10-small/more+-all"
_CLIENTS = (1, 8, 64)
_SECONDS = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")


def measure() -> Iterator[Measurement]:
    """Ask with 1, 8 and 64 clients; then overload the server, and hang up on it."""
    with _server() as server:
        _load(server, 2, 2.0)  # a warm-up
        for clients in _CLIENTS:
            yield _under_load(server, clients)
    with _server("--queue", "8") as small:
        yield _overloaded(small)
        yield _hung_up(small)


@dataclass(frozen=True)
class _Server:
    """A server: its process, and where it listens."""

    pid: int
    host: str
    port: int

    @property
    def cpu_seconds(self) -> float:
        """How long it has computed."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def client(self) -> http.client.HTTPConnection:
        """Return a connection to it."""
        return http.client.HTTPConnection(self.host, self.port, timeout=120)

    def metric(self, name: str) -> float:
        """Return a number that it counts."""
        client = self.client()
        client.request("GET", "/metrics")
        found = re.search(rf"^{name} (\S+)$", client.getresponse().read().decode(), re.MULTILINE)
        client.close()
        return float(found[1]) if found else 0.0


@contextmanager
def _server(*options: str) -> Iterator[_Server]:
    command = [sys.executable, "-m", "morex.cli", "serve", MODEL, "--port", "0", "--api-only"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, "the server did not start"
        place = urlsplit(found[0])
        yield _Server(process.pid, str(place.hostname), place.port or 0)
    finally:
        process.terminate()
        process.communicate()


def _picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _load(server: _Server, clients: int, seconds: float) -> tuple[Counter[int], list[float]]:
    """Ask with several clients for a while; return the statuses, and the seconds of each answer."""

    def ask(seed: int) -> tuple[Counter[int], list[float]]:
        content, statuses, times = _picture(seed), Counter[int](), list[float]()
        client, end = server.client(), time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            client.request("POST", "/predict", content)
            answer = client.getresponse()
            answer.read()
            statuses[answer.status] += 1
            times.append(time.perf_counter() - started)
        client.close()
        return statuses, times

    with ThreadPoolExecutor(clients) as pool:
        found = [*pool.map(ask, range(clients))]
    return sum((s for s, _ in found), Counter[int]()), [t for _, times in found for t in times]


def _under_load(server: _Server, clients: int) -> Measurement:
    names = ("morex_batch_size_sum", "morex_batch_size_count")
    before = [server.metric(name) for name in names]
    cpu, started = server.cpu_seconds, time.perf_counter()
    statuses, times = _load(server, clients, _SECONDS)
    elapsed, cpu = time.perf_counter() - started, server.cpu_seconds - cpu
    pictures, batches = (server.metric(n) - b for n, b in zip(names, before, strict=True))
    batch = max(1, round(pictures / batches))
    bare, bare_clock = _bare(batch)
    about: dict[str, Any] = {
        "requests_per_second": round(len(times) / elapsed, 1),
        "p50_ms": round(1000 * statistics.median(times), 1),
        "p99_ms": round(1000 * statistics.quantiles(times, n=100)[98], 1),
        "mean_batch": round(pictures / batches, 1),
        "statuses": {str(status): count for status, count in statuses.items()},
        "cpu_ms_per_request": round(1000 * cpu / len(times), 2),
        "bare_cpu_ms_per_image": round(1000 * bare, 2),
        "bare_images_per_second": round(1 / bare_clock, 1),
    }
    name = f"CPU time of the bare model / server, {clients} client(s), batch {batch}"
    return Measurement(name, bare * len(times) / cpu, about=about)


@torch.no_grad()
def _bare(batch: int) -> tuple[float, float]:
    """Return the seconds of the model for an image in a batch, by the thread and by the clock."""
    torch.set_num_threads(1)
    model, x = load(MODEL), torch.rand(batch, 3, 32, 32)
    model(x)
    repeats = max(3, 128 // batch)
    cpu, clock = time.thread_time(), time.perf_counter()
    for _ in range(repeats):
        model(x)
    images = batch * repeats
    return (time.thread_time() - cpu) / images, (time.perf_counter() - clock) / images


def _overloaded(server: _Server) -> Measurement:
    """Return the share of requests that are answered, with eight clients for each place."""
    statuses, _ = _load(server, 64, _SECONDS)
    good = statuses[200] + statuses[503]
    about = {"statuses": {str(status): count for status, count in statuses.items()}}
    name = "requests answered with 200 or 503 / all, 64 clients and a queue of 8"
    return Measurement(name, good / statuses.total(), 1.0, about=about)


def _hung_up(server: _Server) -> Measurement:
    """Return the share of requests that are answered while other clients hang up."""

    def hang_up(seed: int) -> None:
        end = time.perf_counter() + _SECONDS
        while time.perf_counter() < end:
            client = server.client()
            client.request("POST", "/predict", _picture(seed))
            client.close()
            time.sleep(0.05)

    with ThreadPoolExecutor(3) as rude:
        pending = [rude.submit(hang_up, seed) for seed in range(3)]
        statuses, _ = _load(server, 3, _SECONDS)
        for each in pending:
            each.result()
    end = time.perf_counter() + _SECONDS  # what those who hung up had sent may still be computed
    while (left := server.metric("morex_queue_length")) and time.perf_counter() < end:
        time.sleep(0.1)
    about = {
        "statuses": {str(status): count for status, count in statuses.items()},
        "hung_up": server.metric('morex_requests_total{path="/predict",status="499"}'),
        "still_in_the_queue": left,
    }
    name = "requests answered with 200 or 503 / all, while three clients hang up"
    good = statuses[200] + statuses[503]
    return Measurement(name, good / statuses.total() if left == 0 else 0.0, 1.0, about=about)
