"""Label maps: arrays and files whose values are whole numbers, the codes of a label set."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.errors import ImageError
from flare_infer.formats.volume_io import read_volume
from flare_infer.geometry import Box, Shape
from flare_infer.label_set import FLARE23, LabelSet
from flare_infer.labels import BACKGROUND, IGNORED
from flare_infer.volume.volume import Placement, Volume

ROUNDING_TOLERANCE: Final = 1e-3
"""A value at most so far from a whole number is taken for that number: resampling and rescaling leave 12.99999."""


def integer_planes(array_zyx: npt.NDArray[Any], name: str) -> Iterator[npt.NDArray[Any]]:
    """The planes of a label map along its first axis, rounded to whole numbers; `name` names it in error messages.

    Raises:
        ImageError: if a value is farther than ROUNDING_TOLERANCE from a whole number; the message shows the value.
    """
    if array_zyx.dtype.kind != "f":
        yield from array_zyx
        return
    for plane in array_zyx:  # one slice at a time: no second full-size float array
        with np.errstate(invalid="ignore"):  # infinite less infinite; what is infinite is beyond every code
            rounded = np.rint(plane)
            off = (plane != rounded) & ~(np.abs(plane - rounded) <= ROUNDING_TOLERANCE)
        if off.any():
            raise ImageError(f"{name}: expected whole numbers as labels, found {plane[off][0]!s}")
        yield rounded


def label_codes(array_zyx: npt.NDArray[Any], name: str, label_set: LabelSet = FLARE23) -> npt.NDArray[np.uint8]:
    """The label map as an array of uint8; `name` names it in error messages, `label_set` has the classes.

    Whole numbers stored as floats are accepted, since many tools write label maps so, even with small errors of
    rounding (see `ROUNDING_TOLERANCE`). An array that is uint8 already is returned itself, not a copy.

    Raises:
        ImageError: if a value is no whole number or no code from background to the last class.
    """
    if array_zyx.size == 0:
        return array_zyx.astype(np.uint8)
    if array_zyx.dtype.kind == "f":
        codes = np.empty(array_zyx.shape, dtype=np.uint8)
        for plane, out in zip(integer_planes(array_zyx, name), codes, strict=True):
            _check_range(plane, name, label_set.codes[-1])
            out[...] = plane
        return codes
    _check_range(array_zyx, name, label_set.codes[-1])
    return array_zyx.astype(np.uint8, copy=False)


def _check_range(array: npt.NDArray[Any], name: str, most: int) -> None:
    lowest, highest = array.min(), array.max()
    if lowest < BACKGROUND or highest > most:
        found = lowest if lowest < BACKGROUND else highest
        raise ImageError(f"{name}: expected labels {BACKGROUND}..{most}, found {found:g}")


def read_label_map(path: Path, label_set: LabelSet = FLARE23, ignored: int | None = None) -> Volume:
    """Read a label map of the classes of a label set; its array is uint8.

    Args:
        path: the file.
        label_set: the classes.
        ignored: number of voxels that are not looked at, which become IGNORED; None for none.

    Raises:
        ImageError: if the file is no volume (see `read_volume`) or its values are no codes (see `label_codes`).
    """
    volume = read_volume(path)
    if ignored is None:
        return replace(volume, array_zyx=label_codes(volume.array_zyx, str(path), label_set))
    unknown = volume.array_zyx == ignored
    codes = label_codes(np.where(unknown, 0, volume.array_zyx), str(path), label_set).copy()
    codes[unknown] = IGNORED
    return replace(volume, array_zyx=codes)


@dataclass(frozen=True, kw_only=True)
class TrimmedLabelMap:
    """A label map without the background around its labels.

    Attributes:
        array_zyx: the codes within `box`.
        box: the part of the whole map that is kept; one voxel if there is no label.
        shape: shape of the whole map.
        placement: placement of the whole map in the patient's space.
    """

    array_zyx: npt.NDArray[np.uint8]
    box: Box
    shape: Shape
    placement: Placement


def read_trimmed(path: Path, label_set: LabelSet = FLARE23, ignored: int | None = None) -> TrimmedLabelMap:
    """Read a label map and keep only the box that holds its labels, about a quarter of a CT.

    Arguments are those of `read_label_map`.

    Raises:
        ImageError: where `read_label_map` raises one, or if the map has no voxel.
    """
    volume = read_label_map(path, label_set, ignored)
    if not volume.array_zyx.size:
        raise ImageError(f"{path}: expected a label map, found no voxel, shape {volume.shape}")
    box = Box.around(volume.array_zyx) or Box.at((0, 0, 0), (1, 1, 1))
    kept = volume.array_zyx[box].copy()  # a view would hold the whole map in memory
    return TrimmedLabelMap(array_zyx=kept, box=box, shape=volume.shape, placement=volume.placement)


def on_joint_box(one: TrimmedLabelMap, other: TrimmedLabelMap) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Two label maps of one grid, both within the smallest box that holds the labels of both."""
    box = one.box.joined(other.box)
    return _within(one, box), _within(other, box)


def without_ignored(prediction: TrimmedLabelMap, reference: TrimmedLabelMap) -> tuple[TrimmedLabelMap, TrimmedLabelMap]:
    """Two label maps of one grid, both with background where the reference is IGNORED."""
    box = prediction.box.joined(reference.box)
    predicted_zyx, reference_zyx = _within(prediction, box), _within(reference, box)
    unknown = reference_zyx == IGNORED
    if not unknown.any():
        return prediction, reference
    cleared = (np.where(unknown, np.uint8(BACKGROUND), codes_zyx) for codes_zyx in (predicted_zyx, reference_zyx))
    one, other = (replace(reference, array_zyx=codes_zyx, box=box) for codes_zyx in cleared)
    return one, other


def _within(label_map: TrimmedLabelMap, box: Box) -> npt.NDArray[np.uint8]:
    if label_map.box == box:
        return label_map.array_zyx
    array_zyx = np.zeros(box.shape, dtype=np.uint8)
    array_zyx[label_map.box.seen_from(box)] = label_map.array_zyx
    return array_zyx
