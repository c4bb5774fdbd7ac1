"""The file that keeps the state of a training."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

import morex.core.files
import morex.run.checkpoint
from morex.core.files import write_with_digest
from morex.run.checkpoint import FileCheckpoint
from morex.training.state import Snapshot

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = FileCheckpoint(tmp_path, 0, print)
    checkpoint.save(Snapshot({"a": torch.ones(2)}, {"step": 1}))

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(morex.core.files.os, "replace", fails)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(Snapshot({"a": torch.zeros(2)}, {"step": 2}))
    saved = checkpoint.load()
    assert saved is not None
    assert saved.values == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_checkpoint_keeps_every_bit_and_type(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 4, 4, generator=generator).to(memory_format=torch.channels_last)
    tensors = {
        "a/weights": image,
        "sum": torch.tensor(1 / 3, dtype=torch.float64),
        "count": torch.tensor(3),
        "half": torch.rand(3, generator=generator).bfloat16(),
    }
    values = {"step": 3, "history": [{"loss": 0.1 + 0.2}], "best_score": None}
    checkpoint = FileCheckpoint(tmp_path, 0, print)
    assert checkpoint.load() is None
    checkpoint.save(Snapshot(tensors, values))
    saved = checkpoint.load()
    assert saved is not None
    assert saved.values == values
    assert saved.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert saved.tensors[name].dtype == tensor.dtype
        assert torch.equal(saved.tensors[name], tensor)


def test_checkpoints_are_due_by_the_clock(tmp_path: Path) -> None:
    assert FileCheckpoint(tmp_path, 0, print).due()
    rare = FileCheckpoint(tmp_path, 1e6, print)
    assert not rare.due()
    rare.last -= 2e6
    assert rare.due()
    rare.save(Snapshot({"a": torch.ones(1)}, {}))
    assert not rare.due()


@pytest.mark.parametrize(
    ("every", "write", "wait"), [(30, 0.5, 30), (30, 3.0, 150), (10, 3.0, 150), (0, 3.0, 0)]
)
def test_checkpoints_take_at_most_a_fiftieth_of_the_time(
    every: float, write: float, wait: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]

    def slowly(path: Path, content: bytes) -> None:
        now[0] += write

    monkeypatch.setattr(morex.run.checkpoint.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(morex.run.checkpoint, "write_with_digest", slowly)
    checkpoint = FileCheckpoint(tmp_path, every, print)
    now[0] += every
    assert checkpoint.due()
    checkpoint.save(Snapshot({"a": torch.ones(1)}, {}))
    now[0] += max(wait - 0.01, 0)
    assert checkpoint.due() is not bool(wait)
    now[0] += 0.02
    assert checkpoint.due()


def safetensors(metadata: dict[str, str] | None) -> bytes:
    return save({"a": torch.ones(2)}, metadata=metadata)


@pytest.mark.parametrize(
    "content",
    [
        b"something else",
        b"",
        safetensors(None),
        safetensors({"other": "1"}),
        safetensors({"values": "{"}),
        safetensors({"values": "[1]"}),
    ],
)
def test_an_intact_file_that_is_no_checkpoint_is_not_mistaken_for_one(
    content: bytes, tmp_path: Path
) -> None:
    said = list[str]()
    write_with_digest(tmp_path / "checkpoint", content)
    assert FileCheckpoint(tmp_path, 0, said.append).load() is None
    assert len(said) == 1
    assert "checkpoint holds no checkpoint" in said[0]
    assert said[0].endswith("; the stage starts again")
    assert not [*tmp_path.iterdir()]
