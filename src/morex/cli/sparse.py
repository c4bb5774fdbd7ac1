"""``morex sparse``: a mixture that asks, for each image, only the experts that carry weight."""

from pathlib import Path
from typing import Annotated

import typer

from morex.cli.options import SAVED_MODEL, TrustCode
from morex.cli.output import say


def sparse(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=f"{SAVED_MODEL}; a mixture.")],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder of the sparse mixture.")],
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="W",
            help="Ask the experts with at least this weight, such as 0.1, and always the one with "
            "the largest.",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Ask the K experts with the largest weights."),
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Make a mixture cheaper: each image is sent only to the experts that carry weight.

    The sparse mixture is a saved model like any other. Evaluate and audit it before you use it:
    what holds for the mixture need not hold for it.

    Example: `morex sparse cifar10-small --threshold 0.1 --to sparse`
    """
    from morex.models.folder import DESCRIPTION, ModelFolder
    from morex.models.named import FromFolder, open_saved
    from morex.models.routing import Routing, routed
    from morex.models.save import save_model

    routing, named = Routing(threshold, top), open_saved(model, trust_code=trust_code)
    if (to / DESCRIPTION).exists():
        raise ValueError(f"--to {to} holds a model already; name another folder")
    about = dict(named.about)
    about["name"] = f"{about.get('name', model)}, {routing}"
    if named.recipe:
        about["recipe"] = named.recipe
    made = routed(named.load(), routing)
    dtype = ModelFolder.open(named.folder).dtype if isinstance(named, FromFolder) else None
    save_model(made, to, about=about, dtype=dtype)
    say(f"{about['name']}: {to}; next: morex evaluate {to} --suite adaptive")
