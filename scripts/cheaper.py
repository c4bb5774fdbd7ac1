"""Measure what cheaper forms of shipped mixtures cost in accuracy: sparse, or distilled.

    python scripts/cheaper.py cifar10-small --data FOLDER --work FOLDER

It writes ``cheaper.json`` and ``cheaper.md`` to ``results/SET/``. For each mixture there are the
mixture itself, sparse mixtures with a threshold and with a number of experts, a network that was
distilled from it, and AVG (all), the network from which that one started.

- The threshold is chosen on validation images: the least of ``THRESHOLDS`` with which an image
  asks, on average over the rows, at most 1 / 2.5 of the experts, or else the largest.
- Attacks go through the model that they are on: PGD, gate steering, and transfer, which for a
  sparse mixture also searches with the gradients of the mixture in which every expert is asked.
- Rows that are not attacked are measured on all test images.
- Images per second are measured in turn with the dense mixture, the fastest of several rounds each.

Everything is kept in the work folder: a call that was stopped goes on where it was, and finished
parts are not done again. ``--only quick`` leaves out the attacks that know the gate.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import BoolArray, Comparison, Proportion
from morex.attacks import PGD, frozen, search_of
from morex.cli.load_model import EvaluationRequest, open_for_evaluation
from morex.core.files import write_atomically
from morex.core.stopping import kept_first
from morex.core.threads import threads
from morex.data import ImageSet
from morex.evaluation.evaluate import evaluate
from morex.evaluation.gate_usage import moved_batches, one_run
from morex.evaluation.suite import Row, Suite
from morex.models.mixture import Mixture
from morex.models.named import FromFolder
from morex.models.routing import Routing, routed
from morex.models.save import save_model
from morex.recipe.suites import load_suite
from morex.run.checkpoint import FileCheckpoint
from morex.run.partial_results import PartialRows
from morex.run.provenance import provenance
from morex.training import AnswersOfTeacher, SideBySide, TrainingConfig, train

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
MIXTURES, BASELINE = ("more-all", "more+-all"), "avg-all"
THRESHOLDS = (0.02, 0.05, 0.1, 0.12, 0.15, 0.2, 0.3)
FEWER = 2.5
SUITES: dict[str, dict[str, Any]] = {
    "quick": {
        "*": {"attack": "draws", "over": ["clean", "transforms"]},
        "pgd-*": {"attack": "pgd", "over": "balls", "steps": 20, "restarts": 2, "relative_step": 5},
    },
    "draws": {"*": {"attack": "draws", "over": ["clean", "transforms"]}},
    "adaptive": {
        "steering-*": {"attack": "steering", "over": "balls", "steps": 10, "relative_step": 5},
        "transfer-*": {"attack": "transfer", "over": "balls", "steps": 20, "relative_step": 5},
    },
}
RATE = ((0.0, 0.0), (0.1, 1.0), (1.0, 0.0))


def main() -> None:
    """Do what is left, then write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", metavar="SET", help="a set of shipped models")
    parser.add_argument("--data", type=Path, required=True, help="the folder with the data set")
    parser.add_argument("--work", type=Path, required=True, help="where parts are kept")
    parser.add_argument("--examples", type=int, default=1000, help="test images without steering")
    parser.add_argument("--steered", type=int, default=500, help="test images for steering")
    parser.add_argument("--epochs", type=float, default=3, help="of distillation; 0 for none")
    parser.add_argument("--only", choices=("quick", "tables"), help="leave out the rest")
    given = parser.parse_args()
    Cheaper(given).do()


