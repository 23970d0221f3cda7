"""Elastic deformation: smooth, without folds, and the same for image, labels and pasted tumors."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from flare_infer.errors import SpecError
from flare_infer.geometry import Box
from flare_infer.labels import TUMOR
from train.augment.cut import cut_patch
from train.augment.cutmix import Paste
from train.augment.elastic import STEEPEST, ElasticDeformation, displacement
from train.augment.spatial import (
    SpatialAugmentation,
    SpatialParameters,
    draw_spatial,
    farthest_source,
    matrix_mm,
    source_positions,
)
from train.recipes.recipe import coarse, fine, lite, recipe_from_json, smoke
from train.sampling.sampler import PatchCenter
from train.store.store import PreparedCase
from train.store.tumor_objects import TumorObject

MM = (2.5, 1.5, 1.5)
SIZE = (12, 40, 36)
AIR = -2.5


def steepest(seed: int) -> ElasticDeformation:
    """As strong and as fine as the default allows."""
    spatial = SpatialAugmentation()
    return ElasticDeformation(seed=seed, knots_mm=spatial.elastic_knots_mm, magnitude_mm=spatial.elastic_magnitude_mm)


def in_millimeters(elastic: ElasticDeformation, size: tuple[int, int, int] = SIZE) -> Tensor:
    return displacement(elastic, size, MM, torch.eye(3))


def gradient(field: Tensor) -> Tensor:
    """Derivative of each component along each axis: (3, 3, z, y, x), by central differences."""
    along = [torch.gradient(field, spacing=(step,), dim=1 + axis)[0] for axis, step in enumerate(MM)]
    return torch.stack(along, dim=1)


def random_case(shape: tuple[int, int, int] = (30, 60, 60)) -> PreparedCase:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, shape).astype(np.uint8)
    return PreparedCase(
        name="noise",
        annotated=(1, 2),
        image_zyx=rng.normal(0, 1, shape).astype(np.float16),
        labels_zyx=labels,
        locations={},
    )


@pytest.mark.parametrize("seed", range(8))
def test_nothing_folds_at_the_largest_magnitude(seed: int) -> None:
    field = in_millimeters(steepest(seed), (32, 96, 96))
    jacobian = torch.eye(3)[:, :, None, None, None] + gradient(field)
    assert torch.linalg.det(jacobian.permute(2, 3, 4, 0, 1)).min() > 0


def test_the_displacement_is_as_large_as_stated_and_smooth() -> None:
    fields = torch.stack([in_millimeters(steepest(seed)) for seed in range(40)])
    magnitude, knots = SpatialAugmentation().elastic_magnitude_mm, SpatialAugmentation().elastic_knots_mm
    assert fields.abs().max() <= magnitude
    assert fields.std().item() == pytest.approx(magnitude / 3 / math.sqrt(3), rel=0.1)
    assert fields.mean().abs() < 0.2
    # No derivative exceeds that of a spline whose neighboring knots are pulled apart.
    assert gradient(fields[0]).abs().max() <= 2 * magnitude / knots
    bend = torch.gradient(gradient(fields[0]), spacing=(MM[2],), dim=4)[0]
    assert bend.abs().max() < 8 * magnitude / knots**2


def test_knots_that_are_all_moved_alike_move_every_voxel_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Alike:
        def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
            return np.ones(shape)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Alike())
    field = in_millimeters(steepest(0))
    torch.testing.assert_close(field, torch.full_like(field, SpatialAugmentation().elastic_magnitude_mm))


def test_without_displacement_a_deformation_is_the_plain_piece_exactly() -> None:
    center = PatchCenter(case=random_case(), voxel=(15.0, 30.0, 30.0), code=0)
    plain = cut_patch(center, SIZE, MM, SpatialParameters(), AIR)
    still = cut_patch(center, SIZE, MM, SpatialParameters(elastic=replace(steepest(0), magnitude_mm=0.0)), AIR)
    torch.testing.assert_close(still.image_zyx, plain.image_zyx, rtol=0, atol=2e-5)
    assert torch.equal(still.labels_zyx, plain.labels_zyx)


def test_image_and_labels_move_together() -> None:
    # Smooth in all directions, so that the label at the nearest voxel follows from the interpolated image.
    z, y, x = np.meshgrid(*(np.arange(length) for length in (30, 60, 60)), indexing="ij")
    height = (z * 2.5 + y * 1.5 + x * 1.5) / 30
    source = PreparedCase(
        name="slope",
        annotated=(1,),
        image_zyx=height.astype(np.float16),
        labels_zyx=(height > 3.5).astype(np.uint8),
        locations={},
    )
    parameters = SpatialParameters(elastic=steepest(3), angles=(0.2, -0.1, 0.3), scale=1.1, mirrored=(1,))
    center = PatchCenter(case=source, voxel=(15.0, 30.0, 30.0), code=0)
    moved = cut_patch(center, (8, 30, 30), MM, parameters, AIR)
    assert not torch.equal(moved.image_zyx, cut_patch(center, (8, 30, 30), MM, SpatialParameters(), AIR).image_zyx)
    clear = (moved.image_zyx - 3.5).abs() > 0.15
    assert clear.float().mean() > 0.5
    assert torch.equal(moved.labels_zyx[clear] == 1, moved.image_zyx[clear] > 3.5)


def test_a_deformation_comes_before_scale_and_rotation() -> None:
    elastic, turned = steepest(1), SpatialParameters(angles=(0.3, 0.1, -0.2), scale=1.3)
    matrix = matrix_mm(turned)
    offsets = torch.stack(source_positions(SIZE, MM, SpatialParameters())) * torch.tensor(MM)[:, None, None, None]
    expected = torch.tensordot(matrix, offsets + in_millimeters(elastic), dims=1)
    found = (
        torch.stack(source_positions(SIZE, MM, replace(turned, elastic=elastic)))
        * torch.tensor(MM)[:, None, None, None]
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_nothing_comes_from_beyond_the_reach(seed: int) -> None:
    parameters = SpatialParameters(elastic=steepest(seed), angles=(0.5, -0.4, 0.3), scale=1.4)
    for place, most in zip(source_positions(SIZE, MM, parameters), farthest_source(SIZE, MM, parameters), strict=True):
        assert place.abs().max() <= most


def test_a_pasted_tumor_is_deformed_with_its_host() -> None:
    source, rng = random_case(), np.random.default_rng(1)
    image = rng.normal(0, 1, (6, 14, 14)).astype(np.float16)
    labels = np.full(image.shape, TUMOR, dtype=np.uint8)
    item = TumorObject(name="o_000", case="o", annotated=(1, 2, TUMOR), image_zyx=image, labels_zyx=labels)
    whole = Box.at((0, 0, 0), (6, 14, 14))
    paste = Paste(item=item, box=whole, start=(12, 24, 25))
    there = whole.moved((12, 24, 25))
    pasted_image, pasted_labels = source.image_zyx[:].copy(), source.labels_zyx[:].copy()
    pasted_image[there], pasted_labels[there] = image, labels
    offline = PreparedCase(
        name="p", annotated=(1, 2, TUMOR), image_zyx=pasted_image, labels_zyx=pasted_labels, locations={}
    )
    parameters = SpatialParameters(elastic=steepest(4), angles=(0.1, 0.2, 0.3), mirrored=(0,))
    voxel = (15.0, 30.0, 30.0)
    online = cut_patch(PatchCenter(case=source, voxel=voxel, code=0), SIZE, MM, parameters, AIR, paste)
    expected = cut_patch(PatchCenter(case=offline, voxel=voxel, code=0), SIZE, MM, parameters, AIR)
    assert (online.labels_zyx == TUMOR).any()
    assert torch.equal(online.labels_zyx, expected.labels_zyx)
    assert torch.equal(online.image_zyx, expected.image_zyx)


def test_deformations_are_drawn_as_often_as_asked_and_never_by_default() -> None:
    rng = np.random.default_rng(0)
    spatial = SpatialAugmentation(elastic_probability=0.2)
    drawn = [draw_spatial(spatial, rng).elastic for _ in range(4000)]
    deformations = [elastic for elastic in drawn if elastic is not None]
    assert len(deformations) / 4000 == pytest.approx(0.2, abs=0.02)
    assert len({elastic.seed for elastic in deformations}) > 0.99 * len(deformations)
    for elastic in deformations:
        assert 32 <= elastic.knots_mm <= 64
        assert 0 <= elastic.magnitude_mm <= 12
    assert all(draw_spatial(SpatialAugmentation(), rng).elastic is None for _ in range(200))


def test_a_run_from_before_draws_what_it_drew() -> None:
    """The new field at its default takes no number from the generator."""
    first, second = np.random.default_rng(5), np.random.default_rng(5)
    without = SpatialAugmentation(rotation_probability=0, scale_probability=0, mirror_axes=())
    draw_spatial(without, first)
    second.random(2)
    assert first.random() == second.random()


def test_the_papers_recipes_deform_and_older_ones_do_not() -> None:
    for recipe, probability in ((coarse(), 0.2), (fine(), 0.2), (lite(), 0.0), (smoke(), 0.0)):
        assert recipe.augmentation.spatial.elastic_probability == probability
    old = json.loads(lite().to_json())
    for name in ("elastic_probability", "elastic_knots_mm", "elastic_magnitude_mm"):
        del old["augmentation"]["spatial"][name]
    del old["augmentation"]["intensity"]["noise_deviation"]
    assert recipe_from_json(json.dumps(old)) == lite()


def test_a_magnitude_that_could_fold_is_refused() -> None:
    SpatialAugmentation(elastic_knots_mm=20.0, elastic_magnitude_mm=20.0 * STEEPEST)
    with pytest.raises(SpecError, match="could fold"):
        SpatialAugmentation(elastic_knots_mm=20.0, elastic_magnitude_mm=8.1)
    with pytest.raises(SpecError, match="probabilities"):
        SpatialAugmentation(elastic_probability=1.5)
