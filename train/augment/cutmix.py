"""Context-aware CutMix (equation 2 of the paper; docs/paper.md, CutMix; docs/paper.md, Labels of a paste).

A drawn `Paste` is in voxels of the host's case. It is applied to a piece of that case before the piece is rotated,
scaled or changed in intensity, so that a pasted tumor changes together with its host.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flare_infer.geometry import Box, Shape, triple_of_ints
from flare_infer.labels import BACKGROUND, IGNORED
from train.augment.patch import Patch
from train.store.tumor_objects import TumorObject

ATTEMPTS: Final = 10
"""Number of draws of object and position before a patch stays without a tumor."""


@dataclass(frozen=True, kw_only=True)
class Paste:
    """A tumor object and the position it is pasted to.

    Attributes:
        item: the tumor object.
        box: box of the object that is pasted.
        start: voxel (z, y, x) of the host's case that gets the first voxel of this box.
    """

    item: TumorObject
    box: Box
    start: Shape


def draw_paste(objects: Sequence[TumorObject], region: Box, centers: Box, rng: np.random.Generator) -> Paste | None:
    """Draw an object and a position for it.

    The center of the object's box is drawn from `centers`, and the box is clipped to `region`. A paste that loses all
    its tumor voxels by clipping is drawn again.

    Args:
        objects: the tumor objects, at least one.
        region: box of the host's abdominal region, in voxels of its case.
        centers: box within the region from which the center is drawn; not empty.
        rng: random generator of the sample.

    Returns:
        the paste, or None if ATTEMPTS draws did not give one with a tumor voxel.
    """
    for _ in range(ATTEMPTS):
        item = objects[int(rng.integers(len(objects)))]
        center = triple_of_ints([int(rng.integers(part.start, part.stop)) for part in centers])
        paste = paste_at(item, center, region)
        if (np.asarray(item.labels_zyx[paste.box]) == item.code).any():
            return paste
    return None


def paste_at(item: TumorObject, center: Shape, region: Box) -> Paste:
    """A paste of the object with the middle of its box at `center`, a voxel of the region, clipped to the region."""
    whole = Box.at([middle - length // 2 for middle, length in zip(center, item.shape, strict=True)], item.shape)
    kept = whole.overlap(region)
    return Paste(item=item, box=kept.seen_from(whole), start=kept.starts)


def apply_paste(piece: Patch, origin: Shape, paste: Paste) -> Patch:
    """Apply equation 2 to a piece of the host's case: inside the paste the object's voxels, outside the host's.

    The lesion's class is added to the annotated classes. A piece that the paste does not overlap is returned unchanged.

    Args:
        piece: voxels of the case as they are stored; not modified.
        origin: voxel (z, y, x) of the case at which the piece begins.
        paste: the object and its position.
    """
    pasted, present = Box.at(paste.start, paste.box.shape), Box.at(origin, piece.labels_zyx.shape)
    touched = pasted.overlap(present)
    if touched.is_empty:
        return piece
    source, target = touched.seen_from(pasted).moved(paste.box.starts), touched.seen_from(present)

    annotated = tuple(sorted({*piece.annotated, paste.item.code}))
    labels = labels_for_host(np.asarray(paste.item.labels_zyx[source]), paste.item.annotated, annotated)
    return replace(
        piece,
        image_zyx=_with(piece.image_zyx, target, np.asarray(paste.item.image_zyx[source], dtype=np.float32)),
        labels_zyx=_with(piece.labels_zyx, target, labels),
        annotated=annotated,
    )


def labels_for_host(
    labels_zyx: npt.NDArray[np.uint8], known: Collection[int], annotated: Collection[int]
) -> npt.NDArray[np.uint8]:
    """Translate the labels of an object for a host that annotates other classes.

    ====================================  =============================================================================
    in the object                         in the host
    ====================================  =============================================================================
    a class that the host annotates       that class
    a class that the host does not        background: it belongs to what the loss merges with background
    KNOWN_BACKGROUND                      KNOWN_BACKGROUND: it is background for every class, whether annotated or not
    background                            IGNORED if the host annotates a class that the object does not, since that
                                          class may be there unlabeled; otherwise background
    ====================================  =============================================================================

    Args:
        labels_zyx: labels of the object (z, y, x).
        known: codes that the object annotates.
        annotated: codes that the host annotates, tumor included.
    """
    unknown_to_host = np.isin(labels_zyx, [code for code in known if code not in annotated])
    unknown_to_object = (labels_zyx == BACKGROUND) & bool(set(annotated) - set(known))
    labels = np.where(unknown_to_host, np.uint8(BACKGROUND), labels_zyx)
    return np.where(unknown_to_object, np.uint8(IGNORED), labels)


def _with(array_zyx: Tensor, box: Box, voxels: npt.NDArray[np.generic]) -> Tensor:
    """A copy of an array with other voxels in a box."""
    changed = array_zyx.clone()
    changed[box] = torch.from_numpy(voxels)
    return changed
