"""What a model says where nobody drew anything: unlabeled CTs, and the organs that are missing in labeled ones.

An organ of a case is believed where two models agree about it (the paper's uncertainty, section 2.4, here organ by
organ); a tumor never. What is not believed stays unknown, and what was drawn stays as it is.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from flare_infer.annotated import FILE_NAME
from flare_infer.labels import ORGANS
from flare_infer.volume import Volume
from flare_infer.volume_io import read_volume, write_volume
from scripts.flare import segment
from scripts.starter_dataset import ONE_PATIENT, TRANSPOSED_CROP, register
from train.pseudo.fill import fill_organs, fillable_organs
from train.pseudo.uncertainty import disagreement

MOST_DISAGREEMENT: Final = 0.5
"""Voxels of an organ in which two models differ, over those that one of them labels: a DSC of about 0.75."""


def add_pseudo_labels(
    dataset: Path, unlabeled: Path, held_out: Collection[str], teacher: Path, judges: Sequence[Path]
) -> None:  # fmt: skip
    """Add unlabeled CTs to a dataset, and to all its cases the organs that are believed.

    Args:
        dataset: imagesTr, labelsTr and their lists, changed in place; label maps go beside it, a folder for each model.
        unlabeled: folder of CTs, NAME_0000.nii.gz.
        held_out: cases that are not to be learned from, and neither are others of their patients.
        teacher: the weights whose labels are taken.
        judges: two weights or more, which must agree.
    """
    annotated = json.loads((dataset / FILE_NAME).read_text(encoding="utf-8"))
    for image in sorted(unlabeled.glob("*_0000.nii.gz")):
        name = image.name.removesuffix("_0000.nii.gz")
        if not any(name in cases and set(cases) & set(held_out) for cases in ONE_PATIENT.values()):
            (dataset / "imagesTr" / image.name).write_bytes(image.read_bytes())
            annotated[name] = []
    said = [dataset.with_name(f"said_{index}") for index in range(len(judges) + 1)]
    for folder, weights in zip(said, (teacher, *judges), strict=True):
        segment(dataset / "imagesTr", folder, weights)
    for name in annotated.keys() - {TRANSPOSED_CROP}:
        path = dataset / "labelsTr" / f"{name}.nii.gz"
        predictions = [read_volume(folder / path.name) for folder in said]
        annotated[name] = _fill(path, annotated[name], predictions[0], predictions[1:])
    patients = {patient: [name for name in names if name in annotated] for patient, names in ONE_PATIENT.items()}
    register(dataset, annotated, patients)


def _fill(path: Path, drawn: Sequence[int], taught: Volume, judged: Sequence[Volume]) -> list[int]:
    """Write the organs that are believed into a label map, which is made if nobody drew one; all codes it now says."""
    drawn_zyx = read_volume(path).array_zyx if drawn else np.zeros_like(taught.array_zyx)
    between = {code: disagreement([volume.array_zyx for volume in judged], (code,)) for code in ORGANS}
    believed = [code for code, found in between.items() if found is not None and found <= MOST_DISAGREEMENT]
    write_volume(path, replace(taught, array_zyx=fill_organs(drawn_zyx, taught.array_zyx, drawn, believed)))
    return sorted((*drawn, *fillable_organs(drawn, believed)))
