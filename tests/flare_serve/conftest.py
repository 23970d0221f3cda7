"""A tiny model, a scan, and what `predict` makes of it, once for all tests of the service."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("fastapi", reason="needs the extra serve")

from flare_infer.commands.app import app
from flare_infer.formats.volume_io import write_volume
from flare_infer.model.network import UNet
from flare_infer.model.weights import save_model
from flare_infer.segment.segmenter import Segmenter
from flare_infer.volume.volume import Placement, Volume
from tests.flare_serve.served import Served, served
from tests.tiny import LPS, tiny_spec


@pytest.fixture(scope="package")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    spec = tiny_spec()
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_model(folder, spec, UNet(spec.network, spec.classes))
    return folder


@pytest.fixture(scope="package")
def segmenter(weights: Path) -> Segmenter:
    return replace(Segmenter.load(weights), with_confidence=True)


@pytest.fixture(scope="package")
def scan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan of noise, 10 kB."""
    noise = np.random.default_rng(0).normal(40, 60, (9, 31, 27)).astype(np.int16)
    placement = Placement(spacing_mm=(5.0, 2.5, 2.0), origin_mm=(-30.5, 12.25, -700.0), axes=LPS)
    path = tmp_path_factory.mktemp("scan") / "MUSTERMANN_ERIKA.nii.gz"
    write_volume(path, Volume(array_zyx=noise, placement=placement))
    return path


@pytest.fixture(scope="package")
def predicted(scan_file: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The label map that `flare-infer predict` writes for the scan."""
    output = tmp_path_factory.mktemp("predicted") / "labels.nii.gz"
    words = ["predict", str(scan_file), str(output), "--weights", str(weights), "--device", "cpu", "--backend", "torch"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return output.read_bytes()


@pytest.fixture(scope="package")
def service(segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service for tests that leave it as it is, but for jobs."""
    with served(tmp_path_factory.mktemp("service") / "spool", segmenter) as found:
        yield found