class Cheaper:
    """The measurements on one set of shipped models.

    Args:
        given: the arguments of the command line.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.work: Path = given.work / given.models
        self.work.mkdir(parents=True, exist_ok=True)
        self.builder = open_for_evaluation(
            self.request(f"{given.models}/{BASELINE}"), print
        ).builder

    def request(self, model: str, **more: Any) -> EvaluationRequest:
        """Return a request to evaluate a model on the CPU."""
        return EvaluationRequest(model, folder=self.given.data, device=CPU, **more)

    def do(self) -> None:
        """Do what is left, then write the tables."""
        if self.given.only != "tables":
            for mixture in MIXTURES:
                self.make_sparse(mixture)
            self.measure("quick", self.given.examples)
            for mixture in MIXTURES if self.given.epochs else ():
                self.distil(mixture)
                self.measure("quick", self.given.examples)
        if not self.given.only:
            self.measure("draws", len(self.builder.test_data))
            self.measure("adaptive", self.given.steered)
        write(self)

    @property
    def variants(self) -> dict[str, list[tuple[str, str]]]:
        """The names and folders of all models, by mixture."""
        found: dict[str, list[tuple[str, str]]] = {}
        for mixture in MIXTURES:
            named = [("dense", f"{self.given.models}/{mixture}")]
            made = [path for path in self.work.glob(f"{mixture}@*") if path.is_dir()]
            named += [(path.name.partition("@")[2], str(path)) for path in sorted(made, key=_order)]
            found[mixture] = [*named, ("AVG (all)", f"{self.given.models}/{BASELINE}")]
        return found

    def load(self, folder: str) -> nn.Module:
        """Return a model, ready to be attacked."""
        return self.builder.ready(FromFolder(folder).load()).eval()

    def save(self, model: nn.Module, mixture: str, name: str) -> None:
        """Keep a model made from a mixture, with what was saved beside the mixture."""
        about = dict(FromFolder(f"{self.given.models}/{mixture}").about)
        about |= {"name": f"{about['name']}, {name}", "recipe": self.builder.recipe.of_evaluation()}
        folder = self.work / f"{mixture}@{name}"
        save_model(model, folder, about=about, dtype=torch.bfloat16)

    def make_sparse(self, mixture: str) -> None:
        """Save the sparse mixtures, with a threshold from validation images."""
        if any(self.work.glob(f"{mixture}@threshold*")):
            return
        dense = self.load(f"{self.given.models}/{mixture}")
        assert isinstance(dense, Mixture)
        threshold = self.threshold(mixture, dense)
        for routing in (Routing(top=1), Routing(top=2), Routing(threshold=threshold)):
            self.save(routed(dense, routing), mixture, str(routing))

    def threshold(self, mixture: str, dense: Mixture) -> float:
        """Return the threshold to use, and keep what every one asks on validation images."""
        images = self.builder.training_data.validation.first(200)
        weights = {row: dense_weights(dense, moved) for row, moved in self.moved(dense, images)}
        asked = {
            threshold: {
                row: float(Routing(threshold).asked(w).sum(1).double().mean())
                for row, w in weights.items()
            }
            for threshold in THRESHOLDS
        }
        self.keep(f"{mixture}-validation", asked)
        most = len(dense.expert_names) / FEWER
        fitting = [t for t, rows in asked.items() if sum(rows.values()) <= most * len(rows)]
        return min(fitting, default=THRESHOLDS[-1])

    def moved(self, model: nn.Module, images: ImageSet) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the rows of the quick suite, and images as they leave them."""
        for row in self.suite("quick"):
            attack = one_run(row.attack)
            assert attack
            place = ("cheaper", row.name)
            yield row.name, torch.cat([*moved_batches(model, images, attack, place, 0, 250)])

    def suite(self, name: str) -> Suite:
        """Return the attacks of a suite."""
        path, recipe = self.work / f"suite-{name}.yaml", self.builder.recipe
        path.write_text(yaml.safe_dump({"name": name, "rows": SUITES[name]}, sort_keys=False))
        attacks = load_suite(str(path), recipe.attacked())
        return tuple(
            Row(key, row.build(attacks.perturbations)) for key, row in attacks.rows.items()
        )

    def measure(self, suite: str, examples: int) -> None:
        """Attack every model with a suite; finished evaluations are kept."""
        for mixture, models in self.variants.items():
            for name, folder in models:
                self.measured(mixture, name, folder, suite, examples)

    def measured(self, mixture: str, name: str, folder: str, suite: str, examples: int) -> None:
        """Attack a model with a suite, unless that is done."""
        out = self.outcomes(mixture, name, suite)
        if _has(out, examples) or (name == "AVG (all)" and mixture != MIXTURES[0]):
            return
        print(f"== {mixture}, {name}: {suite}", flush=True)
        settings = f"{examples} images"
        rows = PartialRows(out.with_suffix(".partial"), 30, print, settings=settings)
        counts = {row.name: examples for row in self.suite(suite)}

        def keep(row: str, right: BoolArray) -> None:
            rows.keep(row, right, whole=len(right) == counts[row])
            print(f"{row} {Proportion.of(right)}", flush=True)

        with threads(1), kept_first():
            evaluate(
                self.load(folder),
                self.builder.test_data.first(examples),
                self.suite(suite),
                batch_size=250,
                done=dict(rows.done),
                keep=keep,
                notes=rows.notes,
            ).save(out)
        rows.remove()

    def outcomes(self, mixture: str, name: str, suite: str) -> Path:
        """Return the file with the outcomes of a model under a suite."""
        mixture = MIXTURES[0] if name == "AVG (all)" else mixture
        return self.work / f"{mixture}@{name}-{suite}.npz"

    def distil(self, mixture: str) -> None:
        """Distil a mixture into a network that starts from AVG (all)."""
        folder, builder = self.work / f"{mixture}@distilled", self.builder
        if folder.is_dir():
            return
        student = self.load(f"{self.given.models}/{BASELINE}")
        student.requires_grad_(True)
        teacher = self.load(f"{self.given.models}/{mixture}")
        members = tuple(
            search_of(p, lambda ball: PGD(ball, steps=3, relative_step=2))
            for p in builder.recipe.perturbations.values()
        )
        config = TrainingConfig(
            epochs=self.given.epochs,
            batch_size=128,
            learning_rate=0.05,
            schedule=RATE,
            average=0.998,
        )
        name = f"{mixture} distilled"
        checkpoint = FileCheckpoint(self.work / name, 60, print)
        checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
        started = time.process_time()
        with threads(1):
            fit = train(
                student,
                SideBySide(members),
                builder.training_data,
                config,
                name=name,
                criterion=AnswersOfTeacher(teacher),
                checkpoint=checkpoint,
                report=lambda p: print(
                    f"{name}: epoch {p.epoch:.3f}, loss {p.loss:.4f}", flush=True
                ),
            )
        self.keep(
            f"{mixture}-distilled",
            {"epochs": self.given.epochs, "seconds": round(fit.seconds), "history": fit.history}
            | {"cpu_minutes": round((time.process_time() - started) / 60, 1)},
        )
        self.save(student, mixture, "distilled")

    def keep(self, name: str, content: Any) -> None:
        """Keep JSON values in the work folder."""
        write_atomically(self.work / f"{name}.json", json.dumps(content, indent=1).encode())

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return what was kept under a name, after measuring it if nothing was."""
        if self.kept(name) is None:
            self.keep(name, measure())
        return self.kept(name)

    def kept(self, name: str) -> Any:
        """Return what was kept under a name; None if nothing was."""
        path = self.work / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None


def _has(file: Path, examples: int) -> bool:
    """Return whether a file holds outcomes for that many images."""
    return file.exists() and all(len(r) == examples for r in Outcomes.load(file).right.values())


def _order(path: Path) -> tuple[bool, bool, str]:
    name = path.name.partition("@")[2]
    return name.startswith("distilled"), name.startswith("top"), name


@torch.no_grad()
def dense_weights(mixture: Mixture, x: torch.Tensor) -> torch.Tensor:
    """Return the gate's weights of images, batch by batch."""
    with frozen(mixture):
        return torch.cat([mixture.gate_weights(part) for part in torch.split(x, 250)])


