"""All 48 ways to store the same patient give the same answer, each in its own geometry."""

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from torch import Tensor, nn

from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.runs.folder import predict_cases
from flare_infer.segment.segmenter import Segmenter
from flare_infer.volume.orient import Reorientation, turn
from flare_infer.volume.volume import Placement, Volume
from tests.tiny import LPS, tiny_spec

SHAPE = (8, 10, 14)
ORIENTATIONS = [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]


class OctantOracle(nn.Module):
    """Calls a bright voxel by the octant of the grid it sees it in: 1 + 4 superior + 2 posterior + 1 left."""

    def forward(self, batch_nczyx: Tensor) -> Tensor:
        image = batch_nczyx[0, 0]
        upper = [torch.arange(size) >= size / 2 for size in image.shape]
        octant = 1 + 4 * upper[0][:, None, None].int() + 2 * upper[1][:, None].int() + upper[2].int()
        codes = torch.where(image > 0, octant, 0)
        return nn.functional.one_hot(codes.long(), 15).permute(3, 0, 1, 2)[None].float()


@pytest.fixture(scope="module")
def oracle() -> Segmenter:
    # The patch is larger than the scan along every axis, so one centered window sees all of it.
    spec = tiny_spec(spacing_mm=(3.0, 2.0, 1.5), patch=(12, 14, 16))
    return Segmenter(spec=spec, run=OctantOracle())


def asymmetric_patient() -> sitk.Image:
    rng = np.random.default_rng(5)
    image = sitk.GetImageFromArray(np.where(rng.random(SHAPE) < 0.3, 200, -100).astype(np.int16))
    image.SetSpacing((1.5, 2.0, 3.0))
    image.SetOrigin((-11.25, 40.5, -301.0))
    return image


def stored(order: tuple[int, ...], flips: tuple[bool, ...]) -> sitk.Image:
    return sitk.Flip(sitk.PermuteAxes(asymmetric_patient(), order), flips)


def center_lps(image: sitk.Image) -> np.ndarray:
    last = [size - 1 for size in image.GetSize()]
    return np.asarray(image.TransformContinuousIndexToPhysicalPoint([place / 2 for place in last]))


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_geometry_is_the_inputs_and_every_voxel_lands_in_its_octant(
    oracle: Segmenter, tmp_path: Path, order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    image = stored(order, flips)
    sitk.WriteImage(image, str(tmp_path / "p_0000.nii.gz"))
    (result,) = predict_cases(oracle, {"p": tmp_path / "p_0000.nii.gz"}, tmp_path)
    assert result.output == tmp_path / "p.nii.gz", result.reason

    given, labels = sitk.ReadImage(str(tmp_path / "p_0000.nii.gz")), sitk.ReadImage(str(result.output))
    assert labels.GetPixelID() == sitk.sitkUInt8
    assert labels.GetSize() == given.GetSize()
    assert labels.GetSpacing() == given.GetSpacing()
    assert labels.GetOrigin() == given.GetOrigin()
    assert labels.GetDirection() == given.GetDirection()

    center = center_lps(image)
    for index in np.ndindex(*image.GetSize()):
        left, posterior, superior = np.asarray(image.TransformIndexToPhysicalPoint(index)) > center - 1e-6
        expected = 1 + 4 * superior + 2 * posterior + left if image[index] > 0 else 0
        assert labels[index] == expected, index


@pytest.mark.parametrize("ending", [".nii", ".mha", ".nrrd"])
def test_other_formats_keep_their_geometry(oracle: Segmenter, tmp_path: Path, ending: str) -> None:
    image = stored((2, 0, 1), (True, False, True))
    sitk.WriteImage(image, str(tmp_path / f"p{ending}"))
    (result,) = predict_cases(oracle, {"p": tmp_path / f"p{ending}"}, tmp_path / "..")
    labels = sitk.ReadImage(str(result.output))
    np.testing.assert_allclose(labels.GetDirection(), image.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(labels.GetOrigin(), image.GetOrigin(), rtol=1e-6)
    assert labels.GetSize() == image.GetSize()


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_turning_to_lps_gives_one_patient(tmp_path: Path, order: tuple[int, ...], flips: tuple[bool, ...]) -> None:
    sitk.WriteImage(stored(order, flips), str(tmp_path / "p.mha"))
    turned, way_back = turn(read_volume(tmp_path / "p.mha"), "LPS")
    reference = asymmetric_patient()
    np.testing.assert_array_equal(turned.array_zyx, sitk.GetArrayFromImage(reference))
    np.testing.assert_allclose(turned.placement.origin_mm, reference.GetOrigin())
    np.testing.assert_allclose(turned.placement.axes, LPS)
    assert turned.placement.spacing_mm == (3.0, 2.0, 1.5)
    np.testing.assert_array_equal(
        way_back.undo(turned.array_zyx), sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "p.mha")))
    )


