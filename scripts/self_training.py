"""Self-training: a dataset gets unlabeled CTs, with the organs that a model sees in them.

Its tumors are not taken, and count as unknown: it sees a part of most of them. In labeled cases nothing is filled in,
see weights/lite/LOG.md, A student of the unlabeled CTs.
"""

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from flare_eval.label_maps.annotations import FILE_NAME
from flare_infer.formats.volume_io import find_images, read_volume, write_volume
from flare_infer.labels import CODES, ORGANS
from scripts.flare import segment
from scripts.starter_dataset import ONE_PATIENT, register
from train.pseudo.fill import pseudo_labels


def add_pseudo_labels(dataset: Path, unlabeled: Path, held_out: Collection[str], teacher: Path) -> None:
    """Add unlabeled CTs to a dataset.

    Args:
        dataset: imagesTr, labelsTr and their lists, changed in place; the CTs and the teacher's label maps of them go
            into folders beside it.
        unlabeled: folder of CTs, NAME_0000.nii.gz.
        held_out: cases that are not to be learned from, and neither are others of their patients.
        teacher: weights folder of the model.
    """
    avoided = {name for names in ONE_PATIENT.values() if set(names) & set(held_out) for name in names}
    images = {name: image for name, image in find_images(unlabeled).items() if name not in avoided}
    scans, said = dataset.with_name("unlabeled"), dataset.with_name("pseudo_labels")
    scans.mkdir(exist_ok=True)
    for image in images.values():
        for folder in (scans, dataset / "imagesTr"):
            (folder / image.name).write_bytes(image.read_bytes())
    segment(scans, said, teacher)
    for name in images:
        seen = read_volume(said / f"{name}.nii.gz")
        organs_zyx = pseudo_labels(seen.array_zyx, CODES, keep_tumor=False)
        write_volume(dataset / "labelsTr" / f"{name}.nii.gz", replace(seen, array_zyx=organs_zyx))
    annotated = json.loads((dataset / FILE_NAME).read_text(encoding="utf-8")) | {name: list(ORGANS) for name in images}
    patients = {patient: [name for name in names if name in annotated] for patient, names in ONE_PATIENT.items()}
    register(dataset, annotated, patients)
