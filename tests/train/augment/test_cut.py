"""A patch against the whole scan, interpolated by SciPy with air around it."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from flare_infer.labels import KNOWN_BACKGROUND
from train.augment.cut import cut_patch
from train.augment.elastic import ElasticDeformation
from train.augment.spatial import SpatialAugmentation, SpatialParameters, draw_spatial, source_positions
from train.sampling.sampler import PatchCenter
from train.store.store import PreparedCase

MM = (2.5, 1.5, 2.0)
AIR = -2.5
AROUND = 60
"""Voxels of air about the scan in which nothing that is drawn can leave."""


def case(shape: tuple[int, int, int]) -> PreparedCase:
    rng = np.random.default_rng(sum(shape))
    return PreparedCase(
        name="noise",
        annotated=(1, 2),
        image_zyx=rng.normal(0, 1, shape).astype(np.float16),
        labels_zyx=rng.integers(0, 3, shape).astype(np.uint8),
        locations={},
    )


def expected(
    source: PreparedCase, voxel: tuple[float, float, float], size: tuple[int, int, int], parameters: SpatialParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels by SciPy."""
    places = torch.stack(source_positions(size, MM, parameters)).double().numpy()
    for axis, (middle, length) in enumerate(zip(voxel, size, strict=True)):
        places[axis] += np.floor(middle - (length - 1) / 2 + 0.5) + (length - 1) / 2 + AROUND
    image = np.pad(np.asarray(source.image_zyx, dtype=np.float64), AROUND, constant_values=AIR)
    labels = np.pad(np.asarray(source.labels_zyx), AROUND, constant_values=KNOWN_BACKGROUND)
    assert all(place.min() > 0 and place.max() < length - 1 for place, length in zip(places, image.shape, strict=True))
    nearest = tuple(np.floor(places + 0.5).astype(int))
    found = ndimage.map_coordinates(image, places, order=1), labels[nearest]
    return np.flip(found[0], parameters.mirrored), np.flip(found[1], parameters.mirrored)


@pytest.mark.parametrize("shape", [(20, 30, 34), (3, 30, 9), (1, 1, 1)], ids=str)
def test_any_change_is_that_of_the_whole_scan(shape: tuple[int, int, int]) -> None:
    source, rng = case(shape), np.random.default_rng(3)
    spatial = SpatialAugmentation(
        rotation_probability=0.6, scale_probability=0.6, elastic_probability=0.5, elastic_knots_mm=30.0
    )
    unequal = 0
    for _ in range(40):
        voxel = tuple(float(rng.uniform(0, length - 1)) for length in shape)
        size = tuple(int(rng.integers(1, 14)) for _ in range(3))
        parameters = draw_spatial(spatial, rng)
        patch = cut_patch(PatchCenter(case=source, voxel=voxel, code=0), size, MM, parameters, AIR)
        image, labels = expected(source, voxel, size, parameters)
        assert tuple(patch.image_zyx.shape) == size
        np.testing.assert_allclose(patch.image_zyx.numpy(), image, atol=2e-4)
        unequal += int((patch.labels_zyx.numpy() != labels).sum())
    assert unequal <= 3, "voxels in the very middle between two may be rounded either way"


@pytest.mark.parametrize("mirrored", [(), (0,), (0, 1), (0, 1, 2)], ids=str)
def test_a_plain_piece_is_what_interpolation_without_a_change_gives(mirrored: tuple[int, ...]) -> None:
    still = ElasticDeformation(seed=0, knots_mm=30.0, magnitude_mm=0.0)
    for shape in ((20, 30, 34), (5, 6, 7)):
        center = PatchCenter(case=case(shape), voxel=(3.3, 4.0, 2.0), code=0)
        plain = cut_patch(center, (8, 9, 10), MM, SpatialParameters(mirrored=mirrored), AIR)
        same = cut_patch(center, (8, 9, 10), MM, SpatialParameters(mirrored=mirrored, elastic=still), AIR)
        torch.testing.assert_close(same.image_zyx, plain.image_zyx, rtol=0, atol=2e-5)
        assert torch.equal(same.labels_zyx, plain.labels_zyx)


def test_the_case_is_left_as_it_is() -> None:
    source = case((12, 14, 16))
    image, labels = source.image_zyx[:].copy(), source.labels_zyx[:].copy()
    for parameters in (SpatialParameters(), SpatialParameters(scale=1.3), SpatialParameters(mirrored=(0,))):
        patch = cut_patch(PatchCenter(case=source, voxel=(6.0, 7.0, 8.0), code=0), (4, 5, 6), MM, parameters, AIR)
        patch.image_zyx.zero_()
    np.testing.assert_array_equal(source.image_zyx[:], image)
    np.testing.assert_array_equal(source.labels_zyx[:], labels)
