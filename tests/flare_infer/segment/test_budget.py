"""Plans of memory, and what happens when memory runs out all the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from flare_infer.errors import ImageError, SpecError
from flare_infer.model.network import UNet
from flare_infer.model.weights import save_model
from flare_infer.segment import budget as budget_module
from flare_infer.segment.budget import (
    MIB,
    Budget,
    Demand,
    budget_of_mib,
    refuse_giant_scan,
    refuse_giant_windows,
    resident_bytes,
)
from flare_infer.segment.memory_plan import Plan
from flare_infer.segment.segmenter import SegmentationCallbacks, Segmenter
from flare_infer.volume.volume import Placement, Volume
from tests.live_bytes import LiveBytes
from tests.tiny import LPS, tiny_spec
from train.recipes import recipe as recipes

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def coarse_demand(planes: int = 222) -> Demand:
    return Demand(spec=recipes.coarse().spec, image_shape=(planes, 273, 273), label_bytes=554 * 512 * 512)


def test_the_ring_by_hand() -> None:
    # 15 classes x 32 planes x 273 x 273 numbers of 2 bytes, and their weights of 4 bytes
    assert coarse_demand().ring_bytes(torch.float16) == 32 * 273 * 273 * (15 * 2 + 4)
    assert coarse_demand(1000).ring_bytes(torch.float16) == coarse_demand(100).ring_bytes(torch.float16)


def test_a_smaller_gpu_budget_gives_a_smaller_plan() -> None:
    demand = replace(coarse_demand(), number_bytes=2)
    batches = [Budget(gpu_bytes=mib * MIB).plans(demand, GPU)[0].batch for mib in (10_000, 2000, 1500)]
    assert batches == sorted(batches, reverse=True)
    assert batches[0] == 4
    assert batches[-1] == 1


@pytest.mark.parametrize("mib", [1500, 1800, 3000, 6000])
def test_every_plan_fits_and_they_shrink(mib: int) -> None:
    demand = replace(coarse_demand(), number_bytes=2)
    sizes = [demand.bytes_of(plan) for plan in Budget(gpu_bytes=mib * MIB).plans(demand, GPU)]
    assert sizes
    assert sizes == sorted(sizes, reverse=True)
    assert all(size < mib * MIB for size in sizes)


def test_a_ram_budget_counts_what_is_held_already(monkeypatch: pytest.MonkeyPatch) -> None:
    demand = coarse_demand()
    plan = Plan(batch=1, ring_type=torch.float32)
    monkeypatch.setattr(budget_module, "resident_bytes", lambda: 500 * MIB)
    enough = 500 * MIB + demand.label_bytes + demand.bytes_of(plan)
    assert Budget(ram_bytes=enough).plans(demand, CPU)[0] == plan
    assert Budget(ram_bytes=enough - 1).plans(demand, CPU)[0].slab_bytes < plan.slab_bytes


def test_what_fits_nowhere_is_said_with_the_number_that_would() -> None:
    with pytest.raises(ImageError, match=r"needs about \d+ MiB at least, and --ram-budget allows 10; raise it"):
        Budget(ram_bytes=10 * MIB).plans(coarse_demand(), CPU)
    with pytest.raises(ImageError, match=r"--gpu-budget allows 10; raise it, or use --device cpu"):
        Budget(gpu_bytes=10 * MIB).plans(coarse_demand(), GPU)


def test_a_model_whose_window_no_machine_holds_is_refused_on_loading(tmp_path: Path) -> None:
    spec = tiny_spec(patch=(2**8, 2**10, 2**10))
    network = replace(spec.network, features=(4, 8192))
    giant = replace(spec, network=network)
    # The second stage is the larger one: a patch of 128 x 512 x 512 there, 8192 features, three of them in float32.
    needed = 3 * 4 * 8192 * 2**7 * 2**9 * 2**9 // MIB
    save_model(tmp_path, giant, UNet(network, spec.classes))
    with pytest.raises(SpecError, match=f"a window takes at least {needed} MiB.* this machine has"):
        Segmenter.load(tmp_path)
    refuse_giant_windows(recipes.coarse().spec)


def test_this_process_holds_more_than_python() -> None:
    assert resident_bytes() > 20 * MIB


def test_a_network_stays_inside_what_the_plan_expects() -> None:
    """Of all tensors alive at once, by counting them, on a network of the paper's proportions."""
    spec = tiny_spec(patch=(16, 32, 32), network=recipes.lite().spec.network)
    network = UNet(spec.network, spec.classes).eval()
    demand = Demand(spec=spec, image_shape=(16, 32, 32), label_bytes=0)
    for batch in (1, 2):
        with torch.inference_mode(), LiveBytes() as memory:
            network(torch.zeros(batch, 1, *spec.patch))
        assert 0.3 * demand.network_bytes(batch) < memory.peak <= demand.network_bytes(batch)


