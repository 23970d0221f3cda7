"""Finished planes of logits on the model's grid to labels on the full grid, without an array of classes x full size.

Exact pruning: where all corners of a cell of the model's grid have the same winning class, trilinear interpolation
cannot change the winner inside, since every class is a convex combination of its corners. Such cells are filled; only
the others, 1 to 3 % of the voxels of a real scan, are interpolated.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from flare_infer.backends.cores import one_thread
from flare_infer.errors import SpecError
from flare_infer.geometry import Shape

SLAB_BYTES: Final = 64 * 1024**2
"""Default bound on the logits that are interpolated at once."""

_MIXED: Final = 255
"""In place of a channel: the corners of this cell disagree."""

_MANY_OPEN: Final = 0.25
"""Share of cells whose corners disagree from which all threads work: random weights reach it, organs do not."""

_PLACE_BYTES: Final = 240
"""What finding the corners of one voxel takes: eight indices, eight weights, and their sums and products."""


class Decoder:
    """Takes slabs of logits in order and writes labels as soon as their planes are known.

    Equal to interpolating all logits trilinearly (corners not aligned) and taking the argmax, for any division into
    slabs and any budget.

    Args:
        out_zyx: uint8 array of the full shape (z, y, x), of any strides, that is filled.
        shape: shape (z, y, x) of the logits, all slabs together.
        codes: code of each channel, 2 to 255 channels; a tie is won by the first.
        slab_bytes: bound on the logits that are interpolated at once, in float32 at least; at least one voxel.
        nearest_axis: axis (z, y, x) along which the nearest voxel is taken, as nnU-Net does across thick slices; None
            interpolates along all.

    Attributes:
        complete: whether every plane is written.
    """

    def __init__(
        self,
        out_zyx: npt.NDArray[np.uint8],
        shape: Shape,
        codes: Sequence[int],
        *,
        slab_bytes: int = SLAB_BYTES,
        nearest_axis: int | None = None,
    ) -> None:
        if not 2 <= len(codes) <= _MIXED:
            raise SpecError(f"expected 2 to {_MIXED} classes, background included, found {len(codes)}")
        self._out_zyx = out_zyx
        self._codes = np.array(codes, dtype=np.uint8)
        self._slab_bytes = slab_bytes
        self._z, self._rows, self._columns = (
            _nearest(source, target) if axis == nearest_axis else _linear(source, target)
            for axis, (source, target) in enumerate(zip(shape, out_zyx.shape, strict=True))
        )
        self._width = shape[2]
        self._taken = 0
        self._written = 0
        self._last: _Planes | None = None

    @property
    def complete(self) -> bool:
        """Whether every plane of the labels has been written."""
        return self._written == len(self._out_zyx)

    def take(self, slab_czyx: Tensor) -> None:
        """The next planes of logits (channels, dz, y, x); writes every plane of labels that they complete.

        The slab is free afterwards: its last plane, the only one still needed, is copied.
        """
        slab = _Planes.of(slab_czyx, self._taken)
        self._taken += slab_czyx.shape[1]
        with _threads_for(slab):
            while not self.complete and self._z.above[self._written] < self._taken:
                below = self._z.below[self._written]
                # All planes of labels between the same two planes of logits: their cells are the same.
                stop = int(np.searchsorted(self._z.below, below, side="right"))
                self._write(range(self._written, stop), slab)
                self._written = stop
        self._last = slab.last()

    def _write(self, targets: range, slab: "_Planes") -> None:
        """Planes of labels that lie between the same two planes of logits."""
        lower, upper = (self._plane(int(plane[targets[0]]), slab) for plane in (self._z.below, self._z.above))

        # A cell has eight corners, four in each plane. If the least and the greatest winning channel among them are the
        # same, that channel wins everywhere in the cell; the other cells stay open.
        mixed = torch.minimum(lower.least_yx, upper.least_yx) != torch.maximum(lower.most_yx, upper.most_yx)
        cells_yx = lower.winner_yx.masked_fill(mixed, _MIXED)

        # Each voxel of the labels takes the channel of the cell that it lies in; most are done with this.
        rows, columns = (torch.from_numpy(axis.below).to(cells_yx.device) for axis in (self._rows, self._columns))
        labels_yx = cells_yx[rows][:, columns]
        open_voxels = (labels_yx == _MIXED).flatten().nonzero()[:, 0]
        found = [labels_yx.clone() for _ in targets]

        # The open voxels are interpolated, as many at once as the budget allows. Their means within the two planes of
        # logits are the same for all target planes between these, so they are computed once; only the step along z
        # differs from target to target.
        rows_low, rows_high = _rows_of(lower.logits_cyx), _rows_of(upper.logits_cyx)
        for voxels in torch.split(open_voxels, self._voxels_at_once(rows_low)):
            corners, weights = self._corners(voxels, rows_low)
            low_nc, high_nc = (
                functional.embedding_bag(corners, rows_kc, per_sample_weights=weights, mode="sum")
                for rows_kc in (rows_low, rows_high)
            )
            for target, labels in zip(targets, found, strict=True):
                value_nc = torch.lerp(low_nc, high_nc, float(self._z.weight[target]))
                labels.view(-1)[voxels] = value_nc.max(dim=1).indices.to(torch.uint8)

        for target, labels in zip(targets, found, strict=True):
            self._out_zyx[target] = self._codes.take(labels.cpu().numpy())

    def _plane(self, index: int, slab: "_Planes") -> "_Plane":
        if index >= slab.first or self._last is None:
            return slab.plane(index)
        return self._last.plane(index)

    def _voxels_at_once(self, rows_kc: Tensor) -> int:
        """A voxel needs its logits in the plane below, above and between, and the places and weights of its corners."""
        voxel_bytes = 3 * rows_kc.shape[1] * rows_kc.element_size() + _PLACE_BYTES
        return max(1, self._slab_bytes // voxel_bytes)

    def _corners(self, voxels: Tensor, rows_kc: Tensor) -> tuple[Tensor, Tensor]:
        """The four corners (n, 4) of the cell that each full-size voxel of a plane lies in, and their weights."""
        width = self._out_zyx.shape[2]
        y_low, y_high, y_weight = self._rows.at(voxels // width, rows_kc)
        x_low, x_high, x_weight = self._columns.at(voxels % width, rows_kc)
        # Indices of rows in a plane that was flattened, see `_rows_of`.
        y_low, y_high = y_low * self._width, y_high * self._width
        corners = torch.stack((y_low + x_low, y_low + x_high, y_high + x_low, y_high + x_high), dim=1)
        left, above = 1 - x_weight, 1 - y_weight
        weights = torch.stack((above * left, above * x_weight, y_weight * left, y_weight * x_weight), dim=1)
        return corners, weights


def _threads_for(slab: "_Planes") -> AbstractContextManager[None]:
    """One thread, unless many cells are open: the planes of a real scan leave little to do."""
    few_open = float((slab.least_zyx != slab.most_zyx).float().mean()) < _MANY_OPEN
    return one_thread() if few_open else nullcontext()


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """For every target voxel of an axis the two source voxels about it and the weight of the upper one."""

    below: npt.NDArray[np.int64]
    above: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]

    def at(self, targets: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both source voxels and the weight of some target voxels, on a tensor's device."""
        below, above, weight = (
            torch.from_numpy(part).to(targets.device) for part in (self.below, self.above, self.weight)
        )
        return below[targets], above[targets], weight[targets].to(like.dtype)


