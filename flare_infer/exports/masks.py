"""One binary mask for each class, as NIfTI."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flare_infer.exports.color_table import classes_of
from flare_infer.files.write_whole import whole_folder
from flare_infer.formats.volume_io import write_sparse
from flare_infer.results.case import SegmentedCase


def write_masks(folder: Path, case: SegmentedCase, *, codes: Collection[int] | None = None) -> None:
    """Write one `.nii.gz` for each class, 1 inside and 0 outside; the folder appears only when all are whole.

    A class that was not found has a file, too, of zeros: whoever reads them need not ask which are there.

    Args:
        folder: the folder; what it held before is replaced.
        case: the case.
        codes: the classes; None for all.

    Raises:
        NotWrittenError: if the files cannot be written.
    """
    with whole_folder(folder) as part:
        for code, name in mask_names(classes_of(case, codes)).items():
            write_sparse(part / name, case.labels.placement, case.labels.shape, _planes(case, code))


def _planes(case: SegmentedCase, code: int) -> Iterator[npt.NDArray[np.uint8] | None]:
    """The planes of a class's mask, each to be used before the next one; None where the class is not."""
    boxes = {one.z: one.box for one in case.sections if one.code == code}
    inside = np.zeros(case.labels.shape[1:], np.bool_)
    for z, labels_yx in enumerate(case.labels.array_zyx):
        if (box := boxes.get(z)) is None:
            yield None
            continue
        np.equal(labels_yx[box], code, out=inside[box])
        yield inside.view(np.uint8)
        inside[box] = False


def mask_names(classes: dict[int, str]) -> dict[int, str]:
    """The file of each class: its name in letters, digits and underscores, and the code where two are alike."""
    stems = {code: re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:100] for code, name in classes.items()}
    alike = [stem.lower() for stem in stems.values()]
    return {
        code: f"{stem if stem and alike.count(stem.lower()) == 1 else f'{stem}_{code}'.strip('_')}.nii.gz"
        for code, stem in stems.items()
    }
