"""Windows over an image: what is blended, what is skipped, and what is held meanwhile."""

from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from flare_infer.model.spec import Skipping
from flare_infer.nnunet.importing import import_nnunet
from flare_infer.segment.memory_plan import Plan
from flare_infer.segment.sliding import Sweep
from flare_infer.segment.windows import gaussian_importance, window_grid
from tests.live_bytes import LiveBytes
from tests.nnunet import PLAIN
from tests.tiny import pointwise_spec

CUBE = (8, 8, 8)
AIR = -2.5
BODY = 0.0


def echo(batch_nczyx: Tensor) -> Tensor:
    """Logits that are a function of the voxel alone: blending must not change them."""
    return torch.cat((batch_nczyx, 2 * batch_nczyx, torch.full_like(batch_nczyx, 7.0)), dim=1)


def logits_of(sweep: Sweep) -> Tensor:
    return torch.cat([slab.clone() for slab in sweep.slabs()], dim=1)


@pytest.mark.parametrize("shape", [(10, 12, 14), (3, 30, 5), (1, 1, 1), (25, 9, 26), (1, 40, 40), (33, 7, 9)])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_field_stays_what_it_is_corners_included(shape: tuple[int, int, int], batch: int) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    sweep = Sweep(image, echo, pointwise_spec(3, CUBE), Plan(batch=batch))
    logits = logits_of(sweep)
    assert logits.shape == (3, *shape)
    torch.testing.assert_close(logits, torch.stack((image, 2 * image, torch.full_like(image, 7.0))))
    assert sweep.ran == sweep.done == sweep.total


@pytest.mark.parametrize("shape", [(20, 21, 22), (9, 8, 30)])
def test_blending_is_the_weighted_mean_of_all_windows(shape: tuple[int, int, int]) -> None:
    """The plain way: sums of logits and of weights over the whole volume, divided at the end."""
    generator = torch.Generator().manual_seed(1)
    spec = pointwise_spec(2, CUBE)
    grid = window_grid(shape, CUBE, spec.window_step)
    answers = [torch.randn(2, *CUBE, generator=generator) for _ in range(grid.count)]
    supply = iter(answers)
    blended = logits_of(Sweep(torch.zeros(shape), lambda batch: next(supply)[None], spec, Plan()))

    importance = gaussian_importance(CUBE, torch.device("cpu"))
    total, weight = torch.zeros(2, *shape), torch.zeros(shape)
    places = product(*(range(len(starts)) for starts in grid.starts))
    for answer, place in zip(answers, places, strict=True):
        box = grid.box(*place)
        total[:, *box] += answer * importance
        weight[box] += importance
    torch.testing.assert_close(blended, total / weight)


def test_a_ring_of_half_precision_stays_close() -> None:
    image = torch.randn((40, 20, 20), generator=torch.Generator().manual_seed(0))
    sweep = Sweep(image, echo, pointwise_spec(3, CUBE), Plan(ring_type=torch.float16))
    torch.testing.assert_close(logits_of(sweep)[1].float(), 2 * image, rtol=2e-3, atol=2e-3)


def test_a_small_scan_is_surrounded_by_what_the_model_says() -> None:
    seen = []

    def watch(batch_nczyx: Tensor) -> Tensor:
        seen.append(batch_nczyx.clone())
        return batch_nczyx.expand(-1, 2, -1, -1, -1)

    for padding in (None, 0.25):
        spec = pointwise_spec(2, (4, 4, 4), padding=padding, repeated_mm=0.0)
        logits_of(Sweep(torch.ones(2, 4, 4), watch, spec, Plan()))
    assert seen[0][0, 0, :, 0, 0].tolist() == [AIR, 1, 1, AIR]
    assert seen[1][0, 0, :, 0, 0].tolist() == [0.25, 1, 1, 0.25]


