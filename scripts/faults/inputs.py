"""Bad inputs of every kind: each must end in one clear error and exit code 2.

What counts as a fault: a traceback, a crash, a hang, an input that is accepted, no message.
"""

import io
import json
import os
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import yaml
from PIL import Image

from faults.bench import Bench, Ended
from faults.kind import Kind, Trial, Verdict

SECONDS, GIB = 30, 12

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


class Case(NamedTuple):
    """One bad input: its kind, and the arguments of the command line."""

    kind: str
    arguments: tuple[str, ...]


class Place:
    """A folder with a recipe, a finished run, and files that are not what they should be.

    Args:
        root: an empty folder.
        run: a finished run of ``RECIPE``.
    """

    def __init__(self, root: Path, run: Path) -> None:
        self.root, self.run = root, run
        self.recipe = root / "tiny.yaml"
        self.recipe.write_text(RECIPE)
        self.model = run / "models" / "more"
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


class BadInputs(Kind):
    """One command with something that it cannot use."""

    name = "bad input"

    def trials(self, draw: Random, times: int) -> Iterator[Trial]:
        """Yield every bad input once, or 300 of them for each of ``times``."""
        numbers = [*range(_COUNT)]
        draw.shuffle(numbers)
        for number in sorted(numbers[: 300 * times]):
            yield Trial(f"bad input {number}", partial(_refused, number))


_COUNT = 1010
"""How many bad inputs there are."""

_cases: dict[Path, list[Case]] = {}
"""Those that were made in a folder."""


def _refused(number: int, bench: Bench, run: Path) -> Verdict:
    case = _made(bench)[number]
    ended = bench.morex([*case.arguments], seconds=SECONDS, gib=GIB)
    words = f"morex {' '.join(argument[:60] for argument in case.arguments)}"
    if problem := fault(ended):
        return Verdict(False, problem, f"{words}: {ended.err}")
    return Verdict(True, f"refused ({case.kind})")


def _made(bench: Bench) -> list[Case]:
    if bench.folder not in _cases:
        root = bench.folder / "inputs"
        root.mkdir()
        (root / "whole.yaml").write_text(RECIPE)
        run = root / "run"
        bench.morex(["run", str(root / "whole.yaml"), "--out", str(run), "--jobs", "1"])
        _cases[bench.folder] = [*Place(root, run).cases()]
        assert len(_cases[bench.folder]) == _COUNT
    return _cases[bench.folder]


def fault(ended: Ended) -> str:
    """Return what is wrong with an answer; nothing if it is one clear error."""
    if ended.code == -signal.SIGALRM:
        return "hang"
    if ended.code < 0:
        return f"crash ({signal.Signals(-ended.code).name})"
    if "Traceback (most recent call last)" in ended.err:
        return "traceback"
    if ended.code == 0:
        return "accepted"
    if ended.code != 2 or not ("error:" in ended.err.lower() or "Usage:" in ended.err):
        return f"unclear (code {ended.code})"
    return ""
