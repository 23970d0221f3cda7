"""Where the patient is: what lies outside of the body is air, and air holds no organ."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flare_infer.geometry import Box, Shape, Spacing, steps_apart, voxel_volume_ml
from flare_infer.volume.neighbors import with_neighbors
from flare_infer.volume.padding import bright_padding

_SAMPLED_MM: Final = 3.0
"""The body is looked for on about this grid, so that memory and time do not grow with the resolution of the scan."""

_TISSUE_ABOVE_HU: Final = -500.0
_LEAST_PART_ML: Final = 10.0
"""Smaller parts are no body: noise, a wire, the edge of a blanket."""

_SKIN_SAMPLES: Final = 2
"""Samples around the body that count as body: the skin, and what lies between two samples."""

_KEPT_AIR_MM: Final = 150.0
"""Air beside the body that windows still see; in real scans there is up to 140 mm in front of a patient."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """The body of a scan, on samples of it.

    A sample belongs to the body if tissue lies left and right of it, or in front of it and behind it: so what the body
    encloses is body, too, lungs and gas in stomach and bowel, where the edge of the scan cuts the skin away as well,
    and so are arms and table.

    Attributes:
        inside_zyx: mask of the samples.
        padding_zyx: mask of the samples that are padding as bright as tissue.
        tissue: the box of samples that holds all tissue.
        steps: voxels of the scan from sample to sample along (z, y, x).
        spacing_mm: spacing of the scan.
        shape: shape of the scan.
    """

    inside_zyx: npt.NDArray[np.bool_]
    padding_zyx: npt.NDArray[np.bool_]
    tissue: Box
    steps: Shape
    spacing_mm: Spacing
    shape: Shape

    @classmethod
    def find(cls, array_zyx: npt.NDArray[Any], spacing_mm: Spacing) -> Self | None:
        """The body of a CT in Hounsfield units whose axes run toward superior, posterior and left, or against them.

        Returns:
            None if no tissue is found: of such a scan nothing is known.
        """
        import cc3d  # not before a scan is there

        z, y, x = steps_apart(spacing_mm, _SAMPLED_MM)
        samples_zyx = array_zyx[::z, ::y, ::x]
        padding_zyx = bright_padding(samples_zyx)
        parts = cc3d.connected_components((samples_zyx > _TISSUE_ABOVE_HU) & ~padding_zyx, connectivity=6)
        sample_ml = voxel_volume_ml((spacing_mm[0] * z, spacing_mm[1] * y, spacing_mm[2] * x))
        large = np.bincount(parts.ravel()) * sample_ml >= _LEAST_PART_ML
        large[0] = False
        tissue_zyx: npt.NDArray[np.bool_] = large[parts]
        tissue = Box.around(tissue_zyx)
        if tissue is None:
            return None
        enclosed_zyx = _between(tissue_zyx, 1) | _between(tissue_zyx, 2)
        return cls(
            inside_zyx=with_neighbors(enclosed_zyx, _SKIN_SAMPLES),
            padding_zyx=padding_zyx,
            tissue=tissue,
            steps=(z, y, x),
            spacing_mm=spacing_mm,
            shape=(array_zyx.shape[0], array_zyx.shape[1], array_zyx.shape[2]),
        )

    def box(self) -> Box:
        """The box of voxels to look at: all slices with tissue, and beside it as much air as real scans have."""
        _, high, wide = self.spacing_mm
        # The last sample speaks for all voxels behind it, too.
        stops = [
            size if stop == samples else stop * step
            for stop, step, size, samples in zip(
                self.tissue.stops, self.steps, self.shape, self.inside_zyx.shape, strict=True
            )
        ]
        starts = [start * step for start, step in zip(self.tissue.starts, self.steps, strict=True)]
        air = (0, round(_KEPT_AIR_MM / high), round(_KEPT_AIR_MM / wide))
        return Box.between(starts, stops).grown(air, self.shape)

    def erase_outside(self, labels_zyx: npt.NDArray[np.uint8]) -> None:
        """Make background of what lies outside of the body; a voxel asks the sample nearest to it.

        Args:
            labels_zyx: codes on the scan's grid, turned as the scan was; changed in place.
        """
        z, y, x = (self._nearest(axis, np.arange(length)) for axis, length in enumerate(self.shape))
        for sample, labels_yx in zip(z, labels_zyx, strict=True):
            if labels_yx.any():
                labels_yx[~self.inside_zyx[sample][np.ix_(y, x)]] = 0

    def fill_padding(self, image_zyx: Tensor, air: float) -> None:
        """Make air of bright padding in an image on another grid over the same field of view, in place."""
        if not self.padding_zyx.any():
            return
        places = [
            self._nearest(axis, ((np.arange(length) + 0.5) * self.shape[axis] / length).astype(np.int64))
            for axis, length in enumerate(image_zyx.shape)
        ]
        padding = torch.from_numpy(with_neighbors(self.padding_zyx)[np.ix_(*places)])
        image_zyx[padding.to(image_zyx.device)] = air

    def _nearest(self, axis: int, voxels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Index of the sample nearest to each voxel along an axis."""
        step = self.steps[axis]
        samples: npt.NDArray[np.int64] = (voxels + step // 2) // step
        return samples.clip(max=self.inside_zyx.shape[axis] - 1)


def _between(mask_zyx: npt.NDArray[np.bool_], axis: int) -> npt.NDArray[np.bool_]:
    """Mask of what has a voxel of the mask on both sides along an axis; the mask itself included."""
    before = np.logical_or.accumulate(mask_zyx, axis=axis)
    after = np.flip(np.logical_or.accumulate(np.flip(mask_zyx, axis), axis=axis), axis)
    return before & after
