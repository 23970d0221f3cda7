"""One pass over the stored scan equals the naive way: turn, make all of it float, normalize, interpolate."""

import gc
import weakref
from dataclasses import replace
from itertools import permutations, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from flare_infer.formats.volume_io import read_volume
from flare_infer.geometry import Shape, resampled_shape, triple_of_ints
from flare_infer.model.spec import Interpolation, ModelSpec
from flare_infer.segment import resample
from flare_infer.segment.preprocess import WayBack, clip, normalize, preprocess
from flare_infer.segment.resample import resample_image, resample_stored
from flare_infer.segment.spline import resample_spline
from flare_infer.volume.orient import turn
from flare_infer.volume.volume import Placement, Volume
from tests.real_data import real_data
from tests.tiny import LPS, tiny_spec

CPU = torch.device("cpu")
SHAPE: Shape = (13, 18, 15)
ROUNDING = 5e-6
"""The normalized range is five wide: some units in the last place of float32."""

TARGETS: list[Shape] = [
    SHAPE,
    (13, 9, 7),
    (5, 18, 15),
    (4, 7, 6),
    (29, 18, 15),
    (31, 40, 33),
    (6, 40, 9),
    (26, 5, 60),
    (1, 1, 1),
    (130, 2, 3),
]


def scan_array(dtype: str = "int16", shape: Shape = SHAPE) -> npt.NDArray[Any]:
    """Values well beyond the range of clipping, so that clipping must come before interpolation."""
    return np.random.default_rng(3).integers(0 if dtype[0] == "u" else -900, 1500, shape).astype(dtype)


def naive(volume: Volume, spec: ModelSpec) -> Tensor:
    turned, _ = turn(volume, spec.orientation, spec.transpose)
    image_zyx = torch.from_numpy(np.ascontiguousarray(turned.array_zyx, dtype=np.float32))
    shape = resampled_shape(turned.shape, turned.placement.spacing_mm, spec.spacing_mm)
    return resample_image(normalize(image_zyx, spec.normalization), shape)


def prepared(volume: Volume, spec: ModelSpec) -> tuple[Tensor, WayBack]:
    turned, reorientation = turn(volume, spec.orientation, spec.transpose)
    return preprocess(turned, spec, CPU), WayBack.of(turned, reorientation, spec)


@pytest.mark.parametrize("flips", list(product((1, -1), repeat=3)))
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_any_view_to_any_shape(order: tuple[int, int, int], flips: tuple[int, ...]) -> None:
    normalization = tiny_spec().normalization
    z, y, x = flips
    view = scan_array().transpose(order)[::z, ::y, ::x]
    whole = torch.from_numpy(np.ascontiguousarray(view, dtype=np.float32)).clamp(-200, 300)
    for shape in TARGETS:
        once = resample_stored(view, shape, CPU, lambda planes: clip(planes, normalization))
        expected = resample_image(whole, shape)
        assert once.shape == expected.shape
        assert once.is_contiguous()
        torch.testing.assert_close(once, expected, rtol=0, atol=100 * ROUNDING)


@pytest.mark.parametrize("shape", TARGETS)
def test_a_scan_has_the_same_bits_whichever_way_its_axes_run(shape: Shape) -> None:
    expected = resample_stored(scan_array(), shape, CPU, lambda planes: planes.float())
    for z, y, x in product((1, -1), repeat=3):
        view = np.ascontiguousarray(scan_array()[::z, ::y, ::x])[::z, ::y, ::x]
        assert torch.equal(resample_stored(view, shape, CPU, lambda planes: planes.float()), expected)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int32", "uint32", "int64", "float32", "float64"])
