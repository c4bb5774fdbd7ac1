"""Everything that needs a GPU, in one command: tests, benchmarks, a run, its suites and audits.

    python scripts/on_gpu.py --data FOLDER --out FOLDER [--wheels FOLDER] [--minutes 60]

Each part has a time limit, and is stopped as Ctrl-C stops it. A second call with the same ``--out``
skips the parts that are done with the same code and continues the others. Whatever happens,
FOLDER/on_gpu.tar.gz holds what there is: tables, outcomes, records, report and logs, in at most
16 MB. It is written every minute and at the end. Weights stay in FOLDER/run.

The machine needs Python with PyTorch, and no network. ``--wheels`` is a folder with the other
packages; those that the machine lacks are installed into FOLDER/site, and nothing else changes.
Make it on a machine with a network, for the Python of the other one (3.12 here), and leave out
what is known to be there:

    tests='eagerpy|execnet|foolbox|gitdb|gitpython|httpcore|httpx|hypothesis|iniconfig|pluggy'
    tests="$tests|pyautoattack|pytest|pytest-xdist|python-multipart|requests|smmap"
    tests="$tests|sortedcontainers|starlette|uvicorn"
    grep -v '^torch==' requirements.lock > all.txt
    grep -iE "^($tests)==" requirements-dev.lock >> all.txt
    pip download --no-deps --only-binary=:all: --python-version 3.12 \\
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \\
        --platform manylinux2014_x86_64 -d wheels -r all.txt

Compiled code is kept in FOLDER/compiled. To go on later on another machine, bring the whole FOLDER
to the same path there: the archive alone does not continue a run. In less than half an hour, begin
with ``--only run``.

On a CPU, ``--device cpu --recipe cifar10-smoke --tiny --tests tests/core`` rehearses it.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType

from on_gpu_archive import write_archive, write_summary

HOME = Path(__file__).parents[1]
CODE = ("src", "tests", "benchmarks", "scripts")
NEEDED = (
    *("annotated-doc", "filelock", "huggingface-hub", "jinja2", "markdown-it-py", "markupsafe"),
    *("numpy", "pillow", "pyarrow", "pyautoattack", "pydantic", "pygments", "pyyaml", "rich"),
    *("safetensors", "scikit-learn", "shellingham", "torch", "typer", "pytest"),
)
ADAPTIVE = ("MAX (all)", "AVG (all)", "MoRE (all)", "MoRE+ (all)")
AUDITED = ("MoRE+ (all)", "MoRE (all)", "MAX (all)")
_PACK_EVERY = 60.0
"""Seconds between two archives while a part runs: a machine may be taken away at any time."""

_GRACE = 40.0
"""Seconds that a part has to write its checkpoint when it is stopped."""


@dataclass(frozen=True)
class Part:
    """A command with a time limit.

    Args:
        name: its name, and that of its log.
        minutes: its time limit.
        command: what is executed.
        good: the exit codes of a part that is done; an audit that flags something returns 1.
        output: where its standard output goes, apart from its log.
        needs: the part without which it is not started.
    """

    name: str
    minutes: float
    command: tuple[str, ...]
    good: tuple[int, ...] = (0,)
    output: str = ""
    needs: str = ""


class StoppedError(Exception):
    """The process is asked to end."""


def main() -> int:
    """Do the parts that are not done; return 0 if all are."""
    options = _options()
    out: Path = options.out.resolve()
    (out / "logs").mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * options.minutes
    for received in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if received != signal.SIGHUP or signal.getsignal(received) != signal.SIG_IGN:  # nohup
            signal.signal(received, _stop)
    try:
        environment = _environment(options, out)
        state = State(out / "state.json", _digest_of_code())
        for part in _parts(options, out):
            _do(part, state, environment, out, ends)
            _pack(out, state)
        return 0 if all(state.is_done(p) for p in _parts(options, out)) else 1
    except StoppedError as why:
        print(f"stopped: {why}; the same command continues", flush=True)
        return 130
    finally:
        _pack(out, State(out / "state.json", _digest_of_code()))


def _pack(out: Path, state: "State") -> None:
    write_summary(out, state.entries)
    left_out = write_archive(out)
    size = (out / "on_gpu.tar.gz").stat().st_size / 2**20
    print(f"{out / 'on_gpu.tar.gz'}: {size:.1f} MB, {len(left_out)} files left out", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder with the data set")
    parser.add_argument("--out", type=Path, required=True, help="where everything goes")
    parser.add_argument("--wheels", type=Path, help="a folder with the packages that are missing")
    parser.add_argument("--minutes", type=float, default=60, help="stop after this time")
    parser.add_argument("--recipe", default="cifar10-fast")
    parser.add_argument("--device", default="cuda", help="cpu for a rehearsal")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="paths of tests")
    parser.add_argument("--tiny", action="store_true", help="benchmarks at a tiny size")
    parser.add_argument("--images", type=int, default=200, help="images of suites and audits")
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="do only these parts")
    options = parser.parse_args()
    options.data = options.data.resolve()
    if Path(options.recipe).is_file():  # parts are started in another folder
        options.recipe = str(Path(options.recipe).resolve())
    return options


def _stop(number: int, frame: FrameType | None) -> None:
    raise StoppedError(signal.Signals(number).name)


def _parts(options: argparse.Namespace, out: Path) -> Iterator[Part]:
    """Yield the parts that are asked for, in their order."""
    for part in _all_parts(options, out):
        if not options.only or part.name.partition("-")[0] in options.only:
            yield part


def _all_parts(options: argparse.Namespace, out: Path) -> Iterator[Part]:
    """Yield the parts; those after the run depend on what it has made."""
    python, run = sys.executable, str(out / "run")
    morex = (python, "-m", "morex.cli")
    data, device = ("--data", str(options.data)), ("--device", options.device)
    tests = (python, "-m", "pytest", "-p", "no:benchmark", "-p", "no:cacheprovider", "-q")
    yield Part("gpu", 6, (*tests, "tests/test_gpu.py"))
    plan = (*morex, "plan", options.recipe, *data, *device, "--json")
    yield Part("plan", 4, plan, output="plan.json")
    yield Part("run", 30, (*morex, "run", options.recipe, *data, "--out", run, *device))
    size = ("--tiny",) if options.tiny else ()
    bench = (python, "-m", "benchmarks.gpu", *device, *size, "--minutes", "7")
    found = (*bench, "--out", str(out / "bench.json"))
    yield Part("bench", 9, found, good=(0, 1), output="bench.md")  # 1: a goal is missed
    if columns := _columns(out):
        yield Part("table", 1, (*morex, "table", run, "--format", "markdown"), output="table.md")
    if chosen := [name for name in ADAPTIVE if name in columns]:
        use = json.dumps({"examples": options.images, "columns": chosen})
        more = (f"evaluation.suites.adaptive={use}", *data, "--out", run, *device)
        # a call without the suites that comes after one with them would drop their results
        yield Part("suite", 12, (*morex, "run", options.recipe, *more), needs="run")
    for name in (name for name in AUDITED if name in columns):
        slug = columns[name]
        command = (*morex, "audit", f"{run}/models/{slug}", *data, *device)
        found = ("--examples", str(options.images), "--out", f"{run}/audits/{slug}.json")
        yield Part(f"audit-{slug}", 5, (*command, *found), good=(0, 1))
    every = (*tests, "--continue-on-collection-errors", *options.tests)
    if _is_installed("pytest-xdist"):
        workers = str(min(8, os.cpu_count() or 1))
        every += ("-n", workers, "--dist", "loadfile", "--no-loadscope-reorder")
    yield Part("tests", 15, every)


def _columns(out: Path) -> dict[str, str]:
    """Return the folder of every model that the run has evaluated."""
    try:
        found = json.loads((out / "run/results.json").read_text())["columns"]
    except (OSError, ValueError, KeyError):
        return {}
    return {name: Path(column["outcomes"]).stem for name, column in found.items()}


class State:
    """Which parts are done, with which code; kept in a file."""

    def __init__(self, path: Path, code: str) -> None:
        self.path, self.code = path, code
        known = json.loads(path.read_text()) if path.is_file() else {}
        self.entries: dict[str, dict[str, object]] = known

    def is_done(self, part: Part) -> bool:
        """Return whether the part was done by the same command and the same code."""
        same = self.entries.get(part.name, {}).get("command") == [*part.command]
        return same and self.ended_well(part.name)

    def ended_well(self, name: str) -> bool:
        """Return whether the part of that name was done with the same code."""
        entry = self.entries.get(name, {})
        return entry.get("code") == self.code and entry.get("status") == "done"

    def set(self, part: Part, status: str, seconds: float) -> None:
        """Write down how a part ended; its seconds add up over several calls."""
        before = self.entries.get(part.name, {})
        same = before.get("code") == self.code and before.get("status") != "done"
        spent = seconds + (float(str(before.get("seconds", 0))) if same else 0)
        self.entries[part.name] = {
            "status": status,
            "seconds": round(spent, 1),
            "code": self.code,
            "command": [*part.command],
        }
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.entries, indent=1))
        new.replace(self.path)


def _digest_of_code() -> str:
    """Return a checksum of everything that decides what the parts do."""
    files = (file for folder in CODE for file in sorted((HOME / folder).rglob("*")))
    digest = hashlib.sha256()
    for file in files:
        if file.suffix in (".py", ".yaml") and file.is_file():
            digest.update(f"{file.relative_to(HOME)}".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _do(part: Part, state: State, environment: dict[str, str], out: Path, ends: float) -> None:
    """Do a part unless it is done, within its limit and the time that is left."""
    if state.is_done(part):
        print(f"{part.name}: done before", flush=True)
        return
    if part.needs and not state.ended_well(part.needs):
        print(f"{part.name}: not started, because {part.needs} is not done", flush=True)
        return
    limit = min(60 * part.minutes, ends - time.monotonic() - _GRACE)
    if limit <= 0:
        print(f"{part.name}: no time is left", flush=True)
        return
    started = time.monotonic()
    print(f"{part.name}: at most {limit:.0f} s", flush=True)
    status = "stopped"
    try:
        code = _execute(part, environment, out, limit)
        status = "done" if code in part.good else f"failed with exit code {code}"
    except subprocess.TimeoutExpired:
        status = "out of time"
    finally:
        seconds = time.monotonic() - started
        state.set(part, status, seconds)
        print(f"{part.name}: {status} after {seconds:.0f} s", flush=True)


def _execute(part: Part, environment: dict[str, str], out: Path, limit: float) -> int:
    """Run a command and return its exit code; stop it if this process is stopped.

    Raises:
        subprocess.TimeoutExpired: if it takes longer than ``limit`` seconds.
    """
    with (out / "logs" / f"{part.name}.log").open("a") as log:
        print(f"# {time.ctime()}: {' '.join(part.command)}", file=log, flush=True)
        where = (out / part.output).open("w") if part.output else log
        with where, _process(part, environment, where, log) as process:
            return _wait(process, out, time.monotonic() + limit)


def _wait(process: subprocess.Popen[bytes], out: Path, ends: float) -> int:
    """Return the exit code of a process; write the archive again and again while it runs."""
    while True:
        left = ends - time.monotonic()
        try:
            return process.wait(min(left, _PACK_EVERY))
        except subprocess.TimeoutExpired:
            if left <= _PACK_EVERY:
                raise
            write_archive(out)


@contextmanager
def _process(
    part: Part, environment: dict[str, str], output: object, log: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command, and end it and its children at the end of the ``with`` block."""
    process = subprocess.Popen(
        part.command,
        cwd=HOME,
        env=environment,
        stdout=output,  # type: ignore[call-overload]
        stderr=log,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_GRACE - 10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _end_with_parent() -> None:
    """Ask Linux to end this process if the one that started it is killed."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _environment(options: argparse.Namespace, out: Path) -> dict[str, str]:
    """Return the environment of the parts, after a check of packages and device."""
    if not options.data.is_dir():
        raise SystemExit(f"--data {options.data}: there is no such folder")
    paths = [str(HOME / "src"), str(HOME), str(out / "site"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "MOREX_DATA": str(options.data),
        "PYTHONUNBUFFERED": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(out / "compiled"),
    }
    if options.wheels:
        _install(options.wheels, out / "site")
    sys.path.append(str(out / "site"))
    if missing := [name for name in NEEDED if not _is_installed(name)]:
        raise SystemExit(
            f"these packages are missing: {', '.join(missing)}; put their wheels into a folder and "
            f"name it with --wheels ({Path(__file__).name} begins with the command)"
        )
    if options.device != "cpu" and not _has_gpu():
        raise SystemExit("PyTorch finds no GPU here; --device cpu is for a rehearsal")
    return environment


def _has_gpu() -> bool:
    """Ask in another process: PyTorch would keep memory of the GPU in this one."""
    look = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", look], check=False).returncode == 0


def _install(wheels: Path, site: Path) -> None:
    """Install the wheels of packages that are missing into a folder, without their needs."""
    found = {file.name.partition("-")[0]: file for file in sorted(wheels.glob("*.whl"))}
    sys.path.append(str(site))
    files = [str(file) for name, file in found.items() if not _is_installed(name)]
    if files:
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps")
        subprocess.run([*pip, "--no-compile", "--target", str(site), *files], check=True)


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
