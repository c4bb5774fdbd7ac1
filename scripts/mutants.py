"""Break one source file in many small ways, and print the changes that no test notices.

    python scripts/mutants.py src/morex/artifacts/statistics.py [TESTS ...]

mutmut writes the mutants, on a copy of the sources in a temporary folder. The tests of the file's
room (``tests/artifacts`` here), or those given, are collected once; then every mutant is tested in
a fork, which runs the tests that call the mutated function, the fastest first, until one fails.

Error messages are not mutated, and neither is code outside functions, such as the defaults of
dataclasses. Objects that test modules make while they are imported are made without the mutation.
"""

import argparse
import difflib
import fnmatch
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from typing import Any

import libcst as cst
import libcst.matchers as m
import pytest
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.utils.format_utils import get_mutant_name, mangled_name_from_mutant_name

# Decorators that mutmut handles itself, or that mean nothing below the function.
KEPT = (
    m.Name("staticmethod") | m.Name("classmethod") | m.Name("abstractmethod") | m.Name("overload")
)
# The time limit of a mutant: SLOWER times what its tests take without it, plus GRACE seconds.
SLOWER, GRACE = 10, 10


class MoveDecorators(cst.CSTTransformer):
    """Turns ``@property def f`` into ``def f`` and ``f = property(f)``.

    mutmut leaves out functions with decorators, which would be most properties and attacks.
    """

    def leave_FunctionDef(  # noqa: N802
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef | cst.FlattenSentinel[Any]:
        """Move the decorator of a function that has exactly one."""
        if len(original_node.decorators) != 1:
            return updated_node
        decorator, name = updated_node.decorators[0].decorator, updated_node.name
        if m.matches(decorator, KEPT | m.Attribute(attr=m.Name("setter"))):
            return updated_node
        call = cst.Assign([cst.AssignTarget(name)], cst.Call(decorator, [cst.Arg(name)]))
        plain = updated_node.with_changes(decorators=[])
        return cst.FlattenSentinel([plain, cst.SimpleStatementLine([call])])


@dataclass
class Verdicts:
    """A plugin of pytest that tests mutants instead of the code as it is.

    Tests that take more than ``fast`` seconds are left out. ``by_mutant`` says what became of each
    mutant: killed, survived, timed out, crashed, or called by no fast test.
    """

    mutants: list[str]
    fast: float
    by_mutant: dict[str, str] = field(default_factory=dict)

    def pytest_configure(self) -> None:
        """Let hypothesis try the same examples each time, and not shrink those that fail."""
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", derandomize=True, database=None, phases=phases)
        settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Find out which tests call which function, then test each mutant by those."""
        if session.testsfailed:
            raise session.Failed("the tests cannot be collected")
        calls = Path("calls.json").absolute()
        if in_fork(lambda: record_calls(session, calls)) != 0:
            raise session.Failed("the tests fail before anything is mutated")
        tests = json.loads(calls.read_text())
        for done, name in enumerate(self.mutants, 1):
            called = tests.get(mangled_name_from_mutant_name(name), {})
            chosen = {test: seconds for test, seconds in called.items() if seconds <= self.fast}
            verdict = test_mutant(session, name, chosen) if chosen else "called by no fast test"
            self.by_mutant[name] = verdict
            print(f"\r{done}/{len(self.mutants)}", end="", file=sys.stderr)
        return True


def record_calls(session: pytest.Session, path: Path) -> int:
    """Run all tests; write for each function the tests that call it, with their seconds."""
    set_mutant_under_test("stats")
    calls: dict[str, dict[str, float]] = {}
    for item in session.items:
        start = process_time()
        run_tests(session, [item])
        for function in state()._stats:
            calls.setdefault(function, {})[item.nodeid] = process_time() - start
        state()._stats.clear()
    path.write_text(json.dumps(calls))
    return session.testsfailed


def test_mutant(session: pytest.Session, name: str, tests: dict[str, float]) -> str:
    """Return what became of a mutant under the tests given with their seconds."""
    chosen = sorted((i for i in session.items if i.nodeid in tests), key=lambda i: tests[i.nodeid])
    seconds = int(SLOWER * sum(tests.values())) + GRACE

    def test() -> int:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        signal.alarm(10 * seconds)  # for what waits and computes nothing
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        set_mutant_under_test(name)
        return run_tests(session, chosen)

    verdicts = {0: "survived", 1: "killed"}
    verdicts |= dict.fromkeys((-signal.SIGXCPU, -signal.SIGALRM, -signal.SIGKILL), "timed out")
    return verdicts.get(in_fork(test), "crashed")


def run_tests(session: pytest.Session, items: Iterable[pytest.Item]) -> int:
    """Run tests until one fails; return 1 if one did, else 0."""
    for item in items:
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        if session.testsfailed:
            return 1
    return 0


def in_fork(work: Callable[[], int]) -> int:
    """Return the exit status of ``work`` in a fork of this process; -n if signal n ended it."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1  # an exception that leaves pytest, such as SystemExit, is noticed too
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def diffs(file: Path, code: str, names: Iterable[str]) -> dict[str, str]:
    """Return what each mutant changes, read from the code that holds all of them."""
    functions = {}
    for node in m.findall(cst.parse_module(code), m.FunctionDef()):
        function = cst.ensure_type(node, cst.FunctionDef)
        text = cst.Module([function.with_changes(name=cst.Name("_"))]).code
        functions[function.name.value] = text.strip().splitlines()
    found = {}
    for name in names:
        mutated = name.rpartition(".")[2]
        original = functions[mangled_name_from_mutant_name(mutated) + "__mutmut_orig"]
        lines = difflib.unified_diff(
            original, functions[mutated], str(file), name, n=2, lineterm=""
        )
        found[name] = "\n".join(lines)
    return found


def run(file: Path, tests: list[str], fast: float, only: str, every: int) -> str:
    """Test the mutants of a file; return the diffs of those not killed, and counts."""
    moved = cst.parse_module(file.read_text()).visit(MoveDecorators()).code
    mutated = mutate_file_contents(str(file), moved)
    names = [get_mutant_name(file, name) for name in mutated.mutant_names]
    verdicts = Verdicts(fnmatch.filter(names, f"*{only}")[::every], fast)
    with tempfile.TemporaryDirectory(prefix="morex-mutants-") as scratch:
        for folder in ("src", "tests", "scripts"):
            shutil.copytree(folder, Path(scratch) / folder)
        shutil.copy("pyproject.toml", scratch)
        (Path(scratch) / file).write_text(mutated.code)
        os.chdir(scratch)
        sys.path.insert(0, str(Path(scratch) / "src"))
        status = pytest.main(["-s", "-p", "no:cacheprovider", *tests], plugins=[verdicts])
    if status:
        raise SystemExit(f"pytest ended with {status!r}")
    alive = {name: what for name, what in verdicts.by_mutant.items() if what != "killed"}
    changes = diffs(file, mutated.code, alive)
    counts = ", ".join(f"{n} {w}" for w, n in Counter(verdicts.by_mutant.values()).most_common())
    report = [f"{what}\n{changes[name]}\n" for name, what in alive.items()]
    return "\n".join(
        [*report, f"{file}: {len(verdicts.mutants)} of {len(names)} mutants: {counts}"]
    )


def main() -> None:
    """Read the arguments and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="a file under src/morex/, from the repository root")
    parser.add_argument("tests", nargs="*", help="test files; by default those of the file's room")
    parser.add_argument(
        "--fast", type=float, default=2.0, help="leave out tests that take more seconds"
    )
    parser.add_argument("--only", default="*", help="pattern of the names of mutants to test")
    parser.add_argument("--every", type=int, default=1, help="test only every Nth mutant")
    args = parser.parse_args()
    room = Path("tests") / args.file.parent.name
    if not (args.file.is_file() and args.file.is_relative_to("src/morex") and room.is_dir()):
        parser.error(f"expected a file of a room, like src/morex/models/gates.py, got {args.file}")
    print(run(args.file, args.tests or [str(room)], args.fast, args.only, args.every))


if __name__ == "__main__":
    main()
