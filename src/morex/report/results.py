"""Reads the results of a run: ``results.json`` and one outcomes file per model."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from morex.artifacts.labels import FILE as TEST_IMAGES
from morex.artifacts.labels import TestImages
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.results import FORMAT, ResultsFile, results_name
from morex.artifacts.schema import problems
from morex.core.file_errors import near_file
from morex.core.files import read_file
from morex.core.near import did_you_mean
from morex.core.strict_json import parse_json, printable_texts
from morex.report.weights import without_stale_columns


@dataclass(frozen=True)
class RunResults:
    """The results file of a run, with the outcomes of every evaluated model.

    ``images`` is empty if the test images are unknown.
    """

    file: ResultsFile
    outcomes: Mapping[str, Outcomes]
    images: TestImages = field(default_factory=TestImages)


def read_results(run: Path | str, suite: str = "", *, unfinished: bool = False) -> RunResults:
    """Read the results of the run directory ``run``, or those of one of its further suites.

    A model whose weights have changed since its evaluation counts as missing.

    Args:
        run: the run directory.
        suite: the name of a further suite; empty for the table's.
        unfinished: accept a run in which no model is evaluated yet.

    Raises:
        FileNotFoundError: if there is no such run, it has no results yet, or a file is missing.
        ValueError: if a file is damaged, of an unknown format, or does not fit the others.
    """
    run = Path(run)
    _check_there(run, suite)
    file = without_stale_columns(run, _read_file(run / results_name(suite)))
    if not file.columns and not unfinished:
        raise _nothing_yet(run)
    outcomes = {
        name: _read_outcomes(run / column.outcomes, name, file)
        for name, column in file.columns.items()
    }
    return RunResults(file, outcomes, _read_images(run / TEST_IMAGES))


def _read_images(path: Path) -> TestImages:
    """Return the test images; none if the file is missing or damaged: they only add to a table."""
    try:
        return TestImages.model_validate(printable_texts(parse_json(path.read_bytes())))
    except (OSError, ValueError):
        return TestImages()


def _check_there(run: Path, suite: str) -> None:
    """Raise unless the run has results, and those of the suite."""
    if not run.is_dir():
        raise FileNotFoundError(
            f"no run directory {str(run)!r}{near_file(run)}; make one with: morex run RECIPE "
            f"--out {run}"
        )
    if not (run / results_name()).is_file():
        raise _nothing_yet(run)
    if not (run / results_name(suite)).is_file():
        raise _not_run(run, suite)


def _not_run(run: Path, suite: str) -> FileNotFoundError:
    """Return the error about a suite without results: which ones have some, how to run this one."""
    prefix, suffix = results_name("*").split("*")
    files = sorted(path.name for path in run.glob(results_name("*")))
    done = [name.removeprefix(prefix).removesuffix(suffix) for name in files]
    return FileNotFoundError(
        f"the suite {suite!r} was not run in {str(run)!r}; {did_you_mean(suite, done)}these were: "
        f"Table 1 (without --suite){''.join(f', {name}' for name in done)}; run it with: "
        f"morex run {shlex.quote(str(run / 'recipe.yaml'))} --suite {shlex.quote(suite)} "
        f"--out {shlex.quote(str(run))}"
    )


def _read_file(path: Path) -> ResultsFile:
    try:
        content = printable_texts(parse_json(read_file(path)))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); run the same morex run command again to rewrite it"
        ) from None
    _check_format(path, content)
    try:
        return ResultsFile.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path} does not fit format {FORMAT}: {problems(error)}") from None


def _nothing_yet(run: Path) -> FileNotFoundError:
    return FileNotFoundError(
        f"the run {str(run)!r} has no results yet: no model is evaluated; continue with "
        "the morex run command that started it"
    )


def _check_format(path: Path, content: Any) -> None:
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"{path} has format {found!r}, this version of morex reads {FORMAT}; "
            "use the version of morex that made the run, or run it again"
        )


def _read_outcomes(path: Path, column: str, file: ResultsFile) -> Outcomes:
    try:
        outcomes = Outcomes.load(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}, the outcomes of {column!r}, is missing; run the same morex run command again "
            "to evaluate that model"
        ) from None
    if unknown := [row for row in outcomes.rows if row not in file.rows]:
        raise ValueError(
            f"{path} holds rows that results.json does not list ({', '.join(unknown)}); delete it "
            "and run the same morex run command again"
        )
    return outcomes
