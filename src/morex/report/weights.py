"""Whether figures are about the weights that a run has now."""

from pathlib import Path

from pydantic import ValidationError

from morex.artifacts.model_description import ModelDescription
from morex.artifacts.results import ResultsFile
from morex.core.files import digest_of_all


def weights_now(run: Path, folder: str) -> str:
    """Return the checksum of the weights in a folder of ``models``; empty if it is unknown."""
    try:
        content = (run / "models" / folder / "model.json").read_bytes()
        described = ModelDescription.model_validate_json(content)
    except (OSError, ValidationError):
        return ""
    shared = [source.weights_sha256 for source in described.shared.values()]
    return digest_of_all([described.weights_sha256, *shared])


def are_stale(measured: str, now: str) -> bool:
    """Return whether figures are about other weights, as far as both checksums are known."""
    return bool(measured and now and measured != now)


def without_stale_columns(run: Path, file: ResultsFile) -> ResultsFile:
    """Return results without the models whose weights are no longer those that were evaluated."""
    stale = {
        name
        for name, column in file.columns.items()
        if are_stale(column.weights, weights_now(run, Path(column.outcomes).stem))
    }
    if not stale:
        return file
    kept = {name: column for name, column in file.columns.items() if name not in stale}
    shown = {name: path for name, path in file.illustrations.items() if name not in stale}
    missing = (*file.missing, *sorted(stale))
    return file.model_copy(update={"columns": kept, "illustrations": shown, "missing": missing})
