from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from flare_infer.sliding import sliding_logits
from flare_infer.windows import gaussian_importance, padded_shape, window_boxes, window_starts

lengths = st.integers(1, 60)
patches = st.integers(1, 24)
steps = st.floats(0.1, 1.0)


@given(lengths, patches, steps)
def test_windows_cover_an_axis_without_leaving_it(length: int, patch: int, step: float) -> None:
    starts = window_starts(length, patch, step)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - patch)
    gaps = [after - before for before, after in pairwise(starts)]
    assert all(0 < gap <= patch for gap in gaps)


def test_starts_by_hand() -> None:
    # 0.6 * 10 = 6 voxels at most between windows: (22 - 10) / 6 = 2 gaps
    assert window_starts(22, 10, 0.6) == [0, 6, 12]
    assert window_starts(10, 10, 0.6) == [0]
    assert window_starts(11, 10, 0.6) == [0, 1]


def test_boxes_are_sorted_by_z() -> None:
    boxes = window_boxes((20, 20, 20), (10, 10, 10), 0.5)
    assert len(boxes) == 27
    assert [box[0].start for box in boxes] == sorted(box[0].start for box in boxes)


def test_importance_peaks_in_the_middle_and_vanishes_nowhere() -> None:
    weight = gaussian_importance((5, 7, 9), torch.device("cpu"))
    assert weight[2, 3, 4] == weight.max() == 1
    assert weight.min() > 0
    torch.testing.assert_close(weight, weight.flip(0, 1, 2))
    # two sigma (a quarter of 9 voxels) off the center: exp(-2)
    profile = gaussian_importance((1, 1, 33), torch.device("cpu"))[0, 0]
    assert profile[16 + 8] == pytest.approx(torch.exp(torch.tensor(-0.5 * (8 / (33 / 8)) ** 2)).item())


class Echo(nn.Module):
    """Logits that are a function of the voxel alone: blending must not change them."""

    def forward(self, batch_nczyx: Tensor) -> Tensor:
        return torch.cat((batch_nczyx, 2 * batch_nczyx, torch.full_like(batch_nczyx, 7.0)), dim=1)


@pytest.mark.parametrize("shape", [(10, 12, 14), (3, 30, 5), (1, 1, 1), (25, 9, 26)])
def test_a_field_stays_what_it_is_corners_included(shape: tuple[int, int, int]) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    logits = sliding_logits(image, Echo(), classes=3, patch=(8, 8, 8), step=0.6, fill=-2.5)
    assert logits.shape == (3, *shape)
    torch.testing.assert_close(logits, torch.stack((image, 2 * image, torch.full_like(image, 7.0))))


def test_a_small_scan_is_surrounded_by_air() -> None:
    seen = []

    class Watch(nn.Module):
        def forward(self, batch_nczyx: Tensor) -> Tensor:
            seen.append(batch_nczyx.clone())
            return batch_nczyx

    sliding_logits(torch.ones(2, 4, 4), Watch(), classes=1, patch=(4, 4, 4), step=0.5, fill=-2.5)
    assert padded_shape((2, 4, 4), (4, 4, 4)) == (4, 4, 4)
    assert seen[0][0, 0, :, 0, 0].tolist() == [-2.5, 1, 1, -2.5]


def test_progress_counts_windows() -> None:
    calls = []
    sliding_logits(
        torch.zeros(8, 8, 12),
        Echo(),
        classes=3,
        patch=(8, 8, 8),
        step=0.5,
        fill=0.0,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 2), (2, 2)]
