"""Lesions of a case, one by one: which of the reference were found, and which of the prediction are none.

A lesion is a connected part of the class tumor, by faces, edges and corners (26 neighbors). A predicted lesion can be
matched to one of the reference if their intersection over union (IoU) is at least `LEAST_IOU`. Each is matched once at
most, so that as many as possible are, and among such ways with the largest IoU in sum. A further predicted lesion that
could be matched is neither found nor false. These are the rules of the challenge PI-CAI (Saha et al. 2024), whose
package is `picai_eval`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from flare_eval.label_maps.boxes import joint_boxes
from flare_eval.label_maps.label_map import TrimmedLabelMap, on_joint_box
from flare_infer import labels
from flare_infer.geometry import Box, Shape, triple_of_floats, voxel_volume_ml
from flare_infer.volume.volume import Placement

LEAST_IOU: Final = 0.1
"""IoU from which a predicted lesion can be one of the reference: the value of PI-CAI."""

STRICT_IOU: Final = 0.5
"""IoU that the challenge LiTS asks for (Bilic et al. 2023)."""


_NEIGHBORS: Final = np.ones((3, 3, 3), dtype=np.bool_)


@dataclass(frozen=True, kw_only=True)
class ScoredLesion:
    """One lesion of a reference or of a prediction, and what the other label map has of it.

    Attributes:
        number: 1 for the largest of its label map.
        volume_ml: its volume in milliliters.
        center_mm: its centroid in patient coordinates LPS, in mm.
        cut: whether it touches a face of the scan, so that the rest of it may lie outside.
        partner: number of the lesion of the other label map that it is matched with; None if there is none.
        iou: IoU with the partner, 0 without one.
        dsc: DSC with the partner, 0 without one.
        best_iou: the largest IoU with any lesion of the other label map.
        touched: whether it shares a voxel with the tumor of the other label map.
        confidence: of a predicted lesion, from 0 to 1; None if it is not known.
    """

    number: int
    volume_ml: float
    center_mm: tuple[float, float, float]
    cut: bool = False
    partner: int | None = None
    iou: float = 0.0
    dsc: float = 0.0
    best_iou: float = 0.0
    touched: bool = False
    confidence: float | None = None

    @property
    def diameter_mm(self) -> float:
        """Diameter of the ball of the same volume, in mm."""
        return float(np.cbrt(6000.0 * self.volume_ml / np.pi))

    @property
    def surplus(self) -> bool:
        """Whether it would match a lesion that is matched with another one."""
        return self.partner is None and self.best_iou >= LEAST_IOU


@dataclass(frozen=True, kw_only=True)
class CaseLesions:
    """The lesions of a case whose reference annotates tumors.

    Attributes:
        reference: those of the reference, the largest first.
        predicted: those of the prediction, the largest first; none if there is no prediction.
        unsure: why the confidence of predicted lesions is not known, in one line; empty if it is.
    """

    reference: tuple[ScoredLesion, ...] = ()
    predicted: tuple[ScoredLesion, ...] = ()
    unsure: str = ""

    @property
    def found(self) -> tuple[ScoredLesion, ...]:
        """The lesions of the reference that were found."""
        return tuple(lesion for lesion in self.reference if lesion.partner is not None)

    def followed_by(self, others: "CaseLesions") -> "CaseLesions":
        """These lesions and those of another class, numbered on."""
        known, predicted = len(self.reference), len(self.predicted)
        return CaseLesions(
            reference=(*self.reference, *(_numbered(one, known, predicted) for one in others.reference)),
            predicted=(*self.predicted, *(_numbered(one, predicted, known) for one in others.predicted)),
        )

    @property
    def false(self) -> tuple[ScoredLesion, ...]:
        """The predicted lesions that match none of the reference."""
        return tuple(lesion for lesion in self.predicted if lesion.partner is None and not lesion.surplus)


def _numbered(lesion: ScoredLesion, own: int, of_partner: int) -> ScoredLesion:
    """A lesion behind so many of its own map, whose partner is behind so many of the other."""
    partner = None if lesion.partner is None else lesion.partner + of_partner
    return replace(lesion, number=lesion.number + own, partner=partner)


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """The connected parts of a mask, the largest first.

    Attributes:
        numbers_zyx: number of the part of each voxel, from 1; 0 where there is none.
        voxels: voxel count of each part.
        centers: centroid of each part, in voxels along (z, y, x).
        boxes: the smallest box around each part.
    """

    numbers_zyx: npt.NDArray[np.int64]
    voxels: npt.NDArray[np.int64]
    centers: npt.NDArray[np.float64]
    boxes: tuple[Box, ...]


@dataclass(frozen=True, kw_only=True)
class _Overlaps:
    """What each part of one mask (rows) has in common with each part of another (columns).

    Attributes:
        iou: intersection over union.
        dsc: Dice similarity coefficient.
        partners: the column of each matched row.
    """

    iou: npt.NDArray[np.float64]
    dsc: npt.NDArray[np.float64]
    partners: Mapping[int, int]

    @property
    def turned(self) -> Self:
        """The same with rows and columns exchanged."""
        partners = {column: row for row, column in self.partners.items()}
        return type(self)(iou=self.iou.T, dsc=self.dsc.T, partners=partners)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where the box that parts were looked for in lies: in a grid of voxels, and with it in the patient."""

    starts: Shape
    grid: Shape
    placement: Placement


