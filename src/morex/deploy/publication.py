"""What is published of a run: models, figures, recipe and card, without anything private.

Published are what others need to use and to judge the models. Images, outcomes of single images,
checkpoints, event files, commands and the names of folders on this machine are not.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from morex.artifacts.model_sets import NAME as SET
from morex.artifacts.results import ResultsFile
from morex.core.files import digest_of, read_file
from morex.core.near import not_among
from morex.core.strict_json import parse_json
from morex.core.trust import code_named
from morex.data.download import KNOWN
from morex.deploy.portable import portable
from morex.models.errors import ModelError
from morex.models.folder import DESCRIPTION, WEIGHTS, ModelFolder
from morex.recipe.read_yaml import parse_yaml, to_yaml
from morex.report.card import Subject, model_card
from morex.report.formats import as_dict
from morex.report.material import Material, read_material
from morex.report.results import RunResults, read_results
from morex.report.sections.summary import headline
from morex.report.table import Table, make_table

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True)
class Publication:
    """What is published.

    Attributes:
        title: the name of the run.
        summary: what was trained on what, in one line.
        default: the model for which the name of the publication stands.
        models: the names of all models.
        files: the content of each file, or the file on this machine that holds it.
    """

    title: str
    summary: str
    default: str
    models: tuple[str, ...]
    files: Mapping[str, bytes | Path]

    @property
    def size(self) -> int:
        """How many bytes the files have."""
        return sum(
            len(content) if isinstance(content, bytes) else content.stat().st_size
            for content in self.files.values()
        )


def publication(
    run: Path | str, name: str, models: Sequence[str] = (), *, license_id: str = ""
) -> Publication:
    """Return what is published of a run.

    Args:
        run: the run directory.
        name: the name under which it is loaded: ``hf://owner/name``, or a folder.
        models: which models, by their names in tables or their folders; all evaluated ones if
            empty. The first is the default. If none is named, the default is the last mixture, or
            else the model with the best mean.
        license_id: the hub's identifier of the license of the weights; empty if it is not stated.

    Raises:
        FileNotFoundError: if there is no such run, or no model of it is evaluated.
        ModelError: if a model is damaged, or is made by code, which others do not have.
        ValueError: if there is no such model, or what is said of the license is no identifier.
    """
    if license_id and not _LICENSE.fullmatch(license_id):
        raise ValueError(
            f"--license {license_id!r}: expected an identifier of the hub, such as mit, apache-2.0 "
            "or cc-by-4.0"
        )
    run = Path(run)
    read_results(run)  # raises if no model is evaluated
    whole = read_material(run)
    folders = {m: Path(c.outcomes).stem for m, c in whole.file.columns.items()}
    chosen = _chosen(models, folders) or [*folders]
    material = _of_models(whole, [m for m in folders if m in chosen])
    default = chosen[0] if models else str(material.lead or chosen[0])
    folders = {model: folders[model] for model in material.table.columns}
    homes = {model: _checked(run / "models" / folder) for model, folder in folders.items()}
    subject = replace(
        _subject(material, name, default, folders, homes, license_id),
        left_out=len(whole.file.columns) - len(folders),
    )
    return Publication(
        title=material.file.name,
        summary=headline(material),
        default=default,
        models=tuple(folders),
        files=dict(_files(material, subject, homes)),
    )


def _chosen(wanted: Sequence[str], folders: Mapping[str, str]) -> list[str]:
    by_folder = {folder: model for model, folder in folders.items()}
    for name in wanted:
        if name not in folders and name not in by_folder:
            raise ValueError(not_among("evaluated model", name, folders))
    return [name if name in folders else by_folder[name] for name in wanted]


def _of_models(material: Material, models: Sequence[str]) -> Material:
    """Return what is known of some models of a run, without commands and folders."""
    results = _results_of(material.results, models)
    suites = {
        suite: make_table(_results_of(read_results(material.run, suite, unfinished=True), models))
        for suite in material.suites
    }
    return replace(
        material,
        results=results,
        table=make_table(results),
        suites={suite: table for suite, table in suites.items() if table.columns},
        audits={m: audit for m, audit in material.audits.items() if m in models},
        recipe=_recipe(material.recipe),
    )


def _results_of(results: RunResults, models: Sequence[str]) -> RunResults:
    file = results.file
    content = portable(file.model_dump())
    content["columns"] = {m: c for m, c in content["columns"].items() if m in models}
    for made in (content, *content["stages"].values()):
        made["provenance"]["command"] = None
    content |= {"missing": [], "illustrations": {}}
    outcomes = {m: found for m, found in results.outcomes.items() if m in models}
    return replace(results, file=ResultsFile.model_validate(content), outcomes=outcomes)


def _recipe(text: str) -> str:
    """Return a recipe without the place of its data and other folders of this machine."""
    content = portable(parse_yaml(text, "recipe.yaml") or {})
    if isinstance(content.get("data"), dict):
        content["data"] = _without_place(content["data"])
    return to_yaml(content)


def _without_place(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "folder"}


def _checked(folder: Path) -> ModelFolder:
    """Return the folder of a model that others can load.

    Raises:
        ModelError: if it is damaged, or is made by code.
    """
    found = ModelFolder.open(folder)
    if found.code:
        raise ModelError(
            f"{folder} is made by code, {', '.join(found.code)}, which is not published: others "
            "could not load it; choose other models with --model"
        )
    if found.description.shared:
        raise ModelError(f"{folder} shares weights with other folders; save it without `beside`")
    if digest_of(folder / WEIGHTS) != found.description.weights_sha256:
        raise ModelError(f"{folder / WEIGHTS} is damaged: wrong checksum; run the run again")
    return found


def _subject(
    material: Material,
    name: str,
    default: str,
    folders: Mapping[str, str],
    homes: Mapping[str, ModelFolder],
    license_id: str,
) -> Subject:
    about, data = homes[default].about, material.file.setting.data
    return Subject(
        name=name,
        default=default,
        folders=folders,
        sizes={model: (home.path / WEIGHTS).stat().st_size for model, home in homes.items()},
        classes=tuple(about.get("classes") or ()),
        image_size=tuple(about.get("image_size") or ()),
        license=license_id,
        dataset=KNOWN[data].repository if data in KNOWN else "",
        code=code_named(parse_yaml(material.recipe, "recipe.yaml")),
        audits={model: f"audit-{folders[model]}.json" for model in material.audits},
        suites={suite: f"results-{suite}.json" for suite in material.suites},
    )


def _files(
    material: Material, subject: Subject, homes: Mapping[str, ModelFolder]
) -> Iterator[tuple[str, bytes | Path]]:
    """Yield the name and the content of each file."""
    about = {"default": subject.folders[subject.default], "description": headline(material)}
    yield "README.md", model_card(material, subject).encode()
    yield SET, _json(about)
    yield "recipe.yaml", material.recipe.encode()
    yield "results.json", _json(_figures(material.table))
    for suite, file in subject.suites.items():
        yield file, _json(_figures(material.suites[suite]))
    for model, file in subject.audits.items():
        yield file, _json(portable(material.audits[model].content()))
    for model, home in homes.items():
        yield f"{subject.folders[model]}/{DESCRIPTION}", _described(home.path)
        yield f"{subject.folders[model]}/{WEIGHTS}", home.path / WEIGHTS


def _figures(table: Table) -> dict[str, Any]:
    """Return the table without the names of files that are not published."""
    content = as_dict(table)
    content["models"] = {
        model: {key: value for key, value in entry.items() if key != "outcomes"}
        for model, entry in content["models"].items()
    }
    return content


def _described(folder: Path) -> bytes:
    """Return the description of a model without folders of this machine, and without signature."""
    content = parse_json(read_file(folder / DESCRIPTION))
    content.pop("signature", None)
    recipe = content["about"].get("recipe")
    content["about"] = portable(content["about"])
    if isinstance(recipe, dict) and isinstance(recipe.get("data"), dict):
        data = content["about"]["recipe"]["data"]
        content["about"]["recipe"]["data"] = _without_place(data)
    return _json(content)


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=1).encode()
