"""The short form of the campaign of faults (``make faults``): one trial of each kind."""

from pathlib import Path
from random import Random

from faults.__main__ import KINDS, campaign
from faults.kind import Verdict
from faults.table import to_markdown


def test_one_fault_of_each_kind_loses_nothing(tmp_path: Path) -> None:
    results = campaign([*KINDS.values()], seed=0, times=1, folder=tmp_path, most=1)
    assert [kind for kind, _, _ in results] == [kind.name for kind in KINDS.values()]
    bad = [result for result in results if not result[2].good]
    assert not bad


def test_the_same_seed_draws_the_same_trials() -> None:
    for kind in KINDS.values():
        names = [[t.name for t in kind.trials(Random(seed), 2)] for seed in (1, 1)]
        assert names[0] == names[1]
    assert sum(len([*kind.trials(Random(0), 2)]) for kind in KINDS.values()) > 200


def test_the_table_names_what_is_not_good() -> None:
    good, bad = Verdict(True, "same bits"), Verdict(False, "other bits", "models/a")
    text = to_markdown([("kill", "a", good), ("kill", "b", bad), ("cut", "c", good)], ["facts"])
    assert "| kill | 2 | 1 | 1 same bits, 1 other bits |" in text
    assert "- kill: b: other bits: models/a" in text
    assert "3 trials, 1 of them not good." in text
