"""The lesions of a case: the connected parts of the classes that hold tumors."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer import labels
from flare_infer.class_names import code_of_name
from flare_infer.geometry import Box
from flare_infer.results.case import Lesion, SegmentedCase
from flare_infer.results.diameters import axial_diameters
from flare_infer.results.regions import Faces, Region, connected_parts, measure
from flare_infer.volume.neighbors import with_neighbors

_NO_HOSTS: Final = (labels.BACKGROUND, labels.AORTA, labels.INFERIOR_VENA_CAVA, labels.TUMOR)
"""A lesion of an organ often lies against a large vessel, and hardly ever in one."""


def lesions_of(case: SegmentedCase, codes: Sequence[int], faces: Faces) -> tuple[Lesion, ...]:
    """The connected parts of the classes of tumors, the largest first; parts that touch by a corner are one.

    Args:
        case: the case.
        codes: the classes that hold tumors.
        faces: faces of the scan.
    """
    every = [(code, box) for code in codes for box in case.boxes.get(code, ())]
    found = [lesion for code, box in every for lesion in _lesions_inside(case, code, box, faces)]
    found.sort(key=lambda lesion: -lesion.volume_ml)
    return tuple(replace(lesion, number=number) for number, lesion in enumerate(found, 1))


def _lesions_inside(case: SegmentedCase, code: int, box: Box, faces: Faces) -> Iterator[Lesion]:
    parts, count = connected_parts(Region(mask_zyx=case.labels.array_zyx[box] == code, box=box))
    for number, inside in zip(range(1, count + 1), _boxes_of_parts(parts), strict=True):
        yield _lesion(case, code, Region(mask_zyx=parts[inside] == number, box=inside.moved(box.starts)), faces)


def _boxes_of_parts(parts: npt.NDArray[np.unsignedinteger[Any]]) -> list[Box]:
    import cc3d

    return [Box(*found) for found in cc3d.statistics(parts)["bounding_boxes"][1:]]


def _lesion(case: SegmentedCase, code: int, region: Region, faces: Faces) -> Lesion:
    placement = case.labels.placement
    measured = measure([region], placement, case.scan.array_zyx if case.in_hounsfield else None)
    diameters = axial_diameters(region.mask_zyx, placement)
    return Lesion(
        number=0,
        volume_ml=measured.volume_ml,
        longest_axial_mm=diameters.longest_mm,
        perpendicular_mm=diameters.perpendicular_mm,
        organ=_host(case, region, code),
        intensities=measured.intensities,
        center_mm=measured.center_mm,
        cut=bool(faces.touched_by(region.box)),
        confidence=_confidence(case, region),
        code=code,
    )


def _confidence(case: SegmentedCase, region: Region) -> float | None:
    """Mean probability of a lesion's voxels; of the nearest one, if it is smaller than a voxel of the model."""
    probabilities = case.lesion_probabilities
    if probabilities is None:
        return None
    mean = probabilities.mean_inside(region.mask_zyx, region.box)
    if mean is not None:
        return mean
    center = np.argwhere(region.mask_zyx).mean(axis=0) + region.box.starts
    return probabilities.nearest(center, case.labels.placement.spacing_mm)


def _host(case: SegmentedCase, region: Region, lesion: int) -> str:
    """Name of the organ that most of the voxels around a region belong to; empty if it touches none.

    If the model has a label set of its own, these are the organs that it says the lesion lies in.
    """
    wide = region.box.grown((1, 1, 1), case.labels.shape)
    mask = np.zeros(wide.shape, dtype=np.bool_)
    mask[region.box.seen_from(wide)] = region.mask_zyx
    around = case.labels.array_zyx[wide][with_neighbors(mask) & ~mask]
    counts = np.bincount(around, minlength=len(case.names))
    own = case.spec.own_labels if case.spec is not None else None
    for code, name in enumerate(case.names):
        is_host = code_of_name(name) not in _NO_HOSTS if own is None else code in own.hosts(lesion)
        if code == 0 or not is_host:
            counts[code] = 0
    return case.names[int(counts.argmax())] if counts.any() else ""
