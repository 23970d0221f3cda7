"""Run a network over windows, blend what it says, and hand on planes as soon as they are finished."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from flare_infer.geometry import Box, Shape, triple_of_ints
from flare_infer.labels import BACKGROUND
from flare_infer.model.ensemble import Run
from flare_infer.model.spec import ModelSpec
from flare_infer.segment.memory_plan import Plan
from flare_infer.segment.windows import (
    WindowGrid,
    air_limit,
    foreground_voxels,
    gaussian_importance,
    holds_only_air,
    indicator_windows,
    padded_shape,
    window_grid,
)


class Sweep:
    """One pass of windows over an image, sorted by z.

    What is held is a ring of logits one patch deep, whatever the length of the scan: once no later window reaches a
    plane, it is handed on and dropped. The ring holds means, not sums: the first window at a voxel replaces what was
    there, every further one moves it by its share of the weight. So a voxel that no window reached keeps what was there
    from the start, background; nothing is divided by zero; and half precision is enough for any number of windows.

    Args:
        image_zyx: normalized image on the device of the network.
        run: the network.
        spec: patch, step, classes, and which windows need not run.
        plan: windows a batch and the type of the ring.
        skipping: False runs every window.

    Attributes:
        total: windows of the grid.
        ran: windows that the network has run so far.
        done: windows that have run or were passed over so far.
    """

    def __init__(self, image_zyx: Tensor, run: Run, spec: ModelSpec, plan: Plan, *, skipping: bool = True) -> None:
        self._shape = triple_of_ints(image_zyx.shape)
        padded = padded_shape(self._shape, spec.patch)
        self._before = triple_of_ints([(wide - narrow) // 2 for wide, narrow in zip(padded, self._shape, strict=True)])
        self._image_zyx = _pad(image_zyx, padded, self._before, spec)
        self._run = run
        self._spec = spec
        self._plan = plan
        self._skipping = skipping
        self._channels = None if len(spec.predicted) == spec.classes else list(spec.predicted)
        self._air = air_limit(spec.normalization)
        self.grid: WindowGrid = window_grid(padded, spec.patch, spec.window_step)
        self.total = self.grid.count
        self.ran = 0
        self.done = 0

    def slabs(self, progress: Callable[[int, int], None] = lambda done, total: None) -> Iterator[Tensor]:
        """Blended logits (predicted classes, dz, y, x), slab after slab from the first plane of the image to the last.

        A slab is a view that is overwritten when the next one is asked for.

        Args:
            progress: called with (windows done or passed over, windows in all) after each z position.
        """
        ring = _Ring(self.grid, triple_of_ints(self._image_zyx.shape), self._spec, self._plan, self._image_zyx.device)
        starts = self.grid.starts[0]
        for position, start in enumerate(starts):
            self._run_position(position, ring)
            progress(self.done, self.total)
            finished = starts[position + 1] - start if position + 1 < len(starts) else self.grid.patch[0]
            yield self._inside(ring.planes(finished))
            ring.drop(finished)

    def _run_position(self, position: int, ring: "_Ring") -> None:
        """All windows at one z position, the indicators first."""
        rows, columns = len(self.grid.starts[1]), len(self.grid.starts[2])
        every = [(row, column) for row in range(rows) for column in range(columns)]
        windows = [window for window in every if not (self._skipping and self._is_air(position, window))]
        if self._has_indicators():
            indicators = [window for window in windows if window in indicator_windows(rows, columns)]
            found = self._run_windows(position, indicators, ring)
            enough = found >= self._spec.skipping.foreground_voxels
            windows = [window for window in windows if window not in indicators] if enough else []
        self._run_windows(position, windows, ring)
        self.done += len(every)

    def _run_windows(self, position: int, windows: list[tuple[int, int]], ring: "_Ring") -> int:
        """Run windows in batches and blend them; the foreground voxels found in them, where the rule needs to know."""
        found = 0
        for first in range(0, len(windows), self._plan.batch):
            boxes = [self.grid.box(position, *window) for window in windows[first : first + self._plan.batch]]
            batch_nczyx = torch.stack([self._image_zyx[box][None] for box in boxes])
            for box, logits in zip(boxes, self._run(batch_nczyx), strict=True):
                logits_czyx = logits if self._channels is None else logits[self._channels]
                ring.blend(logits_czyx, box)
                if self._has_indicators():
                    found += foreground_voxels(logits_czyx)
            self.ran += len(boxes)
        return found

    def _has_indicators(self) -> bool:
        rule = self._spec.skipping
        return self._skipping and rule.foreground_voxels > 0 and len(self.grid.starts[0]) >= rule.minimal_positions

    def _is_air(self, position: int, window: tuple[int, int]) -> bool:
        """Padding is not looked at: of a model that pads with another intensity than air, it is no patient either."""
        box = self.grid.box(position, *window)
        return holds_only_air(self._image_zyx, box.overlap(Box.at(self._before, self._shape)), self._air)

    def _inside(self, planes_czyx: Tensor) -> Tensor:
        """Without the padding; along z there is some only if there is one z position, whose planes are all here."""
        planes, (_, height, width) = planes_czyx.shape[1], self._shape
        deep = slice(self._before[0], self._before[0] + min(planes, self._shape[0]))
        return planes_czyx[
            :, deep, self._before[1] : self._before[1] + height, self._before[2] : self._before[2] + width
        ]


class _Ring:
    """Weighted means of logits over the planes that windows of the present z position reach."""

    def __init__(self, grid: WindowGrid, shape: Shape, spec: ModelSpec, plan: Plan, device: torch.device) -> None:
        self._importance_zyx = gaussian_importance(grid.patch, device)
        extent = (grid.patch[0], shape[1], shape[2])
        # classes x patch depth x model plane: 15 x 32 x 273 x 273 is 143 MB in float32, whatever the scan's length.
        self._mean_czyx = torch.zeros((len(spec.predicted), *extent), dtype=plan.ring_type, device=device)
        self._mean_czyx[BACKGROUND] = 1
        self._weight_zyx = torch.zeros(extent, device=device)

    def blend(self, logits_czyx: Tensor, box: Box) -> None:
        """Move the means inside a window toward its logits."""
        plane = box[1:]
        weight_zyx = self._weight_zyx[:, *plane]
        weight_zyx += self._importance_zyx
        share_zyx = (self._importance_zyx / weight_zyx).to(self._mean_czyx.dtype)
        self._mean_czyx[:, :, *plane].lerp_(logits_czyx.to(self._mean_czyx.dtype), share_zyx)

    def planes(self, count: int) -> Tensor:
        """The first `count` planes."""
        return self._mean_czyx[:, :count]

    def drop(self, count: int) -> None:
        """Forget the first `count` planes; the others move up, and unreached background follows."""
        kept = self._mean_czyx.shape[1] - count
        # Class by class, so that the copy which overlapping planes need stays small.
        for mean_zyx in (*self._mean_czyx, self._weight_zyx):
            mean_zyx[:kept] = mean_zyx[count:].clone()
            mean_zyx[kept:] = 0
        self._mean_czyx[BACKGROUND, kept:] = 1


def _pad(image_zyx: Tensor, padded: Shape, before: Shape, spec: ModelSpec) -> Tensor:
    """To the shape of a window at least: the end slices are repeated as far as the model wants, then it is filled.

    A patient goes on above and below a scan. With air there the network, which saw patients cut at some height, but
    none of a few centimeters, hardly finds an organ.
    """
    reach = round(spec.repeated_mm / spec.spacing_mm[0])
    below = min(reach, before[0])
    above = min(reach, padded[0] - image_zyx.shape[0] - before[0])
    if below or above:
        ends = (image_zyx[:1].expand(below, -1, -1), image_zyx, image_zyx[-1:].expand(above, -1, -1))
        image_zyx, before = torch.cat(ends), (before[0] - below, before[1], before[2])
    # PyTorch counts padding from the last axis, before and after each.
    argument = []
    for axis in (2, 1, 0):
        argument += [before[axis], padded[axis] - image_zyx.shape[axis] - before[axis]]
    return functional.pad(image_zyx, argument, value=spec.fill) if any(argument) else image_zyx
