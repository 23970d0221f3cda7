"""Islands are dropped, organs stay as they are."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flare_infer.errors import SpecError
from flare_infer.labels import LIVER, RIGHT_KIDNEY, STOMACH, TUMOR
from flare_infer.model.model_file import read_model_file, write_spec
from flare_infer.segment.postprocess import ConfidentVoxels, drop_islands
from flare_infer.segment.segmenter import Segmenter
from flare_infer.volume.volume import Placement, Volume
from tests.tiny import LPS, pointwise_spec, tiny_spec


class Brightness(nn.Module):
    """Calls class 1 what is brighter than the mean of soft tissue."""

    def forward(self, batch_nczyx: Tensor) -> Tensor:
        return torch.cat((torch.zeros_like(batch_nczyx), batch_nczyx), dim=1)


def ball(shape: tuple[int, int, int], center: tuple[float, float, float], radius: float) -> np.ndarray:
    away = np.linalg.norm(np.indices(shape).T - np.asarray(center), axis=-1).T
    return away <= radius


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3, 1), (3, 1, 1)])
def test_parts_one_voxel_apart_are_parts(shape: tuple[int, int, int]) -> None:
    """Of truth values cc3d refuses a mask in which every other voxel of a line is set."""
    labels = np.array([1, 0, 1], np.uint8).reshape(shape)
    drop_islands(labels, (3.0, 3.0, 3.0), (0.0, 0.9))
    assert int(labels.sum()) >= 1


@pytest.mark.parametrize("spacing_mm", [(3.0, 3.0, 3.0), (1.0, 0.7, 0.7), (5.0, 1.5, 1.0), (0.6, 0.6, 0.6)])
def test_small_parts_go_and_large_ones_keep_every_voxel(spacing_mm: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(1)
    labels = np.zeros((60, 90, 80), dtype=np.uint8)
    organ, half = ball(labels.shape, (30, 30, 30), 19), ball(labels.shape, (30, 70, 40), 14)
    organ &= rng.random(labels.shape) > 0.02  # a ragged organ, whose holes are nobody's business
    islands = (
        ball(labels.shape, (52, 70, 70), 6.5) | ball(labels.shape, (6, 6, 74), 5.5) | ball(labels.shape, (59, 5, 5), 5)
    )
    labels[organ | half] = 1
    labels[ball(labels.shape, (6, 80, 10), 5)] = 2
    labels[ball(labels.shape, (30, 30, 30), 4)] = 2
    expected = labels.copy()
    labels[islands] = 1
    drop_islands(labels, spacing_mm, (0.0, 0.25, 0.0))
    np.testing.assert_array_equal(labels, expected)


def test_a_part_beside_the_organ_takes_nothing_of_it_along() -> None:
    labels = np.zeros((20, 20, 40), dtype=np.uint8)
    labels[2:18, 2:18, 2:18] = 1
    expected = labels.copy()
    labels[8:12, 8:12, 19:23] = 1
    drop_islands(labels, (3.0, 3.0, 3.0), (0.0, 0.25))
    np.testing.assert_array_equal(labels[:, :, :18], expected[:, :, :18])
    assert not labels[:, :, 20:].any()


@pytest.mark.parametrize("spacing_mm", [(3.0, 3.0, 3.0), (1.0, 0.7, 0.7), (0.6, 0.6, 0.6)])
def test_a_tumor_beside_none_of_its_organs_goes(spacing_mm: tuple[float, float, float]) -> None:
    codes = np.zeros((60, 90, 80), dtype=np.uint8)
    codes[ball(codes.shape, (30, 30, 30), 19)] = LIVER
    codes[ball(codes.shape, (50, 70, 60), 9)] = STOMACH
    codes[ball(codes.shape, (30, 30, 50), 6)] = TUMOR  # grows out of the liver
    codes[ball(codes.shape, (30, 30, 25), 5)] = TUMOR
    expected = codes.copy()
    codes[ball(codes.shape, (8, 76, 12), 6)] = TUMOR
    codes[ball(codes.shape, (50, 60, 60), 4) & (codes == 0)] = TUMOR  # beside the stomach
    kept = codes.copy()
    drop_islands(kept, spacing_mm, (), ())
    np.testing.assert_array_equal(kept, codes)
    drop_islands(codes, spacing_mm, (), (LIVER,))
    np.testing.assert_array_equal(codes, expected)


def test_an_island_of_an_organ_holds_no_tumor() -> None:
    codes = np.zeros((30, 30, 60), dtype=np.uint8)
    codes[5:25, 5:25, 5:25] = LIVER
    codes[10:16, 10:16, 40:44] = LIVER
    codes[10:16, 10:16, 44:50] = TUMOR
    drop_islands(codes, (3.0, 3.0, 3.0), (0.0, 0.25), (LIVER,))
    assert set(np.unique(codes)) == {0, LIVER}
    assert not codes[:, :, 30:].any()


def test_a_tumor_joins_the_parts_of_its_organ() -> None:
    codes = np.zeros((30, 30, 70), dtype=np.uint8)
    codes[5:25, 5:25, 5:35] = LIVER
    codes[5:25, 5:25, 35:45] = TUMOR
    codes[5:25, 5:25, 45:50] = LIVER
    joined = codes.copy()
    drop_islands(joined, (3.0, 3.0, 3.0), (0.0, 0.25), (LIVER,))
    np.testing.assert_array_equal(joined, codes)
    drop_islands(codes, (3.0, 3.0, 3.0), (0.0, 0.25), (RIGHT_KIDNEY,))
    assert not (codes[:, :, 45:] == LIVER).any()


def test_nothing_asked_for_changes_nothing() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (10, 12, 14)).astype(np.uint8)
    before = labels.copy()
    drop_islands(labels, (3.0, 3.0, 3.0), ())
    drop_islands(labels, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    np.testing.assert_array_equal(labels, before)
    empty = np.zeros((4, 4, 4), dtype=np.uint8)
    drop_islands(empty, (3.0, 3.0, 3.0), (0.0, 0.25))
    assert not empty.any()


def test_the_fraction_is_part_of_a_model(tmp_path) -> None:
    spec = tiny_spec(labels=("background", "body"), smallest_part=(0.0, 0.25))
    write_spec(spec, tmp_path)
    assert read_model_file(tmp_path).spec == spec
    with pytest.raises(SpecError, match="a number for each of 2 labels"):
        replace(spec, smallest_part=(0.25,))
    with pytest.raises(SpecError, match="tumor_organs needs a label 14"):
        replace(spec, tumor_organs=(1,))
    named = tiny_spec(tumor_organs=(LIVER, RIGHT_KIDNEY))
    write_spec(named, tmp_path)
    assert read_model_file(tmp_path).spec == named
    with pytest.raises(SpecError, match="codes from 1 to 14, found"):
        replace(named, tumor_organs=(0,))
    with pytest.raises(SpecError, match="fractions from 0 to 1"):
        replace(spec, smallest_part=(0.0, 1.5))


def test_a_segmenter_drops_what_its_model_says() -> None:
    image = np.full((24, 24, 24), -100, dtype=np.int16)
    image[2:14, 2:14, 2:14] = 200
    image[18:21, 18:21, 18:21] = 200
    volume = Volume(
        array_zyx=image, placement=Placement(spacing_mm=(4.0, 4.0, 4.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)
    )
    spec = pointwise_spec(2, (8, 8, 8), spacing_mm=(4.0, 4.0, 4.0))
    whole = Segmenter(spec=spec, run=Brightness()).segment(volume).labels.array_zyx
    np.testing.assert_array_equal(whole, image > 0)
    asked = Segmenter(spec=replace(spec, smallest_part=(0.0, 0.25)), run=Brightness()).segment(volume).labels.array_zyx
    assert asked[2:14, 2:14, 2:14].all()
    assert np.count_nonzero(asked) == 12**3


class Spheres(nn.Module):
    """Liver everywhere the image is bright, tumor where it is brighter: by as much as it is brighter."""

    def forward(self, batch_nczyx: Tensor) -> Tensor:
        liver, others = torch.ones_like(batch_nczyx), torch.full_like(batch_nczyx, -9.0)
        return torch.cat((torch.zeros_like(batch_nczyx), liver, *(others,) * 12, 1 + batch_nczyx), dim=1)


@pytest.mark.parametrize("axes", [LPS, ((0.0, 1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, -1.0))])
@pytest.mark.parametrize("spacing_mm", [(4.0, 4.0, 4.0), (2.0, 1.0, 1.3)])
def test_a_tumor_of_which_the_model_is_nowhere_certain_goes(axes, spacing_mm: tuple[float, float, float]) -> None:
    shape = tuple(round(mm / spacing) for mm, spacing in zip((120, 80, 100), spacing_mm, strict=True))
    # Normalized: -1 is liver; tumors lead by 2, and by 5 in the middle of one of them.
    image = np.random.default_rng(0).integers(-52, -47, shape).astype(np.int16)  # one value alone would be padding
    middle = [np.array(place) / spacing_mm for place in ((30, 30, 70), (90, 50, 30))]
    doubtful, confident = (
        np.linalg.norm((np.indices(shape).T - place) * spacing_mm, axis=-1).T <= 16 for place in middle
    )
    image[doubtful | confident] = 250
    core = np.linalg.norm((np.indices(shape).T - middle[1]) * spacing_mm, axis=-1).T <= 8
    image[core] = 550
    volume = Volume(array_zyx=image, placement=Placement(spacing_mm=spacing_mm, origin_mm=(0.0, 0.0, 0.0), axes=axes))
    spec = pointwise_spec(15, (8, 8, 8), spacing_mm=(4.0, 4.0, 4.0))
    spec = replace(spec, normalization=replace(spec.normalization, clip_high_hu=600))
    before = Segmenter(spec=spec, run=Spheres()).segment(volume).labels.array_zyx
    after = Segmenter(spec=replace(spec, tumor_lead=4.0), run=Spheres()).segment(volume).labels.array_zyx
    assert (before[doubtful] == TUMOR).mean() > 0.7
    assert not (after[doubtful] == TUMOR).any()
    np.testing.assert_array_equal(after[confident], before[confident])
    none = Segmenter(spec=replace(spec, tumor_lead=9.0), run=Spheres()).segment(volume).labels.array_zyx
    assert not (none == TUMOR).any()


def test_where_a_class_leads_is_found_over_slabs() -> None:
    logits = torch.zeros((3, 6, 4, 4))
    logits[2, 1, 0, 3] = 5.0
    logits[2, 4, 2, 1] = 5.0
    logits[2, 5, 3, 3] = 5.0
    logits[1, 4, 2, 1] = 4.0  # another class comes too near
    confident = ConfidentVoxels(2, 3.0)
    for start, stop in ((0, 2), (2, 5), (5, 6)):
        confident.take(logits[:, start:stop])
    assert confident.on_grid((6, 4, 4), (6, 4, 4)).tolist() == [[1, 0, 3], [5, 3, 3]]
    assert confident.on_grid((6, 4, 4), (12, 2, 6)).tolist() == [[3, 0, 5], [11, 1, 5]]


def test_the_lead_is_part_of_a_model(tmp_path) -> None:
    spec = tiny_spec(tumor_lead=4.0)
    write_spec(spec, tmp_path)
    assert read_model_file(tmp_path).spec == spec
    for change in ({"tumor_lead": -1.0}, {"tumor_lead": math.nan}, {"tumor_lead": math.inf}, {"untrained": (TUMOR,)}):
        with pytest.raises(SpecError, match="tumor_lead must be 0 or a positive number"):
            replace(spec, **change)


def test_a_part_of_exactly_the_fraction_is_not_smaller() -> None:
    codes = np.zeros((10, 10, 40), dtype=np.uint8)
    codes[1:5, 1:5, 1:5] = LIVER  # 64 voxels
    codes[1:5, 1:5, 20:21] = LIVER  # 16
    kept = codes.copy()
    drop_islands(kept, (3.0, 3.0, 3.0), (0.0, 0.25))
    np.testing.assert_array_equal(kept, codes)
    drop_islands(codes, (3.0, 3.0, 3.0), (0.0, 0.26))
    assert np.count_nonzero(codes) == 64


def test_voxels_that_touch_by_a_corner_are_one_part() -> None:
    codes = np.zeros((12, 12, 12), dtype=np.uint8)
    for step in range(12):
        codes[step, step, step] = LIVER
    codes[0:3, 6:10, 0:3] = LIVER  # 36 voxels, beside nothing
    kept = codes.copy()
    drop_islands(kept, (3.0, 3.0, 3.0), (0.0, 0.3))
    np.testing.assert_array_equal(kept, codes)  # the diagonal has 12 of 36, its single voxels would have one


def test_a_voxel_asks_the_sample_nearest_to_it() -> None:
    """Voxels of 1 mm, a sample at every third: 44 to 46 belong to the sample at 45, its neighbors are 42 and 48."""
    codes = np.zeros((9, 9, 60), dtype=np.uint8)
    codes[:, :, :30] = LIVER
    codes[2:7, 2:7, 44:47] = LIVER
    codes[3, 3, [40, 41, 49, 50]] = LIVER  # on no sample; nearest to 39, 42, 48 and 51
    drop_islands(codes, (1.0, 1.0, 1.0), (0.0, 0.25))
    assert np.flatnonzero(codes[3, 3, 30:]).tolist() == [10, 20], "41 and 49 are beside the island, 40 and 50 are not"
    assert (codes[:, :, :30] == LIVER).all()


@pytest.mark.parametrize(("place", "stays"), [(40, False), (41, True), (45, True), (49, True), (50, False)])
def test_certain_voxels_vouch_for_the_samples_nearest_to_them(place: int, stays: bool) -> None:
    codes = np.zeros((9, 9, 60), dtype=np.uint8)
    codes[2:7, 2:7, 44:47] = TUMOR  # met by the sample at 45 alone; 42 and 48 touch it
    drop_islands(codes, (1.0, 1.0, 1.0), (), confident=np.array([[3, 3, place]]))
    assert codes.any() == stays


def test_a_certain_voxel_at_the_very_end_is_one_of_the_last_sample() -> None:
    codes = np.zeros((9, 9, 9), dtype=np.uint8)
    codes[5:, 5:, 5:] = TUMOR
    kept = codes.copy()
    drop_islands(kept, (1.0, 1.0, 1.0), (), confident=np.array([[8, 8, 8]]))
    np.testing.assert_array_equal(kept, codes)


def test_a_tumor_beside_an_organ_touches_it() -> None:
    codes = np.zeros((10, 10, 20), dtype=np.uint8)
    codes[2:8, 2:8, 2:8] = LIVER
    codes[3:6, 3:6, 8:11] = TUMOR
    codes[3:6, 3:6, 13:15] = TUMOR
    drop_islands(codes, (3.0, 3.0, 3.0), (), (LIVER,))
    assert (codes[3:6, 3:6, 8:11] == TUMOR).all()
    assert not codes[:, :, 11:].any()


def test_an_island_is_as_large_as_its_organ_and_not_as_its_tumor() -> None:
    codes = np.zeros((12, 12, 60), dtype=np.uint8)
    codes[2:8, 2:8, 2:8] = LIVER  # 216 voxels
    codes[2:8, 2:8, 30:31] = LIVER  # 36 voxels, with a tumor of 216
    codes[2:8, 2:8, 31:37] = TUMOR
    drop_islands(codes, (3.0, 3.0, 3.0), (0.0, 0.25), (LIVER,))
    assert np.count_nonzero(codes == LIVER) == 216
    assert not codes[:, :, 20:].any()


def test_only_organs_whose_tumors_are_known_are_joined_by_them() -> None:
    fractions = tuple(0.25 if code in {LIVER, STOMACH} else 0.0 for code in range(15))
    codes = np.zeros((12, 12, 60), dtype=np.uint8)
    codes[2:8, 2:8, 2:8] = STOMACH
    codes[2:8, 2:8, 8:11] = TUMOR
    codes[2:8, 2:8, 11:12] = STOMACH  # 36 of 216: an island, were there no tumor between
    codes[2:8, 2:8, 30:40] = LIVER
    drop_islands(codes, (3.0, 3.0, 3.0), fractions, (LIVER,))
    assert not codes[:, :, 11:12].any()
    assert (codes[2:8, 2:8, 2:8] == STOMACH).all()


def test_certain_is_a_lead_over_every_class_and_by_more() -> None:
    logits = torch.zeros((4, 1, 1, 3))
    logits[3, 0, 0] = 5.0
    logits[1, 0, 0] = torch.tensor(
        [4.0, 2.0, 1.9]
    )  # leads of 1, of exactly 3, and of 3.1; over their mean all are 3 and more
    confident = ConfidentVoxels(3, 3.0)
    confident.take(logits)
    assert confident.on_grid((1, 1, 3), (1, 1, 3)).tolist() == [[0, 0, 2]]


def test_a_voxel_of_the_model_is_found_by_its_middle() -> None:
    logits = torch.zeros((2, 2, 2, 2))
    logits[1, 1, 0, 1] = 5.0
    confident = ConfidentVoxels(1, 3.0)
    confident.take(logits)
    # Voxels twice as large: the middle of the second is voxel 3 of 4, of 5 voxels the fourth, of 3 the third.
    for length, (low, high) in {4: (1, 3), 5: (1, 3), 3: (0, 2)}.items():
        assert confident.on_grid((2, 2, 2), (length,) * 3).tolist() == [[high, low, high]]


def test_voxels_between_an_island_and_its_organ_are_the_organs() -> None:
    """Samples at 30 (organ), 33 (nothing) and 36 (island): a voxel at 32 asks the one at 33, which touches both."""
    codes = np.zeros((9, 9, 60), dtype=np.uint8)
    codes[:, :, :33] = LIVER
    expected = codes.copy()
    codes[3:6, 3:6, 36:39] = LIVER
    drop_islands(codes, (1.0, 1.0, 1.0), (0.0, 0.25))
    np.testing.assert_array_equal(codes, expected)


def test_a_tumor_in_a_dropped_island_goes_with_it_on_any_grid() -> None:
    coarse = np.zeros((12, 12, 30), dtype=np.uint8)
    coarse[2:8, 2:8, 2:8] = LIVER
    coarse[2:8, 2:8, 20:21] = LIVER  # 36 of 216 voxels, with a tumor
    coarse[2:8, 2:8, 21:24] = TUMOR
    for fine in (1, 2, 3):
        codes = coarse.repeat(fine, axis=0).repeat(fine, axis=1).repeat(fine, axis=2)
        drop_islands(codes, (3.0 / fine,) * 3, (0.0, 0.25), (LIVER,))
        assert np.count_nonzero(codes == LIVER) == 216 * fine**3
        assert not codes[:, :, 15 * fine :].any()
