"""What a card is about, beyond what a run knows."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Subject:
    """What is published, and under which name.

    Attributes:
        name: the name under which the default model is loaded, such as ``hf://owner/name``.
        default: the default model, by its name in tables.
        folders: the folder of each model, by its name in tables.
        sizes: the size of each model in bytes.
        classes: the names of the classes; empty if they are not known.
        image_size: the height and width of the images; empty if they are not known.
        license: the hub's identifier of the license of the weights; empty if it is not stated.
        dataset: the name of the data on the hub; empty if it is not there.
        left_out: how many evaluated models of the run are not published.
        code: the code that the recipe names, which is not published.
        audits: the files with the audits, by the name of the model.
        suites: the files with the results of further suites, by the name of the suite.
    """

    name: str
    default: str
    folders: Mapping[str, str]
    sizes: Mapping[str, int]
    classes: tuple[str, ...] = ()
    image_size: tuple[int, ...] = ()
    license: str = ""
    dataset: str = ""
    left_out: int = 0
    code: tuple[str, ...] = ()
    audits: Mapping[str, str] = field(default_factory=dict)
    suites: Mapping[str, str] = field(default_factory=dict)

    def address(self, model: str) -> str:
        """Return the name under which a model is loaded."""
        return f"{self.name}/{self.folders[model]}"
