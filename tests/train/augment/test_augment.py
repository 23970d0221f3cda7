import math

import numpy as np
import pytest
import torch

from flare_infer.labels import KNOWN_BACKGROUND
from train.augment.chain import Augmentation, augmented_patch
from train.augment.cut import cut_patch
from train.augment.intensity import IntensityAugmentation, IntensityParameters, apply_intensity, draw_intensity
from train.augment.spatial import SpatialAugmentation, SpatialParameters, draw_spatial, matrix_mm, source_positions
from train.sampling.sampler import PatchCenter
from train.store.store import PreparedCase

AIR = -2.5
MM = (4.0, 4.0, 4.0)


def case(shape: tuple[int, int, int] = (9, 10, 11)) -> PreparedCase:
    rng = np.random.default_rng(0)
    return PreparedCase(
        name="noise",
        annotated=(1, 2),
        image_zyx=rng.normal(0, 1, shape).astype(np.float16),
        labels_zyx=rng.integers(0, 3, shape).astype(np.uint8),
        locations={},
    )


def at(voxel: tuple[float, float, float], of: PreparedCase) -> PatchCenter:
    return PatchCenter(case=of, voxel=voxel, code=0)


def test_without_a_change_a_patch_is_a_box_of_its_case() -> None:
    source = case()
    patch = cut_patch(at((4.0, 5.2, 5.5), source), (3, 4, 4), MM, SpatialParameters(), AIR)
    # center 4 -> voxels 3..5; an even length has its center between voxels: 5.2 -> 3.7..6.7, nearest 4..7
    box = (slice(3, 6), slice(4, 8), slice(4, 8))
    np.testing.assert_array_equal(patch.image_zyx.numpy(), source.image_zyx[box].astype(np.float32))
    np.testing.assert_array_equal(patch.labels_zyx.numpy(), source.labels_zyx[box])
    assert patch.annotated == (1, 2)


def test_outside_the_scan_there_is_air_and_it_is_known_background() -> None:
    source = case((2, 3, 3))
    patch = cut_patch(at((0.5, 1.0, 1.0), source), (4, 5, 5), MM, SpatialParameters(), AIR)
    inside = (slice(1, 3), slice(1, 4), slice(1, 4))
    np.testing.assert_array_equal(patch.image_zyx[inside].numpy(), source.image_zyx.astype(np.float32))
    np.testing.assert_array_equal(patch.labels_zyx[inside].numpy(), source.labels_zyx)
    outside = torch.ones(4, 5, 5, dtype=torch.bool)
    outside[inside] = False
    assert (patch.labels_zyx[outside] == KNOWN_BACKGROUND).all()
    assert (patch.image_zyx[outside] == AIR).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirroring_flips_one_axis(axis: int) -> None:
    center = at((4.0, 4.5, 5.0), case())
    plain = cut_patch(center, (5, 6, 7), MM, SpatialParameters(), AIR)
    mirrored = cut_patch(center, (5, 6, 7), MM, SpatialParameters(mirrored=(axis,)), AIR)
    assert torch.equal(mirrored.labels_zyx, plain.labels_zyx.flip(axis))
    assert torch.equal(mirrored.image_zyx, plain.image_zyx.flip(axis))


def test_a_quarter_turn_about_z_turns_each_plane() -> None:
    center = at((4.0, 5.0, 5.0), case())
    plain = cut_patch(center, (3, 7, 7), MM, SpatialParameters(), AIR)
    turned = cut_patch(center, (3, 7, 7), MM, SpatialParameters(angles=(math.pi / 2, 0, 0)), AIR)
    assert torch.equal(turned.labels_zyx, plain.labels_zyx.rot90(-1, (1, 2)))


def test_rotations_are_rotations_in_millimeters() -> None:
    # Voxels are twice as long along y: a quarter turn maps three voxels along x onto one and a half along y.
    labels = np.zeros((1, 21, 21), dtype=np.uint8)
    labels[0, 10, 10 : 10 + 7] = 1  # 6 voxels of 2 mm to the left
    source = PreparedCase(
        name="bar", annotated=(1,), image_zyx=labels.astype(np.float16), labels_zyx=labels, locations={}
    )
    spacing = (2.0, 4.0, 2.0)
    turned = cut_patch(
        at((0.0, 10.0, 10.0), source), (1, 21, 21), spacing, SpatialParameters(angles=(math.pi / 2, 0, 0)), AIR
    )
    rows = turned.labels_zyx[0].eq(1).nonzero()[:, 0]
    assert int(rows.max() - rows.min()) == 3


def test_scaling_changes_the_field_of_view() -> None:
    labels = np.zeros((1, 41, 41), dtype=np.uint8)
    labels[0, 12:29, 12:29] = 1  # 17 voxels wide
    source = PreparedCase(
        name="square", annotated=(1,), image_zyx=labels.astype(np.float16), labels_zyx=labels, locations={}
    )
    center = at((0.0, 20.0, 20.0), source)
    for scale, width in ((0.5, 34), (1.0, 17), (2.0, 9)):
        patch = cut_patch(center, (1, 41, 41), MM, SpatialParameters(scale=scale), AIR)
        assert int(patch.labels_zyx[0, 20].eq(1).sum()) == width


