"""Publish the results of a run in ``results/``, and ship its models with the package.

    python scripts/ship.py RUN
    python scripts/ship.py RUN --default "MoRE (all)"
    python scripts/ship.py RUN --restore NAME

Each suite of the run becomes a table and each gate a heat map; audits are copied. ``--default``
also ships the models, as a set with the name of the run's recipe: the columns of the table and all
experts of its mixtures. The mixtures share the weights of the experts. ``--restore`` does the
opposite: it makes a run directory from a shipped set, so that ``morex run NAME --out RUN`` does not
train its models again.
"""

import argparse
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from morex.artifacts.model_sets import NAME as SET
from morex.models import open_model, save_model
from morex.recipe import Recipe, load_recipe, slug
from morex.report import Table, make_table, read_results, to_heatmap, to_json, to_markdown

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Publish results and models, or restore models."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--default", help="also ship the models; the name of the set opens this one")
    what.add_argument("--restore", metavar="NAME", help="make RUN from this shipped set")
    options = parser.parse_args()
    if options.restore:
        restore(options.restore, options.run)
        return
    recipe = load_recipe(str(options.run / "recipe.yaml"))
    suites = ("", *recipe.evaluation.suites)
    tables = {suite: make_table(read_results(options.run, suite)) for suite in suites}
    if options.default:
        ship(options.run, options.default, recipe, tables[""])
    publish(options.run, recipe, tables)


def ship(run: Path, default: str, recipe: Recipe, table: Table) -> None:
    """Copy the models of a run into the package, and the records of their trainings."""
    home = ROOT / "src" / "morex" / "models" / "pretrained" / recipe.name
    shutil.rmtree(home, ignore_errors=True)
    networks, mixtures = models_to_ship(recipe, table.source.columns)
    for name in networks:
        copy_model(run / "models" / slug(name), home / slug(name))
    for name, experts in mixtures.items():
        beside = [slug(expert) for expert in experts]
        dtype = torch.bfloat16 if recipe.saved_precision == "bf16" else None
        save_again(run / "models" / slug(name), home / slug(name), dtype, beside)
    evaluated = recipe.of_evaluation()
    about = {
        "description": table.title.removeprefix(f"{recipe.name}: "),
        "default": slug(default),
        "recipe": evaluated,
    }
    (home / SET).write_text(json.dumps(about, indent=1) + "\n")
    copy_records(run, [*networks, *mixtures], ROOT / "results" / recipe.name / "stages")
    size = sum(path.stat().st_size for path in home.rglob("*.safetensors"))
    print(f"{len(networks) + len(mixtures)} models, {size / 1e6:.1f} MB, in {home}")


def models_to_ship(
    recipe: Recipe, columns: Iterable[str]
) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Return the networks of a set, and its mixtures with their experts."""
    models = {name: recipe.models[name] for name in columns}
    mixtures = {name: model.experts for name, model in models.items() if model.experts}
    experts = [expert for names in mixtures.values() for expert in names]
    single = [name for name in models if name not in mixtures]
    return [*dict.fromkeys([*single, *experts])], mixtures


def copy_records(run: Path, models: Sequence[str], target: Path) -> None:
    """Copy the records of the trainings of ``models``."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in models:
        for record in (f"gate-{slug(name)}.json", f"train-{slug(name)}.json"):
            if (run / "stages" / record).exists():
                shutil.copy(run / "stages" / record, target)


def publish(run: Path, recipe: Recipe, tables: Mapping[str, Table]) -> None:
    """Write the table of each suite and the heat map of each gate; copy the audits."""
    results = ROOT / "results" / recipe.name
    results.mkdir(parents=True, exist_ok=True)
    for suite, table in tables.items():
        (results / f"{suite or 'table'}.json").write_text(to_json(table))
        (results / f"{suite or 'table'}.md").write_text(to_markdown(table))
    for name, column in tables[""].source.columns.items():
        if column.gate:
            title = f"Where the gate of {name} puts its weight"
            (results / f"gate-{slug(name)}.svg").write_text(to_heatmap(column.gate, title))
    for audit in (run / "audits").glob("*.json"):
        (results / "audits").mkdir(exist_ok=True)
        shutil.copy(audit, results / "audits")


def restore(name: str, run: Path) -> None:
    """Make a run directory in which the models of a shipped set are finished."""
    (run / "stages").mkdir(parents=True)
    (run / ".owner.json").write_text("{}")  # marks a run directory
    records = ROOT / "results" / name / "stages"
    shipped = ROOT / "src" / "morex" / "models" / "pretrained" / name
    for model in (path for path in shipped.iterdir() if path.is_dir()):
        target = run / "models" / model.name
        if "shared" in json.loads((model / "model.json").read_text()):
            save_again(model, target, torch.bfloat16)  # the same bits as before it was shipped
        else:
            copy_model(model, target)
        shutil.copy(records / f"train-{model.name}.json", run / "stages")


def save_again(
    source: Path, target: Path, dtype: torch.dtype | None, beside: Sequence[str] = ()
) -> None:
    """Save a model in another folder; weights found in the folders ``beside`` it are not copied."""
    found = open_model(source)
    save_model(found.load(), target, about=found.about, dtype=dtype, beside=beside)


def copy_model(source: Path, target: Path) -> None:
    """Copy the two files of a model."""
    target.mkdir(parents=True)
    for name in ("model.json", "model.safetensors"):
        shutil.copyfile(source / name, target / name)


if __name__ == "__main__":
    main()
