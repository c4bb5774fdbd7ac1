"""A finished run with models that nobody trained, and with private facts all over its files."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from report_run import ACCURACIES, FINDINGS, MODELS, write_run

import morex

PRIVATE = "/home/alice/secret project"
RECIPE: dict[str, Any] = {
    "name": "made-up",
    "data": {"name": "dice", "folder": f"{PRIVATE}/dice", "note": "from /mnt/alice/dice, cut"},
    "perturbations": {
        "clean": {"kind": "clean"},
        "hail": {"kind": f"{PRIVATE}/hail.py:Hail", "stones": 3},
    },
    "models": {"theirs": {"kind": "saved", "model": "/mnt/alice/nets/theirs"}},
    "evaluation": {"rows": {"clean": {"attack": "draws", "perturbation": "clean"}}},
}


def write_published_run(run: Path) -> Path:
    """Write a run whose models 0, 1, 2 and 3 are networks, the last one a mixture of two."""
    write_run(run)
    networks = [network(3, seed) for seed in range(3)]
    mixture = morex.Mixture({"clean": networks[0], "Mfog": networks[1]}, network(2, 9)).eval()
    parts = {key: RECIPE[key] for key in ("data", "perturbations", "evaluation")}
    about = {"classes": ["class 0", "class 1", "class 2"], "image_size": (8, 8), "recipe": parts}
    for folder, model in enumerate((*networks, mixture)):
        morex.save(model, run / f"models/{folder}", about=about | {"name": MODELS[folder]})
    (run / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    results = json.loads((run / "results.json").read_text())
    command = f"morex run --data '{PRIVATE}/dice' --out /mnt/alice/run"
    results["provenance"]["command"] = command
    results["setting"]["data_note"] = RECIPE["data"]["note"]
    results["columns"]["clean"]["trained_on"] = "/mnt/alice/nets/theirs"
    for stage in results["stages"].values():
        stage["provenance"]["command"] = command
    (run / "results.json").write_text(json.dumps(results))
    shutil.copy(run / "results.json", run / "results-adaptive.json")
    audit = {"findings": FINDINGS, "accuracies": ACCURACIES, "command": command}
    (run / "audits/3.json").write_text(json.dumps(audit))
    (run / ".owner.json").write_text(json.dumps({"pid": 1, "host": "alices-laptop"}))
    return run


def network(outputs: int, seed: int) -> morex.ResNet:
    """Return a network of 8x8 images in evaluation mode."""
    config = morex.NetworkConfig("resnet10", 2, outputs, (8, 8))
    return morex.ResNet(config, seed=seed).eval()