def write(cheaper: Cheaper) -> None:
    """Write the tables, as far as there are outcomes."""
    models = cheaper.variants
    content = {
        "models": cheaper.given.models,
        "mixtures": {
            mixture: {name: figures(cheaper, mixture, name, folder) for name, folder in found}
            for mixture, found in models.items()
        },
        "validation": {m: cheaper.kept(f"{m}-validation") for m in MIXTURES},
        "distillation": {m: cheaper.kept(f"{m}-distilled") for m in MIXTURES},
        "suites": SUITES,
        "provenance": provenance(CPU).content(),
    }
    home = ROOT / "results" / cheaper.given.models
    (home / "cheaper.json").write_text(json.dumps(content, indent=1) + "\n")
    (home / "cheaper.md").write_text(markdown(content))


def figures(cheaper: Cheaper, mixture: str, name: str, folder: str) -> dict[str, Any]:
    """Return what is known of a model: accuracies, differences from the mixture, and its cost."""
    right, dense = (outcomes(cheaper, mixture, which) for which in (name, "dense"))
    return {
        "rows": {row: Proportion.of(found).content() for row, found in right.items()},
        "against dense": {
            row: Comparison.of(dense[row], found).content()
            for row, found in right.items()
            if row in dense and len(dense[row]) == len(found)
        },
        "asked": cheaper.once(f"{mixture}@{name}-asked", lambda: asked(cheaper, folder)),
        "speed": cheaper.once(f"{mixture}@{name}-speed", lambda: speed(cheaper, mixture, folder)),
    }


