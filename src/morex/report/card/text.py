"""The card: what the models are, how good they are, what was not tested, and how to load them."""

from collections.abc import Iterable, Iterator

from morex.core.units import duration, listed, percent, plural
from morex.report.caption import caption
from morex.report.card.audits import audit_section, verdict
from morex.report.card.gaps import gaps
from morex.report.card.metadata import metadata
from morex.report.card.subject import Subject
from morex.report.card.tables import table_of_all, table_of_costs, table_of_one
from morex.report.formats import escaped
from morex.report.gate_words import gate_sentences
from morex.report.material import Material
from morex.report.sections.summary import headline, result
from morex.report.table import Table, description

_PAPER = "https://arxiv.org/abs/2104.10586"


def model_card(material: Material, subject: Subject) -> str:
    """Return the card of the models in ``material``, with its metadata."""
    parts = (
        *_top(material, subject),
        *_use(material, subject),
        *_accuracy(material, subject),
        *audit_section(material, subject),
        *_gaps(material, subject),
        *_making(material, subject),
        *_license(material, subject),
        *_files(material, subject),
    )
    return metadata(material.table, subject) + "\n" + "\n\n".join(parts) + "\n"


def _top(material: Material, subject: Subject) -> Iterator[str]:
    file = material.file
    yield f"# {escaped(file.name)}: image classifiers for a union of perturbations"
    yield f"{escaped(headline(material))}."
    yield f"> {escaped(_figures(material.table, subject.default))}"
    others = len(material.table.columns) - 1
    if subject.left_out:
        more = plural(subject.left_out, "more evaluated model")
        yield f"The run has {more}, which {'is' if subject.left_out == 1 else 'are'} not here."
    elif others:
        yield escaped(result(material))
    beside = (
        f" The other {plural(others, 'model')} {'is' if others == 1 else 'are'} what it is made of "
        "or compared with."
    )
    yield (
        f"The {'default ' if others else ''}model is **{escaped(subject.default)}**, "
        f"{_made(material, subject.default)}.{beside if others else ''} "
        f"The method is [Mixture of Robust Experts]({_PAPER}) (MoRE). "
        "All figures are upper bounds: a stronger attack may find more errors."
    )
    audit = material.audits.get(subject.default)
    audited = f"The audit: {verdict(audit)}" if audit else "It was not audited."
    yield (
        f"**Before you rely on it.** {audited} Read what was [not tested](#not-tested), and the "
        "[license](#license)."
    )


def _figures(table: Table, model: str) -> str:
    """Return the accuracies of a model in one sentence."""
    place = table.columns.index(model)
    mean, union = table.mean[place], table.union[place]
    if mean is None or union is None:
        return f"{model} was evaluated under some of the {plural(len(table.rows), 'row')} only."
    low, high = (percent(end) for end in union.interval)
    return (
        f"{model} gets {percent(union.value)} of the test images right under each of the "
        f"{plural(len(table.rows), 'row')} (union; 95% interval {low} to {high}, n = {union.n}), "
        f"and {percent(mean)} in the mean of the rows."
    )


def _made(material: Material, model: str) -> str:
    """Return what a model is made of and was trained on."""
    column = material.file.columns[model]
    kind = "a single network"
    if column.gate and column.gate.experts:
        kind = f"a mixture of the experts {escaped(listed(column.gate.experts))}"
    objective, _, against = column.trained_on.rpartition(": ")
    if not against:
        return kind
    how = "" if objective in ("", "single") else f" (objective {objective})"
    return escaped(f"{kind}, trained against {listed(against.split(', '))}{how}")


def _use(material: Material, subject: Subject) -> Iterator[str]:
    shape = "N, 3, {}, {}".format(*(subject.image_size or ("H", "W")))
    classes = f"N, {len(subject.classes)}" if subject.classes else "N, classes"
    yield "## Use"
    yield (
        "```python\nimport morex\n\n"
        f'model = morex.load("{subject.name}")  # images ({shape}) in [0, 1] to logits ({classes})'
        "\n```"
    )
    yield (
        f"```sh\nmorex predict --model {subject.name} picture.png\n"
        f"morex serve {subject.name}  # a playground in the browser\n"
        f"morex evaluate {subject.name} --suite adaptive  # attack it yourself\n```"
    )
    if subject.name.startswith("hf://"):
        yield (
            f"`{subject.name}@COMMIT` names a commit, a tag or a branch: give the commit where "
            "results must not change. Nothing in these files is executed, and the weights are "
            "checked against their SHA-256."
        )
    if subject.classes:
        words = [escaped(name) for name in material.classes or subject.classes]
        few = [*words[:12], "..."] if len(words) > 12 else words
        yield f"Classes, in the order of the logits: {', '.join(few)}."


