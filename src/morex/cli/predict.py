"""``morex predict``: classify pictures with a saved model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morex.cli.options import SAVED_MODEL, Device, TrustCode, read_device
from morex.cli.output import AsJson, lines_beside, print_json, say_aside

if TYPE_CHECKING:
    from morex.deploy.classify import Classifier
    from morex.report.predictions import Prediction

_MOST = 5
"""How many of the most probable classes JSON and page have, unless ``--top`` asks for others."""


def predict(
    model: Annotated[str, typer.Option(metavar="MODEL", help=f"{SAVED_MODEL}.")],
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PICTURE", help="A picture file, of any size.")
    ],
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="K",
            help="How many of the most probable classes to show; by default 1, and 5 in JSON and "
            "on the page.",
        ),
    ] = None,
    device: Device = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE", help="Also write a page about the pictures to this file."
        ),
    ] = None,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Classify pictures: print the class and its probability.

    Each picture is cropped to its central square, which is resized to the model's image size. For
    a mixture, the classes of its experts and the weights of its gate are shown too.

    A picture that cannot be read is reported on standard error, and the others are classified. The
    exit code is then 1, or 2 if no picture could be read.

    Example: `morex predict --model cifar10-small picture.png`
    """
    from morex.deploy.classify import Classifier, in_json, in_words
    from morex.models.named import open_saved
    from morex.report.predictions import write_predictions

    named = open_saved(model, trust_code=trust_code)
    classifier = Classifier.open(named, read_device(device), top or _MOST)
    say = lines_beside(as_json)
    show = _ignore if as_json else lambda prediction: say(in_words(prediction, top or 1))
    found, bad = _classify(classifier, pictures, show)
    if as_json:
        print_json({"model": model, "pictures": [*map(in_json, found)], "bad": bad})
    if page and found:
        write_predictions(page, named.about.get("name", model), found)
        say(f"report: {page}")
    if bad:
        raise typer.Exit(1 if found else 2)


def _classify(
    classifier: "Classifier", pictures: Sequence[Path], show: Callable[["Prediction"], None]
) -> "tuple[list[Prediction], list[dict[str, str]]]":
    """Return the predictions, and the pictures that cannot be used with the reasons.

    Args:
        classifier: the model.
        pictures: files.
        show: called with each prediction at once.
    """
    from morex.cli.progress import progress

    found: list[Prediction] = []
    bad: list[dict[str, str]] = []

    def refuse(picture: Path, reason: str) -> None:
        bad.append({"file": str(picture), "reason": reason})
        say_aside(f"error: {picture}: {reason}")

    with progress("predict") as report:
        for prediction in classifier.classify(pictures, refuse):
            found.append(prediction)
            show(prediction)
            report((len(found) + len(bad)) / len(pictures), "")
    return found, bad


def _ignore(prediction: "Prediction") -> None:
    """Show nothing: JSON is printed at the end."""
