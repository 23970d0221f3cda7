"""Models that nnU-Net wrote, and changed copies of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

MODELS = Path(__file__).resolve().parent / "flare_infer" / "nnunet_models"
OLD, PLAIN, RESIDUAL = (MODELS / f"Dataset90{name}" for name in ("1_Old", "2_Plain", "3_Residual"))


def truth(dataset: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """A patch, and what nnU-Net's predictor says of it."""
    with np.load(dataset / "truth.npz") as arrays:
        return torch.from_numpy(arrays["batch"]), torch.from_numpy(arrays["logits"])


def model_folder(dataset: Path) -> Path:
    return next(path.parent for path in dataset.glob("*/plans.json"))


def changed(dataset: Path, target: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """A copy whose plans.json and dataset.json went through `change`."""
    shutil.copytree(model_folder(dataset), target)
    contents = [json.loads((target / name).read_text()) for name in ("plans.json", "dataset.json")]
    change(*contents)
    for name, content in zip(("plans.json", "dataset.json"), contents, strict=True):
        (target / name).write_text(json.dumps(content))
    return target


def configuration(plans: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a plan that holds the numbers of its network."""
    found: dict[str, Any] = plans["configurations"].get("base", plans["configurations"]["3d_fullres"])
    return found
