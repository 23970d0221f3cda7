"""A tiny model with random weights and small invented scans, for benchmarks of what happens around the network."""

import sys
from pathlib import Path

import numpy as np
import torch

from flare_infer.formats.volume_io import write_volume
from flare_infer.model.network import UNet
from flare_infer.model.weights import save_model
from flare_infer.volume.volume import Placement, Volume
from tests.tiny import LPS, tiny_spec

UNREADABLE = "unreadable"


def tiny_cases(folder: Path, count: int, *, unreadable: bool = False) -> tuple[Path, Path]:
    """Write scans of some thousand voxels, of several lengths, and a model.

    Args:
        folder: a folder, made if need be.
        count: number of scans.
        unreadable: whether there is a further case, `UNREADABLE`, whose file is none.

    Returns:
        the folder of scans, and that of the model.
    """
    inputs, weights = folder / "inputs", folder / "tiny"
    inputs.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    spec = tiny_spec()
    save_model(weights, spec, UNet(spec.network, spec.classes))
    random = np.random.default_rng(0)
    for number in range(count):
        noise_zyx = random.normal(40, 60, (9 + number % 7, 31, 27)).astype(np.int16)
        placement = Placement(spacing_mm=(5.0, 2.5, 2.0), origin_mm=(-30.5, 12.25, -700.0), axes=LPS)
        write_volume(inputs / f"case{number}_0000.nii.gz", Volume(array_zyx=noise_zyx, placement=placement))
    if unreadable:
        (inputs / f"{UNREADABLE}_0000.nii.gz").write_bytes(b"no image")
    return inputs, weights


if __name__ == "__main__":
    tiny_cases(Path(sys.argv[1]), int(sys.argv[2]), unreadable=True)
