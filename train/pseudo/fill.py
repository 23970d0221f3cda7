"""Pseudo labels for classes that experts did not annotate (docs/paper.md, Pseudo labels), as pure functions."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from flare_infer.label_set import FLARE23, LabelSet
from flare_infer.labels import BACKGROUND


def fillable_organs(
    annotated: Collection[int], known: Collection[int], label_set: LabelSet = FLARE23
) -> tuple[int, ...]:
    """Codes of the organs that a model was trained for and an expert did not annotate, in increasing order."""
    return tuple(code for code in label_set.organs if code in known and code not in annotated)


def fill_organs(
    expert_zyx: npt.NDArray[np.uint8],
    predicted_zyx: npt.NDArray[np.uint8],
    annotated: Collection[int],
    known: Collection[int],
    label_set: LabelSet = FLARE23,
) -> npt.NDArray[np.uint8]:
    """Add the organs that an expert did not annotate to the expert's label map, from a model's label map.

    Voxels that the expert labeled never change. Classes that the expert annotated are never taken from the model: where
    it predicts a tumor that the expert did not draw, the voxel stays background.

    Args:
        expert_zyx: codes of the expert's label map (z, y, x); not modified.
        predicted_zyx: codes of the model's label map on the same grid.
        annotated: codes that the expert annotated.
        known: codes that the model was trained for.
        label_set: the classes.

    Returns:
        a new array.
    """
    organs_zyx = only(predicted_zyx, fillable_organs(annotated, known, label_set))
    filled: npt.NDArray[np.uint8] = np.where(expert_zyx == BACKGROUND, organs_zyx, expert_zyx)
    return filled


def pseudo_labels(
    predicted_zyx: npt.NDArray[np.uint8], known: Collection[int], keep_tumor: bool, label_set: LabelSet = FLARE23
) -> npt.NDArray[np.uint8]:
    """The label map of an unlabeled case, from a model's label map.

    Args:
        predicted_zyx: codes of the model's label map (z, y, x); not modified.
        known: codes that the model was trained for; others become background.
        keep_tumor: whether lesions stay lesions instead of becoming background.
        label_set: the classes.

    Returns:
        a new array.
    """
    return only(predicted_zyx, [code for code in known if keep_tumor or code not in label_set.lesion_codes])


def only(labels_zyx: npt.NDArray[np.uint8], codes: Collection[int]) -> npt.NDArray[np.uint8]:
    """A new label map with the voxels of these codes alone; all others are background."""
    kept = np.zeros(256, dtype=np.uint8)
    kept[list(codes)] = list(codes)
    return kept[labels_zyx]
