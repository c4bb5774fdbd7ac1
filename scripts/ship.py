"""Puts the results of a run into ``results/``, and its models into the package.

    python scripts/ship.py RUN
    python scripts/ship.py RUN --default "MoRE (all)"
    python scripts/ship.py RUN --restore NAME
    python scripts/ship.py RUN --add "MoRE++ (all)"

Every suite of the run becomes a table, every gate a heat map; audits are copied. With ``--default``
the models are shipped, too: a set that is called as the run's recipe, of its columns and all
experts of its mixtures, whose weights the mixtures share. Nothing else is copied. ``--restore``
makes a run directory in which the models of a shipped set need not be trained again: ``morex run
NAME --out RUN`` goes on from there. ``--add`` adds a mixture that was trained on restored models to
their set, and its column to the tables that are there already, suite by suite.
"""

import argparse
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from morex.model_sets import NAME as SET
from morex.outcomes import Proportion
from morex.recipe import Recipe, load_recipe, slug
from morex.recipe.schema import NetworkModel
from morex.report import make_table, read_results, to_heatmap, to_json, to_markdown
from morex.report.results import ColumnEntry, ResultsFile
from morex.report.table import Cells, Table
from morex.saving import load_about, load_model, save_model

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Write results, and copy models; or copy these back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--default", help="ship the models, too; the set's name stands for this one")
    what.add_argument("--restore", metavar="NAME", help="a shipped set")
    what.add_argument("--add", metavar="MODEL", help="a mixture of models of a shipped set")
    options = parser.parse_args()
    if options.restore:
        restore(options.restore, options.run)
        return
    if options.add:
        add(options.run, options.add)
        return
    if options.default:
        ship(options.run, options.default)
    publish(options.run)


def ship(run: Path, default: str) -> None:
    """Copy the models of a run with the records of their trainings."""
    recipe, found = load_recipe(str(run / "recipe.yaml")), read_results(run)
    home = ROOT / "src" / "morex" / "models" / recipe.name
    shutil.rmtree(home, ignore_errors=True)
    columns = found.file.columns
    mixtures = [name for name in columns if not isinstance(recipe.models[name], NetworkModel)]
    experts = (expert for name in mixtures for expert in recipe.models[name].experts)
    singles = [*dict.fromkeys([*(name for name in columns if name not in mixtures), *experts])]
    for name in singles:
        copy_model(run / "models" / slug(name), home / slug(name))
    for name in mixtures:
        ship_mixture(run, recipe, name)
    title, evaluated = make_table(found).title, recipe.of_evaluation()
    about = {"description": title, "default": slug(default), "recipe": evaluated}
    (home / SET).write_text(json.dumps(about, indent=1) + "\n")
    size = sum(path.stat().st_size for path in home.rglob("*.safetensors"))
    print(f"{len(singles) + len(mixtures)} models, {size / 1e6:.1f} MB, in {home}")

    records = ROOT / "results" / recipe.name / "stages"
    shutil.rmtree(records, ignore_errors=True)
    records.mkdir(parents=True)
    for name in (*singles, *mixtures):
        ship_records(run, recipe, name)


def ship_mixture(run: Path, recipe: Recipe, name: str) -> None:
    """Copy a mixture to its set, whose networks it shares."""
    source = run / "models" / slug(name)
    save_model(
        load_model(source),
        ROOT / "src" / "morex" / "models" / recipe.name / slug(name),
        about=load_about(source),
        dtype=torch.bfloat16 if recipe.saved_precision == "bf16" else None,
        beside=[slug(expert) for expert in recipe.models[name].experts],
    )


def ship_records(run: Path, recipe: Recipe, name: str) -> None:
    """Copy the records of a model's trainings."""
    for record in (f"gate-{slug(name)}.json", f"train-{slug(name)}.json"):
        if (run / "stages" / record).exists():
            shutil.copy(run / "stages" / record, ROOT / "results" / recipe.name / "stages")


def add(run: Path, name: str) -> None:
    """Add a mixture to its set and to the tables of it."""
    recipe = load_recipe(str(run / "recipe.yaml"))
    results = ROOT / "results" / recipe.name
    tables = {}
    for suite in ("", *recipe.evaluation.suites):
        path = results / f"{suite or 'table'}.json"
        new = make_table(read_results(run, suite))
        tables[path] = with_column(json.loads(path.read_text()), new, name)
    ship_mixture(run, recipe, name)
    ship_records(run, recipe, name)
    for path, table in tables.items():
        path.write_text(to_json(table))
        path.with_suffix(".md").write_text(to_markdown(table))
    draw_gates(results, {name: read_results(run).file.columns[name]})


