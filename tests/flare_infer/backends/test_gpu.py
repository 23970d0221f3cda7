"""What only a CUDA device can show; skipped where there is none."""

import pytest
import torch

from flare_infer.backends.device import choose_compute
from flare_infer.formats.volume_io import read_volume
from flare_infer.segment.budget import MIB, Budget
from flare_infer.segment.segmenter import Segmenter
from tests.real_data import CHECKOUT, real_data

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

LITE = CHECKOUT / "weights" / "lite"


def test_labels_are_those_of_the_cpu() -> None:
    scan = read_volume(real_data() / "ct" / "hcc006_p3_0000.nii.gz")
    expected = Segmenter.load(LITE).segment(scan).labels.array_zyx
    for precision, least in (("fp32", 0.9999), ("fp16", 0.999)):
        found = Segmenter.load(LITE, choose_compute("cuda", precision)).segment(scan)
        assert found.compute.device.type == "cuda"
        assert (found.labels.array_zyx == expected).mean() >= least


def test_a_plan_takes_no_more_than_it_says() -> None:
    scan = read_volume(real_data() / "ct" / "hcc006_p3_0000.nii.gz")
    budget = Budget(gpu_bytes=1500 * MIB)
    segmenter = Segmenter.load(LITE, choose_compute("cuda"), budget=budget)
    prepared = segmenter.prepare(scan)
    torch.cuda.reset_peak_memory_stats()
    found = segmenter.segment_prepared(prepared)
    assert (
        torch.cuda.max_memory_allocated() <= segmenter._demand(prepared).bytes_of(found.plan) + segmenter.weights_bytes
    )
