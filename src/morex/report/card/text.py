"""The card: what the models are, how good they are, what was not tested, and how to load them."""

from collections import Counter
from collections.abc import Iterable, Iterator

from morex.artifacts.findings import Audit, AuditedAccuracy
from morex.core.units import duration, listed, percent, plural
from morex.report.caption import caption
from morex.report.card.gaps import gaps
from morex.report.card.metadata import metadata
from morex.report.card.subject import Subject
from morex.report.card.tables import table_of_all, table_of_costs, table_of_one
from morex.report.formats import escaped
from morex.report.gate_words import gate_sentences
from morex.report.material import Material
from morex.report.sections.summary import headline, result
from morex.report.table import description

_PAPER = "https://arxiv.org/abs/2104.10586"


def model_card(material: Material, subject: Subject) -> str:
    """Return the card of the models in ``material``, with its metadata."""
    parts = (
        *_top(material, subject),
        *_use(material, subject),
        *_accuracy(material, subject),
        *_audits(material, subject),
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
    yield f"> {escaped(result(material))}"
    others = len(material.table.columns) - 1
    beside = (
        f" The other {plural(others, 'model')} {'is' if others == 1 else 'are'} what it is made of "
        "or compared with."
    )
    yield (
        f"The default model is **{escaped(subject.default)}**, {_made(material, subject.default)}."
        f"{beside if others else ''} The method is [Mixture of Robust Experts]({_PAPER}) (MoRE). "
        "All figures are upper bounds: a stronger attack may find more."
    )
    audit = material.audits.get(subject.default)
    verdict = f"The audit: {_verdict(audit)}" if audit else "It was not audited."
    yield (
        f"**Before you rely on it.** {verdict} Read what was [not tested](#not-tested), and the "
        "[license](#license)."
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


def _audits(material: Material, subject: Subject) -> Iterator[str]:
    yield "## Are the gradients hidden?"
    if not material.audits:
        yield (
            "**No model was audited.** A model that only hides its gradients looks robust under "
            f"the attacks above. `morex audit {subject.name}` checks it."
        )
        return
    yield (
        "`morex audit` checks seven points, such as whether more steps, larger balls and attacks "
        "without gradients find what the usual attack does."
    )
    for model, audit in material.audits.items():
        yield f"**{escaped(model)}**: {_verdict(audit)}"
        yield "\n".join(
            [
                *(f"- flagged: {line}" for line in _flagged(audit)),
                *(f"- {_bound(found)}" for found in audit.accuracies),
            ]
        )


def _verdict(audit: Audit) -> str:
    counts = Counter(finding.verdict for finding in audit.findings)
    points = plural(len(audit.findings), "check")
    if counts["flag"]:
        return f"{counts['flag']} of {points} flagged: the gradients may be hidden."
    if counts["too few to say"]:
        return f"too few images to say, in {counts['too few to say']} of {points}."
    return f"no sign of hidden gradients in {points}; this does not mean that it is robust."


def _flagged(audit: Audit) -> Iterator[str]:
    for finding in audit.findings:
        if finding.verdict == "flag":
            where = f" in {finding.ball}" if finding.ball else ""
            yield escaped(f"{finding.name}{where}: {finding.reason}")


def _bound(found: AuditedAccuracy) -> str:
    low, high = found.interval
    where = f"under all attacks in {found.ball}, at most" if found.ball else "without an attack,"
    standing = "" if found.verdict == "better than one answer" else f": **{found.verdict}**"
    return escaped(
        f"{where} {percent(found.accuracy)} (95% interval {percent(low)} to {percent(high)}, "
        f"n = {found.n}){standing}"
    )


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
        "Networks": escaped(description(file.setting)),
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
