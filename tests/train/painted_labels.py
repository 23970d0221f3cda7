"""Small datasets of invented classes: boxes of their own gray in a block of tissue."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from flare_infer.formats.volume_io import write_volume
from flare_infer.volume.volume import Placement, Volume
from tests.tiny import LPS

SHAPE = (20, 24, 24)
PLACEMENT = Placement(spacing_mm=(8.0, 8.0, 8.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)


def paint_dataset(
    folder: Path, numbers: Mapping[str, int], cases: Mapping[str, Sequence[str]], grays: Mapping[str, int]
) -> Path:
    """Write a dataset in nnU-Net's layout.

    Args:
        folder: the new folder.
        numbers: the labels of its `dataset.json`.
        cases: names of the classes that each case shows and labels.
        grays: Hounsfield units of every class by name; a class is always painted in the same place.
    """
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    described = {"channel_names": {"0": "CT"}, "labels": dict(numbers), "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(described))
    for seed, (case, labeled) in enumerate(cases.items()):
        rng = np.random.default_rng(seed)
        image = np.full(SHAPE, -1000.0)
        image[1:-1, 2:-2, 2:-2] = 0.0
        labels = np.zeros(SHAPE, dtype=np.uint16)
        for place, (name, gray) in enumerate(grays.items()):
            inside = box_of(place, len(grays))
            image[inside] = gray
            if name in labeled:
                labels[inside] = numbers[name]
        image += rng.normal(scale=5.0, size=SHAPE)
        write_volume(folder / "imagesTr" / f"{case}_0000.nii.gz", volume(image.astype(np.int16)))
        write_volume(folder / "labelsTr" / f"{case}.nii.gz", volume(labels))
    return folder


def box_of(place: int, count: int) -> tuple[slice, slice, slice]:
    """The place of one of so many classes: a cell of a grid, three voxels deep where there are many of them."""
    side = 2 if count <= 8 else 4
    z, y, x = place // (side * side), place // side % side, place % side
    size = 16 // side
    deep = 7 if count <= 8 else 4
    start = (2 + z * (deep + 1), 4 + y * size, 4 + x * size)
    return tuple(slice(low, low + length) for low, length in zip(start, (deep, size - 1, size - 1), strict=True))  # type: ignore[return-value]


def volume(array_zyx: np.ndarray) -> Volume:
    return Volume(array_zyx=array_zyx, placement=PLACEMENT)
