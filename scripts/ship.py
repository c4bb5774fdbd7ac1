"""Puts the results of a run into ``results/``, and its models into the package.

    python scripts/ship.py RUN
    python scripts/ship.py RUN --default "MoRE (all)"
    python scripts/ship.py RUN --restore NAME

Every suite of the run becomes a table, every gate a heat map; audits are copied. With ``--default``
the models are shipped, too: a set that is called as the run's recipe, of its columns and all
experts of its mixtures, whose weights the mixtures share. Nothing else is copied. ``--restore``
makes a run directory in which the models of a shipped set need not be trained again: ``morex run
NAME --out RUN`` goes on from there.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch

from morex.artifacts.model_sets import NAME as SET
from morex.models import open_model, save_model
from morex.recipe import load_recipe, slug
from morex.recipe.models import MixtureModel, UngatedModel
from morex.report import make_table, read_results, to_heatmap, to_json, to_markdown

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Write results, and copy models; or copy these back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--default", help="ship the models, too; the set's name stands for this one")
    what.add_argument("--restore", metavar="NAME", help="a shipped set")
    options = parser.parse_args()
    if options.restore:
        restore(options.restore, options.run)
        return
    if options.default:
        ship(options.run, options.default)
    publish(options.run)


def ship(run: Path, default: str) -> None:
    """Copy the models of a run with the records of their trainings."""
    recipe, found = load_recipe(str(run / "recipe.yaml")), read_results(run)
    home = ROOT / "src" / "morex" / "models" / "pretrained" / recipe.name
    shutil.rmtree(home, ignore_errors=True)
    columns = found.file.columns
    models = ((name, recipe.models[name]) for name in columns)
    mixtures = {n: m.experts for n, m in models if isinstance(m, MixtureModel | UngatedModel)}
    experts = (expert for names in mixtures.values() for expert in names)
    singles = [*dict.fromkeys([*(name for name in columns if name not in mixtures), *experts])]
    for name in singles:
        copy_model(run / "models" / slug(name), home / slug(name))
    for name in mixtures:
        source = open_model(run / "models" / slug(name))
        beside = [slug(expert) for expert in mixtures[name]]
        save_model(
            source.load(),
            home / slug(name),
            about=source.about,
            dtype=torch.bfloat16 if recipe.saved_precision == "bf16" else None,
            beside=beside,
        )
    title, evaluated = make_table(found).title, recipe.of_evaluation()
    about = {"description": title, "default": slug(default), "recipe": evaluated}
    (home / SET).write_text(json.dumps(about, indent=1) + "\n")
    size = sum(path.stat().st_size for path in home.rglob("*.safetensors"))
    print(f"{len(singles) + len(mixtures)} models, {size / 1e6:.1f} MB, in {home}")

    records = ROOT / "results" / recipe.name / "stages"
    shutil.rmtree(records, ignore_errors=True)
    records.mkdir(parents=True)
    for name in (*singles, *mixtures):
        for record in (f"gate-{slug(name)}.json", f"train-{slug(name)}.json"):
            if (run / "stages" / record).exists():
                shutil.copy(run / "stages" / record, records)


def publish(run: Path) -> None:
    """Write the table of every suite of a run, the heat maps of its gates, and its audits."""
    recipe = load_recipe(str(run / "recipe.yaml"))
    results = ROOT / "results" / recipe.name
    results.mkdir(parents=True, exist_ok=True)
    for suite in ("", *recipe.evaluation.suites):
        table = make_table(read_results(run, suite))
        (results / f"{suite or 'table'}.json").write_text(to_json(table))
        (results / f"{suite or 'table'}.md").write_text(to_markdown(table))
    for name, column in read_results(run).file.columns.items():
        if column.gate:
            title = f"Where the gate of {name} puts its weight"
            (results / f"gate-{slug(name)}.svg").write_text(to_heatmap(column.gate, title))
    for audit in (run / "audits").glob("*.json"):
        (results / "audits").mkdir(exist_ok=True)
        shutil.copy(audit, results / "audits")


def restore(name: str, run: Path) -> None:
    """Copy what is needed for the models to count as finished."""
    (run / "stages").mkdir(parents=True)
    (run / ".owner.json").write_text("{}")  # says that it is a run directory
    records = ROOT / "results" / name / "stages"
    shipped = ROOT / "src" / "morex" / "models" / "pretrained" / name
    for model in (path for path in shipped.iterdir() if path.is_dir()):
        target = run / "models" / model.name
        if "shared" in json.loads((model / "model.json").read_text()):  # back to the bits it had
            found = open_model(model)
            save_model(found.load(), target, about=found.about, dtype=torch.bfloat16)
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
