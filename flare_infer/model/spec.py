"""What a model is, in numbers: the record behind model.json."""

import math
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, get_args

from flare_infer import labels
from flare_infer.class_names import lesion_codes
from flare_infer.errors import SpecError
from flare_infer.files.record import LEFT_OUT_IF_NONE, record_from_fields
from flare_infer.geometry import Shape, Spacing
from flare_infer.label_set import FLARE23, LabelSet
from flare_infer.model.architecture import Network

Orientation: TypeAlias = Literal["LPS", "RAS", "as_stored"]
"""Toward which sides of the patient the model's axes (x, y, z) run; "as_stored" turns nothing, as nnU-Net does."""

MOST_FOLDS: Final = 64
LARGEST_PATCH: Final = 2**28
FINEST_SPACING_MM: Final = 0.01
COARSEST_SPACING_MM: Final = 1000.0
SMALLEST_STEP: Final = 0.01
LONGEST_NAME: Final = 200
"""Far beyond any real model: other numbers come from a damaged or hostile file, and no memory is spent on them."""


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """Clip to a range of Hounsfield units, then subtract a mean and divide by a standard deviation."""

    clip_low_hu: float
    clip_high_hu: float
    mean_hu: float
    std_hu: float

    def __post_init__(self) -> None:
        finite = math.isfinite(self.mean_hu) and math.isfinite(self.clip_high_hu - self.clip_low_hu)
        if not finite or not self.clip_low_hu < self.clip_high_hu or not 0 < self.std_hu < math.inf:
            raise SpecError(f"normalization needs clip_low_hu < clip_high_hu and std_hu > 0, found {self}")

    @property
    def air(self) -> float:
        """The normalized intensity of air: what fills the outside of a volume."""
        return (self.clip_low_hu - self.mean_hu) / self.std_hu


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """How values are brought to another grid.

    Attributes:
        order: order of the spline: 1 is (tri)linear, 3 what nnU-Net takes for images by default.
        order_across: of the spline across slices so thick that nnU-Net resamples plane by plane; 0 is nearest. None
            treats all axes alike, whatever the spacing.
    """

    order: int = 1
    order_across: int | None = None

    def __post_init__(self) -> None:
        if self.order not in range(6) or self.order_across not in {None, 0, 1}:
            raise SpecError(f"interpolation needs an order of 0 to 5 and order_across None, 0 or 1, found {self}")


