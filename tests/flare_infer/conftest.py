"""A tiny model with random weights, and a scan to feed it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from flare_infer.model.network import UNet
from flare_infer.model.weights import save_model
from flare_infer.volume.volume import Placement, Volume
from tests.tiny import LPS, tiny_spec


@pytest.fixture
def tiny_weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    spec = tiny_spec()
    folder = tmp_path / "tiny"
    save_model(folder, spec, UNet(spec.network, spec.classes))
    return folder


@pytest.fixture
def scan() -> Volume:
    noise = np.random.default_rng(0).normal(40, 60, (9, 31, 27)).astype(np.int16)
    placement = Placement(spacing_mm=(5.0, 2.5, 2.0), origin_mm=(-30.5, 12.25, -700.0), axes=LPS)
    return Volume(array_zyx=noise, placement=placement)
