"""Bad inputs of every kind: each must end in one clear error and exit code 2.

    python scripts/bad_inputs.py              # all of them, as a table by kind
    python scripts/bad_inputs.py --every 10   # every tenth

Every input is given to the command line in a fork of this process, which may take 20 seconds and
12 GiB. What counts as a fault: a traceback, a crash, a hang, an input that is accepted, no message.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from morex.cli.main import main as morex

SECONDS, GIB = 20, 12

RECIPE = """
name: tiny
data: {name: digits, train_examples: 120, validation_examples: 40}
network: {architecture: resnet10, width: 4}
perturbations:
  clean: {kind: clean}
  linf: {kind: linf, eps: 16/255}
  fog: {kind: fog, t: 0.15, light: 0.6}
inner: {steps: 2}
training: {epochs: 1, batch_size: 32, learning_rate: 0.05, average: 0.9, precision: fp32}
models:
  clean: {against: clean}
  Minf: {against: linf}
  MAX: {objective: max, against: [clean, linf]}
  MoRE: {kind: mixture, experts: [clean, Minf], against: [clean, linf], gate_warmup: {epochs: 1}}
columns: [clean, Minf, MAX, MoRE]
report: null
evaluation:
  examples: 10
  rows:
    clean: {attack: draws, perturbation: clean}
    fog: {attack: draws, perturbation: fog, draws: 2}
    pgd-linf: {attack: pgd, perturbation: linf, steps: 2}