def missed_lesions(reference: TrimmedLabelMap, codes: Sequence[int] = (labels.TUMOR,)) -> CaseLesions:
    """The lesions of a case without a prediction; `codes` are those of the classes of lesions."""
    nothing = TrimmedLabelMap(
        array_zyx=np.zeros(reference.array_zyx.shape, np.uint8),
        box=reference.box,
        shape=reference.shape,
        placement=reference.placement,
    )
    return compare_lesions(nothing, reference, codes)


def compare_lesions(
    prediction: TrimmedLabelMap, reference: TrimmedLabelMap, codes: Sequence[int] = (labels.TUMOR,)
) -> CaseLesions:
    """The lesions of two label maps of one grid, matched; the confidence of predicted ones is left open.

    Lesions of several classes, whose codes are `codes`, are matched class by class and numbered one class after the
    other.
    """
    every = CaseLesions()
    for code in codes:
        every = every.followed_by(_compare_class(prediction, reference, code))
    return every


def _compare_class(prediction: TrimmedLabelMap, reference: TrimmedLabelMap, code: int) -> CaseLesions:
    prediction_zyx, reference_zyx = on_joint_box(prediction, reference)
    box = joint_boxes(prediction_zyx, reference_zyx, range(1, code + 1)).get(code)
    if box is None:
        return CaseLesions()
    predicted, annotated = (_parts(codes_zyx[box] == code) for codes_zyx in (prediction_zyx, reference_zyx))
    overlaps = _overlaps(annotated, predicted)
    starts = box.moved(prediction.box.joined(reference.box).starts).starts
    place = _Place(starts=starts, grid=reference.shape, placement=reference.placement)
    return CaseLesions(
        reference=_lesions(annotated, overlaps, place), predicted=_lesions(predicted, overlaps.turned, place)
    )


def match_by_iou(iou: npt.NDArray[np.float64]) -> dict[int, int]:
    """The row of each matched lesion of the reference, and the column of the predicted one.

    Args:
        iou: IoU of each lesion of the reference (rows) with each predicted one (columns).
    """
    # Each match is worth more than any IoU: first as many as possible, then the best ones.
    worth = np.where(iou >= LEAST_IOU, 1.0 + iou, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if worth[row, column] > 0}


def _parts(mask_zyx: npt.NDArray[np.bool_]) -> _Parts:
    # Not by cc3d, whose release 4.1 fails for some masks that are one voxel thick.
    numbers_zyx, count = ndimage.label(mask_zyx, structure=_NEIGHBORS)
    voxels = np.bincount(numbers_zyx.ravel(), minlength=count + 1)
    order = 1 + np.argsort(-voxels[1:], kind="stable")
    by_size = np.zeros(count + 1, dtype=np.int64)
    by_size[order] = np.arange(1, count + 1)
    boxes = ndimage.find_objects(numbers_zyx)
    sums = [np.bincount(numbers_zyx[mask_zyx], weights=index, minlength=count + 1) for index in np.nonzero(mask_zyx)]
    return _Parts(
        numbers_zyx=by_size[numbers_zyx],
        voxels=voxels[order],
        centers=np.stack(sums, axis=1)[order] / voxels[order, None],
        boxes=tuple(Box(*boxes[part - 1]) for part in order.tolist()),
    )


def _overlaps(one: _Parts, other: _Parts) -> _Overlaps:
    rows, columns = one.voxels.size + 1, other.voxels.size + 1
    pairs = (one.numbers_zyx * columns + other.numbers_zyx).ravel()
    common = np.bincount(pairs, minlength=rows * columns).reshape(rows, columns)[1:, 1:]
    in_sum = one.voxels[:, None] + other.voxels[None, :]
    iou = common / (in_sum - common)
    return _Overlaps(iou=iou, dsc=2 * common / in_sum, partners=match_by_iou(iou))


def _lesions(parts: _Parts, overlaps: _Overlaps, place: _Place) -> tuple[ScoredLesion, ...]:
    """The parts of one mask, the rows of the overlaps, as lesions."""
    placement = place.placement
    axes_mm = np.asarray(placement.axes, dtype=np.float64) * np.asarray(placement.spacing_mm)[:, None]
    centers_mm = (parts.centers + place.starts) @ axes_mm + np.asarray(placement.origin_mm)
    found = []
    for row, voxels in enumerate(parts.voxels.tolist()):
        partner = overlaps.partners.get(row)
        box = parts.boxes[row].moved(place.starts)
        best_iou = float(overlaps.iou[row].max(initial=0.0))
        found.append(
            ScoredLesion(
                number=row + 1,
                volume_ml=voxels * voxel_volume_ml(placement.spacing_mm),
                center_mm=triple_of_floats(centers_mm[row].tolist()),
                cut=0 in box.starts or any(stop == size for stop, size in zip(box.stops, place.grid, strict=True)),
                partner=None if partner is None else partner + 1,
                iou=0.0 if partner is None else float(overlaps.iou[row, partner]),
                dsc=0.0 if partner is None else float(overlaps.dsc[row, partner]),
                best_iou=best_iou,
                touched=best_iou > 0,
            )
        )
    return tuple(found)
