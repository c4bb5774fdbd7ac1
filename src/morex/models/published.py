"""Weights that others have published, by the names that their networks give them.

Networks of the literature have the same tensors under different names (``dialects``). Published
files are pickles of tensors and much else; only tensors and plain values are read from them, and
nothing is executed.
"""

import io
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from morex.core.file_errors import reason
from morex.core.files import read_file
from morex.core.precision import default_settings
from morex.models.compiled import in_short
from morex.models.dialects import dialect_of
from morex.models.errors import ModelError
from morex.models.network import Network, NetworkConfig
from morex.models.networks import make_network

_INSIDE = ("state_dict", "model_state_dict", "model", "net", "last")
"""Where files that hold more than one state keep that of the network."""

_WRAPPERS = ("module.", "model.", "_orig_mod.")
"""What data parallelism, models that normalise, and compiled models put before every name."""

_STATISTICS = {
    **dict.fromkeys(("mu", "mean", "normalize.mean"), "mean"),
    **dict.fromkeys(("sigma", "std", "normalize.std"), "std"),
}
"""Names of the mean and the standard deviation of pixels."""

_UNUSED = re.compile(r"sub_block1\.|model_preact_hl1\.|.*\.num_batches_tracked$")
"""Tensors that no network uses: TRADES' WideResNet has a block too many; counters of batches."""


def load_published(file: Path | str, config: NetworkConfig) -> Network:
    """Return a network with the weights of a file that others have published, for evaluation.

    The file may hold more than the weights. Their names may begin with ``module.``. Mean and
    standard deviation of the pixels are those in the file, if it has some.

    Args:
        file: a file of ``torch.save`` with a state dictionary in it, or a ``.safetensors`` file.
        config: the shape of the network.

    Raises:
        ModelError: if the file cannot be read without executing what it holds, or its weights are
            not those of the network.
    """
    path = Path(file)
    weights = _translated(read_tensors(path), config, path)
    return _network(weights, config, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, without prefixes; nothing in it is executed.

    Raises:
        ModelError: if the file cannot be read, or holds no tensors.
    """
    try:
        content = read_file(path)
        found: Any = load(content) if path.suffix == ".safetensors" else _unpickled(content)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {reason(error)}") from None
    except Exception as error:  # a stranger's pickle may fail in any way
        if not _is_torch_file(content) and path.suffix != ".safetensors":
            raise ModelError(
                f"{path} is no file of torch.save ({_begins(content)}): the download was cut off, "
                "or is a page that asks for a confirmation; download the file again"
            ) from None
        raise ModelError(
            f"{path} holds more than tensors, or is damaged, and morex executes nothing from such "
            f"files ({in_short(error)}); if you trust it, read it with torch.load(..., "
            f"weights_only=False) and save its state dictionary with safetensors as "
            f"{path.with_suffix('.safetensors')}"
        ) from None
    tensors = _tensors_in(found)
    if not tensors:
        raise ModelError(f"{path} holds no weights by name; expected a state dictionary")
    return {_bare(name): tensor for name, tensor in tensors.items()}


def _is_torch_file(content: bytes) -> bool:
    """Return whether bytes are a whole archive of ``torch.save``, or a pickle of its old format."""
    return zipfile.is_zipfile(io.BytesIO(content)) or content[:1] == b"\x80"


def _begins(content: bytes) -> str:
    """Return how many bytes there are, and how they begin."""
    return f"{len(content)} bytes that begin with {content[:16]!r}"


def _unpickled(content: bytes) -> Any:
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > len(content):  # torch.save compresses nothing
            raise ValueError(f"compressed, {size} bytes in a file of {len(content)}")
    with warnings.catch_warnings():  # about old formats
        warnings.simplefilter("ignore")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _tensors_in(content: object) -> dict[str, Tensor]:
    """Return the state dictionary in the content of a file; empty if there is none."""
    for _ in range(4):
        if not isinstance(content, Mapping):
            return {}
        found = {str(k): t for k, t in content.items() if isinstance(t, Tensor)}
        if len(found) > 2:
            return found
        content = next((content[key] for key in _INSIDE if key in content), None)
    return {}


def _bare(name: str) -> str:
    for _ in range(4):
        for prefix in _WRAPPERS:
            name = name.removeprefix(prefix)
    return name


def _translated(
    found: Mapping[str, Tensor], config: NetworkConfig, path: Path
) -> dict[str, Tensor]:
    """Return weights under our names.

    Raises:
        ModelError: if a name is not one of the dialect.
    """
    dialect, depths = dialect_of(config.architecture)
    prefixes, weights, strange = dialect.prefixes(depths), {}, []
    for name, tensor in found.items():
        part, _, last = name.rpartition(".")
        if name in _STATISTICS and tensor.numel() == len(config.mean):
            weights[_STATISTICS[name]] = tensor.reshape(-1, 1, 1)
        elif part in prefixes and not _UNUSED.match(name):
            weights[f"{prefixes[part]}.{last}"] = tensor
        elif not _UNUSED.match(name):
            strange.append(name)
    if strange:
        raise _not_of(config, path, f"unknown {_few(strange)}", prefixes)
    return weights


def _network(weights: Mapping[str, Tensor], config: NetworkConfig, path: Path) -> Network:
    """Return a network with weights under our names, whose shapes are checked first."""
    mean, std = (_numbers(weights.get(name)) for name in ("mean", "std"))
    config = replace(config, mean=mean or config.mean, std=std or config.std)
    with torch.device("meta"):
        expected = make_network(config).state_dict()
    dialect, depths = dialect_of(config.architecture)
    prefixes = dialect.prefixes(depths)
    for problem in _differences(expected, weights, {b: a for a, b in prefixes.items()}):
        raise _not_of(config, path, problem, prefixes)
    with default_settings(torch.device("cpu")):
        network = make_network(config)
        network.load_state_dict(dict(weights), strict=False)
    return network.eval()


def _numbers(statistic: Tensor | None) -> tuple[float, ...]:
    return () if statistic is None else tuple(statistic.flatten().tolist())


def _differences(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], theirs: Mapping[str, str]
) -> Iterator[str]:
    """Yield what is missing, and what has another shape."""
    for name, tensor in expected.items():
        part, _, last = name.rpartition(".")
        if name in ("mean", "std") or last == "num_batches_tracked":
            continue
        called = f"{theirs[part]}.{last}"
        if name not in found:
            yield f"{called} is missing"
        elif found[name].shape != tensor.shape or not found[name].is_floating_point():
            kind = f"{found[name].dtype} of shape {tuple(found[name].shape)}"
            yield f"{called} is {kind}, expected floats of shape {tuple(tensor.shape)}"
    for name in found.keys() - expected.keys():
        part, _, last = name.rpartition(".")
        yield f"{theirs.get(part, part)}.{last} is too many"


def _not_of(config: NetworkConfig, path: Path, problem: str, names: Iterable[str]) -> ModelError:
    return ModelError(
        f"{path} does not hold the weights of {config.architecture}: {problem}; expected names "
        f"such as {_few([f'{name}.weight' for name in names])}"
    )


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
