"""One binary mask for each class, as NIfTI."""

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from flare_infer.exports.color_table import classes_of
from flare_infer.files.write_whole import whole_folder
from flare_infer.formats.volume_io import write_volume
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
    inside = np.empty(case.labels.shape, np.bool_)  # one for all: fresh memory for each would cost more than they do
    mask = replace(case.labels, array_zyx=inside.view(np.uint8))
    with whole_folder(folder) as part:
        for code, name in mask_names(classes_of(case, codes)).items():
            np.equal(case.labels.array_zyx, code, out=inside)
            write_volume(part / name, mask)


def mask_names(classes: dict[int, str]) -> dict[int, str]:
    """The file of each class: its name in letters, digits and underscores, and the code where two are alike."""
    stems = {code: re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:100] for code, name in classes.items()}
    alike = [stem.lower() for stem in stems.values()]
    return {
        code: f"{stem if stem and alike.count(stem.lower()) == 1 else f'{stem}_{code}'.strip('_')}.nii.gz"
        for code, stem in stems.items()
    }