def with_column(before: dict[str, Any], new: Table, name: str) -> Table:
    """Return a table that was written as JSON, with a column of another.

    What stood under that name before is replaced.

    Raises:
        ValueError: if the other has not the same rows: attacks, up to how many images they saw,
            seed and data.
    """
    ours = (before["attacks"], before["seed"], before["settings"])
    file = new.source
    theirs = ({k: r.model_dump() for k, r in file.rows.items()}, file.seed, file.setting)
    for mine, other in zip(ours, theirs, strict=True):
        if (a := _without_counts(mine)) != (b := _without_counts(other)):
            raise ValueError(f"{name} was evaluated otherwise: {b}, the table has {a}")
    place = new.columns.index(name)
    kept = [i for i, column in enumerate(before["columns"]) if column != name]

    def cells(row: str) -> Cells:
        n = before["n"][row]
        counts = n if isinstance(n, list) else [n] * len(before["columns"])
        values = before[row] if row == "union" else before["rows"][row]
        old = (
            None if values[i] is None else Proportion(round(values[i] * counts[i] / 100), counts[i])
            for i in kept
        )
        return (*old, new.measured[row][place])

    mean = [before["mean"][i] for i in kept]
    source = ResultsFile(
        name=new.source.name,
        seed=before["seed"],
        setting=before["settings"],
        rows=before["attacks"],
        columns={**before["models"], name: new.source.columns[name]},
        missing=[column for column in before["missing"] if column != name],
        stages={**before["stages"], **new.source.stages},
        provenance=before["provenance"],
    )
    return Table(
        title=before["title"],
        columns=(*(before["columns"][i] for i in kept), name),
        rows={row: cells(row) for row in before["rows"]},
        union=cells("union"),
        mean=(*(None if m is None else m / 100 for m in mean), new.mean[place]),
        paper={row: (*(p[i] for i in kept), None) for row, p in before.get("paper", {}).items()},
        source=source,
    )


def _without_counts(value: Any) -> Any:
    """Leave out what only says how many images a row saw: the table has that per column."""
    return json.loads(re.sub(r"examples=\d+, ", "", json.dumps(value, sort_keys=True)))


def publish(run: Path) -> None:
    """Write the table of every suite of a run, the heat maps of its gates, and its audits."""
    recipe = load_recipe(str(run / "recipe.yaml"))
    results = ROOT / "results" / recipe.name
    results.mkdir(parents=True, exist_ok=True)
    for suite in ("", *recipe.evaluation.suites):
        table = make_table(read_results(run, suite))
        (results / f"{suite or 'table'}.json").write_text(to_json(table))
        (results / f"{suite or 'table'}.md").write_text(to_markdown(table))
    draw_gates(results, read_results(run).file.columns)
    for audit in (run / "audits").glob("*.json"):
        (results / "audits").mkdir(exist_ok=True)
        shutil.copy(audit, results / "audits")


def draw_gates(results: Path, columns: Mapping[str, ColumnEntry]) -> None:
    """Write the heat map of every gate."""
    for name, column in columns.items():
        if column.gate:
            title = f"Where the gate of {name} puts its weight"
            (results / f"gate-{slug(name)}.svg").write_text(to_heatmap(column.gate, title))


def restore(name: str, run: Path) -> None:
    """Copy what is needed for the models to count as finished."""
    (run / "stages").mkdir(parents=True)
    (run / ".owner.json").write_text("{}")  # says that it is a run directory
    records = ROOT / "results" / name / "stages"
    for model in (path for path in (ROOT / "src/morex/models" / name).iterdir() if path.is_dir()):
        target = run / "models" / model.name
        if "shared" in json.loads((model / "model.json").read_text()):  # back to the bits it had
            save_model(load_model(model), target, about=load_about(model), dtype=torch.bfloat16)
        else:
            copy_model(model, target)
        shutil.copy(records / f"train-{model.name}.json", run / "stages")


def copy_model(source: Path, target: Path) -> None:
    """Copy the two files of a model."""
    target.mkdir(parents=True)
    for name in ("model.json", "model.safetensors"):
        shutil.copyfile(source / name, target / name)


if __name__ == "__main__":
    main()
