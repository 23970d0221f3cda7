"""Benchmarks that reach into the code they measure still find there what they put a clock on."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from flare_infer.formats.volume_io import write_volume
from flare_infer.model.network import UNet
from flare_infer.model.weights import save_model
from tests.tiny import tiny_spec
from train.synth.phantom import paint_phantom

ROOT = Path(__file__).resolve().parents[1]


def test_every_stage_of_ours_is_timed_in_the_comparison_with_nnunet(tmp_path: Path) -> None:
    spec = tiny_spec()
    save_model(tmp_path / "weights", spec, UNet(spec.network, spec.classes))
    write_volume(tmp_path / "a_0000.nii.gz", paint_phantom(np.random.default_rng(0), (48, 64, 64), (6.0, 5.0, 5.0))[0])
    command = [sys.executable, "-m", "benchmarks.versus_nnunet", "predict", tmp_path / "a_0000.nii.gz"]
    options = ["--weights", tmp_path / "weights", "--device", "cpu", "--no-skip"]
    ran = subprocess.run(
        [*command, tmp_path / "out", *options], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    said = json.loads(ran.stdout.splitlines()[-1])
    assert said["windows"] > 0
    assert [stage for stage, seconds in said["stages"].items() if not seconds] == ["skip"]
    assert (tmp_path / "out" / "a.nii.gz").is_file()
