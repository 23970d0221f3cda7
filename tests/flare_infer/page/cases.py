"""A phantom with every class, and statistics of it made by hand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flare_infer import labels
from flare_infer.geometry import Shape, Spacing, triple_of_floats, voxel_volume_ml
from flare_infer.results.case import (
    CaseStatistics,
    ClassStatistics,
    Flag,
    Intensities,
    Lesion,
    SegmentedCase,
)
from flare_infer.volume.volume import Placement, Volume
from train.synth.phantom import paint_phantom

ORDER, FLIPPED = (2, 0, 1), (0, 2)
"""An orientation that nobody expects: the array axes run toward the right, the head and the front."""


def phantom_case(
    name: str = "phantom", shape: Shape = (36, 40, 40), spacing_mm: Spacing = (8.0, 8.0, 8.0)
) -> SegmentedCase:
    image, codes = paint_phantom(np.random.default_rng(0), shape, spacing_mm)
    return SegmentedCase(
        name=name,
        scan=image,
        labels=codes,
        names=labels.NAMES,
        made_with={"model": "lite", "options": {"skip": True, "precision": "bf16"}},
    )


def turned(volume: Volume, order: Sequence[int] = ORDER, flipped: Sequence[int] = FLIPPED) -> Volume:
    """The same volume, stored in another orientation."""
    place = volume.placement
    axes, spacing = np.array(place.axes)[list(order)], np.array(place.spacing_mm)[list(order)]
    array = np.ascontiguousarray(np.flip(volume.array_zyx.transpose(order), flipped))
    origin = np.array(place.origin_mm)
    for axis in flipped:
        origin = origin + axes[axis] * spacing[axis] * (array.shape[axis] - 1)
        axes[axis] *= -1
    placement = Placement(
        spacing_mm=triple_of_floats(spacing.tolist()),
        origin_mm=triple_of_floats(origin.tolist()),
        axes=tuple(tuple(axis) for axis in axes.tolist()),  # type: ignore[arg-type]
    )
    return replace(volume, array_zyx=array, placement=placement)


def statistics_of(case: SegmentedCase, flags: Sequence[Flag] = ()) -> CaseStatistics:
    place = case.labels.placement
    classes = []
    for code, name in enumerate(case.names):
        where = np.argwhere(case.labels.array_zyx == code)
        if not code:
            continue
        if not len(where):
            classes.append(ClassStatistics(code=code, name=name, volume_ml=0.0))
            continue
        center = np.array(place.origin_mm) + (where.mean(axis=0) * place.spacing_mm) @ np.array(place.axes)
        classes.append(
            ClassStatistics(
                code=code,
                name=name,
                volume_ml=len(where) * voxel_volume_ml(place.spacing_mm),
                cut=name == "aorta",
                parts=1,
                intensities=Intensities(mean=101.4, sd=12.0, median=99.0),
                center_mm=triple_of_floats(center.tolist()),
                extent_mm=(10.0, 20.0, 30.0),
                confidence=0.875,
            )
        )
    tumor = classes[-1]
    lesions = (
        Lesion(
            number=1,
            volume_ml=tumor.volume_ml,
            longest_axial_mm=31.2,
            perpendicular_mm=24.6,
            organ="liver",
            intensities=tumor.intensities,
            center_mm=tumor.center_mm or (0.0, 0.0, 0.0),
        ),
    )
    return CaseStatistics(
        name=case.name,
        classes=tuple(classes),
        lesions=lesions if tumor.volume_ml else (),
        flags=tuple(flags),
        phase="portal venous",
    )