"""

NO_NUMBER = (".nan", ".inf", "-.inf", "1e400", "true", "[]", "{}", "abc", "1/0", "1:30", "[1, 2]")
WHOLE = (*NO_NUMBER, "-1", "2.5", "'3'", "9" * 400, "99999999999999999999", "0x" + "f" * 400)
FLOAT = (*NO_NUMBER, "-1", "2023-13-45", "1e999999999", "0x")
CHOICE = ("''", "nosuch", "3", "[]", "{}", "true", ".nan", "[[]]")
NAMES = ("nosuch", "[nosuch]", "3", "{}", "[[clean]]", "[3]", "true", "[clean, nosuch]")
SECTION = ("3", "abc", "true", "{nosuch: 1}", "[3]", "2023-01-01")

FIELDS: dict[tuple[str, ...], Sequence[str]] = {
    (
        *("seed", "threads", "network.width", "training.batch_size", "inner.steps", "data.crop"),
        *("inner.restarts", "evaluation.examples", "evaluation.batch_size", "data.image_size"),
        *("data.train_examples", "evaluation.rows.pgd-linf.steps", "evaluation.rows.fog.draws"),
        "evaluation.rows.fog.examples",
    ): WHOLE,
    (
        *("training.learning_rate", "training.epochs", "training.weight_decay"),
        *("perturbations.linf.eps", "perturbations.fog.t", "inner.relative_step"),
        *("evaluation.rows.pgd-linf.relative_step", "training.average", "data.validation"),
    ): FLOAT,
    (
        *("training.optimizer", "training.precision", "network.architecture", "saved_precision"),
        *("data.name", "perturbations.fog.kind", "models.MAX.objective", "models.MoRE.kind"),
        *("evaluation.rows.fog.attack", "evaluation.rows.fog.perturbation", "models.MoRE.combine"),
    ): CHOICE,
    (
        *("columns", "models.clean.against", "models.MoRE.experts", "models.MAX.against"),
        "models.MoRE.against",
    ): NAMES,
    (
        *("data", "training", "network", "models", "perturbations", "evaluation", "inner"),
        *(
            "evaluation.rows",
            "models.clean",
            "models.MoRE.gate_warmup",
            "gate",
            "models.clean.inner",
        ),
        *("perturbations.linf", "evaluation.rows.fog", "evaluation.suites", "report"),
    ): SECTION,
}
"""Fields of a recipe, and values that none of them takes."""

OVERRIDES = (
    *("a", "=", "a=", "=1", "x..y=1", ".=1", "models.=1", "models.clean.x=1", "a=b=c", "--x"),
    *("training.epochs==1", "models[0]=1", "models.clean={", "models.clean=[}", "training=*x"),
    *("name=a/b", "name=''", "name=../x", "name=.", "data.folder=/dev/null", "seed=!!binary x"),
    *("a=!!python/object/apply:os.system [x]", "data=&a [*a]", "training.epoch=1", "modles.x=1"),
)

_NUMBERS = ("-1", "1.5", "x", "", "nan", "0x3")
_DEVICES = ("meta", "cuda:99", "", "tpu", "cuda:-1", "CPU:0")
_SUITES = ("", "nosuch", "../x", "adaptive,quick", " ")

OPTIONS: dict[str, Sequence[str]] = {
    "evaluate MODEL --examples 3 --device {}": _DEVICES,
    "audit MODEL --examples 3 --device {}": _DEVICES,
    "plan RECIPE --device {}": _DEVICES,
    "evaluate MODEL --examples 3 --suite {}": _SUITES,
    "table RUN --suite {}": _SUITES,
    "run RECIPE --suite {}": _SUITES,
    "evaluate MODEL --examples {}": (*_NUMBERS, "0"),
    "evaluate MODEL --examples 3 --seed {}": _NUMBERS,
    "audit MODEL --examples 3 --steps {}": (*_NUMBERS, "0"),
    "run RECIPE --jobs {}": (*_NUMBERS, "0"),
    "evaluate MODEL --examples 3 --mean {}": ("0.5", "x", "0.5;0.5", "nan"),
    "evaluate MODEL --examples 3 --input-range {}": ("0..255", "0..2", ""),
    "evaluate MODEL --examples 3 --severity {}": ("3", "6", "0", "x"),
    "evaluate MODEL --examples 3 --corrupted {}": ("RUN", "RECIPE", "nosuch", ""),
    "evaluate MODEL --examples 3 --recipe {}": ("", "nosuch", "MODEL"),
    "evaluate MODEL --examples 3 {}": ("--nosuch", "more", "--suite"),
    "curve MODEL linf --examples 3 --factors {}": ("a", "-1", "nan", "inf", "1,,x", "1e999"),
    "curve MODEL {} --examples 3": ("", "nosuch", "Linf", "l3"),
    "extend RUN --with {}": (
        *("", "nosuch", "[", "rain: 3", "x: {kind: nosuch}", "x: {kind: rain, drops: -1}"),
        *("linf", "clean", "nosuch.py:X", "/dev/null:X"),
    ),
    "extend RUN --with rain --expert {}": ("", "rain", "rain=", "=x", "rain=nosuch", "fog=x"),
    "shrink RUN --without {}": ("", "nosuch", "clean,Minf", "MoRE"),
    "gate RUN --model {}": ("", "nosuch", "clean"),
    "table RUN --format {}": ("", "xml", "TEXT"),
    "{}": ("nosuch", "", "--nosuch"),
}
"""Options that no command takes."""

DOCUMENTS: dict[str, str] = {
    "a list in itself": "a: &a [*a]",
    "a mapping in itself": "a: &a {b: *a}",
    "deep lists": "a: " + "[" * 5000 + "]" * 5000,
    "deep mappings": "a: " + "{b: " * 3000 + "1" + "}" * 3000,
    "a date that is none": "name: 2023-13-45\nseed: 1",
    "a tag": "a: !!python/object/apply:os.system ['x']",
    "no base64": "a: !!binary xx=",
    "a null key": "? \n: 1",
    "a list as key": "? [a]\n: 1",
    "tabs": "a:\n\t- b",
    "two documents": "a: 1\n---\nb: 2",
    "nothing": "",
    "a number": "3",
    "a list": "- a",
    "a key twice": "name: a\nname: b",
    "a number of 5000 digits": "seed: " + "9" * 5000,
    "an unknown alias": "a: *b",
    "a merge of itself": "a: &a\n  <<: *a",
    "a merge of a number": "<<: 3",
    "billions of values": "\n".join(
        [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" if i else "a0: &a0 [1]" for i in range(40)]
    ),
    "a version of YAML": "%YAML 9.9\n---\na: 1",
    "a surrogate": 'name: "\\ud800"',
    "compositions of compositions": "perturbations:\n"
    + "\n".join(
        f"  c{i}: {{kind: compose, parts: [c{i - 1}, c{i - 1}]}}" if i else "  c0: {kind: snow}"
        for i in range(60)
    ),
}

DESCRIPTIONS: dict[str, Any] = {
    "width": 2**40,
    "outputs": -1,
    "image_size": [8],
    "mean": [],
    "std": ["a", "b", "c"],
    "architecture": ["resnet10"],
    "kind": {"a": 1},
    "depth": 3,
}


@dataclass(frozen=True)
class Case:
    """One bad input: its kind, and the arguments of the command line."""

    kind: str
    arguments: tuple[str, ...]


class Place:
    """A folder with a recipe, a finished run, and files that are not what they should be."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recipe = root / "tiny.yaml"
        self.recipe.write_text(RECIPE)
        self.run = root / "run"
        code, said = answer(("run", str(self.recipe), "--out", str(self.run), "--jobs", "1"), 300)
        assert code == 0, said
        self.model = self.run / "models" / "more"
        self.odd = [*self._odd_files()]

    def _odd_files(self) -> Iterator[Path]:
        (self.root / "empty").touch()
        (self.root / "bytes").write_bytes(bytes(range(256)) * 9)
        (self.root / "folder").mkdir()
        os.mkfifo(self.root / "pipe")
        (self.root / "loop").symlink_to("loop")
        names = ("empty", "bytes", "folder", "pipe", "loop", "missing", "x" * 300)
        yield from (self.root / name for name in names)
        yield from (Path("/dev/zero"), Path("/proc/self/mem"))

    def cases(self) -> Iterator[Case]:
        """Yield all bad inputs."""
        yield from self._fields()
        yield from self._documents()
        yield from self._options()
        yield from self._files()
        yield from self._models()
        yield from self._pictures()

    def _fields(self) -> Iterator[Case]:
        for fields, values in FIELDS.items():
            for field in fields:
                for value in values:
                    yield Case("values in recipes", ("plan", str(self.recipe), f"{field}={value}"))
        for text in OVERRIDES:
            yield Case("overrides", ("plan", str(self.recipe), text))

    def _documents(self) -> Iterator[Case]:
        for i, text in enumerate(DOCUMENTS.values()):
            path = self.root / f"document-{i}.yaml"
            path.write_text(text)
            model = str(self.model)
            yield Case("YAML", ("plan", str(path)))
            yield Case("YAML", ("evaluate", model, "--suite", str(path), "--examples", "3"))
            yield Case("YAML", ("extend", str(self.run), "--with", text or "''"))

    def _options(self) -> Iterator[Case]:
        """Yield options of every command; a place in braces stands for each of the values."""
        places = {"MODEL": str(self.model), "RUN": str(self.run), "RECIPE": str(self.recipe)}
        for command, values in OPTIONS.items():
            for value in values:
                words = (value if word == "{}" else word for word in command.split())
                yield Case("options", tuple(places.get(word, word) for word in words))

    def _files(self) -> Iterator[Case]:
        model, recipe = str(self.model), str(self.recipe)
        for path in map(str, self.odd):
            yield Case("files", ("run", path))
            yield Case("files", ("evaluate", path, "--examples", "3"))
            yield Case("files", ("evaluate", model, "--recipe", path, "--examples", "3"))
            yield Case("files", ("evaluate", model, "--corrupted", path, "--examples", "3"))
            yield Case("files", ("table", path))
            yield Case("files", ("gate", path))
            yield Case("files", ("report", path))
            yield Case("files", ("extend", path, "--with", "rain"))
            yield Case("files", ("shrink", path, "--without", "x"))
            yield Case("files", ("compare", path, path))
            yield Case("files", ("predict", path, "--model", model))
            yield Case("files", ("predict", path, "--model", path))
            yield Case("files", ("plan", recipe, f"perturbations.own={{kind: '{path}.py:X'}}"))
            yield Case("files", ("plan", recipe, "data.name=folder", "--data", path))
            if not path.endswith(("missing", "folder")):
                yield Case("files", ("run", recipe, "--out", path))
                out = ("--out", f"{path}/x.npz")
                yield Case("files", ("evaluate", model, *out, "--examples", "3"))

    def _models(self) -> Iterator[Case]:
        for name in ("", "hf://", "hf://a", "hf://a/b/c/d", ":x", "os:", "nosuch:make", "a:b:c"):
            yield Case("models", ("evaluate", name, "--recipe", "digits", "--examples", "3"))
            yield Case("models", ("predict", str(self.odd[1]), "--model", name))
        for name in ("sys:exit", "json:loads", "torch:float32", "os:getcwd", "torch.nn:Linear"):
            yield Case("models", ("evaluate", name, "--recipe", "digits", "--examples", "3"))
        content = json.loads((self.run / "models" / "clean" / "model.json").read_bytes())
        weights = (self.run / "models" / "clean" / "model.safetensors").read_bytes()
        for key, value in DESCRIPTIONS.items():
            folder = self.root / f"model-{key}"
            folder.mkdir()
            changed = {**content, "model": {**content["model"], key: value}}
            (folder / "model.json").write_text(json.dumps(changed))
            (folder / "model.safetensors").write_bytes(weights)
            yield Case("models", ("evaluate", str(folder), "--examples", "3"))
        for key in content:
            for value in (None, [], 3, "x" * 9, {"kind": "x.py:A"}):
                folder = self.root / f"model-{key}-{type(value).__name__}"
                folder.mkdir()
                (folder / "model.json").write_text(json.dumps({**content, key: value}))
                (folder / "model.safetensors").write_bytes(weights)
                yield Case("models", ("evaluate", str(folder), "--examples", "3"))

    def _pictures(self) -> Iterator[Case]:
        written = io.BytesIO()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(written, "PNG")
        whole = written.getvalue()
        odd = {
            "cut.png": whole[:40],
            "header.png": whole[:8],
            "huge.png": whole[:16] + (2**31 - 1).to_bytes(4, "big") * 2 + whole[24:],
            "post.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
            "text.png": b"no picture",
        }
        for name, content in odd.items():
            (self.root / name).write_bytes(content)
            yield Case("pictures", ("predict", str(self.root / name), "--model", str(self.model)))
            folder = self.root / f"pictures-{name}"
            for split in ("train", "test"):
                for label in ("a", "b"):
                    (folder / split / label).mkdir(parents=True)
                    (folder / split / label / name).write_bytes(content)
            recipe = yaml.safe_load(RECIPE)
            recipe["data"] = {"name": "folder", "image_size": 8}
            path = self.root / f"{name}.yaml"
            path.write_text(yaml.safe_dump(recipe))
            yield Case("pictures", ("plan", str(path), "--data", str(folder)))


