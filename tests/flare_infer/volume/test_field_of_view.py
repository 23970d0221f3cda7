"""Air and padding around a scan, and scans shorter than a window: the labels inside the patient stay the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flare_eval.accuracy.dice import dice_of_masks
from flare_infer.formats.volume_io import read_volume
from flare_infer.model.spec import ModelSpec, SpecError
from flare_infer.segment.memory_plan import Plan
from flare_infer.segment.segmenter import SegmentationCallbacks, Segmenter
from flare_infer.segment.sliding import Sweep
from flare_infer.volume.field_of_view import field_of_view, short_scan_doubts
from flare_infer.volume.orient import turn
from flare_infer.volume.volume import Placement, Volume, crop, same_placement
from tests.real_data import CHECKOUT, real_data
from tests.tiny import LPS, pointwise_spec, tiny_spec

FLIPPED = ((0.0, 1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
"""Slices from front to back, rows from left to right, columns from head to feet."""


class OrgansInAir(nn.Module):
    """Calls tissue class 1, and air with no tissue in the same window class 1, too; of air beside tissue it is sure."""

    def forward(self, batch_nczyx: Tensor) -> Tensor:
        empty = batch_nczyx.amax(dim=(1, 2, 3, 4), keepdim=True) < 0
        found = torch.where(empty, torch.ones_like(batch_nczyx), batch_nczyx)
        return torch.cat((torch.zeros_like(batch_nczyx), found), dim=1)


def patient(axes=LPS, spacing_mm=(4.0, 4.0, 4.0)) -> Volume:
    rng = np.random.default_rng(3)
    image = rng.integers(-1010, -990, (30, 36, 44)).astype(np.int16)
    image[:, 4:30, 5:40] = rng.integers(-120, 200, (30, 26, 35))
    return Volume(array_zyx=image, placement=Placement(spacing_mm=spacing_mm, origin_mm=(1.0, 2.0, 3.0), axes=axes))


def spec() -> ModelSpec:
    return pointwise_spec(2, (16, 16, 16), spacing_mm=(4.0, 4.0, 4.0))


def labels(scan: Volume, model: ModelSpec, *, skipping: bool = True) -> np.ndarray:
    return Segmenter(spec=model, run=OrgansInAir(), skipping=skipping).segment(scan).labels.array_zyx


@pytest.mark.parametrize("axes", [LPS, FLIPPED])
@pytest.mark.parametrize("value", [-1024, -2048, -3024, -32768, 0, float("nan")])
def test_padding_changes_no_voxel_and_holds_no_label(axes, value: float) -> None:
    scan = patient(axes)
    stored = scan.array_zyx.astype(np.float32 if np.isnan(value) else np.int16)
    widths = ((20, 70), (60, 30), (3, 25))
    padded = replace(scan, array_zyx=np.pad(stored, widths, constant_values=stored.dtype.type(value)))
    inside = tuple(slice(one, one + length) for (one, _), length in zip(widths, scan.shape, strict=True))
    for skipping in (True, False):
        found = labels(padded, spec(), skipping=skipping)
        np.testing.assert_array_equal(found[inside], labels(scan, spec(), skipping=skipping))
        assert np.count_nonzero(found) == np.count_nonzero(found[inside]) > 0


def test_noisy_air_beside_the_patient_holds_no_label_and_costs_no_windows_far_away() -> None:
    scan = patient()
    widths = ((20, 20), (90, 90), (90, 90))
    wide = np.random.default_rng(1).integers(
        -1010, -990, [n + a + b for n, (a, b) in zip(scan.shape, widths, strict=True)]
    )
    inside = tuple(slice(one, one + length) for (one, _), length in zip(widths, scan.shape, strict=True))
    wide[inside] = scan.array_zyx
    segmenter = Segmenter(spec=spec(), run=OrgansInAir(), skipping=False)
    found = segmenter.segment(replace(scan, array_zyx=wide.astype(np.int16)))
    as_it_is = replace(segmenter, spec=replace(spec(), body_only=False)).segment(replace(scan, array_zyx=wide))
    body = found.labels.array_zyx[20:50, 94:120, 95:130]
    np.testing.assert_array_equal(body, scan.array_zyx[:, 4:30, 5:40] > 50)
    rest = found.labels.array_zyx.copy()
    rest[18:52, 92:122, 93:132] = 0
    assert not rest.any()
    assert np.count_nonzero(as_it_is.labels.array_zyx) > 10 * body.size
    assert found.windows < as_it_is.windows / 2


def test_far_air_along_one_axis_is_left_out_too() -> None:
    scan = patient()
    air = np.random.default_rng(1).integers(-1010, -990, (30, 200, 44)).astype(np.int16)
    wide = replace(scan, array_zyx=np.concatenate([scan.array_zyx, air], axis=1))
    # Tissue ends at row 30; 150 mm of air, 38 rows, are kept. Slices without air above and below, and columns, stay.
    assert field_of_view(wide, spec()).box == (slice(0, 30), slice(0, 68), slice(0, 44))


def test_a_larger_island_in_air_does_not_replace_the_organ() -> None:
    scan = patient()
    wide = np.pad(scan.array_zyx, ((0, 0), (0, 0), (0, 90)), constant_values=-1000)
    wide[:, :, 44:] += np.random.default_rng(2).integers(-9, 9, wide[:, :, 44:].shape).astype(np.int16)
    island_rule = replace(spec(), smallest_part=(0.0, 0.9))
    found = labels(replace(scan, array_zyx=wide), island_rule, skipping=False)
    np.testing.assert_array_equal(found[:, 4:30, 5:40], scan.array_zyx[:, 4:30, 5:40] > 50)
    lost = labels(replace(scan, array_zyx=wide), replace(island_rule, body_only=False), skipping=False)
    assert not lost[:, 4:30, 5:40].any()


def test_a_model_may_look_at_all_there_is() -> None:
    scan = replace(patient(), array_zyx=np.pad(patient().array_zyx, 5, constant_values=7))
    whole = field_of_view(scan, replace(spec(), body_only=False))
    assert whole.volume.shape == scan.shape
    assert whole.body is None
    with pytest.raises(SpecError, match="repeated_mm must be 0 or a positive number"):
        tiny_spec(repeated_mm=-1.0)


@pytest.mark.parametrize("axes", [LPS, FLIPPED])
def test_the_part_that_is_looked_at_lies_where_it_lay(axes) -> None:
    scan = patient(axes, (3.0, 2.0, 1.5))
    scan = replace(scan, array_zyx=scan.array_zyx[:, 4:30, 5:40])  # no air, of which some would be left out, too
    padded = np.pad(scan.array_zyx, ((2, 0), (3, 1), (4, 5)), constant_values=-1024)
    turned, reorientation = turn(replace(scan, array_zyx=padded), "LPS")
    view = field_of_view(turned, spec())
    np.testing.assert_array_equal(reorientation.undo(view.volume.array_zyx), scan.array_zyx)
    part = crop(replace(scan, array_zyx=padded), reorientation.undo_box(view.box, turned.shape))
    np.testing.assert_array_equal(part.array_zyx, scan.array_zyx)
    steps = np.array(part.placement.origin_mm) - scan.placement.origin_mm
    np.testing.assert_allclose(steps, np.array([2 * 3.0, 3 * 2.0, 4 * 1.5]) @ np.array(axes))
    assert part.placement.spacing_mm == (3.0, 2.0, 1.5)
    assert same_placement(turn(part, "LPS")[0].placement, view.volume.placement)


def test_a_short_scan_is_repeated_a_little_and_then_filled() -> None:
    seen: list[Tensor] = []

    def remember(batch_nczyx: Tensor) -> Tensor:
        seen.append(batch_nczyx[0, 0, :, 0, 0])
        return torch.cat((batch_nczyx, batch_nczyx), dim=1)

    image = torch.arange(1.0, 4.0)[:, None, None].expand(3, 8, 8).contiguous()
    model = replace(pointwise_spec(2, (12, 8, 8), spacing_mm=(8.0, 8.0, 8.0)), repeated_mm=24.0)
    fill = model.fill
    logits = torch.cat([slab.clone() for slab in Sweep(image, remember, model, Plan()).slabs()], dim=1)
    assert seen[0].tolist() == [fill, 1, 1, 1, 1, 2, 3, 3, 3, 3, fill, fill]
    torch.testing.assert_close(logits[0], image)
    list(Sweep(image, remember, replace(model, repeated_mm=0.0), Plan()).slabs())
    assert seen[1].tolist() == [*[fill] * 4, 1, 2, 3, *[fill] * 5]
    list(Sweep(image, remember, replace(model, repeated_mm=1000.0), Plan()).slabs())
    assert seen[2].tolist() == [1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3]
    long = torch.arange(13.0)[:, None, None].expand(13, 8, 8).contiguous()
    list(Sweep(long, remember, model, Plan()).slabs())
    assert seen[3].tolist() == list(range(12))


def test_a_scan_shorter_than_half_a_window_gets_a_line() -> None:
    model = pointwise_spec(2, (12, 8, 8), spacing_mm=(4.0, 4.0, 4.0))
    (line,) = short_scan_doubts(5, model)
    assert "about 20 mm from the lowest to the highest slice, and the network looks at 48 mm at once" in line
    assert short_scan_doubts(6, model) == short_scan_doubts(2, model) == ()
    slab = replace(patient(), array_zyx=patient().array_zyx[:4])
    told: list[str] = []
    callbacks = SegmentationCallbacks(notice=lambda line, routine: None if routine else told.append(line))
    Segmenter(spec=spec(), run=OrgansInAir()).segment(slab, callbacks)
    assert [line for line in told if line.startswith("about 16 mm")]


def test_a_slab_of_a_real_ct_keeps_its_large_organs() -> None:
    folder = real_data() / "ct"
    scan = read_volume(folder / "torso3mm_0000.nii.gz")
    segmenter = Segmenter.load(CHECKOUT / "weights" / "lite")
    whole = segmenter.segment(scan).labels.array_zyx
    middle = int(np.flatnonzero((whole == 1).any(axis=(1, 2))).mean())
    part = slice(middle - 5, middle + 5)  # 30 mm
    found = segmenter.segment(replace(scan, array_zyx=scan.array_zyx[part])).labels.array_zyx
    for code in (1, 2, 3, 5, 13):  # with nothing but air above and below, .78, .88, .79, .72 and .62
        assert dice_of_masks(found == code, whole[part] == code) > 0.85