def test_any_type(dtype: str) -> None:
    placement = Placement(spacing_mm=(5.0, 2.5, 2.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)
    array = scan_array(dtype)
    before = array.copy()
    volume, spec = Volume(array_zyx=array, placement=placement), tiny_spec(spacing_mm=(4.0, 3.0, 5.0))
    image_zyx, _ = prepared(volume, spec)
    torch.testing.assert_close(image_zyx, naive(volume, spec), rtol=0, atol=ROUNDING)
    assert image_zyx.dtype == torch.float32
    np.testing.assert_array_equal(array, before)
    flipped = replace(placement, axes=((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0)))
    volume = Volume(array_zyx=array, placement=flipped)
    torch.testing.assert_close(prepared(volume, spec)[0], naive(volume, spec), rtol=0, atol=ROUNDING)


def test_what_is_no_number_is_air_before_it_is_blended() -> None:
    array = np.full((4, 4, 4), 100.0, dtype=np.float32)
    array[:2] = np.nan
    array[3, 3, 3] = np.inf
    placement = Placement(spacing_mm=(4.0, 4.0, 4.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)
    spec = tiny_spec(spacing_mm=(8.0, 4.0, 4.0))
    image_zyx, _ = prepared(Volume(array_zyx=array, placement=placement), spec)
    assert image_zyx[:, 0, 0].tolist() == [-2.5, 0.5]
    assert image_zyx[1, 3, 3] == 0.5 * 0.5 + 0.5 * 2.5
    assert np.isnan(array[0, 0, 0])


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "as_stored"])
@pytest.mark.parametrize("transpose", list(permutations(range(3))))
@pytest.mark.parametrize(
    ("order", "flips"), list(product(permutations(range(3)), [(1, 1, 1), (1, -1, -1), (-1, 1, -1)]))
)
def test_every_orientation_of_scan_and_model(
    order: tuple[int, int, int], flips: tuple[int, ...], transpose: tuple[int, int, int], orientation: str
) -> None:
    axes = np.asarray(LPS)[list(order)] * np.asarray(flips)[:, None]
    z, y, x = (tuple(row) for row in axes.tolist())
    placement = Placement(spacing_mm=(5.0, 2.5, 2.0), origin_mm=(0.0, 0.0, 0.0), axes=(z, y, x))
    volume = Volume(array_zyx=scan_array(), placement=placement)
    spec = tiny_spec(spacing_mm=(4.0, 3.0, 5.0), orientation=orientation, transpose=transpose)
    image_zyx, way_back = prepared(volume, spec)
    torch.testing.assert_close(image_zyx, naive(volume, spec), rtol=0, atol=ROUNDING)
    assert way_back.turned_shape == turn(volume, spec.orientation, spec.transpose)[0].shape


