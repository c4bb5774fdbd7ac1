"""Recipes with a perturbation of the user, whose code the test chooses."""

from pathlib import Path
from typing import Any

from tiny import raw_recipe

HEAD = """
import ctypes, os, signal, sys
from dataclasses import dataclass
import torch
from morex.perturbations import Transform

class Odd(Exception):
    def __init__(self, a, b):
        super().__init__("boom")
        self.open = lambda: None

class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")

@dataclass(frozen=True)
class Mine(Transform):
    name = "mine"
    def scaled(self, factor): return self
    def __call__(self, x, *, generator):
        if x.shape[-1] == 8:  # not when the perturbation is checked
            {does}
        return x
"""


def own_recipe(folder: Path, does: str) -> dict[str, Any]:
    """Return a recipe of one model that trains on a perturbation, which does something first."""
    (folder / "mine.py").write_text(HEAD.format(does=does))
    raw = raw_recipe("clean")
    raw["threads"] = 1
    raw["perturbations"]["own"] = {"kind": f"{folder / 'mine.py'}:Mine"}
    raw["models"] = {"Mown": {"against": "own", "training": {"epochs": 1}}}
    raw["columns"] = ["Mown"]
    return raw
