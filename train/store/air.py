"""Known air: voxels that are background for every class, whichever classes the case annotates.

Merge-max leaves a class that is hardly ever annotated free to win wherever the annotated ones are not; small-data
training painted the adrenals over all the air outside the body. Air is no organ, so it enters the loss as true
background.
"""

from collections.abc import Collection
from typing import Final

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_infer.geometry import Spacing, voxel_volume_ml
from flare_infer.label_set import FLARE23, LabelSet

_AIR_BELOW_HU: Final = -300.0
_GAS_BELOW_HU: Final = -940.0
_LUNG_ABOVE_ML: Final = 50.0


def known_air(
    image_zyx: npt.NDArray[np.float32], spacing_mm: Spacing, annotated: Collection[int], label_set: LabelSet = FLARE23
) -> npt.NDArray[np.bool_]:
    """Find the voxels that cannot belong to any class.

    These are everything outside the body, and lung. Gas inside the body may fill the stomach, the duodenum or the
    esophagus, so it counts only where all three are annotated. Lung differs from gas in its density: it is an air
    component of at least 50 mL whose median lies above -940 HU. Another label set than the challenge's names its hollow
    organs, and says whether lung is background; without that no air inside the body is known background.

    Args:
        image_zyx: CT in Hounsfield units (z, y, x).
        spacing_mm: its spacing along (z, y, x).
        annotated: codes that the case annotates.
        label_set: the classes.

    Returns:
        mask of these voxels (z, y, x).
    """
    air = image_zyx < _AIR_BELOW_HU
    body = cc3d.largest_k(~air, k=1, connectivity=6) > 0
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in body]).astype(np.bool_)
    outside = ~filled
    inner_air = air & filled
    if label_set.hollow_codes and all(code in annotated for code in label_set.hollow_codes):
        return outside | inner_air
    if not label_set.lung_is_background:
        return outside
    return outside | _lung(image_zyx, inner_air, voxel_volume_ml(spacing_mm))


def _lung(
    image_zyx: npt.NDArray[np.float32], inner_air: npt.NDArray[np.bool_], voxel_ml: float
) -> npt.NDArray[np.bool_]:
    components = cc3d.connected_components(inner_air, connectivity=6)
    sizes = np.bincount(components.ravel())
    large = [index for index in range(1, len(sizes)) if sizes[index] * voxel_ml >= _LUNG_ABOVE_ML]
    lungs = [index for index in large if np.median(image_zyx[components == index]) > _GAS_BELOW_HU]
    return np.isin(components, lungs)