@dataclass(frozen=True, kw_only=True)
class Skipping:
    """Which windows need not run (docs/paper.md, Window skipping).

    Attributes:
        foreground_voxels: where the indicator windows of a z position hold fewer foreground voxels than this, the other
            windows there are taken for background; 0 turns the indicator rule off.
        minimal_positions: least number of z positions of a scan in which the indicator rule is used.
    """

    foreground_voxels: int = 100
    minimal_positions: int = 5

    def __post_init__(self) -> None:
        if self.foreground_voxels < 0 or self.minimal_positions < 1:
            raise SpecError(f"skipping needs foreground_voxels >= 0 and minimal_positions >= 1, found {self}")


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Everything inference needs to know of a model besides its weights.

    Attributes:
        name: short name, that of its folder.
        spacing_mm: voxel spacing the network works at, along (z, y, x).
        patch: window size in voxels along (z, y, x).
        window_step: distance between windows as a fraction of the patch (0.6 in the released code).
        normalization: numbers that turn Hounsfield units into network input.
        network: the architecture.
        labels: name of every output channel, background first; the index is the code written to label maps.
        own_labels: label set that it was trained with: what is known of its classes; None if that is the challenge's,
            or was not recorded, as of imported models.
        untrained: codes that no training case annotated: never predicted.
        orientation: orientation to which a scan is turned before anything else.
        transpose: then the order in which its axes become the model's (z, y, x); a model of nnU-Net may have its own.
        image_interpolation: interpolation that brings the image to `spacing_mm`.
        logits_interpolation: interpolation that brings logits back to the grid of the scan.
        padding: normalized intensity around a scan smaller than the patch; None is air.
        repeated_mm: how far the first and the last slice are repeated above and below a scan that is shorter than a
            window along z, before it is filled with `padding`.
        mirror_axes: axes of (z, y, x) whose mirror images are predicted, too, and averaged (all their combinations).
        folds: networks whose logits are averaged.
        skipping: rule by which windows need not run.
        smallest_part: for each label, background first: parts smaller than this fraction of the label's largest part
            become background; 0 keeps all parts. Empty keeps all parts of all labels.
        tumor_organs: codes of the organs whose tumors the model was taught: what it calls tumor and touches none of
            them becomes background. Empty keeps all.
        tumor_lead: a part of the tumors stays only if, somewhere in it on the model's grid, the logit of tumor exceeds
            every other by more than this; 0 keeps all.
        body_only: whether nothing outside of the patient's body has a label: padding and far air are not looked at, and
            what the network finds in air beside the body becomes background. Models of nnU-Net are taken as they are.
        training: origin of the weights, for people; inference does not read it.
    """

    name: str
    spacing_mm: Spacing
    patch: Shape
    normalization: Normalization
    network: Network
    window_step: float = 0.6
    labels: tuple[str, ...] = labels.NAMES
    untrained: tuple[int, ...] = ()
    orientation: Orientation = "LPS"
    transpose: tuple[int, int, int] = (0, 1, 2)
    image_interpolation: Interpolation = field(default_factory=Interpolation)
    logits_interpolation: Interpolation = field(default_factory=Interpolation)
    padding: float | None = None
    repeated_mm: float = 32.0
    mirror_axes: tuple[int, ...] = ()
    folds: int = 1
    skipping: Skipping = field(default_factory=Skipping)
    smallest_part: tuple[float, ...] = ()
    tumor_organs: tuple[int, ...] = ()
    tumor_lead: float = 0.0
    body_only: bool = True
    training: dict[str, Any] = field(default_factory=dict)
    own_labels: LabelSet | None = field(default=None, metadata=LEFT_OUT_IF_NONE)

    def __post_init__(self) -> None:
        self._check_names()
        if not all(FINEST_SPACING_MM <= spacing <= COARSEST_SPACING_MM for spacing in self.spacing_mm):
            raise SpecError(
                f"{self.name}: spacing_mm must be positive, from {FINEST_SPACING_MM:g} to {COARSEST_SPACING_MM:g} mm, "
                f"found {self.spacing_mm}"
            )
        if not SMALLEST_STEP <= self.window_step <= 1:
            raise SpecError(f"{self.name}: window_step must be from {SMALLEST_STEP} to 1, found {self.window_step}")
        if any(size <= 0 or size % factor for size, factor in zip(self.patch, self.network.reduction, strict=True)):
            raise SpecError(f"{self.name}: patch {self.patch} must be a multiple of {self.network.reduction}")
        if math.prod(self.patch) > LARGEST_PATCH:
            raise SpecError(f"{self.name}: patch {self.patch} has more than {LARGEST_PATCH} voxels")
        if any(code not in range(1, len(self.labels)) for code in self.untrained):
            raise SpecError(f"{self.name}: untrained names classes outside 1..{len(self.labels) - 1}: {self.untrained}")
        if len(self.predicted) < 2:
            raise SpecError(f"{self.name}: every class is untrained: there is nothing to predict")
        self._check_source()
        self._check_parts()

    def _check_names(self) -> None:
        """Names are for people, so they are short and hold nothing that a terminal or a file system would obey."""
        if not _is_name(self.name) or self.name.startswith(".") or set(self.name) & {"/", "\\"}:
            raise SpecError(f"name must be that of a folder, up to {LONGEST_NAME} characters, found {self.name!r}")
        if not 2 <= len(self.labels) <= labels.KNOWN_BACKGROUND:
            raise SpecError(f"{self.name}: expected between 2 and 255 labels, found {len(self.labels)}")
        for label in self.labels:
            if not _is_name(label):
                raise SpecError(f"{self.name}: a label is a text of 1 to {LONGEST_NAME} characters, found {label!r}")
        if not isinstance(self.training, dict):
            raise SpecError(f"{self.name}: training must be an object, found {type(self.training).__name__}")

    def _check_source(self) -> None:
        """The fields that differ between our models and imported ones."""
        if self.orientation not in get_args(Orientation):
            known = ", ".join(get_args(Orientation))
            raise SpecError(f"{self.name}: orientation must be one of {known}, found {self.orientation!r}")
        if sorted(self.transpose) != [0, 1, 2]:
            raise SpecError(f"{self.name}: transpose must name the axes 0, 1, 2 once each, found {self.transpose}")
        if self.padding is not None and not math.isfinite(self.padding):
            raise SpecError(f"{self.name}: padding must be a finite number or null, found {self.padding}")
        if not 0 <= self.repeated_mm < math.inf:
            raise SpecError(f"{self.name}: repeated_mm must be 0 or a positive number, found {self.repeated_mm}")
        if not set(self.mirror_axes) <= {0, 1, 2} or len(set(self.mirror_axes)) != len(self.mirror_axes):
            raise SpecError(f"{self.name}: mirror_axes must name axes of 0, 1, 2 once, found {self.mirror_axes}")
        if self.folds not in range(1, MOST_FOLDS + 1):
            raise SpecError(f"{self.name}: expected 1 to {MOST_FOLDS} folds, found {self.folds}")

    def _check_parts(self) -> None:
        """Which parts of what is found become background."""
        if self.own_labels is not None and self.own_labels.names != self.labels:
            raise SpecError(f"{self.name}: own_labels has other names than labels: {', '.join(self.own_labels.names)}")
        if self.own_labels is not None and (self.tumor_organs or self.tumor_lead):
            raise SpecError(f"{self.name}: tumor_organs and tumor_lead are of the challenge's tumors, which a model "
                            "with own_labels has not")  # fmt: skip
        if self.smallest_part and len(self.smallest_part) != self.classes:
            raise SpecError(f"{self.name}: smallest_part needs a number for each of {self.classes} labels, or none")
        if not all(0 <= fraction <= 1 for fraction in self.smallest_part):
            raise SpecError(f"{self.name}: smallest_part needs fractions from 0 to 1, found {self.smallest_part}")
        if self.tumor_organs and not {labels.TUMOR, *self.tumor_organs} <= set(range(1, self.classes)):
            raise SpecError(f"{self.name}: tumor_organs needs a label {labels.TUMOR} and codes from 1 to "
                            f"{self.classes - 1}, found {self.tumor_organs}")  # fmt: skip
        if not 0 <= self.tumor_lead < math.inf or (self.tumor_lead and labels.TUMOR not in self.predicted):
            raise SpecError(f"{self.name}: tumor_lead must be 0 or a positive number of a model that predicts label "
                            f"{labels.TUMOR}, found {self.tumor_lead}")  # fmt: skip

    @property
    def fill(self) -> float:
        """The normalized intensity around a scan smaller than the patch."""
        return self.normalization.air if self.padding is None else self.padding

    @property
    def window_work(self) -> int:
        """Multiplications of one convolution at full resolution: how large a window is to a computer."""
        return math.prod(self.patch) * math.prod(self.network.kernels[0]) * self.network.features[0] ** 2

    @property
    def classes(self) -> int:
        """Number of output channels, background included."""
        return len(self.labels)

    @property
    def label_set(self) -> LabelSet:
        """What is known of its classes.

        Raises:
            SpecError: if its names cannot be told apart, which happens in imported models only.
        """
        if self.own_labels is not None:
            return self.own_labels
        return FLARE23 if self.labels == FLARE23.names else LabelSet(names=self.labels)

    @property
    def lesion_codes(self) -> tuple[int, ...]:
        """Codes of the classes that hold lesions: by its label set, else by their names."""
        if self.own_labels is not None:
            return self.own_labels.lesion_codes
        return lesion_codes(self.labels, self.tumor_organs)

    @property
    def predicted(self) -> tuple[int, ...]:
        """Codes that take part in the argmax: background and every trained class, in increasing order."""
        return tuple(code for code in range(self.classes) if code not in self.untrained)


def spec_from_fields(fields: dict[str, Any]) -> ModelSpec:
    """A specification from plain JSON values, as `dataclasses.asdict` gives them.

    Raises:
        SpecError: if a field is missing, unknown, of the wrong type, or inconsistent with the others.
    """
    # A recipe may leave these two to their defaults; a model on disk says what its outputs are.
    if missing := [name for name in ("labels", "untrained") if name not in fields]:
        raise SpecError(f"{missing[0]}: missing")
    return record_from_fields(ModelSpec, fields)


def _is_name(value: object) -> bool:
    """Whether a value from a file is a short text that can be printed."""
    return isinstance(value, str) and 1 <= len(value) <= LONGEST_NAME and value.isprintable()
