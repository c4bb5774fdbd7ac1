"""The YAML in front of a card, which the Hugging Face hub reads."""

from collections.abc import Iterator
from typing import Any

import yaml

from morex.report.caption import in_words
from morex.report.card.subject import Subject
from morex.report.table import Table

_TASK = {"type": "image-classification", "name": "Image Classification"}


def metadata(table: Table, subject: Subject) -> str:
    """Return the metadata between its two lines of dashes.

    The evaluation results are those of the default model, in percent.
    """
    content = {
        **_license(subject),
        "library_name": "morex",
        "pipeline_tag": "image-classification",
        "tags": ["adversarial-robustness", "mixture-of-experts", "morex"],
        **({"datasets": [subject.dataset]} if subject.dataset else {}),
        "metrics": ["accuracy"],
        "model-index": [{"name": subject.default, "results": [_results(table, subject)]}],
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---\n"


def _license(subject: Subject) -> dict[str, str]:
    if subject.license:
        return {"license": subject.license}
    return {"license": "other", "license_name": "not-stated"}


def _results(table: Table, subject: Subject) -> dict[str, Any]:
    name = table.source.setting.data
    dataset = {"name": name, "type": subject.dataset or name, "split": "test"}
    return {"task": _TASK, "dataset": dataset, "metrics": [*_metrics(table, subject.default)]}


def _metrics(table: Table, model: str) -> Iterator[dict[str, Any]]:
    place = table.columns.index(model)
    for line, values in table.values.items():
        value = values[place]
        if value is not None:
            name = _name(table, line)
            yield {"type": "accuracy", "name": name, "value": round(100 * value, 2)}


def _name(table: Table, line: str) -> str:
    """Return for example ``accuracy (%), pgd-linf (linf eps 8/255)``."""
    row = table.source.rows.get(line)
    strength = in_words(row.perturbation) if row else "over all rows"
    return f"accuracy (%), {line}" + ("" if strength == line else f" ({strength})")
