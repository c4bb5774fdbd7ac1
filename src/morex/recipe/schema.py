"""A recipe and its sections: everything that decides a run."""

from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from morex.artifacts.schema import FolderName
from morex.core.precision import Precision
from morex.evaluation.settings import Settings, settings_on
from morex.models.architectures import TIMM, Activation, check_architecture, width_of
from morex.models.timm_network import check_timm
from morex.perturbations import Perturbation
from morex.recipe.components import AnyAttack, AnyPerturbation, named_parts
from morex.recipe.fields import InnerSearch, Names, Strict, Training
from morex.recipe.keys import InKey
from morex.recipe.models import MixtureModel, ModelSpec, NetworkModel, TrainedModel
from morex.recipe.suites import Attacks, load_suite
from morex.training.config import TrainingConfig


class ExtraData(Strict):
    """Additional images for training, such as generated ones.

    Args:
        folder: where they are (``morex.data.load_extra``).
        share: of each batch, in (0, 1).
    """

    folder: str
    share: float = Field(gt=0, lt=1)


class DataConfig(Strict):
    """Where the images come from, how many of them choose the models, and augmentation.

    ``folder`` and the columns tell where the data is; results depend on the data, not on these.
    ``extra`` images are for trainings only; epochs count the others. ``note`` is shown beside the
    data's name wherever results are shown.
    """

    name: str
    note: str = ""
    folder: str | None = None
    image_size: int | None = Field(default=None, ge=1)
    image_column: str | None = None
    label_column: str | None = None
    validation: float = Field(default=0.1, gt=0, lt=1)
    train_examples: int | None = Field(default=None, ge=2)
    validation_examples: int | None = Field(default=None, ge=1)
    crop: int = Field(default=0, ge=0)
    flip: bool = False
    extra: ExtraData | None = None


class NetworkSpec(Strict):
    """Shape of a network; image size, classes and normalisation come from the data.

    Args:
        architecture, width, activation: as for ``NetworkConfig``.
    """

    architecture: str = "resnet18"
    width: int | None = Field(default=None, ge=1, le=2**14)
    activation: Annotated[Activation, InKey.IF_CHANGED] = "relu"

    @model_validator(mode="after")
    def _known(self) -> "NetworkSpec":
        """Check that there is such a network, and fill in the width."""
        check_architecture(self.architecture)
        if self.architecture.startswith(TIMM):
            check_timm(self.architecture, self.activation)
        object.__setattr__(self, "width", width_of(self.architecture, self.width))
        return self

    @property
    def title(self) -> str:
        """The architecture, and the activation unless it is the usual one."""
        return f"{self.architecture} ({self.activation})".removesuffix(" (relu)")


class SuiteUse(Strict):
    """One more suite.

    Args:
        examples: the number of test images; by default that of the recipe.
        file: its file, unless it is a shipped suite.
        columns: the columns that it attacks; by default all.
    """

    examples: int | None = Field(default=None, ge=1)
    file: str | None = None
    columns: Names | None = None


def _word_or_number(value: object) -> str:
    """Return the tag of what a batch size is written as."""
    return "word" if isinstance(value, str) else "number"


def _only_auto(word: object) -> object:
    if word != "auto":
        raise ValueError(f"expected a whole number or auto, got {word!r}")
    return word


_BatchSize = Annotated[
    Annotated[int, Field(ge=1), Tag("number")]
    | Annotated[Literal["auto"], BeforeValidator(_only_auto), Tag("word")],
    Discriminator(_word_or_number),
]


class Evaluation(Strict):
    """The attacks of the table, by row, and how they are run.

    Args:
        examples: the number of test images; None for all.
        batch_size: images attacked at a time; ``auto`` leaves the number to the device.
        search_precision: number format in which attacks see the model: ``fp32``, ``bf16``, or
            ``auto``, which is bf16 where the device is fast at it. What they find is always judged
            in float32.
        rows: the attacks.
        suites: more suites over the same perturbations, or over those that a suite brings with it,
            each with a separate table.
    """

    examples: int | None = Field(default=None, ge=1)
    batch_size: _BatchSize = 256
    search_precision: Annotated[Precision, InKey.IF_CHANGED] = "fp32"
    rows: dict[str, AnyAttack] = Field(min_length=1)
    suites: dict[Annotated[str, Field(pattern="^[A-Za-z0-9_]+$")], SuiteUse] = Field(
        default_factory=dict
    )

    def settings(self, seed: int, device: torch.device, image_size: tuple[int, int]) -> Settings:
        """Return batch size and precision, those of the device where it decides them."""
        return settings_on(device, image_size, seed, self.batch_size, self.search_precision)


