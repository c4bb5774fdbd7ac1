"""``morex serve``: answer requests with a saved model, and show its playground."""

from typing import TYPE_CHECKING, Annotated

import typer

from morex.cli.options import SAVED_MODEL, Device, TrustCode, read_device
from morex.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Collection

    from morex.models.named import FromFolder
    from morex.recipe import Recipe

Host = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="The address to listen at; by default only this machine can reach the server. "
        "0.0.0.0 stands for all addresses of this machine.",
    ),
]
Port = Annotated[
    int,
    typer.Option(min=0, max=65535, metavar="N", help="The port to listen at; 0 is any free one."),
]


def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=f"{SAVED_MODEL}.")],
    host: Host = "127.0.0.1",
    port: Port = 8000,
    queue: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="How many requests may be in progress; more are refused with 503.",
        ),
    ] = 256,
    batch: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="How many waiting pictures to classify together."),
    ] = 64,
    api_only: Annotated[
        bool, typer.Option("--api-only", help="Do not serve the playground and its attacks.")
    ] = False,
    device: Device = None,
    trust_code: TrustCode = False,
) -> None:
    """Serve a model: classify pictures over HTTP, and show a playground in the browser.

    `POST /predict` takes a picture, as the body or as a file in a form, and answers with JSON.
    `GET /health` and `GET /metrics` (for Prometheus) tell how the server is. The page at `/` shows
    what the model and its experts answer for a picture, and what perturbations and attacks do to
    it. Ctrl-C or SIGTERM ends the server once what it has accepted is answered.

    Example: `morex serve cifar10-small --port 8000`
    """
    try:
        from morex.deploy.guard import LOOPBACK
        from morex.deploy.server import address_of, bound
        from morex.deploy.server import serve as do_serve
        from morex.deploy.serving import served
    except ModuleNotFoundError as error:
        raise _without_extra(error) from None
    from morex.deploy.intake import Limits
    from morex.models.named import FromFolder

    named = FromFolder(model, trust_code=trust_code)
    limits = Limits(queue=queue, batch=batch)
    everywhere = host in ("0.0.0.0", "::", "")
    hosts: Collection[str] = () if everywhere else {*LOOPBACK, host.lower()}
    listening = bound(host, port)
    found = served(named, _recipe(named), read_device(device), hosts, limits, page=not api_only)
    what = "POST /predict" if api_only else "the playground, and POST /predict"

    def started() -> None:
        say(f"{model} is served at {address_of(listening)} ({what}); Ctrl-C ends it")

    try:
        do_serve(found.app, listening, limits.grace, started)
    finally:
        found.close()
    say(f"ended; {sum(found.service.metrics.requests.values())} requests were answered")


def _recipe(model: "FromFolder") -> "Recipe | None":
    """Return the recipe of a model, if it has one."""
    from morex.cli.load_model import own_recipe, recipe_of_run

    if model.recipe is None and recipe_of_run(model.folder) is None:
        return None
    return own_recipe(model)


def _without_extra(error: ModuleNotFoundError) -> ImportError:
    """Return an error that says how to install what ``morex serve`` needs."""
    if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "python_multipart"):
        return error
    return ImportError("morex serve needs Starlette and uvicorn: pip install 'morex[serve]'")