def outcomes(cheaper: Cheaper, mixture: str, name: str) -> dict[str, BoolArray]:
    """Return the rows that are done, each of the last suite that has it, and the worst.

    Worst is the union of all attacks in a ball, on the images that all of them had.
    """
    files = (cheaper.outcomes(mixture, name, suite) for suite in SUITES)
    right = {k: v for path in files if path.exists() for k, v in Outcomes.load(path).right.items()}
    for ball in ("l2", "linf"):
        rows = [right.get(f"{attack}-{ball}") for attack in ("pgd", "steering", "transfer")]
        known = [row for row in rows if row is not None]
        if len(known) == len(rows):
            right[f"worst-{ball}"] = np.logical_and.reduce(
                [row[: min(map(len, known))] for row in known]
            )
    return right


def asked(cheaper: Cheaper, folder: str) -> dict[str, float]:
    """Return how many experts a model asks for an image, by row, on 200 test images."""
    model, images = cheaper.load(folder), cheaper.builder.test_data.first(200)
    if not isinstance(model, Mixture):
        return {}
    rows = {}
    for row, moved in cheaper.moved(model, images):
        weights = dense_weights(model, moved)
        who = model.routing.asked(weights) if model.routing else torch.ones_like(weights)
        rows[row] = round(float(who.sum(1).double().mean()), 3)
    return rows


@torch.no_grad()
def speed(cheaper: Cheaper, mixture: str, folder: str) -> dict[str, float]:
    """Return images per second with two threads, and how many times those of the mixture."""
    x = cheaper.builder.test_data.first(256).pixels(slice(None))
    x = x.contiguous(memory_format=torch.channels_last)
    models = [cheaper.load(path) for path in (f"{cheaper.given.models}/{mixture}", folder)]
    with threads(2), frozen(models[0]), frozen(models[1]):
        rounds = [[seconds(model, x) for model in models] for _ in range(12)][2:]
    its = min(times[1] for times in rounds)
    ratio = sorted(a / b for a, b in rounds)[len(rounds) // 2]
    return {"images per second": round(len(x) / its), "times": round(ratio, 2)}


def seconds(model: nn.Module, x: torch.Tensor) -> float:
    """Return how long a model takes for a batch."""
    started = time.perf_counter()
    model(x)
    return time.perf_counter() - started


def markdown(content: dict[str, Any]) -> str:
    """Return one table for each mixture."""
    machine = content["provenance"]["hardware"]
    lines = [
        f"# Cheaper mixtures: {content['models']}",
        "",
        "Accuracies in percent, and in brackets how many points more than the mixture. Seed 0;",
        f"{machine['processor']}, {machine['cores']} cores. PGD has 20 steps and 2 restarts,",
        "steering 10 steps, transfer 20; worst is the union of the three for each image. For a",
        "sparse mixture, transfer also searches with the gradients of the mixture in which every",
        "expert is asked. The threshold was chosen on 200 validation images. Intervals are in",
        "`cheaper.json`.",
        "",
    ]
    for mixture, models in content["mixtures"].items():
        rows = list(dict.fromkeys(row for found in models.values() for row in found["rows"]))
        lines += [f"**{mixture}**", "", f"| | {' | '.join(models)} |"]
        lines += ["| --- |" + " ---: |" * len(models)]
        lines += [_line(f"experts asked, {row}", models, _asked(row)) for row in ASKED]
        lines += [_line("images/s, two threads", models, _speed("images per second"))]
        lines += [_line("times the mixture's speed", models, _speed("times"))]
        lines += [_line(_counted(row, models), models, _accuracy(row)) for row in rows]
        lines += [""]
    return "\n".join(lines)


ASKED = ("clean", "fog", "snow", "pgd-l2", "pgd-linf")
Cell = Callable[[dict[str, Any]], str]


def _line(title: str, models: dict[str, Any], cell: Cell) -> str:
    return f"| {title} | " + " | ".join(map(cell, models.values())) + " |"


def _asked(row: str) -> Cell:
    return lambda found: f"{found['asked'][row]:.2f}" if row in found["asked"] else "1 network"


def _counted(row: str, models: dict[str, Any]) -> str:
    n = {found["rows"][row]["n"] for found in models.values() if row in found["rows"]}
    return f"{row} (n = {' or '.join(f'{count:,}' for count in sorted(n))})"


def _speed(what: str) -> Cell:
    return lambda found: f"{found['speed'][what]:g}"


def _accuracy(row: str) -> Cell:
    def cell(found: dict[str, Any]) -> str:
        if row not in found["rows"]:
            return ""
        text = f"{100 * found['rows'][row]['accuracy']:.1f}"
        pair = found["against dense"].get(row)
        differ = pair and pair["only_first"] + pair["only_second"]
        return f"{text} ({100 * (pair['second'] - pair['first']):+.1f})" if differ else text

    return cell


if __name__ == "__main__":
    main()
