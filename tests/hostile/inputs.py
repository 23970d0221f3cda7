"""Small scans, each its own, and a tiny model for them."""

from pathlib import Path

import numpy as np
import torch

from flare_infer.formats.volume_io import write_volume
from flare_infer.model.network import UNet
from flare_infer.model.weights import save_model
from flare_infer.volume.volume import Placement, Volume
from tests.tiny import LPS, tiny_spec


def tiny_model(folder: Path, seed: int = 0) -> Path:
    """A model with random weights, which gives labels of many classes."""
    torch.manual_seed(seed)
    spec = tiny_spec()
    save_model(folder, spec, UNet(spec.network, spec.classes))
    return folder


def small_scans(folder: Path, count: int, seed: int = 0, larger: int = 1) -> list[str]:
    """Write scans of different sizes and contents into a new folder; returns the names of their cases.

    Args:
        folder: is made.
        count: how many.
        seed: other seeds give other scans.
        larger: multiplies each length.
    """
    folder.mkdir(parents=True)
    names = [f"case{number:04}" for number in range(count)]
    for number, name in enumerate(names):
        rng = np.random.default_rng([seed, number])
        shape = tuple(larger * length for length in rng.integers((6, 24, 24), (14, 44, 44)).tolist())
        placement = Placement(spacing_mm=(5.0, 2.5, 2.0), origin_mm=(-30.5, 12.25, -700.0), axes=LPS)
        noise = rng.normal(40, 60, shape).astype(np.int16)
        write_volume(folder / f"{name}_0000.nii.gz", Volume(array_zyx=noise, placement=placement))
    return names