def test_the_scan_may_be_dropped() -> None:
    array = scan_array()
    placement = Placement(spacing_mm=(8.0, 8.0, 8.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)
    kept = prepared(Volume(array_zyx=array, placement=placement), tiny_spec())
    alive = weakref.ref(array)
    del array
    gc.collect()
    assert alive() is None
    assert kept[0].shape == SHAPE


def test_no_more_than_a_slab_is_float(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "SLAB_PLANES", 3)
    seen: list[Shape] = []

    def to_float(planes: Tensor) -> Tensor:
        assert planes.dtype == torch.int16
        seen.append(triple_of_ints(planes.shape))
        return planes.float()

    # The slowest axis in memory is the last of the view.
    view = scan_array(shape=(40, 12, 10)).transpose(1, 2, 0)
    resample_stored(view, (6, 5, 20), CPU, to_float)
    assert {(rows, columns) for _, rows, columns in seen} == {(12, 10)}
    assert max(count for count, _, _ in seen) == 3
    assert sum(count for count, _, _ in seen) == 2 * 20


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = set()

        def to_float(planes: Tensor) -> Tensor:
            seen.add(torch.get_num_threads())
            return planes.float()

        resample_stored(scan_array(), (4, 5, 6), CPU, to_float)
        with pytest.raises(ZeroDivisionError):
            resample_stored(scan_array(), (4, 5, 6), CPU, lambda planes: planes.float() / (1 // 0))
        assert seen == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("interpolation", [Interpolation(order=3), Interpolation(order=3, order_across=0)])
def test_a_model_of_nnunet_gets_its_own_splines(interpolation: Interpolation) -> None:
    """Normalized first, then the spline over the whole scan, plane by plane where slices are thick."""
    old_mm, new_mm = (8.0, 2.0, 2.0), (4.0, 3.0, 1.5)
    volume = Volume(array_zyx=scan_array(), placement=Placement(spacing_mm=old_mm, origin_mm=(0.0, 0.0, 0.0), axes=LPS))
    spec = tiny_spec(image_interpolation=interpolation, spacing_mm=new_mm)
    image_zyx, way_back = prepared(volume, spec)
    normalized = normalize(torch.from_numpy(volume.array_zyx.copy()), spec.normalization).numpy()
    expected = resample_spline(normalized, resampled_shape(volume.shape, old_mm, new_mm), old_mm, new_mm, interpolation)
    np.testing.assert_allclose(image_zyx.numpy(), expected, atol=1e-5)
    assert way_back.nearest_axis is None


@pytest.mark.parametrize(
    ("spacing_mm", "nearest_axis"), [((8.0, 2.0, 2.0), 0), ((2.0, 8.0, 2.0), 1), ((2.0, 2.0, 2.0), None)]
)
def test_across_thick_slices_logits_are_not_interpolated_if_the_model_says_so(
    spacing_mm: tuple[float, float, float], nearest_axis: int | None
) -> None:
    volume = Volume(
        array_zyx=scan_array(), placement=Placement(spacing_mm=spacing_mm, origin_mm=(0.0, 0.0, 0.0), axes=LPS)
    )
    spec = tiny_spec(logits_interpolation=Interpolation(order_across=0), spacing_mm=(2.0, 2.0, 2.0))
    assert prepared(volume, spec)[1].nearest_axis == nearest_axis
    assert prepared(volume, tiny_spec())[1].nearest_axis is None


@pytest.mark.parametrize("name", ["hcc006_p3", "crlm1004", "lidc_chest"])
@pytest.mark.parametrize("spacing_mm", [(2.5, 1.5, 1.5), (3.0, 2.0, 2.0)])
def test_real_scans(name: str, spacing_mm: tuple[float, float, float]) -> None:
    volume = read_volume(real_data() / "ct" / f"{name}_0000.nii.gz")
    spec = tiny_spec(spacing_mm=spacing_mm)
    image_zyx, _ = prepared(volume, spec)
    # Weights at voxel 500 are known to 3e-5 in float32, and neighbors differ by 5 at most; 2e-5 was found.
    torch.testing.assert_close(image_zyx, naive(volume, spec), rtol=0, atol=1e-4)


def test_on_the_way_back_the_models_spacing_is_asked_first_whether_slices_are_thick() -> None:
    placement = Placement(spacing_mm=(2.0, 2.0, 8.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)
    volume = Volume(array_zyx=scan_array(), placement=placement)
    across = Interpolation(order_across=0)
    thick = tiny_spec(logits_interpolation=across, spacing_mm=(8.0, 2.0, 2.0))
    assert prepared(volume, thick)[1].nearest_axis == 0
    alike = tiny_spec(logits_interpolation=across, spacing_mm=(2.0, 2.0, 2.0))
    assert prepared(volume, alike)[1].nearest_axis == 2
    linear = tiny_spec(logits_interpolation=Interpolation(order_across=1), spacing_mm=(8.0, 2.0, 2.0))
    assert prepared(volume, linear)[1].nearest_axis is None


def test_on_the_way_there_the_scans_spacing_is_asked_first_whether_slices_are_thick() -> None:
    old_mm, new_mm = (8.0, 2.0, 2.0), (2.0, 8.0, 2.0)
    volume = Volume(array_zyx=scan_array(), placement=Placement(spacing_mm=old_mm, origin_mm=(0.0, 0.0, 0.0), axes=LPS))
    interpolation = Interpolation(order=3, order_across=0)
    spec = tiny_spec(image_interpolation=interpolation, spacing_mm=new_mm)
    normalized = normalize(torch.from_numpy(volume.array_zyx.copy()), spec.normalization).numpy()
    shape = resampled_shape(volume.shape, old_mm, new_mm)
    by_scan, by_model = (
        resample_spline(normalized, shape, *pair, interpolation) for pair in ((old_mm, new_mm), (new_mm, old_mm))
    )
    assert np.abs(by_scan - by_model).max() > 0.1
    np.testing.assert_allclose(prepared(volume, spec)[0].numpy(), by_scan, atol=1e-5)