def _accuracy(material: Material, subject: Subject) -> Iterator[str]:
    table = material.table
    yield "## Accuracy under attack"
    yield f"### {escaped(subject.default)}"
    yield table_of_one(table, subject.default)
    yield "Radii of balls (eps) are for pixels in [0, 1]."
    gate = table.source.columns[subject.default].gate
    if gate and (said := gate_sentences(gate)):
        yield " ".join(map(escaped, said))
    if len(table.columns) > 1:
        yield "### All models"
        yield "Test accuracy in %, over its 95% interval. Bold: best of its column."
        yield table_of_all(table)
    yield _bullets(caption(table, costs=False))
    for name, suite in material.suites.items():
        yield f"### Suite {escaped(name)}"
        yield table_of_all(suite)
        yield _bullets(caption(suite)[:2])


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {escaped(line)}" for line in lines)


def _gaps(material: Material, subject: Subject) -> Iterator[str]:
    gated = any(column.gate for column in material.file.columns.values())
    tables = [material.table, *material.suites.values()]
    yield "## Not tested"
    yield "The models were not tested against:"
    yield _list(gaps(tables, escaped(material.file.setting.data), gated=gated))


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _making(material: Material, subject: Subject) -> Iterator[str]:
    file, made_by = material.file, material.file.provenance
    yield "## Training and cost"
    yield table_of_costs(material.table, subject)
    yield (
        "Passes: images sent forward or backward through single networks. In all: with the "
        "training of every model that a model is built from or started from. MB: the size of the "
        "weights."
    )
    seconds = sum(stage.seconds for stage in file.stages.values())
    hardware = ", ".join(f"{key} {value}" for key, value in made_by.hardware.items())
    versions = ", ".join(f"{key} {value}" for key, value in made_by.versions.items())
    facts = {
        "Recipe": "`recipe.yaml`; `morex run recipe.yaml` does it again",
        "Data and networks": escaped(description(file.setting)),
        "Seed": str(file.seed),
        "Work": f"{duration(seconds)} for all {plural(len(file.stages), 'stage')} of the run"
        if file.stages
        else "",
        "Hardware": escaped(hardware),
        "Versions": escaped(versions),
        "Commit of morex": made_by.commit or "",
    }
    yield "\n".join(f"- {name}: {fact}" for name, fact in facts.items() if fact)
    if subject.code:
        yield (
            f"The recipe names code that is not in this repository: {escaped(listed(subject.code))}"
            ". Evaluating with this recipe needs it."
        )


def _license(material: Material, subject: Subject) -> Iterator[str]:
    setting = material.file.setting
    data = f"[{subject.dataset}](https://huggingface.co/datasets/{subject.dataset})"
    note = f" ({escaped(setting.data_note)})" if setting.data_note else ""
    yield "## License"
    yield (
        f"Weights: {subject.license}."
        if subject.license
        else "The license of the weights is not stated: ask the author before you use them."
    )
    yield (
        f"They were trained on {data if subject.dataset else escaped(setting.data)}{note}, whose "
        "own license and terms may limit what they may be used for. The code of morex is under the "
        "MIT license."
    )


def _files(material: Material, subject: Subject) -> Iterator[str]:
    folders = sorted(subject.folders.values())
    files = {
        "`FOLDER/model.safetensors`, `FOLDER/model.json`": (
            f"the weights and the form of a model, for each of {', '.join(folders)}"
        ),
        "`set.json`": "which of them is the default",
        "`recipe.yaml`": "everything that decides the run",
        "`results.json`": "all figures with counts, intervals, costs and versions",
        **{f"`{file}`": f"the same of the suite {name}" for name, file in subject.suites.items()},
        **{f"`{file}`": f"the audit of {name}" for name, file in subject.audits.items()},
    }
    yield "## Files"
    yield "\n".join(f"- {name}: {escaped(what)}" for name, what in files.items())