def test_an_oblique_scan_keeps_its_rotation(tmp_path: Path) -> None:
    angle = np.radians(20)
    axes = ((0.0, -np.sin(angle), np.cos(angle)), (0.0, np.cos(angle), np.sin(angle)), (1.0, 0.0, 0.0))
    placement = Placement(spacing_mm=(3.0, 2.0, 1.5), origin_mm=(1.0, 2.0, 3.0), axes=axes)
    volume = Volume(array_zyx=np.zeros(SHAPE, dtype=np.int16), placement=placement)
    turned, way_back = turn(volume, "LPS")
    assert way_back.order == (0, 1, 2)
    assert way_back.flipped == ()
    write_volume(tmp_path / "oblique.nii.gz", turned)
    again = read_volume(tmp_path / "oblique.nii.gz").placement
    np.testing.assert_allclose(again.axes, axes, atol=1e-6)


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
@pytest.mark.parametrize("transpose", list(permutations(range(3))))
def test_turning_to_ras_and_on(
    tmp_path: Path, order: tuple[int, ...], flips: tuple[bool, ...], transpose: tuple[int, int, int]
) -> None:
    volume = read_volume(_write(tmp_path, stored(order, flips)))
    turned, way_back = turn(volume, "RAS", transpose)
    reference = sitk.GetArrayFromImage(asymmetric_patient())[:, ::-1, ::-1].transpose(transpose)
    np.testing.assert_array_equal(turned.array_zyx, reference)
    ras = np.asarray(((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0)))
    np.testing.assert_allclose(turned.placement.axes, ras[list(transpose)], atol=1e-9)
    _assert_there_and_back(volume, turned, way_back)


def _write(folder: Path, image: sitk.Image) -> Path:
    sitk.WriteImage(image, str(folder / "p.mha"))
    return folder / "p.mha"


def _assert_there_and_back(volume: Volume, turned: Volume, way_back: Reorientation) -> None:
    """A view shows what was turned, takes what is written to it, and every voxel keeps its place in the patient."""
    assert way_back.turned_shape(volume.shape) == turned.shape
    assert np.shares_memory(turned.array_zyx, volume.array_zyx)
    np.testing.assert_array_equal(way_back.view(volume.array_zyx), turned.array_zyx)
    native = np.zeros(volume.shape, dtype=np.int16)
    view = way_back.view(native)
    for plane in range(turned.shape[0]):  # as a decoder does, plane by plane of the model's z
        view[plane] = turned.array_zyx[plane]
    np.testing.assert_array_equal(native, volume.array_zyx)
    np.testing.assert_array_equal(way_back.undo(turned.array_zyx), volume.array_zyx)
    places = [way_back.view(_places(volume)[axis]) for axis in range(3)]
    np.testing.assert_allclose(places, _places(turned), atol=1e-9)


def _places(volume: Volume) -> np.ndarray:
    """Patient coordinates (l, p, s) of every voxel."""
    steps = np.asarray(volume.placement.axes) * np.asarray(volume.placement.spacing_mm)[:, None]
    origin = np.asarray(volume.placement.origin_mm)[:, None, None, None]
    return origin + np.einsum("azyx,al->lzyx", np.indices(volume.shape), steps)


@pytest.mark.parametrize("transpose", list(permutations(range(3))))
def test_as_stored_turns_nothing_but_the_models_order(transpose: tuple[int, int, int]) -> None:
    image = stored((2, 0, 1), (True, False, True))
    axes = ((0.0, -1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))
    placement = Placement(spacing_mm=(3.0, 2.0, 1.5), origin_mm=(1.0, 2.0, 3.0), axes=axes)
    volume = Volume(array_zyx=sitk.GetArrayFromImage(image), placement=placement)
    turned, way_back = turn(volume, "as_stored", transpose)
    np.testing.assert_array_equal(turned.array_zyx, volume.array_zyx.transpose(transpose))
    assert way_back.flipped == ()
    _assert_there_and_back(volume, turned, way_back)


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_indices_of_what_was_turned_are_those_of_the_same_voxels(
    order: tuple[int, int, int], flips: tuple[bool, ...]
) -> None:
    way = Reorientation(order=order, flipped=tuple(axis for axis in range(3) if flips[axis]))
    native = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    turned = way.view(native)
    indices = np.argwhere(turned >= 0)
    assert way.turned_shape(native.shape) == turned.shape
    found = way.undo_indices(indices, way.turned_shape(native.shape))
    np.testing.assert_array_equal(native[tuple(found.T)], turned[tuple(indices.T)])
