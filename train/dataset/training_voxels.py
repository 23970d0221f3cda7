"""The voxels of a case as training uses them, with its labels cleaned if the recipe says so."""

from dataclasses import replace

from flare_infer.volume.orient import turn
from train.dataset.cases import Case
from train.dataset.check import CaseVoxels, read_case
from train.dataset.clean import CleaningRules, clean_labels


def training_voxels(case: Case, cleaning: CleaningRules | None) -> CaseVoxels:
    """Image and labels of a case on their own grid, the labels as `flare-train clean` would write them.

    Labels of a validation case are what a model is measured by: they stay as they are.

    Args:
        case: the case.
        cleaning: limits of the cleaning rules; None cleans nothing.

    Raises:
        ProblemsError: as `read_case`.
    """
    voxels = read_case(case)
    if cleaning is None or case.validation:
        return voxels
    labels, way_back = turn(voxels.labels, "LPS")
    cleaned = clean_labels(labels.array_zyx, labels.placement.spacing_mm, case.annotated, cleaning, case.label_set)
    return replace(voxels, labels=replace(voxels.labels, array_zyx=way_back.undo(cleaned.labels_zyx)))
