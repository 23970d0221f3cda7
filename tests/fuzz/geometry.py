"""Properties of geometry: what is stored in any way, in any format, comes back as the same patient."""

import tempfile
from itertools import permutations, product
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st

from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.geometry import resampled_shape
from flare_infer.volume.orient import turn
from tests.fuzz.judge import assert_as_itk_reads

ORIENTATIONS = [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]

shapes = st.tuples(*[st.integers(1, 7)] * 3)
spacings = st.tuples(*[st.floats(0.02, 99)] * 3)
origins = st.tuples(*[st.floats(-2000, 2000)] * 3)
angles = st.tuples(*[st.floats(-0.3, 0.3)] * 3)
endings = st.sampled_from([".nii", ".nii.gz", ".mha", ".nrrd"])


@given(
    shape=shapes,
    spacing=spacings,
    origin=origins,
    turned_by=angles,
    stored=st.sampled_from(ORIENTATIONS),
    ending=endings,
    toward=st.sampled_from(["LPS", "RAS", "as_stored"]),
    transpose=st.permutations(range(3)),
)
def any_grid_survives(  # noqa: PLR0913, PLR0917 - what is drawn
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
    turned_by: tuple[float, float, float],
    stored: tuple[tuple[int, ...], tuple[bool, ...]],
    ending: str,
    toward: str,
    transpose: list[int],
) -> None:
    """Read as ITK reads, turned and turned back without a change, written with the same place in ITK's eyes."""
    array_zyx = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    image = sitk.GetImageFromArray(array_zyx)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(sitk.Euler3DTransform((0.0, 0.0, 0.0), *turned_by).GetMatrix())
    order, flips = stored
    image = sitk.Flip(sitk.PermuteAxes(image, order), flips)
    with tempfile.TemporaryDirectory() as folder:
        path, written = Path(folder) / f"a{ending}", Path(folder) / "b.nii.gz"
        sitk.WriteImage(image, str(path), useCompression=bool(shape[0] % 2))
        volume = read_volume(path)
        assert_as_itk_reads(path, volume)
        turned, way_back = turn(volume, toward, tuple(transpose))  # type: ignore[arg-type]
        assert turned.shape == way_back.turned_shape(volume.shape)
        np.testing.assert_array_equal(way_back.undo(turned.array_zyx), volume.array_zyx)
        assert_same_places(image, turned)
        write_volume(written, volume)
        again = sitk.ReadImage(str(written))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(again), volume.array_zyx)
        np.testing.assert_allclose(again.GetSpacing(), image.GetSpacing(), rtol=1e-6)
        np.testing.assert_allclose(again.GetOrigin(), image.GetOrigin(), rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(again.GetDirection(), image.GetDirection(), atol=1e-5)


def assert_same_places(image: sitk.Image, turned: object) -> None:
    """Every voxel of a turned volume lies where ITK has the voxel with its value (all values differ)."""
    placement, array_zyx = turned.placement, turned.array_zyx  # type: ignore[attr-defined]
    native = sitk.GetArrayFromImage(image)
    steps = np.asarray(placement.axes) * np.asarray(placement.spacing_mm)[:, None]
    reach = np.abs(steps).max() * max(native.shape)
    for index in {(0, 0, 0), tuple(length - 1 for length in array_zyx.shape)}:
        z, y, x = (int(place) for place in np.argwhere(native == array_zyx[index])[0])
        expected = image.TransformIndexToPhysicalPoint((x, y, z))
        found = np.asarray(placement.origin_mm) + np.asarray(index) @ steps
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-2 + 1e-6 * reach)


@given(shape=st.tuples(*[st.integers(1, 3000)] * 3), old=spacings, new=spacings)
def a_grid_covers_the_same_field(
    shape: tuple[int, int, int], old: tuple[float, float, float], new: tuple[float, float, float]
) -> None:
    """No axis is lost, and the field of view changes by no more than half a new voxel, or is one voxel."""
    for length, before, after, count in zip(shape, old, new, resampled_shape(shape, old, new), strict=True):
        assert count >= 1
        assert count == 1 or abs(count * after - length * before) <= after * (0.5 + 1e-6)


PROPERTIES = (any_grid_survives, a_grid_covers_the_same_field)