def _linear(source: int, target: int) -> _Axis:
    """Centers not aligned; beyond the outermost source centers, their values."""
    center = np.maximum((np.arange(target) + 0.5) * (source / target) - 0.5, 0.0)
    below = np.minimum(center.astype(np.int64), source - 1)
    return _Axis(below=below, above=np.minimum(below + 1, source - 1), weight=center - below)


def _nearest(source: int, target: int) -> _Axis:
    """The source voxel whose center is nearest, the upper one of two."""
    index = np.minimum(((np.arange(target) + 0.5) * (source / target)).astype(np.int64), source - 1)
    return _Axis(below=index, above=index, weight=np.zeros(target))


@dataclass(frozen=True, kw_only=True)
class _Plane:
    """A plane of logits, its winning channels, and the least and the greatest channel at the corners of each cell.

    Cell (y, x) has the corners (y, x) to (y + 1, x + 1); the last row and column have no further neighbors.
    """

    logits_cyx: Tensor
    winner_yx: Tensor
    least_yx: Tensor
    most_yx: Tensor


@dataclass(frozen=True, kw_only=True)
class _Planes:
    """What `_Plane` says, of consecutive planes from index `first`."""

    first: int
    logits_czyx: Tensor
    winner_zyx: Tensor
    least_zyx: Tensor
    most_zyx: Tensor

    @classmethod
    def of(cls, logits_czyx: Tensor, first: int) -> "_Planes":
        winner_zyx = _winners(logits_czyx)
        # After the step along x a value speaks for two neighbors, after the one along y for the four corners of a cell.
        # In the last row and column, which have no further neighbors, it speaks for fewer.
        least_zyx, most_zyx = winner_zyx.clone(), winner_zyx.clone()
        for reduce, corner_zyx in ((torch.minimum, least_zyx), (torch.maximum, most_zyx)):
            corner_zyx[:, :, :-1] = reduce(corner_zyx[:, :, :-1], corner_zyx[:, :, 1:])
            corner_zyx[:, :-1] = reduce(corner_zyx[:, :-1], corner_zyx[:, 1:])
        return cls(first=first, logits_czyx=logits_czyx, winner_zyx=winner_zyx, least_zyx=least_zyx, most_zyx=most_zyx)

    def plane(self, index: int) -> _Plane:
        """The plane of that index in the whole volume."""
        at = index - self.first
        return _Plane(
            logits_cyx=self.logits_czyx[:, at],
            winner_yx=self.winner_zyx[at],
            least_yx=self.least_zyx[at],
            most_yx=self.most_zyx[at],
        )

    def last(self) -> "_Planes":
        """A copy of the last plane."""
        return _Planes(
            first=self.first + self.logits_czyx.shape[1] - 1,
            logits_czyx=self.logits_czyx[:, -1:].clone(),
            winner_zyx=self.winner_zyx[-1:].clone(),
            least_zyx=self.least_zyx[-1:].clone(),
            most_zyx=self.most_zyx[-1:].clone(),
        )


def _winners(logits_czyx: Tensor) -> Tensor:
    """Winning channel of every voxel, uint8; the first of equals.

    Most voxels are background, channel 0: only where it does not win, the others are compared.
    """
    strongest_zyx = logits_czyx[1:].amax(dim=0)
    voxels = (strongest_zyx > logits_czyx[0]).flatten().nonzero()[:, 0]
    winner_zyx = torch.zeros(strongest_zyx.shape, dtype=torch.uint8, device=logits_czyx.device)
    others_cn = logits_czyx[1:].flatten(1)
    others_cn = others_cn.gather(1, voxels.expand(len(others_cn), -1))
    winner_zyx.view(-1)[voxels] = (others_cn.max(dim=0).indices + 1).to(torch.uint8)
    return winner_zyx


def _rows_of(logits_cyx: Tensor) -> Tensor:
    """A plane as one row of channels for each voxel, (y * x, c): what a voxel needs then lies side by side.

    At least float32: means of half-precision numbers are computed in float32.
    """
    return logits_cyx.flatten(1).t().to(torch.promote_types(logits_cyx.dtype, torch.float32)).contiguous()