def test_draws_follow_their_probabilities() -> None:
    rng = np.random.default_rng(0)
    draws = [draw_spatial(SpatialAugmentation(), rng) for _ in range(4000)]
    assert np.mean([any(draw.angles) for draw in draws]) == pytest.approx(0.2, abs=0.02)
    assert np.mean([draw.scale != 1 for draw in draws]) == pytest.approx(0.2, abs=0.02)
    assert np.mean([0 in draw.mirrored for draw in draws]) == pytest.approx(0.5, abs=0.03)
    assert all(0.7 <= draw.scale <= 1.4 for draw in draws)
    assert np.mean([draw.scale for draw in draws if draw.scale != 1]) == pytest.approx(1.05, abs=0.03), "all alike"
    assert not any(2 in draw.mirrored for draw in draws), "left-right stays: kidneys are sided"


def test_no_drawn_change_leaves_the_image_as_it_is() -> None:
    image = torch.randn(4, 5, 6)
    never = IntensityAugmentation(
        noise=0, blur=0, brightness=0, contrast=0, low_resolution=0, gamma=0, gamma_inverted=0
    )
    parameters = draw_intensity(never, np.random.default_rng(0))
    assert torch.equal(apply_intensity(image, parameters), image)


def test_intensity_changes_by_hand() -> None:
    image = torch.tensor([[[0.0, 1.0, 2.0, 5.0]]])
    assert apply_intensity(image, IntensityParameters(brightness=2.0)).flatten().tolist() == [0, 2, 4, 10]
    # mean 2; twice the distance from it, clamped to [0, 5]
    assert apply_intensity(image, IntensityParameters(contrast=2.0)).flatten().tolist() == [0, 0, 2, 5]
    curved = apply_intensity(image, IntensityParameters(gamma=((2.0, False),)))
    assert curved.mean().item() == pytest.approx(2.0)
    assert curved.std().item() == pytest.approx(image.std().item())
    assert curved[0, 0, 1] - curved[0, 0, 0] < curved[0, 0, 3] - curved[0, 0, 2]
    noisy = apply_intensity(torch.zeros(20, 20, 20), IntensityParameters(noise=0.2, noise_seed=1))
    assert noisy.std().item() == pytest.approx(0.2, rel=0.05)
    assert torch.equal(noisy, apply_intensity(torch.zeros(20, 20, 20), IntensityParameters(noise=0.2, noise_seed=1)))


def test_blur_and_low_resolution_keep_a_constant_and_smooth_an_edge() -> None:
    edge = torch.zeros(8, 8, 8)
    edge[:, :, 4:] = 1.0
    for parameters in (IntensityParameters(blur=(0.6, 0.8, 1.0)), IntensityParameters(low_resolution=0.5)):
        torch.testing.assert_close(apply_intensity(torch.full((8, 8, 8), 3.0), parameters), torch.full((8, 8, 8), 3.0))
        changed = apply_intensity(edge, parameters)
        assert 0 < changed[4, 4, 3] < 0.5 < changed[4, 4, 4] < 1


def test_a_sample_is_a_function_of_its_generator() -> None:
    center = at((4.0, 5.0, 5.0), case())
    first, second = (
        augmented_patch(
            center, Augmentation(), np.random.default_rng((1, 2, 3)), size=(6, 6, 6), spacing_mm=MM, air=AIR
        )
        for _ in range(2)
    )
    assert torch.equal(first.image_zyx, second.image_zyx)
    assert torch.equal(first.labels_zyx, second.labels_zyx)


def test_places_of_a_quarter_turn_by_hand() -> None:
    # About z, with voxels of 4 mm along z, 1 mm along y and 2 mm along x: one voxel along x is two along y.
    turn = SpatialParameters(angles=(math.pi / 2, 0.0, 0.0))
    z, y, x = source_positions((3, 5, 5), (4.0, 1.0, 2.0), turn)
    middle = (1, 2, 2)
    assert [float(axis[middle]) for axis in (z, y, x)] == pytest.approx([0, 0, 0], abs=1e-6)
    along_x = [float(axis[1, 2, 3]) for axis in (z, y, x)]
    along_y = [float(axis[1, 3, 2]) for axis in (z, y, x)]
    along_z = [float(axis[2, 2, 2]) for axis in (z, y, x)]
    assert along_x == pytest.approx([0, -2, 0], abs=1e-6)
    assert along_y == pytest.approx([0, 0, 0.5], abs=1e-6)
    assert along_z == pytest.approx([1, 0, 0], abs=1e-6)
    assert float(torch.linalg.det(matrix_mm(turn))) == pytest.approx(1), "a rotation mirrors and stretches nothing"
