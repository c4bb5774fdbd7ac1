"""Fuzzes the readers of files that may be a stranger's: ``python scripts/fuzz.py recipe``.

Atheris (``pip install atheris``, Linux) changes real files, guided by the code that they reach. A
reader may answer with what it read, or with its own error. Anything else is a finding: another
exception, a hang, or more memory than ``--memory``. The input is then left in a file, and the exit
code is not 0.
"""

import argparse
import io
import json
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["morex", "yaml", "PIL"]):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    from morex.artifacts.model_sets import SetError, read_set
    from morex.core.trust import UntrustedCodeError
    from morex.data.columns import find_columns
    from morex.data.decode import decode
    from morex.data.errors import DataError
    from morex.models.errors import ModelError
    from morex.models.folder import DESCRIPTION, WEIGHTS, ModelFolder
    from morex.models.network import NetworkConfig
    from morex.models.resnet import ResNet
    from morex.models.save import save_model
    from morex.recipe import RecipeError, parse_recipe
    from morex.recipe.read_yaml import as_mapping, parse_yaml
    from morex.report import make_table, read_results, to_text

SHIPPED = Path(str(files("morex")))


class Reader(ABC):
    """One reader, in a folder for its files.

    Attributes:
        errors: what it may raise.
    """

    errors: tuple[type[Exception], ...]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def seeds(self) -> Iterator[bytes]:
        """Yield real files."""

    @abstractmethod
    def read(self, content: bytes) -> None:
        """Read a file."""


class RecipeReader(Reader):
    """A recipe; code that it names is not imported."""

    errors = (RecipeError, UntrustedCodeError, UnicodeDecodeError)

    def seeds(self) -> Iterator[bytes]:
        """Yield the shipped recipes."""
        for path in (SHIPPED / "recipe" / "shipped").glob("*.yaml"):
            yield path.read_bytes()

    def read(self, content: bytes) -> None:
        """Parse it."""
        raw = as_mapping(parse_yaml(content.decode(), "fuzz"), "fuzz")
        parse_recipe(raw, trust_code=False)


class ModelReader(Reader):
    """``model.json`` beside weights."""

    errors = (ModelError, UntrustedCodeError)

    def seeds(self) -> Iterator[bytes]:
        """Yield descriptions: that of the weights in the folder first."""
        save_model(ResNet(NetworkConfig("resnet10", 1, 3, (8, 8))), self.folder)
        yield (self.folder / DESCRIPTION).read_bytes()
        for path in (SHIPPED / "models" / "pretrained").glob("*/*/model.json"):
            yield path.read_bytes()

    def read(self, content: bytes) -> None:
        """Load the model."""
        (self.folder / DESCRIPTION).write_bytes(content)
        ModelFolder.open(self.folder).build(trust_code=False)


class WeightsReader(Reader):
    """``model.safetensors``, whose checksum is right."""

    errors = (ModelError,)

    def seeds(self) -> Iterator[bytes]:
        """Yield the weights of a small network."""
        save_model(ResNet(NetworkConfig("resnet10", 1, 3, (8, 8))), self.folder)
        yield (self.folder / WEIGHTS).read_bytes()

    def read(self, content: bytes) -> None:
        """Load the model."""
        import hashlib

        described = json.loads((self.folder / DESCRIPTION).read_bytes())
        described["weights_sha256"] = hashlib.sha256(content).hexdigest()
        (self.folder / DESCRIPTION).write_text(json.dumps(described))
        (self.folder / WEIGHTS).write_bytes(content)
        ModelFolder.open(self.folder).build(trust_code=False)


class SetReader(Reader):
    """``set.json``, with the recipe in it."""

    errors = (SetError, RecipeError, UntrustedCodeError)

    def seeds(self) -> Iterator[bytes]:
        """Yield those of the shipped sets."""
        for path in (SHIPPED / "models" / "pretrained").glob("*/set.json"):
            yield path.read_bytes()

    def read(self, content: bytes) -> None:
        """Read it and its recipe."""
        (self.folder / "set.json").write_bytes(content)
        found = read_set(self.folder)
        if found and found.recipe:
            parse_recipe(found.recipe, trust_code=False)


