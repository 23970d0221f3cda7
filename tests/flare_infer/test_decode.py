import numpy as np
import pytest
import torch
from torch.nn import functional

from flare_infer.decode import decode_labels


def naive(logits: torch.Tensor, shape: tuple[int, int, int], codes: list[int]) -> np.ndarray:
    full = functional.interpolate(logits[None, codes], size=shape, mode="trilinear", align_corners=False)[0]
    return np.asarray(codes, dtype=np.uint8)[full.argmax(dim=0).numpy()]


@pytest.mark.parametrize("shape", [(5, 6, 7), (13, 17, 9), (3, 2, 4), (1, 6, 30), (40, 1, 1)])
@pytest.mark.parametrize("planes", [1, 3, 1000])
def test_slabs_equal_the_whole_volume(shape: tuple[int, int, int], planes: int) -> None:
    logits = torch.randn(4, 5, 6, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    budget = planes * 4 * shape[1] * shape[2] * logits.element_size()
    # float64 so that the two orders of the same sums cannot decide a near tie differently
    np.testing.assert_array_equal(
        decode_labels(logits, shape, [0, 1, 2, 3], budget), naive(logits, shape, [0, 1, 2, 3])
    )


def test_a_budget_below_one_plane_still_decodes() -> None:
    logits = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    np.testing.assert_array_equal(decode_labels(logits, (8, 8, 8), [0, 1, 2], 1), naive(logits, (8, 8, 8), [0, 1, 2]))


def test_no_more_than_the_budget_is_interpolated_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    interpolate = functional.interpolate

    def watched(*args: torch.Tensor, **options: object) -> torch.Tensor:
        slab = interpolate(*args, **options)  # type: ignore[arg-type]
        sizes.append(slab.numel() * slab.element_size())
        return slab

    monkeypatch.setattr("flare_infer.decode.functional.interpolate", watched)
    budget = 15 * 64 * 64 * 4 * 5
    decode_labels(torch.randn(15, 10, 16, 16), (50, 64, 64), list(range(15)), budget)
    assert len(sizes) == 10
    assert max(sizes) <= budget


def test_a_class_left_out_never_wins() -> None:
    logits = torch.zeros(3, 2, 2, 2)
    logits[2] = 10
    logits[1] = 1
    assert (decode_labels(logits, (4, 4, 4), [0, 1]) == 1).all()
