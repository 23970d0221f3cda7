"""Whether organs lie on the side on which nearly everybody has them: a header may exchange left and right."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from flare_infer import labels
from flare_infer.geometry import voxel_volume_ml
from flare_infer.volume.volume import Volume

_LEAST_ML: Final = {labels.LIVER: 100.0, labels.SPLEEN: 20.0, labels.STOMACH: 20.0, labels.GALLBLADDER: 1.0}
"""Of less of an organ its place is not judged: the scan cuts it, or the model errs."""

_LEFT_AND_RIGHT: Final = (
    (labels.SPLEEN, labels.LIVER),
    (labels.STOMACH, labels.LIVER),
    (labels.SPLEEN, labels.GALLBLADDER),
    (labels.STOMACH, labels.GALLBLADDER),
)
_APART_MM: Final = 20.0
"""In CTs whose header is right the first lies at least 69 mm further left than the second."""

_LOOKED_AT_MM: Final = 3.0


def side_doubts(volume: Volume, names: Sequence[str]) -> tuple[str, ...]:
    """What speaks against left and right of a label map: an organ of the right side left of one of the left side.

    Args:
        volume: a label map.
        names: names of its classes by code; a model may have others than the challenge's, or in another order.

    Returns:
        a line, or none. A model that goes by an organ's place more than by its looks finds none out of place.
    """
    placement = volume.placement
    steps = [max(1, int(_LOOKED_AT_MM / spacing)) for spacing in placement.spacing_mm]
    # In one piece, since every organ looks for its own voxels in it.
    seen_zyx = np.ascontiguousarray(volume.array_zyx[:: steps[0], :: steps[1], :: steps[2]])
    seen_mm = [step * spacing for step, spacing in zip(steps, placement.spacing_mm, strict=True)]
    left_mm = [axis[0] * spacing for axis, spacing in zip(placement.axes, seen_mm, strict=True)]
    middles = {}
    for code, least_ml in _LEAST_ML.items():
        if labels.NAMES[code] not in names:
            continue
        # As flat indices, which are found many times faster than triples.
        found = np.flatnonzero(seen_zyx == list(names).index(labels.NAMES[code]))
        voxels = np.unravel_index(found, seen_zyx.shape)
        if voxels[0].size * voxel_volume_ml((seen_mm[0], seen_mm[1], seen_mm[2])) >= least_ml:
            middles[code] = float(np.median(sum(index * mm for index, mm in zip(voxels, left_mm, strict=True))))
    for left, right in _LEFT_AND_RIGHT:
        if left in middles and right in middles and middles[left] - middles[right] < _APART_MM:
            return (
                f"the {labels.NAMES[right]} was found left of the {labels.NAMES[left]}, or not right of it as in "
                "nearly everyone: the header may exchange left and right, or the organs lie mirrored (situs inversus); "
                "compare with where the scan came from",
            )
    return ()
