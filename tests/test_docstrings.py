"""Examples in docstrings say what the functions give."""

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = [
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for package in ("flare_infer", "flare_eval", "flare_serve", "train")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name), extraglobs={"np": np})
    assert results.attempted > 0
    assert results.failed == 0


def test_examples_are_found() -> None:
    assert {"flare_infer.geometry", "flare_eval.accuracy.surface", "train.loss.merge_max"} <= set(MODULES)