def test_an_untrained_class_has_no_channel() -> None:
    sweep = Sweep(torch.ones(8, 8, 8), echo, pointwise_spec(3, CUBE, untrained=(1,)), Plan())
    assert logits_of(sweep)[:, 0, 0, 0].tolist() == [1, 7]


def test_progress_counts_windows_of_each_z_position() -> None:
    calls: list[tuple[int, int]] = []
    sweep = Sweep(torch.zeros(12, 8, 12), echo, pointwise_spec(3, CUBE), Plan())
    for _ in sweep.slabs(lambda done, total: calls.append((done, total))):
        pass
    assert calls == [(2, 4), (4, 4)]


class Trunk:
    """A network that finds class 1 wherever the image is 1, and counts its windows."""

    def __init__(self) -> None:
        self.windows = 0

    def __call__(self, batch_nczyx: Tensor) -> Tensor:
        self.windows += len(batch_nczyx)
        found = (batch_nczyx == 1).float()
        return torch.cat((1 - found, found), dim=1)


def test_windows_of_air_do_not_run_and_are_background() -> None:
    image = torch.full((40, 20, 20), AIR)
    image[:10] = BODY
    image[2, 3, 3] = 1
    network = Trunk()
    sweep = Sweep(image, network, pointwise_spec(2, CUBE), Plan())
    logits = logits_of(sweep)
    # z starts 0, 5, 9 ... of (40 - 8) / 4.8 = 7 gaps: windows from 0, 5, 9 touch the ten planes of the body
    assert sweep.grid.starts[0][:4] == (0, 5, 9, 14)
    assert network.windows == sweep.ran == 3 * 16
    assert sweep.done == sweep.total == 8 * 16
    assert (logits[1] > logits[0]).nonzero().tolist() == [[2, 3, 3]]
    assert (logits[0, 17:] == 1).all()
    assert torch.isfinite(logits).all()


def test_of_an_imported_model_only_windows_of_air_do_not_run(tmp_path: Path) -> None:
    imported = import_nnunet(PLAIN, tmp_path / "plain").spec
    spec = pointwise_spec(2, CUBE, skipping=imported.skipping, padding=imported.padding, body_only=imported.body_only)
    image = torch.full((40, 20, 20), AIR)
    image[:20] = BODY  # eight z positions of which five touch the body, where the network finds nothing
    sweep = Sweep(image, Trunk(), spec, Plan())
    assert (logits_of(sweep)[0] == 1).all()
    assert (sweep.ran, sweep.done) == (5 * 16, 8 * 16)
    every = Sweep(image, Trunk(), spec, Plan(), skipping=False)
    logits_of(every)
    assert every.ran == 8 * 16


def test_padding_does_not_keep_air_from_being_air() -> None:
    network = Trunk()
    sweep = Sweep(torch.full((4, 8, 8), AIR), network, pointwise_spec(2, CUBE, padding=1.0), Plan())
    assert (logits_of(sweep)[0] == 1).all()
    assert network.windows == 0


def indicated(image: Tensor, *, threshold: int = 1, minimal_positions: int = 2) -> Sweep:
    rule = Skipping(foreground_voxels=threshold, minimal_positions=minimal_positions)
    return Sweep(image, Trunk(), pointwise_spec(2, CUBE, skipping=rule), Plan())


def test_where_the_indicators_find_nothing_the_others_do_not_run() -> None:
    # 12 x 12 in plane: 2 x 2 windows, of which (0, 0) and (1, 1) speak. The corner (0, 11) belongs to (0, 1) alone.
    image = torch.full((24, 12, 12), BODY)
    image[2, 0, 11] = 1  # in the corner: no indicator sees it
    image[20, 6, 6] = 1  # in the middle: all four windows do
    sweep = indicated(image)
    logits = logits_of(sweep)
    assert sweep.grid.starts == ((0, 4, 8, 12, 16), (0, 4), (0, 4))
    # the positions at 16 (planes 16 to 23) runs all four windows, the other four only their indicators
    assert sweep.ran == 4 * 2 + 4
    assert (logits[1] > logits[0]).nonzero().tolist() == [[20, 6, 6]]


