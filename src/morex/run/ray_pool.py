"""Workers on a Ray cluster: each is an actor that starts a process, which does the stages.

The process is the same as that of local workers (``stage_process``), so results are the same, and
so is what happens when it is asked to end or runs out of memory. The actor has the resources and
hands bytes on; it imports only Ray. Nothing is shared but the run directory.
"""

import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from morex.core.stopping import GRACE
from morex.run.cluster import Died, InPool, Pool, Ready, Said, Worker
from morex.run.directory import RunError
from morex.run.needs import needs_of
from morex.run.stage_process import Job
from morex.run.stage_runner import StageRunner, Task
from morex.run.storage import LOCAL

_PATIENCE = 60.0
"""Seconds that network storage may take to show a file that another machine has written."""

_STORE = 80 * 2**20
"""Bytes of memory for objects of Ray, the fewest that it allows: stages share files only."""


def on_ray(runner: StageRunner, address: str, jobs: int | None) -> InPool:
    """Return workers on a cluster, as many as it has room for, or ``jobs``.

    Args:
        runner: of this process, which plans the stages.
        address: of the cluster, such as ``10.0.0.1:6379``; ``auto`` for the one that runs on this
            machine, ``local`` for one that is started here and ends with the run.
        jobs: the most stages to do at a time.

    Raises:
        ImportError: if Ray is not installed.
        RunError: if there is no such cluster, or it has no room for a worker.
    """
    ray = _connected(address)
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        needs = needs_of(runner.builder, jobs, nodes)
        room = needs.room(nodes)
        if not room:
            raise RunError(
                f"a stage needs {needs}, and no machine of the Ray cluster {address} has that; "
                f"they have {_in_words(nodes)}"
            )
        options = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "memory": needs.memory}
        pool = RayPool(ray, address, Job.of(runner, _PATIENCE), options)
        return InPool(pool, runner.observer, min(room, jobs or room))
    except BaseException:
        ray.shutdown()
        raise


def _in_words(nodes: Iterable[dict[str, float]]) -> str:
    said = (
        f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs, {n.get('memory', 0) / 1e9:.1f} GB"
        for n in nodes
    )
    return "; ".join(said) or "none"


