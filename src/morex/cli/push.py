"""``morex push``: the models of a run on the Hugging Face hub, with a card made from it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morex.cli.options import RunPlace, finished_run
from morex.cli.output import say
from morex.core.units import plural

if TYPE_CHECKING:
    from morex.deploy.publication import Publication

_SHOWN = 10

Destination = Annotated[
    str,
    typer.Argument(
        metavar="DESTINATION",
        help="A repository on the Hugging Face hub, as hf://owner/name; or a new folder, to look "
        "at what a push would upload.",
    ),
]
ModelNames = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="A model to push, as the table or its folder names it; may be repeated, and the first "
        "is the default. By default all evaluated models are pushed, and the last mixture is the "
        "default.",
    ),
]
License = Annotated[
    str,
    typer.Option(
        "--license",
        metavar="ID",
        help="The license of the weights, as the hub names it, such as mit or cc-by-4.0. What they "
        "were trained on may limit it. Without one the card says that it is not stated.",
    ),
]


def push(
    run: RunPlace, to: Destination, models: ModelNames = None, license_id: License = ""
) -> None:
    """Publish the models of a run with a model card.

    The card is made from the run: tables with intervals and n, the audits in RUN/audits, what was
    not tested, recipe, cost, license, and how to load the models. Pushed are the weights, the
    recipe, the figures and the card, in one commit; no image, no command and no name of a folder
    of this machine. A repository that does not exist is made, and is private until you change that
    on its page.

    `hf://owner/name` then names the default model in every command and in `morex.load`;
    `hf://owner/name@COMMIT/MODEL` names another one, at a commit.

    Example: `morex push runs/digits card`
    """
    from morex.deploy.publication import publication
    from morex.deploy.push import check_token, repository_of, write_folder
    from morex.deploy.push import push as do_push
    from morex.models.hub import on_hub

    if not on_hub(to):
        name = Path(to).resolve().name  # not where it lies on this machine
        made = publication(finished_run(run), name, models or (), license_id=license_id)
        write_folder(made, Path(to))
        say(f"{_what(made)}: {to}; read {Path(to) / 'README.md'}")
        return
    repository = repository_of(to)
    check_token()
    made = publication(finished_run(run), f"hf://{repository}", models or (), license_id=license_id)
    say(f"{_what(made)}, to hf://{repository}: {_names(made)}")
    done = do_push(made, repository)
    say(f"pushed: {done.url}")
    seen = "only its owner sees it; its settings make it public" if done.private else "it is public"
    say(f'{seen}; next: morex.load("hf://{repository}@{done.commit}")')


def _what(made: "Publication") -> str:
    models = plural(len(made.models), "model")
    return f"{models} in {plural(len(made.files), 'file')}, {made.size / 1e6:.1f} MB"


def _names(made: "Publication") -> str:
    names = [*made.files]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
