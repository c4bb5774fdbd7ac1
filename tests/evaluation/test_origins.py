"""Outcomes record what they were measured on and how; only like is compared with like."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calling import call
from torch import Tensor

from morex import evaluate
from morex.artifacts.origins import differences
from morex.artifacts.outcomes import Outcomes
from morex.attacks import PGD, Attack, RandomNoise, WorstOfDraws
from morex.data import ImageSet
from morex.evaluation import Row
from morex.perturbations import Fog, Linf

CLASSES = ("a", "b")


def images(seed: int = 0, count: int = 40) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(256, (count, 3, 4, 4), generator=generator, dtype=torch.uint8)
    return ImageSet(drawn, torch.arange(count) % 2, CLASSES)


def model(x: Tensor) -> Tensor:
    light = x.mean((1, 2, 3))[:, None]
    return torch.cat([light, 1 - light], 1)


def outcomes(
    attack: Attack | None = None,
    data: ImageSet | None = None,
    examples: int | None = None,
    **settings: Any,
) -> Outcomes:
    suite = (Row("attacked", attack or RandomNoise(Linf(0.1)), examples),)
    return evaluate(model, data or images(), suite, **settings)


def compared(tmp_path: Path, first: Outcomes, second: Outcomes) -> tuple[int, str, str]:
    first.save(tmp_path / "first.npz")
    second.save(tmp_path / "second.npz")
    return call("compare", tmp_path / "first.npz", tmp_path / "second.npz")


def relabelled(data: ImageSet, row: int) -> ImageSet:
    labels = data.labels.clone()
    labels[row] = 1 - labels[row]
    return replace(data, labels=labels)


def repainted(data: ImageSet, row: int) -> ImageSet:
    pictures = data.images.clone()
    pictures[row, 0, 0, 0] ^= 1
    return replace(data, images=pictures)


REFUSED = {
    "other images": (outcomes(), outcomes(data=images(1)), "images or their labels differ"),
    "another order": (outcomes(), outcomes(data=images().take(torch.arange(40).flip(0))), "images"),
    "one other label": (outcomes(), outcomes(data=relabelled(images(), 39)), "images or their lab"),
    "one other pixel": (outcomes(), outcomes(data=repainted(images(), 39)), "among the first 40"),
    "fewer other images": (outcomes(), outcomes(data=images(1, 20)), "among the first 1)"),
    "another eps": (
        outcomes(RandomNoise(Linf(0.1))),
        outcomes(RandomNoise(Linf(0.2))),
        "perturbation.eps is 0.1 and 0.2",
    ),
    "other steps": (
        outcomes(PGD(Linf(0.1), steps=2)),
        outcomes(PGD(Linf(0.1), steps=3)),
        "steps is 2 and 3",
    ),
    "another attack": (
        outcomes(PGD(Linf(0.1), steps=2)),
        outcomes(RandomNoise(Linf(0.1))),
        "the attack is PGD and RandomNoise",
    ),
    "another transform": (
        outcomes(WorstOfDraws(Fog(0.1, 0.5))),
        outcomes(WorstOfDraws(Fog(0.1, 0.6))),
        "perturbation.light is 0.5 and 0.6",
    ),
    "another seed": (outcomes(), outcomes(seed=1), "seed is 0 and 1"),
    "another batch size": (outcomes(), outcomes(batch_size=7), "batch_size is 256 and 7"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_was_measured_otherwise_is_not_compared(case: str, tmp_path: Path) -> None:
    first, second, said = REFUSED[case]
    code, out, err = compared(tmp_path, first, second)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert "'attacked'" in err


@pytest.mark.parametrize("examples", [1, 13, 32, 33, None])
def test_rows_of_fewer_images_are_compared_on_these(examples: int | None, tmp_path: Path) -> None:
    code, out, err = compared(tmp_path, outcomes(), outcomes(examples=examples))
    assert (code, err) == (0, "")
    assert out.splitlines()[1].split()[-2] == str(examples or 40)
    assert "remark" not in out


def test_a_file_without_a_record_is_compared_with_a_remark(tmp_path: Path) -> None:
    older = Outcomes({"attacked": np.ones(40, np.bool_)})
    code, out, _ = compared(tmp_path, outcomes(), older)
    assert code == 0
    assert f"remark: {tmp_path / 'second.npz'} does not record" in " ".join(out.split())
    assert str(tmp_path / "first.npz") not in out


def test_the_record_is_kept_and_is_the_same_on_every_path(tmp_path: Path) -> None:
    whole = outcomes()
    whole.save(tmp_path / "a.npz")
    kept = Outcomes.load(tmp_path / "a.npz")
    assert kept.origins == whole.origins
    kept.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    resumed = outcomes(done={"attacked": whole.right["attacked"][:10]})
    assert resumed.origins == whole.origins
    assert not differences(resumed.origins["attacked"], whole.origins["attacked"])


def test_what_reads_only_rows_still_reads_the_file(tmp_path: Path) -> None:
    outcomes().save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["rows"].tolist() == ["attacked"]
        assert json.loads(archive["_origins"].tobytes())["attacked"]["seed"] == 0


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    for content in (b"{", b'{"attacked": {"seed": 1}}', b'{"other": {}}', b"[]"):
        np.savez(
            tmp_path / "a.npz",
            rows=np.array(["attacked"]),
            attacked=np.ones(3, np.bool_),
            _origins=np.frombuffer(content, np.uint8),
        )
        with pytest.raises(ValueError, match="not a readable outcomes file"):
            Outcomes.load(tmp_path / "a.npz")
