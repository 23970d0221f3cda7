"""A case that was segmented, with all that its outputs are made of, and what is measured of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flare_infer.dicom.series import Series
from flare_infer.geometry import Box
from flare_infer.model.spec import ModelSpec
from flare_infer.results.sections import Section, boxes_of_classes, sections_of
from flare_infer.volume.volume import Volume
from flare_infer.volume.voxel_values import VoxelValues


@dataclass(frozen=True, kw_only=True)
class SegmentedCase:
    """A scan and its label map, on the same grid.

    Attributes:
        name: name of the case; it holds no patient's data.
        scan: intensities on the scan's own grid.
        labels: label codes, uint8, on the same grid.
        names: name of every code, background first; the index is the code.
        confidence: the network's own, of each class that was found, from 0 to 1; empty if it was not measured.
        notices: lines that the user was shown about the case.
        in_hounsfield: whether the intensities look like Hounsfield units.
        source: the DICOM series that the scan was read from; None if it was an image file.
        made_with: facts about the run: model, hash of the weights, options, versions.
        spec: the model's specification; None if it is not known.
        lesion_probabilities: the network's probability at voxels that it took for a lesion; None if it was not kept.
    """

    name: str
    scan: Volume
    labels: Volume
    names: tuple[str, ...]
    confidence: Mapping[int, float] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    in_hounsfield: bool = True
    source: Series | None = None
    made_with: Mapping[str, Any] = field(default_factory=dict)
    spec: ModelSpec | None = None
    lesion_probabilities: VoxelValues | None = None

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Where classes are, plane by plane; found once for all outputs."""
        return tuple(sections_of(self.labels.array_zyx))

    @cached_property
    def boxes(self) -> Mapping[int, Sequence[Box]]:
        """Where each class is that was found."""
        return boxes_of_classes(self.sections)

    @property
    def own_lesions(self) -> tuple[int, ...]:
        """Codes of the lesions of a model with a label set of its own; none of other models."""
        own = None if self.spec is None else self.spec.own_labels
        return () if own is None else own.lesion_codes


@dataclass(frozen=True, kw_only=True)
class Intensities:
    """Hounsfield units of the voxels of a class or lesion.

    Attributes:
        mean: their mean.
        sd: their standard deviation, divided by their number.
        median: their median.
    """

    mean: float
    sd: float
    median: float


@dataclass(frozen=True, kw_only=True)
class ClassStatistics:
    """What was measured of one class.

    Attributes:
        code: its code.
        name: its name.
        volume_ml: its volume in milliliters, 0 if it was not found.
        cut: whether it touches a face of the scan, so that the rest of it may lie outside.
        cut_at: the sides on which it touches one: "upper", "lower", "left", "right", "front" or "back".
        parts: number of connected parts, by faces, edges or corners; a single voxel is one, too.
        intensities: Hounsfield units inside; None if it was not found, or intensities are no Hounsfield units.
        center_mm: centroid in patient coordinates LPS (left, posterior, superior), in mm; None if it was not found.
        extent_mm: size of the box around it along left-right, front-back and head-foot, in mm; None likewise.
        confidence: the overlap (DSC) that is expected of it with the truth, from 0 to 1; None if it was not measured.
    """

    code: int
    name: str
    volume_ml: float
    cut: bool = False
    cut_at: tuple[str, ...] = ()
    parts: int = 0
    intensities: Intensities | None = None
    center_mm: tuple[float, float, float] | None = None
    extent_mm: tuple[float, float, float] | None = None
    confidence: float | None = None


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """One connected part of a class of tumors.

    Attributes:
        number: 1 for the largest.
        volume_ml: its volume in milliliters.
        longest_axial_mm: longest diameter in an axial slice, in mm.
        perpendicular_mm: longest diameter perpendicular to it in the same slice, in mm.
        organ: name of the organ that it lies in or touches most; empty if it touches none.
        intensities: Hounsfield units inside; None if intensities are no Hounsfield units.
        center_mm: centroid in patient coordinates LPS, in mm.
        cut: whether it touches a face of the scan.
        confidence: mean probability of its voxels, from 0 to 1; None if it was not measured.
        code: the class that it is a part of.
    """

    number: int
    volume_ml: float
    longest_axial_mm: float
    perpendicular_mm: float
    organ: str
    intensities: Intensities | None
    center_mm: tuple[float, float, float]
    cut: bool = False
    confidence: float | None = None
    code: int = 0


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A reason to look at a case with care; it never stops a run.

    Attributes:
        kind: short name, such as "organ cut".
        reason: one line for the user.
        code: the class that it is about; None if it is about the scan.
    """

    kind: str
    reason: str
    code: int | None = None


@dataclass(frozen=True, kw_only=True)
class CaseStatistics:
    """Everything that was measured of one case.

    Attributes:
        name: name of the case.
        classes: one of each class of the model, background left out, in the order of the codes.
        lesions: the parts of the class tumor, the largest first.
        flags: reasons to look with care.
        phase: guessed contrast phase: "unenhanced", "arterial" or "portal venous"; empty if it cannot be guessed.
    """

    name: str
    classes: tuple[ClassStatistics, ...]
    lesions: tuple[Lesion, ...] = ()
    flags: tuple[Flag, ...] = ()
    phase: str = ""
