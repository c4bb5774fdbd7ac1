"""A run of a part of the digits recipe, which stands for the whole one on every page."""

from pathlib import Path

import pytest
import yaml
from calling import call
from pages import ROOT

ROWS = ("clean", "pgd-linf", "rays-l2", "fog", "snow")
KEPT = ("clean", "Minf", "M2", "Mfog", "Msnow", "AVG (all)", "MoRE (all)", "MoRE+ (all)")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of a part of the digits recipe, almost untrained, and that recipe."""
    raw = yaml.safe_load((ROOT / "src/morex/recipe/shipped/digits.yaml").read_text())
    raw["models"] = {name: raw["models"][name] for name in KEPT}
    for model in raw["models"].values():
        model |= {key: {"epochs": 0.1} for key in ("training", "gate_warmup") if model.get(key)}
        if "experts" in model:
            model["experts"] = [name for name in model["experts"] if name in KEPT]
    robust = raw["models"]["MoRE+ (all)"]["robust_gate"]["experts"]
    robust |= {name: ["M2"] for name in ("clean", "l2", "linf")}
    raw["training"] |= {"epochs": 0.1, "validate_every": None}
    raw["columns"] = ["AVG (all)", "MoRE (all)", "MoRE+ (all)"]
    raw["report"] = {"examples": 4, "pictures": 2}
    rows = {name: raw["evaluation"]["rows"][name] for name in ROWS}
    raw["evaluation"] |= {"examples": 4, "rows": rows}
    for row in rows.values():
        row |= {key: 5 for key in ("queries", "steps", "examples") if key in row}
        row |= {"restarts": 1} if "restarts" in row else {}
    folder = tmp_path_factory.mktemp("digits")
    (folder / "digits.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    code, _, err = call(
        "run", folder / "digits.yaml", "--out", folder / "runs" / "digits", "--jobs", 1
    )
    assert code == 0, err
    return folder