@pytest.mark.parametrize("fields", [{"batch": 0}, {"slab_bytes": 0}, {"ring_type": torch.int8}])
def test_an_impossible_plan_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(SpecError, match="a plan needs"):
        Plan(**fields)  # type: ignore[arg-type]


class Forgetful(torch.nn.Module):
    """Runs out of memory a number of times, then segments."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times
        self.parameter = torch.nn.Parameter(torch.zeros(1))

    def forward(self, batch_nczyx: Tensor) -> Tensor:
        if self.left:
            self.left -= 1
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB. GPU 0 has ...")
        return torch.cat((-batch_nczyx, batch_nczyx), dim=1)


def forgetful(times: int) -> Segmenter:
    return Segmenter(spec=tiny_spec(labels=("background", "body")), run=Forgetful(times))


def test_when_memory_runs_out_the_next_plan_is_tried_and_told(scan: Volume) -> None:
    lines: list[tuple[str, bool]] = []
    callbacks = SegmentationCallbacks(notice=lambda line, routine: lines.append((line, routine)))
    labels = forgetful(2).segment(scan, callbacks)
    np.testing.assert_array_equal(labels.labels.array_zyx, forgetful(0).segment(scan).labels.array_zyx)
    told = [line for line, routine in lines if not routine]
    assert len(told) == 2
    assert all("memory ran out (Tried to allocate 2)" in line and "trying with less" in line for line in told)
    assert len([line for line, routine in lines if routine]) == 3
    assert labels.plan == Budget().plans(forgetful(0)._demand(forgetful(0).prepare(scan)), CPU)[2]


def test_when_the_smallest_plan_does_not_fit_the_case_fails_in_one_line(scan: Volume) -> None:
    with pytest.raises(ImageError, match="memory ran out with the smallest plan, too"):
        forgetful(100).segment(scan)


def test_a_budget_makes_no_difference_to_the_labels(
    tiny_weights: Path, scan: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "resident_bytes", lambda: 0)
    plain = Segmenter.load(tiny_weights).segment(scan)
    bounded = Segmenter.load(tiny_weights, budget=Budget(ram_bytes=40 * MIB)).segment(scan)
    np.testing.assert_array_equal(plain.labels.array_zyx, bounded.labels.array_zyx)
    assert bounded.plan.slab_bytes < plain.plan.slab_bytes


def test_a_scan_that_is_a_giant_on_the_models_grid_is_refused_before_memory_is_taken() -> None:
    spacing_mm = (100.0, 100.0, 100.0)
    placement = Placement(spacing_mm=spacing_mm, origin_mm=(0.0, 0.0, 0.0), axes=LPS)
    small = np.zeros((100, 100, 100), np.int8)  # 10 m of patient along every axis
    spec = tiny_spec(spacing_mm=(0.5, 0.5, 0.5))
    with pytest.raises(ImageError, match=r"is 20000 x 20000 x 20000 voxels at the model's 0\.5 x 0\.5 x 0\.5 mm"):
        refuse_giant_scan(Volume(array_zyx=small, placement=placement), spec)
    refuse_giant_scan(Volume(array_zyx=small, placement=placement), tiny_spec(spacing_mm=spacing_mm))


def test_a_gpu_budget_counts_context_and_weights_to_the_byte() -> None:
    demand = replace(coarse_demand(), number_bytes=2, weights_bytes=62_000_000)
    best = Plan(batch=4, ring_type=torch.float16)
    enough = 600 * MIB + 62_000_000 + demand.bytes_of(best)
    assert Budget(gpu_bytes=enough).plans(demand, GPU)[0] == best
    assert Budget(gpu_bytes=enough - 1).plans(demand, GPU)[0].batch == 2


def test_what_a_plan_takes_by_hand() -> None:
    demand = replace(coarse_demand(planes=10), number_bytes=2)
    # A scan thinner than the patch is padded to it, in float32.
    assert demand.image_bytes == 4 * 32 * 273 * 273
    window = 32 * 192 * 192 * (7 * 32 * 2 + 4 * 15)
    assert [demand.network_bytes(batch) for batch in (1, 2, 4)] == [window, 2 * window, 4 * window]
    plan = Plan(batch=2, ring_type=torch.float16, slab_bytes=8 * MIB)
    assert demand.bytes_of(plan) == 2 * window + 32 * 273 * 273 * 34 + 8 * MIB + 4 * 32 * 273 * 273


def test_people_give_budgets_in_mib() -> None:
    assert budget_of_mib(4096, None) == Budget(gpu_bytes=4096 * 2**20)
    assert budget_of_mib(None, 1) == Budget(ram_bytes=2**20)
