"""``morex serve``: answer requests with a saved model, and show its playground."""

import webbrowser
from contextlib import closing
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING, Annotated

import typer

from morex.cli.options import SAVED_MODEL, Device, TrustCode, read_device
from morex.cli.output import say
from morex.core.units import plural

if TYPE_CHECKING:
    from collections.abc import Collection

    from morex.models.named_model import NamedModel
    from morex.recipe import Recipe

_EVERYWHERE = ("0.0.0.0", "::", "")

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
    serve_model(
        model,
        host=host,
        port=port,
        queue=queue,
        batch=batch,
        page=not api_only,
        device=device,
        trust_code=trust_code,
    )


def serve_model(
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    queue: int = 256,
    batch: int = 64,
    page: bool = True,
    device: str | None = None,
    trust_code: bool = False,
    opens: bool = False,
) -> None:
    """Serve a model until a signal ends it; ``opens`` shows its page in a browser.

    Raises:
        ImportError: if Starlette or uvicorn is not installed.
        ModelError: if there is no such model.
        ValueError: if the address cannot be used.
    """
    check_extra()
    from morex.core.precision import exact_float32
    from morex.deploy.guard import LOOPBACK
    from morex.deploy.intake import Limits
    from morex.deploy.server import address_of, bound
    from morex.deploy.server import serve as do_serve
    from morex.deploy.serving import served
    from morex.models.named import open_saved

    named = open_saved(model, trust_code=trust_code)
    limits = Limits(queue=queue, batch=batch)
    hosts: Collection[str] = () if host in _EVERYWHERE else {*LOOPBACK, host.lower()}
    # these settings belong to the process: a thread that attacks must not change them for another
    with exact_float32(), closing(bound(host, port)) as listening:
        found = served(named, _recipe(named), read_device(device), hosts, limits, page=page)
        address = address_of(listening)

        def started() -> None:
            what = "the playground, and POST /predict" if page else "POST /predict"
            say(f"{model} is served at {address} ({what}); Ctrl-C ends it")
            if opens:
                # in a thread: a browser of the terminal waits for pages of this server
                Thread(target=webbrowser.open, args=(address,), daemon=True).start()

        try:
            do_serve(found.app, listening, limits.grace, started)
        finally:
            found.close()
    say(f"ended; {plural(sum(found.service.metrics.requests.values()), 'request')} answered")


def check_extra() -> None:
    """Raise ``ImportError`` if what a server needs is not installed."""
    missing = [name for name in ("starlette", "uvicorn", "python_multipart") if not find_spec(name)]
    if missing:
        raise ImportError("morex serve needs Starlette and uvicorn: pip install 'morex[serve]'")


def _recipe(model: "NamedModel") -> "Recipe | None":
    """Return the recipe of a model, if it has one."""
    from morex.cli.load_model import has_recipe, own_recipe

    return own_recipe(model) if has_recipe(model) else None
