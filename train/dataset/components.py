"""Connected components of a label map, with 26 neighbors, for each class separately."""

from collections.abc import Iterator
from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_infer.geometry import Box
from flare_infer.labels import BACKGROUND


@dataclass(frozen=True, kw_only=True)
class Component:
    """One connected component of one class.

    Attributes:
        code: code of its class.
        voxels: number of its voxels.
        box: its bounding box in the label map.
        mask_zyx: the voxels of the box that belong to it (z, y, x).
    """

    code: int
    voxels: int
    box: Box
    mask_zyx: npt.NDArray[np.bool_]

    @property
    def center(self) -> tuple[int, int, int]:
        """The middle of its box, in voxels (z, y, x)."""
        z, y, x = ((part.start + part.stop - 1) // 2 for part in self.box)
        return z, y, x


def components(labels_zyx: npt.NDArray[np.uint8], code: int | None = None) -> Iterator[Component]:
    """Every component of a label map, or those of one class, in the order of their first voxels.

    Args:
        labels_zyx: codes (z, y, x).
        code: code of the class; None for all classes.
    """
    wanted = labels_zyx if code is None else (labels_zyx == code).astype(np.uint8) * np.uint8(code)
    found = ndimage.find_objects((wanted != BACKGROUND).astype(np.uint8))
    if not found:
        return
    around = Box(*found[0])
    inner = np.ascontiguousarray(wanted[around])
    # uint32 at the size of the box of all labels: 0.2 GB where organs fill a third of 512 x 512 x 554.
    numbered = cc3d.connected_components(inner, connectivity=26)
    for number, box in enumerate(ndimage.find_objects(numbered), start=1):
        mask = numbered[box] == number
        yield Component(
            code=int(inner[box][mask][0]),
            voxels=int(np.count_nonzero(mask)),
            box=Box(*box).moved(around.starts),
            mask_zyx=mask,
        )
