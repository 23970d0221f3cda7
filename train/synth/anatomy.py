"""The organs of a painted patient on a coarse grid: from a real label map, or invented."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from scipy import ndimage

from flare_eval.label_maps.label_map import label_codes
from flare_infer import labels
from flare_infer.errors import DatasetError
from flare_infer.formats.volume_io import read_volume
from flare_infer.geometry import Shape, Spacing, resampled_shape, triple_of_ints
from flare_infer.volume.orient import turn
from train.synth.phantom import paint_phantom
from train.synth.tissue import Codes

NEEDED_ORGANS: Final = (labels.LIVER, labels.SPLEEN, labels.LEFT_KIDNEY)
"""Codes of the organs that are needed to find the position of the body."""

_FIELD_MM: Final = ((45.0, 55.0), (70.0, 110.0), (60.0, 60.0))
"""Distance that is painted beyond the organs in mm: below and above, in front and behind, right and left."""

_TORSO_MM: Final = (250.0, 130.0)
"""The same below and above the organs for a whole torso."""

_LONG: Final = (labels.AORTA, labels.INFERIOR_VENA_CAVA, labels.ESOPHAGUS)
"""Codes of the organs that a scan never contains completely."""

_INVENTED_EXTENT_MM: Final = (288.0, 320.0, 320.0)
_INVENTED_STEP_MM: Final = 3.0


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """The organs of one patient.

    Attributes:
        patient: name of the patient; all paintings of one patient are on the same side of a split.
        codes_zyx: codes of organs (z, y, x), uint8, with axes toward superior, posterior and left; without tumors.
        spacing_mm: spacing of the grid along (z, y, x).
        torso: whether the grid reaches into chest and pelvis, which are then painted, too.
    """

    patient: str
    codes_zyx: Codes
    spacing_mm: Spacing
    torso: bool = False

    @property
    def shape(self) -> Shape:
        """Number of voxels along (z, y, x)."""
        return triple_of_ints(self.codes_zyx.shape)


def read_anatomy(path: Path, spacing_mm: Spacing, torso: bool = False) -> Anatomy:
    """The organs of a label map on a coarse grid with room for the body around them.

    A torso reaches into chest and pelvis even if the map ends earlier, unless an abdominal organ is cut there.

    Args:
        path: the label map.
        spacing_mm: spacing of the coarse grid along (z, y, x).
        torso: whether to paint chest and pelvis, too.

    Raises:
        DatasetError: if the map lacks one of the NEEDED_ORGANS, or its values are no codes of classes.
        ImageError: if it cannot be read.
    """
    volume, _ = turn(read_volume(path), "LPS")
    codes = label_codes(volume.array_zyx, str(path))
    organs = _on_grid(codes, volume.placement.spacing_mm, spacing_mm)
    organs[~np.isin(organs, labels.ORGANS)] = labels.BACKGROUND
    if missing := [labels.NAMES[code] for code in NEEDED_ORGANS if not (organs == code).any()]:
        raise DatasetError(f"{path}: no {', '.join(missing)} in this map; a body is painted about liver, spleen and "
                           "left kidney, leave it out")  # fmt: skip
    name = path.name.partition(".")[0]
    return with_room(Anatomy(patient=name, codes_zyx=organs, spacing_mm=spacing_mm, torso=torso))


def invent_anatomy(patient: str, rng: np.random.Generator, spacing_mm: Spacing, torso: bool = False) -> Anatomy:
    """All 13 organs of the phantom, shifted and scaled at random for every patient."""
    extent = [length * rng.uniform(0.92, 1.08) for length in _INVENTED_EXTENT_MM]
    # On a fine grid, because the phantom refuses a grid on which a gland has no voxel.
    fine = triple_of_ints([round(length / _INVENTED_STEP_MM) for length in extent])
    _, codes = paint_phantom(rng, fine, (_INVENTED_STEP_MM,) * 3)
    organs = _on_grid(codes.array_zyx, codes.placement.spacing_mm, spacing_mm)
    organs[organs == labels.TUMOR] = labels.LIVER
    return with_room(Anatomy(patient=patient, codes_zyx=organs, spacing_mm=spacing_mm, torso=torso))


def with_room(anatomy: Anatomy) -> Anatomy:
    """The anatomy on a grid that reaches as far beyond the abdominal organs as a body does.

    Below and above, the grid ends where the map ends, as a scan does, except for a torso.
    """
    codes = anatomy.codes_zyx
    field = (_TORSO_MM, *_FIELD_MM[1:]) if anatomy.torso else _FIELD_MM
    pads, box = [(0, 0)], []
    abdominal = np.isin(codes, labels.ORGANS) & ~np.isin(codes, _LONG)
    for axis, (step, (before_mm, after_mm)) in enumerate(zip(anatomy.spacing_mm, field, strict=True)):
        (where,) = np.nonzero(abdominal.any(axis=tuple(other for other in range(3) if other != axis)))
        start, stop = int(where[0]) - round(before_mm / step), int(where[-1]) + 1 + round(after_mm / step)
        box.append(slice(max(0, start), min(codes.shape[axis], stop)))
        if axis > 0:
            pads.append((max(0, -start), max(0, stop - codes.shape[axis])))
        elif anatomy.torso:
            pads[0] = (
                0 if abdominal[0].any() else max(0, -start),
                0 if abdominal[-1].any() else max(0, stop - codes.shape[0]),
            )
    return replace(anatomy, codes_zyx=np.pad(codes[tuple(box)], pads))


def deformed(anatomy: Anatomy, rng: np.random.Generator, strongest_mm: float = 7.0) -> Anatomy:
    """Deform an anatomy smoothly, by up to about `strongest_mm` mm, and stretch it by up to 7 percent."""
    shape, spacing = anatomy.shape, anatomy.spacing_mm
    stretch = rng.uniform(0.93, 1.07, 3)
    places = []
    for axis, grid in enumerate(np.meshgrid(*(np.arange(length) for length in shape), indexing="ij")):
        bend = ndimage.zoom(rng.normal(0, 1, (5, 5, 5)), [length / 5 for length in shape], order=3, mode="nearest")
        middle = (shape[axis] - 1) / 2
        bent_mm = np.clip(bend * strongest_mm / 2, -strongest_mm, strongest_mm)
        places.append((grid - middle) / stretch[axis] + middle + bent_mm / spacing[axis])
    codes = ndimage.map_coordinates(anatomy.codes_zyx, places, order=0, mode="constant", cval=labels.BACKGROUND)
    return replace(anatomy, codes_zyx=codes)


def _on_grid(codes_zyx: Codes, native_mm: Spacing, spacing_mm: Spacing) -> Codes:
    """Codes at the voxel centers of a grid with another spacing, as a new array (z, y, x)."""
    shape = triple_of_ints(codes_zyx.shape)
    wanted = resampled_shape(shape, native_mm, spacing_mm)
    nearest = [((np.arange(new) + 0.5) * old / new).astype(np.intp) for new, old in zip(wanted, shape, strict=True)]
    return np.ascontiguousarray(codes_zyx[np.ix_(*nearest)])
