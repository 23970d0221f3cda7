"""The pruned decoder against the plain way: interpolate everything, then take the argmax."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from flare_infer.errors import SpecError
from flare_infer.segment.decode import Decoder
from tests.live_bytes import LiveBytes

Shape = tuple[int, int, int]
shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
full_shapes = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))


def naive(logits_czyx: Tensor, shape: Shape) -> npt.NDArray[np.uint8]:
    full = functional.interpolate(logits_czyx[None], size=shape, mode="trilinear", align_corners=False)[0]
    return full.argmax(dim=0).numpy().astype(np.uint8)


def decoded(logits_czyx: Tensor, shape: Shape, planes: int = 4, slab_bytes: int = 10**6) -> npt.NDArray[np.uint8]:
    out_zyx = np.full(shape, 77, dtype=np.uint8)
    depth, height, width = logits_czyx.shape[1:]
    decoder = Decoder(out_zyx, (depth, height, width), range(len(logits_czyx)), slab_bytes=slab_bytes)
    for slab_czyx in logits_czyx.split(planes, dim=1):
        decoder.take(slab_czyx)
    assert decoder.complete
    return out_zyx


def noise(classes: int, shape: Shape, seed: int) -> Tensor:
    # float64 so that two orders of the same sums cannot decide a near tie differently
    return torch.randn(classes, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blobs(classes: int, shape: Shape, seed: int) -> Tensor:
    """Smooth organs: noise on a coarse grid, background ahead."""
    coarse = noise(classes, (3, 4, 4), seed)
    coarse[0] += 1
    return functional.interpolate(coarse[None], size=shape, mode="trilinear")[0]


@settings(deadline=None)
@given(
    st.sampled_from([noise, blobs]),
    st.integers(2, 6),
    shapes,
    full_shapes,
    st.integers(1, 9),
    st.sampled_from([1, 5000, 10**6]),
    st.integers(0, 100),
)
def test_pruned_equals_naive(
    kind: object, classes: int, shape: Shape, full: Shape, planes: int, slab_bytes: int, seed: int
) -> None:
    """Up and down, any division into slabs, any budget."""
    logits = kind(classes, shape, seed)  # type: ignore[operator]
    np.testing.assert_array_equal(decoded(logits, full, planes, slab_bytes), naive(logits, full))


@pytest.mark.parametrize("scale", [(1.0, 1.0, 1.0), (2.5, 1.9, 1.9), (0.5, 1.9, 1.9), (5.0, 0.4, 3.3)])
def test_pruned_equals_naive_on_organs(scale: tuple[float, float, float]) -> None:
    shape = (24, 40, 40)
    full = tuple(round(size * factor) for size, factor in zip(shape, scale, strict=True))
    logits = blobs(15, shape, seed=7)
    np.testing.assert_array_equal(decoded(logits, full, planes=7), naive(logits, full))  # type: ignore[arg-type]


def test_half_precision_is_interpolated_in_float32() -> None:
    logits = blobs(5, (8, 12, 12), seed=3).half()
    np.testing.assert_array_equal(decoded(logits, (20, 25, 31)), naive(logits.float(), (20, 25, 31)))


def test_a_slab_may_be_overwritten_after_it_was_taken() -> None:
    logits = blobs(4, (9, 8, 8), seed=5)
    out_zyx = np.empty((21, 17, 17), dtype=np.uint8)
    decoder = Decoder(out_zyx, (9, 8, 8), range(4))
    buffer = torch.empty(4, 3, 8, 8, dtype=torch.float64)
    for slab in logits.split(3, dim=1):
        buffer.copy_(slab)
        decoder.take(buffer)
        buffer.fill_(float("nan"))
    np.testing.assert_array_equal(out_zyx, naive(logits, (21, 17, 17)))


def test_the_result_may_be_a_turned_view() -> None:
    logits = blobs(4, (6, 7, 8), seed=5)
    native = np.empty((20, 15, 17), dtype=np.uint8)  # x, z, y of the model's axes
    view = np.flip(native.transpose(1, 2, 0), (0, 2))
    decoder = Decoder(view, (6, 7, 8), range(4))
    decoder.take(logits)
    np.testing.assert_array_equal(view, naive(logits, (15, 17, 20)))


def test_codes_of_channels() -> None:
    logits = torch.zeros(3, 2, 2, 2)
    logits[1, :, :, 0] = 1
    logits[2, :, :, 1] = 1
    out_zyx = np.empty((2, 2, 4), dtype=np.uint8)
    Decoder(out_zyx, (2, 2, 2), [0, 5, 13]).take(logits)
    assert out_zyx[1, 1].tolist() == [5, 5, 13, 13]


def test_a_tie_is_won_by_the_first() -> None:
    assert (decoded(torch.zeros(3, 2, 2, 2), (5, 5, 5)) == 0).all()


def test_across_thick_slices_the_nearest_plane_counts() -> None:
    """nnU-Net resamples planes apart where they are thick: linear in the plane, nearest across."""
    logits = noise(4, (3, 5, 6), seed=2)
    out_zyx = np.empty((7, 11, 13), dtype=np.uint8)
    Decoder(out_zyx, (3, 5, 6), range(4), nearest_axis=0).take(logits)
    planes = functional.interpolate(logits.transpose(0, 1), size=(11, 13), mode="bilinear").argmax(dim=1).numpy()
    # centers (k + 0.5) * 3 / 7 of the seven planes: 0.2, 0.6, 1.07, 1.5, 1.9, 2.4, 2.8
    np.testing.assert_array_equal(out_zyx, planes[[0, 0, 1, 1, 1, 2, 2]])


def test_thick_slices_may_lie_along_any_axis() -> None:
    logits = noise(4, (3, 5, 6), seed=2)
    across_z, across_y = np.empty((7, 11, 13), dtype=np.uint8), np.empty((11, 7, 13), dtype=np.uint8)
    Decoder(across_z, (3, 5, 6), range(4), nearest_axis=0).take(logits)
    Decoder(across_y, (5, 3, 6), range(4), nearest_axis=1).take(logits.transpose(1, 2).contiguous())
    np.testing.assert_array_equal(across_y.transpose(1, 0, 2), across_z)


def peak_of_noise(slab_bytes: int) -> int:
    logits = noise(9, (2, 10, 10), seed=1).float()
    decoder = Decoder(np.empty((4, 30, 30), dtype=np.uint8), (2, 10, 10), range(9), slab_bytes=slab_bytes)
    with LiveBytes() as memory:
        decoder.take(logits)
    return memory.peak


@pytest.mark.parametrize("slab_bytes", [5_000, 50_000, 500_000])
def test_memory_stays_inside_the_budget(slab_bytes: int) -> None:
    """Beside what every plane needs whatever the budget: its winners, its rows, its labels."""
    assert peak_of_noise(slab_bytes) <= peak_of_noise(1) + slab_bytes


def peak_of_decoder(planes: int) -> int:
    logits = blobs(6, (10, 16, 16), seed=0).float()
    out_zyx = np.empty((planes, 40, 40), dtype=np.uint8)
    decoder = Decoder(out_zyx, (planes // 2, 16, 16), range(6))
    with LiveBytes() as memory:
        for _ in range(planes // 2 // 10):
            decoder.take(logits)
    assert decoder.complete
    return memory.peak


def test_memory_does_not_grow_with_the_scan() -> None:
    assert peak_of_decoder(1000) == peak_of_decoder(100) > 0


@pytest.mark.parametrize("classes", [1, 256])
def test_a_number_of_classes_that_no_label_map_holds_is_refused(classes: int) -> None:
    with pytest.raises(SpecError, match="2 to 255"):
        Decoder(np.empty((1, 1, 1), dtype=np.uint8), (1, 1, 1), range(classes))
