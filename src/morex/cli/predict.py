"""``morex predict``: classify pictures with a saved model."""

from pathlib import Path
from typing import Annotated

import typer

from morex.cli.options import SAVED_MODEL


def predict(
    model: Annotated[str, typer.Option(metavar="MODEL", help=f"{SAVED_MODEL}.")],
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PICTURE", help="A picture file, of any size.")
    ],
    page: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE", help="Also write a page about the pictures to this file."
        ),
    ] = None,
) -> None:
    """Classify pictures: print the class, its probability, and a mixture's gate weights.

    Pictures are resized to the model's image size.

    Example: `morex predict --model cifar10-small picture.png`
    """
    from morex.cli.classify import classify, in_words
    from morex.models.named import FromFolder
    from morex.report.predictions import write_predictions

    named = FromFolder(model)
    found = classify(named, pictures)
    for prediction in found:
        typer.echo(in_words(prediction))
    if page:
        write_predictions(page, named.about.get("name", model), found)
        typer.echo(f"report: {page}")
