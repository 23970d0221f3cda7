"""Lay out the project's real CTs as a dataset in nnU-Net's raw layout, without the patient that the demo shows.

Usage: python scripts/starter_dataset.py SOURCE TARGET [CASE ...]

The cases that are named are left out, instead of the demo's.

SOURCE holds NAME_0000.nii.gz, NAME_labels.nii.gz and annotated.json; nothing is written there.
"""

import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.labels import NAMES
from flare_infer.volume.volume import Placement, Volume

HELD_OUT = ("lidc_chest",)
"""The demo's CT. The shipped weights are trained on it, too, after a model without it was tested on it."""

ONE_PATIENT = {
    "hcc002": ("hcc002_p2", "hcc002_p1"),
    "hcc007": ("hcc007_p3", "hcc007post_p3", "hcc007post_p1"),
    "hcc011": ("hcc011_p3", "hcc011_p1"),
    "hcc015": ("hcc015_p3", "hcc015_p1"),
    "torso3mm": ("torso3mm_slab", "torso3mm"),
}
"""Cases of one person, unlabeled ones too; every other case is a person of its own."""

TRANSPOSED_CROP = "lits117_crop"
"""A crop whose header says (z, y, x) where its array is (x, y, z), and whose stored spacing stands for nothing."""

TRANSPOSED_CROP_SPACING_MM = 1.4
"""By the size of its liver."""


def main(source: Path, target: Path, held_out: Collection[str] = HELD_OUT) -> None:
    """Write imagesTr, labelsTr, dataset.json, annotated.json and patients.json."""
    annotated = json.loads((source / "annotated.json").read_text(encoding="utf-8"))
    cases = {name: codes for name, codes in annotated.items() if name not in held_out}
    for folder in ("imagesTr", "labelsTr"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for name in cases:
        image, labels = source / f"{name}_0000.nii.gz", source / f"{name}_labels.nii.gz"
        image_target, labels_target = target / "imagesTr" / image.name, target / "labelsTr" / f"{name}.nii.gz"
        if name == TRANSPOSED_CROP:
            write_volume(image_target, _mended(read_volume(image)))
            write_volume(labels_target, _mended(read_volume(labels)))
        else:
            image_target.write_bytes(image.read_bytes())
            labels_target.write_bytes(labels.read_bytes())
    description = {
        "channel_names": {"0": "CT"},
        "labels": {name: code for code, name in enumerate(NAMES)},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }
    (target / "dataset.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    (target / "annotated.json").write_text(json.dumps(cases, indent=1) + "\n", encoding="utf-8")
    patients = {patient: [name for name in names if name in cases] for patient, names in ONE_PATIENT.items()}
    (target / "patients.json").write_text(json.dumps(patients, indent=1) + "\n", encoding="utf-8")
    print(f"{len(cases)} cases in {target}")


def register(dataset: Path, annotated: Mapping[str, Collection[int]], patients: Mapping[str, Collection[str]]) -> None:
    """Say in a dataset's files which cases joined it, or annotate more now, and whose they are."""
    for file, more in (("annotated.json", annotated), ("patients.json", patients)):
        content = json.loads((dataset / file).read_text(encoding="utf-8")) | dict(more)
        (dataset / file).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if file == "annotated.json":
            description = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
            description["numTraining"] = len(content)
            (dataset / "dataset.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def _mended(volume: Volume) -> Volume:
    placement = Placement(
        spacing_mm=(TRANSPOSED_CROP_SPACING_MM,) * 3, origin_mm=volume.placement.origin_mm, axes=volume.placement.axes
    )
    return Volume(array_zyx=np.ascontiguousarray(volume.array_zyx.transpose(2, 1, 0)), placement=placement)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or HELD_OUT)
