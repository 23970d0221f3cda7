"""Pseudo labels where experts say nothing (docs/paper.md, Pseudo labels): pure functions of label maps."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from flare_infer.labels import BACKGROUND, ORGANS, TUMOR


def fillable_organs(annotated: Collection[int], known: Collection[int]) -> tuple[int, ...]:
    """Organs that a model knows and an expert did not draw, in increasing order."""
    return tuple(code for code in ORGANS if code in known and code not in annotated)


def fill_organs(
    expert_zyx: npt.NDArray[np.uint8],
    predicted_zyx: npt.NDArray[np.uint8],
    annotated: Collection[int],
    known: Collection[int],
) -> npt.NDArray[np.uint8]:
    """An expert's label map with the organs that the expert did not draw, from a model.

    Every voxel that the expert labeled stays as it is, and so does every class that the expert annotated: what a model
    says of it, tumor above all, is never taken. Where a model sees a tumor that an expert denies, the voxel stays
    background.

    Args:
        expert_zyx: the expert's labels; not modified.
        predicted_zyx: the model's, on the same grid.
        annotated: codes that the expert annotated.
        known: codes that the model was trained for.

    Returns:
        a new array.
    """
    taken = np.zeros(256, dtype=np.uint8)
    organs = list(fillable_organs(annotated, known))
    taken[organs] = organs
    filled: npt.NDArray[np.uint8] = np.where(expert_zyx == BACKGROUND, taken[predicted_zyx], expert_zyx)
    return filled


def pseudo_labels(
    predicted_zyx: npt.NDArray[np.uint8], known: Collection[int], keep_tumor: bool
) -> npt.NDArray[np.uint8]:
    """The label map of an unlabeled case: a model's, its tumors as background unless they are believed.

    Args:
        predicted_zyx: the model's labels; not modified.
        known: codes that the model was trained for; others become background.
        keep_tumor: whether tumors stay.

    Returns:
        a new array.
    """
    taken = np.zeros(256, dtype=np.uint8)
    codes = [code for code in known if keep_tumor or code != TUMOR]
    taken[codes] = codes
    return taken[predicted_zyx]