def test_skipping_changes_no_voxel_outside_the_skipped_windows() -> None:
    generator = torch.Generator().manual_seed(3)
    image = torch.where(torch.rand((24, 12, 12), generator=generator) < 0.02, 1.0, BODY)
    image[:9] = BODY
    with_rule = indicated(image, threshold=12)
    without = Sweep(image, Trunk(), pointwise_spec(2, CUBE), Plan(), skipping=False)
    one, other = logits_of(with_rule), logits_of(without)
    assert 0 < with_rule.ran < without.ran == without.total
    # The windows (0, 1) and (1, 0) are the ones that may be missing: rows 0-7 x columns 4-11 and the reverse.
    reach = torch.zeros(12, 12, dtype=torch.bool)
    reach[:8, 4:] = reach[4:, :8] = True
    torch.testing.assert_close(one[:, :, ~reach], other[:, :, ~reach])


@pytest.mark.parametrize(
    ("threshold", "minimal_positions", "ran"),
    [
        (1, 2, 4 * 2 + 4),
        (2, 2, 5 * 2),  # one voxel in each of two indicators is two
        (3, 2, 5 * 2),
        (1, 6, 5 * 4),  # too few positions: no rule
        (0, 2, 5 * 4),  # no threshold: no rule
    ],
)
def test_thresholds_are_fields(threshold: int, minimal_positions: int, ran: int) -> None:
    image = torch.full((24, 12, 12), BODY)
    image[20, 0, 0] = 1  # seen by one indicator
    sweep = indicated(image, threshold=threshold, minimal_positions=minimal_positions)
    logits_of(sweep)
    assert sweep.ran == ran


@pytest.mark.parametrize("plane", [(26, 26), (26, 12), (12, 26), (8, 26), (26, 17), (8, 8)])
def test_any_grid_works(plane: tuple[int, int]) -> None:
    """4 x 4 and more (a field of view above 634 mm), non-square, one row: where the released code stops."""
    generator = torch.Generator().manual_seed(4)
    image = torch.where(torch.rand((30, *plane), generator=generator) < 0.05, 1.0, BODY)
    sweep = indicated(image)
    logits = logits_of(sweep)
    torch.testing.assert_close((logits[1] > logits[0]), image == 1)


def test_no_skipping_runs_every_window() -> None:
    rule = Skipping(foreground_voxels=1, minimal_positions=1)
    network = Trunk()
    sweep = Sweep(
        torch.full((24, 12, 12), AIR), network, pointwise_spec(2, CUBE, skipping=rule), Plan(), skipping=False
    )
    logits_of(sweep)
    assert network.windows == sweep.ran == sweep.total == 20


def peak_of_sweep(planes: int) -> int:
    """Most bytes of tensors that are alive at once while windows run, without the image."""
    image = torch.zeros(planes, 24, 24)
    with LiveBytes() as memory:
        sweep = Sweep(image, echo, pointwise_spec(3, CUBE), Plan())
        for _ in sweep.slabs():
            pass
    return memory.peak


def test_what_is_held_does_not_grow_with_the_scan() -> None:
    assert peak_of_sweep(1000) == peak_of_sweep(100) > 3 * 8 * 24 * 24 * 4


def test_the_rule_is_used_from_exactly_as_many_positions_as_it_says() -> None:
    image = torch.full((24, 12, 12), BODY)  # five z positions of 2 x 2 windows
    for minimal_positions, ran in ((4, 5 * 2), (5, 5 * 2), (6, 5 * 4)):
        sweep = indicated(image, minimal_positions=minimal_positions)
        logits_of(sweep)
        assert sweep.ran == ran
    assert Skipping() == Skipping(foreground_voxels=100, minimal_positions=5)
