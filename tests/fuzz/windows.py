"""Properties of windows: they cover every voxel, and blend what is constant to the same constant."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from flare_infer.segment.memory_plan import Plan
from flare_infer.segment.sliding import Sweep
from flare_infer.segment.windows import gaussian_importance, padded_shape, window_grid
from tests.tiny import pointwise_spec

shapes = st.tuples(*[st.integers(1, 40)] * 3)
patches = st.tuples(*[st.integers(1, 16)] * 3)
steps = st.floats(0.05, 1.0)


@given(shape=shapes, patch=patches, step=steps)
def every_voxel_is_covered(shape: tuple[int, int, int], patch: tuple[int, int, int], step: float) -> None:
    """By windows that lie inside, in order, none twice, and no farther apart than the step."""
    padded = padded_shape(shape, patch)
    grid = window_grid(padded, patch, step)
    assert grid.count == np.prod([len(starts) for starts in grid.starts])
    for starts, length, size in zip(grid.starts, padded, patch, strict=True):
        assert starts[0] == 0
        assert starts[-1] == length - size
        gaps = np.diff(starts)
        assert (gaps > 0).all()
        assert (gaps <= np.ceil(max(size * step, 1.0))).all()


@given(patch=patches)
def no_weight_vanishes(patch: tuple[int, int, int]) -> None:
    """Nowhere in a window; the peak is 1."""
    weight = gaussian_importance(patch, torch.device("cpu"))
    assert weight.min() > 0
    assert weight.max() == 1


@given(
    shape=shapes,
    patch=st.tuples(*[st.integers(3, 12)] * 3),
    step=st.floats(0.3, 1.0),
    values=st.tuples(*[st.floats(-50, 50, width=32)] * 2),
    ring_type=st.sampled_from([torch.float32, torch.float16]),
)
def constants_stay_constant(
    shape: tuple[int, int, int],
    patch: tuple[int, int, int],
    step: float,
    values: tuple[float, float],
    ring_type: torch.dtype,
) -> None:
    """Planes come once each, in order, and hold the network's constant logits to the precision of the ring."""
    logits = torch.tensor(values)[None, :, None, None, None]
    spec = pointwise_spec(2, patch, window_step=step)

    def network(batch_nczyx: torch.Tensor) -> torch.Tensor:
        return logits.expand(len(batch_nczyx), -1, *patch).clone()

    sweep = Sweep(torch.zeros(shape), network, spec, Plan(batch=2, ring_type=ring_type), skipping=False)
    planes = 0
    with torch.inference_mode():
        for slab_czyx in sweep.slabs():
            planes += slab_czyx.shape[1]
            assert slab_czyx.shape[2:] == shape[1:]
            tolerance = 1e-5 if ring_type == torch.float32 else 4e-3
            for code, value in enumerate(values):
                torch.testing.assert_close(
                    slab_czyx[code].float(),
                    torch.full(slab_czyx.shape[1:], value),
                    rtol=tolerance,
                    atol=tolerance,
                )
    assert planes == shape[0]
    assert sweep.ran == sweep.done == sweep.total


PROPERTIES = (every_voxel_is_covered, no_weight_vanishes, constants_stay_constant)
