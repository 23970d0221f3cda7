"""A small dataset in nnU-Net's raw layout, painted."""

import json
from pathlib import Path

import numpy as np

from flare_infer.formats.volume_io import write_volume
from flare_infer.labels import NAMES
from flare_infer.volume.volume import Volume
from train.synth.phantom import paint_phantom

SHAPE = (48, 64, 64)
SPACING_MM = (6.0, 5.0, 5.0)


def make_dataset(folder: Path, annotated: dict[str, tuple[int, ...]]) -> Path:
    """Write cases whose labels hold only what they annotate."""
    dataset = folder / "dataset"
    for name in ("imagesTr", "labelsTr"):
        (dataset / name).mkdir(parents=True)
    description = {"labels": {name: code for code, name in enumerate(NAMES)}, "file_ending": ".nii.gz"}
    (dataset / "dataset.json").write_text(json.dumps(description))
    (dataset / "annotated.json").write_text("{}")
    for seed, (name, codes) in enumerate(annotated.items()):
        add_case(dataset, name, codes, seed)
    return dataset


def add_case(dataset: Path, name: str, codes: tuple[int, ...], seed: int) -> None:
    image, labels = paint_phantom(np.random.default_rng(seed), shape=SHAPE, spacing_mm=SPACING_MM)
    kept = np.where(np.isin(labels.array_zyx, codes), labels.array_zyx, 0).astype(np.uint8)
    write_volume(dataset / "imagesTr" / f"{name}_0000.nii.gz", image)
    write_volume(dataset / "labelsTr" / f"{name}.nii.gz", Volume(array_zyx=kept, placement=labels.placement))
    listed = json.loads((dataset / "annotated.json").read_text())
    (dataset / "annotated.json").write_text(json.dumps(listed | {name: list(codes)}))