class Report(Strict):
    """What the report page shows of some models beside the table.

    Args:
        models: the models whose curves and confusions are shown; None leaves the choice to morex.
        examples: number of test images for curves and confusions.
        steps: PGD steps in the curves.
        factors: strengths in the curves, relative to those of the table.
        pictures: number of test images in the gallery.
    """

    models: Names | None = None
    examples: int = Field(default=100, ge=1)
    steps: int = Field(default=10, ge=1)
    factors: tuple[Annotated[float, Field(ge=0)], ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    pictures: int = Field(default=12, ge=0)

    @field_validator("factors")
    @classmethod
    def _rising(cls, factors: tuple[float, ...]) -> tuple[float, ...]:
        if any(b <= a for a, b in pairwise(float(f"{factor:g}") for factor in factors)):
            raise ValueError(f"expected rising factors on the strength, got {[*factors]}")
        return factors


class Recipe(Strict):
    """A whole run: data, networks, perturbations, models, and the attacks on them.

    Args:
        name: of the recipe.
        description: one line about it.
        seed: decides every random draw.
        threads: CPU threads of a stage. Small networks gain nothing from several; with one, stages
            run side by side. The number decides the order of sums, hence the last bits of results;
            None leaves it to PyTorch.
        deterministic: whether a GPU is to compute the same bits every time, so that a run that is
            killed and resumed ends with the bits of one that was not. Networks are then not
            compiled; what it costs has not been measured. It changes nothing on a CPU.
        saved_precision: number format of finished models on disk. Evaluations and other models
            read them from there, so what is measured is what was saved.
        data: where the images come from.
        network: the shape of networks.
        gate: the shape of gates; by default that of networks.
        perturbations: by name.
        inner: the inner search that models inherit.
        training: the training that models inherit.
        models: by name.
        columns: the models that are evaluated, in the order of the table.
        evaluation: the attacks on them.
        report: what the report page shows beside the table; null for the table alone.
    """

    name: FolderName
    description: str = ""
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    threads: int | None = Field(default=None, ge=1, le=1024)
    deterministic: bool = False
    saved_precision: Literal["fp32", "bf16"] = "fp32"
    data: DataConfig
    network: NetworkSpec
    gate: NetworkSpec | None = None
    perturbations: Annotated[
        dict[str, AnyPerturbation], BeforeValidator(named_parts), Field(min_length=1)
    ]
    inner: InnerSearch = InnerSearch()
    training: Training = TrainingConfig()
    models: dict[str, ModelSpec] = Field(min_length=1)
    columns: Names
    evaluation: Evaluation
    report: Report | None = Report()

    @property
    def networks(self) -> dict[str, NetworkModel]:
        """The networks that are trained, by name."""
        return {n: m for n, m in self.models.items() if isinstance(m, NetworkModel)}

    @property
    def mixtures(self) -> dict[str, MixtureModel]:
        """The mixtures with a gate, by name."""
        return {n: m for n, m in self.models.items() if isinstance(m, MixtureModel)}

    @property
    def trained(self) -> dict[str, TrainedModel]:
        """Networks and mixtures, by name."""
        return {**self.networks, **self.mixtures}

    def perturbations_of(self, names: tuple[str, ...]) -> tuple[Perturbation, ...]:
        """Return the perturbations called ``names``."""
        return tuple(self.perturbations[name] for name in names)

    def attacks(self, suite: str = "") -> Attacks:
        """Return the rows of the table and their perturbations, or those of a further suite.

        Raises:
            RecipeError: if the suite cannot be read.
        """
        if not suite:
            return Attacks(self.evaluation.rows, self.perturbations)
        use = self.evaluation.suites[suite]
        found, few = load_suite(use.file or suite, self.measured()), {"examples": use.examples}
        rows = {k: r if r.examples else r.model_copy(update=few) for k, r in found.rows.items()}
        return Attacks(rows, found.perturbations)

    def columns_under(self, suite: str = "") -> tuple[str, ...]:
        """Return the columns that a suite attacks; those of the table if the name is empty."""
        chosen = self.evaluation.suites[suite].columns if suite else None
        return tuple(name for name in self.columns if chosen is None or name in chosen)

    def attacked(self) -> dict[str, Perturbation]:
        """Return the perturbations that the rows of the table are about."""
        names = dict.fromkeys(row.perturbation for row in self.evaluation.rows.values())
        return {name: self.perturbations[name] for name in names}

    def measured(self) -> dict[str, Perturbation]:
        """Return the perturbations for a suite that declares none itself.

        They are those that rows of the table attack, and those of kinds that no row attacks. Other
        strengths of an attacked kind are left out: they are for training.
        """
        attacked = self.attacked()
        kinds = {perturbation.name for perturbation in attacked.values()}
        others = {n: p for n, p in self.perturbations.items() if p.name not in kinds}
        return attacked | others

    def fixed(self) -> dict[str, Any]:
        """Return what ``deterministic`` adds to the keys of stages: nothing unless it is set."""
        return {"deterministic": True} if self.deterministic else {}

    def of_evaluation(self) -> dict[str, Any]:
        """Return the parts of the recipe that an evaluation needs, as JSON values."""
        needed = {"threads", "data", "perturbations", "evaluation"}
        return self.model_dump(mode="json", include=needed)


def slug(name: str) -> str:
    """Return a model's name as a folder name: ``MoRE (all)`` becomes ``more-all``."""
    letters = "".join(c if c.isalnum() or c in "._+" else " " for c in name.lower())
    return "-".join(letters.split())
