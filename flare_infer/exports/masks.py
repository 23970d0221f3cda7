"""One binary mask for each class, as NIfTI."""

import mmap
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
    # One for all, written to only in the boxes of the classes. As the system gives it, memory is zeros that take no
    # place until they are written to; that of np.zeros is asked for in pages too large for that.
    memory = mmap.mmap(-1, case.labels.array_zyx.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    inside = np.frombuffer(memory, np.bool_).reshape(case.labels.shape)
    mask = replace(case.labels, array_zyx=inside.view(np.uint8))
    with whole_folder(folder) as part:
        for code, name in mask_names(classes_of(case, codes)).items():
            for box in case.boxes.get(code, ()):
                np.equal(case.labels.array_zyx[box], code, out=inside[box])
            write_volume(part / name, mask)
            for box in case.boxes.get(code, ()):
                inside[box] = False


def mask_names(classes: dict[int, str]) -> dict[int, str]:
    """The file of each class: its name in letters, digits and underscores, and the code where two are alike."""
    stems = {code: re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:100] for code, name in classes.items()}
    alike = [stem.lower() for stem in stems.values()]
    return {
        code: f"{stem if stem and alike.count(stem.lower()) == 1 else f'{stem}_{code}'.strip('_')}.nii.gz"
        for code, stem in stems.items()
    }