class ParquetReader(Reader):
    """The metadata of a Parquet file, from which its columns are found."""

    errors = (DataError,)

    def seeds(self) -> Iterator[bytes]:
        """Yield what the hub writes for CIFAR-10."""
        label = {"names": ["airplane", "cat"], "_type": "ClassLabel"}
        features = {"img": {"_type": "Image"}, "label": label}
        yield json.dumps({"info": {"features": features}}).encode()

    def read(self, content: bytes) -> None:
        """Find the columns."""
        picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        schema = pa.schema([("img", picture), ("label", pa.int64())])
        table = schema.empty_table().replace_schema_metadata({b"huggingface": content})
        written = io.BytesIO()
        pq.write_table(table, written)
        found = pq.read_schema(io.BytesIO(written.getvalue()))
        find_columns(Path("fuzz.parquet"), found, None, None)


class PictureReader(Reader):
    """A picture of any format that is opened."""

    errors = (DataError,)

    def seeds(self) -> Iterator[bytes]:
        """Yield a picture of each kind."""
        pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
        picture = Image.fromarray(pixels)
        for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"):
            for mode in ("RGB", "L") if kind in ("JPEG", "PPM") else ("RGB", "L", "P"):
                written = io.BytesIO()
                picture.convert(mode).save(written, kind)
                yield written.getvalue()

    def read(self, content: bytes) -> None:
        """Decode it."""
        decode(content, 8)


class ResultsReader(Reader):
    """``results.json`` of a run, and the table from it."""

    errors = (ValueError, FileNotFoundError)

    def seeds(self) -> Iterator[bytes]:
        """Yield results with one model."""
        yield json.dumps(
            {
                "format": 1,
                "name": "fuzz",
                "seed": 0,
                "setting": {"data": "digits", "width": 8, "n_test": 3},
                "rows": {"clean": {"attack": "", "perturbation": {"kind": "clean"}}},
                "columns": {"a": {"outcomes": "outcomes/a.npz"}},
                "missing": ["b"],
                "stages": {"train-a": {"kind": "train", "model": "a"}},
            }
        ).encode()

    def read(self, content: bytes) -> None:
        """Read them, and make the table."""
        from morex.artifacts.outcomes import Outcomes

        (self.folder / "outcomes").mkdir(exist_ok=True)
        path = self.folder / "outcomes" / "a.npz"
        if not path.exists():
            Outcomes({"clean": np.array([True, False, True])}).save(path)
        (self.folder / "results.json").write_bytes(content)
        found = read_results(self.folder)
        to_text(make_table(found))


READERS: dict[str, type[Reader]] = {
    "recipe": RecipeReader,
    "model": ModelReader,
    "weights": WeightsReader,
    "set": SetReader,
    "parquet": ParquetReader,
    "picture": PictureReader,
    "results": ResultsReader,
}


def main() -> None:
    """Fuzz one reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=int, default=4096, help="MiB")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        corpus, work = Path(place, "corpus"), Path(place, "work")
        corpus.mkdir()
        work.mkdir()
        reader = READERS[given.reader](work)
        for i, content in enumerate(reader.seeds()):
            (corpus / f"seed-{i}").write_bytes(content)

        def read(content: bytes) -> None:
            with suppress(*reader.errors):
                reader.read(content)

        options = (
            f"-max_total_time={given.seconds}",
            f"-seed={given.seed + 1}",
            f"-rss_limit_mb={given.memory}",
            "-timeout=20",
            "-max_len=20000",
            f"-artifact_prefix=fuzz-{given.reader}-",
            "-print_final_stats=1",
        )
        atheris.Setup([sys.argv[0], *options, str(corpus)], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