def answer(arguments: Sequence[str], seconds: int = SECONDS) -> tuple[int, str]:
    """Call the command line in a fork; return exit code, negative for a signal, and text."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if not child:
            _call(arguments, said.fileno(), seconds)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read().decode(errors="replace")


def _call(arguments: Sequence[str], out: int, seconds: int) -> None:
    code = 70
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        if seconds <= SECONDS:
            resource.setrlimit(resource.RLIMIT_AS, (GIB * 2**30, GIB * 2**30))
        signal.alarm(seconds)
        sys.argv = ["morex", *arguments]
        morex()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def fault(code: int, said: str) -> str:
    """Return what is wrong with an answer; nothing if it is one clear error."""
    if code == -signal.SIGALRM:
        return "hang"
    if code < 0:
        return f"crash ({signal.Signals(-code).name})"
    if "Traceback (most recent call last)" in said:
        return "traceback"
    if code == 0:
        return "accepted"
    if code != 2 or not ("error:" in said.lower() or "Usage:" in said):
        return f"unclear (code {code})"
    return ""


def campaign(every: int = 1, first: int = 0) -> tuple[Counter[str], list[str]]:
    """Give every ``every``-th bad input to the command line.

    Returns:
        The number of inputs by kind, and the faults.
    """
    os.environ |= {"OMP_NUM_THREADS": "1", "MOREX_DEVICE": "cpu", "HF_HUB_OFFLINE": "1"}
    counts: Counter[str] = Counter()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        for i, case in enumerate(Place(Path(place)).cases()):
            if i % every != first:
                continue
            counts[case.kind] += 1
            if problem := fault(*(found := answer(case.arguments))):
                words = " ".join(arg[:60] for arg in case.arguments)
                faults.append(f"{problem}: morex {words}\n    {found[1].strip()[-300:]}")
                print(faults[-1], flush=True)
    return counts, faults


def main() -> None:
    """Do the campaign and print its table; exit with 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    given = parser.parse_args()
    started = time.monotonic()
    counts, faults = campaign(given.every)
    for kind, count in counts.items():
        print(f"{kind:20} {count:5}")
    print(f"{counts.total()} bad inputs, {len(faults)} faults, {time.monotonic() - started:.0f} s")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