def _connected(address: str) -> Any:
    """Return the module of Ray, connected to a cluster.

    Raises:
        ImportError: if it is not installed.
        RunError: if there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise ImportError("--ray needs Ray: pip install 'morex[ray]'") from None
    before = signal.getsignal(signal.SIGTERM)
    try:
        _connect(ray, address)
    except Exception as error:  # Ray raises many kinds
        reason = [*str(error).strip().splitlines(), type(error).__name__][0]
        raise RunError(f"no Ray cluster at {address} ({reason}); {_advice(address)}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's would end the run without a checkpoint
    return ray


def _advice(address: str) -> str:
    """Return what to do about a cluster that was not reached."""
    with suppress(ValueError):
        if _answers(_address_of(address)):
            return "if it asks for a token, put its token into ~/.ray/auth_token on this machine"
    return "start one with: ray start --head, or give --ray local"


def _send_token(ray: Any) -> None:
    """Let Ray send its token if there is one: then ``ray start`` has made the cluster ask for it.

    Ray itself does so for clusters that it starts or finds. It reads the variable on import, which
    may be long ago.
    """
    if (Path.home() / ".ray" / "auth_token").is_file() and "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        ray._raylet.Config.initialize("")


def _connect(ray: Any, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    ray._private.worker._worker_logs_enabled = False  # it prints each death to standard output
    if address == LOCAL:
        ray.init("local", include_dashboard=False, object_store_memory=_STORE, **quiet)
        return
    if address != "auto":
        if not _answers(_address_of(address)):  # Ray would try for minutes
            raise ConnectionError("nobody listens there")
        _send_token(ray)
    ray.init(address, **quiet)


class RayPool(Pool):
    """Actors of a Ray cluster.

    Args:
        ray: the module, which is connected.
        address: of the cluster, for messages.
        job: what all stages share.
        options: the resources of an actor.
    """

    def __init__(self, ray: Any, address: str, job: Job, options: dict[str, Any]) -> None:
        self.ray, self.address, self.job = ray, address, job
        self.head = _address_of(ray.get_runtime_context().gcs_address)
        self.actor = ray.remote(max_concurrency=4, max_restarts=0, **options)(_actor_class())
        self.actors: dict[Worker, Any] = {}  # by their streams of messages

    def start(self) -> Worker:
        """Ask for another actor, and for its messages."""
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONPATH")
        environment = {name: os.environ.get(name) for name in names}  # Ray sets some of them
        actor = self.actor.remote(pickle.dumps(self.job), environment)
        stream = actor.messages.options(num_returns="streaming").remote()
        self.actors[stream] = actor
        return stream  # type: ignore[no-any-return]

    def send(self, worker: Worker, task: Task) -> None:
        """Give an actor a stage."""
        self.actors[worker].send.remote(pickle.dumps(task))

    def messages(self) -> Iterator[tuple[Worker, Said]]:
        """Yield a message of each actor that has one, within a second."""
        streams = [*self.actors]
        if not streams:
            return
        ready, _ = self.ray.wait(streams, num_returns=len(streams), timeout=0.05)
        if not ready:
            ready, _ = self.ray.wait(streams, num_returns=1, timeout=1.0)
        if not _answers(self.head):
            self._end_without_head()
        for stream in ready:
            yield stream, self._next(stream)

    def _next(self, stream: Any) -> Said:
        """Return the next message of an actor."""
        try:
            found = self.ray.get(next(stream))
        except (StopIteration, self.ray.exceptions.RayError) as error:
            del self.actors[stream]
            if not _answers(self.head):
                self._end_without_head()
            reason = getattr(error, "preempted", False)
            return Died("its machine was taken away" if reason else "its worker ended unexpectedly")
        match found:
            case bytes():
                return pickle.loads(found)  # type: ignore[no-any-return]  # of our own processes
            case str(host):
                return Ready(host)
            case _:
                self.ray.kill(self.actors.pop(stream))
                return Died(_ended_with(found))

    def _end_without_head(self) -> NoReturn:
        self.actors = {}
        start = "" if self.address == LOCAL else "start it again, and "
        raise RunError(
            f"the Ray cluster {self.address} has ended; {start}the same command goes on from the "
            "checkpoints"
        )

    def stop(self, working: Iterable[Worker]) -> None:
        """End all actors, and the connection; those that are working first keep what they have."""
        with suppress(Exception):  # what is gone has ended
            stopping = [self.actors[w].stop.remote() for w in working if w in self.actors]
            self.ray.wait(stopping, num_returns=len(stopping), timeout=GRACE + 2)
        for actor in self.actors.values():
            with suppress(Exception):
                self.ray.kill(actor)
        self.actors = {}
        self.ray.shutdown()


def _ended_with(code: int) -> str:
    """Return how a process ended, given its exit code or minus the number of a signal."""
    if code >= 0:
        return f"its process ended unexpectedly with exit code {code}"
    known = {*map(int, signal.Signals)}
    name = signal.Signals(-code).name if -code in known else f"signal {-code}"
    hint = " (use fewer --jobs if memory ran out)" if -code == signal.SIGKILL else ""
    return f"its process was killed by {name}{hint}"


def _address_of(text: str) -> tuple[str, int]:
    """Return host and port.

    Raises:
        ValueError: if it is not an address.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"expected an address such as 10.0.0.1:6379, got {text!r}")
    return host.strip("[]"), int(port)


def _answers(head: tuple[str, int]) -> bool:
    """Return whether somebody listens at an address; a second try forgives a moment."""
    for pause in (0.0, 0.5):
        time.sleep(pause)
        with suppress(OSError), socket.create_connection(head, timeout=5):
            return True
    return False


def _actor_class() -> type:
    """Return the class of the actors. Ray sends it as it is, so that they need not import morex."""

    class Host:
        def __init__(self, job: bytes, environment: dict[str, str | None]) -> None:
            import os
            import socket
            import subprocess
            import sys
            from multiprocessing.connection import Connection

            self.host = socket.gethostname()
            ours, theirs = socket.socketpair()
            wanted = {name: value for name, value in environment.items() if value is not None}
            kept = {n: v for n, v in os.environ.items() if n not in environment}
            start = f"from morex.run.stage_process import serve; serve({theirs.fileno()})"
            self.process = subprocess.Popen(
                [sys.executable, "-c", start],
                env=kept | wanted | {"PYTHONSAFEPATH": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,  # its end tells the process that this one has ended
            )
            theirs.close()
            self.connection = Connection(ours.detach())
            with suppress(OSError):
                self.connection.send_bytes(job)

        def messages(self) -> Any:
            yield self.host
            with suppress(EOFError, OSError):
                while True:
                    yield self.connection.recv_bytes()
            yield self.process.wait()

        def send(self, task: bytes) -> None:
            with suppress(OSError):
                self.connection.send_bytes(task)

        def stop(self) -> None:
            self.process.terminate()
            self.process.wait()

    return Host
