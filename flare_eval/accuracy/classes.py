"""Which classes are scored, and how: those of the references, of the model, or the challenge's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flare_eval.label_maps.annotations import Annotations
from flare_infer import labels
from flare_infer.class_names import code_of_name
from flare_infer.errors import UsageError
from flare_infer.files.label_set_file import (
    DESCRIPTION_FILE,
    LABELS_FILE,
    label_set_of,
    numbers_of,
    read_label_file,
    tolerances_of,
)
from flare_infer.label_set import FLARE23, IGNORE_NAME, LabelSet

if TYPE_CHECKING:
    from flare_infer.model.spec import ModelSpec

TOLERANCES_MM: Final[dict[int, float]] = {
    labels.LIVER: 5.0,
    labels.RIGHT_KIDNEY: 3.0,
    labels.SPLEEN: 3.0,
    labels.PANCREAS: 5.0,
    labels.AORTA: 2.0,
    labels.INFERIOR_VENA_CAVA: 2.0,
    labels.RIGHT_ADRENAL_GLAND: 2.0,
    labels.LEFT_ADRENAL_GLAND: 2.0,
    labels.GALLBLADDER: 2.0,
    labels.ESOPHAGUS: 3.0,
    labels.STOMACH: 5.0,
    labels.DUODENUM: 7.0,
    labels.LEFT_KIDNEY: 3.0,
    labels.TUMOR: 2.0,
}
"""Distance in mm up to which surfaces of a class of the challenge count as agreeing, by code."""

ON_REFERENCE_SLICES: Final = (labels.AORTA, labels.INFERIOR_VENA_CAVA, labels.ESOPHAGUS)
"""Long organs that are annotated over a part of their length: they are compared only on the slices of the reference."""

USUAL_TOLERANCE_MM: Final = 2.0
"""That of a class for which no other is stated."""


@dataclass(frozen=True, kw_only=True)
class ScoredClasses:
    """The classes that are scored.

    Attributes:
        label_set: the classes.
        tolerances_mm: distance in mm up to which surfaces of a class count as agreeing, by code; others have the usual
            one.
        on_reference_slices: codes of the classes that are compared only on the slices of the reference.
        ignored: number in references of voxels that are not scored; None if there is none.
        untrained: codes of classes that the model never learned, which are left out.
        described: what every reference annotates where no file says it case by case; None means every class.
    """

    label_set: LabelSet = FLARE23
    tolerances_mm: Mapping[int, float] = field(default_factory=lambda: TOLERANCES_MM)
    on_reference_slices: tuple[int, ...] = ON_REFERENCE_SLICES
    ignored: int | None = None
    untrained: tuple[int, ...] = ()
    described: Annotations | None = None

    def tolerance_mm(self, code: int) -> float:
        """The tolerance of a class in mm."""
        return self.tolerances_mm.get(code, USUAL_TOLERANCE_MM)


CHALLENGE: Final = ScoredClasses()
"""The classes and tolerances of the challenge."""


def classes_of(references: Path, stated: Path | None = None, model: "ModelSpec | None" = None) -> ScoredClasses:
    """The classes that references are scored by.

    They are those of the file that is stated; else of `labels.toml` beside the references or in the folder above; else
    of the model; else the challenge's. Of a file `dataset.json` there the numbers are compared with the model's.

    Args:
        references: folder of references.
        stated: a `labels.toml` or `dataset.json`; None for none.
        model: the model that predicted; None if it is not named.

    Raises:
        UsageError: if the model has other classes than the references, naming the first that differs.
        DatasetError: if a file is not readable, or its set is refused.
        SpecError: if the names of an imported model cannot be told apart.
    """
    found = _without_model(references, stated, model)
    return found if model is None else replace(found, untrained=model.untrained)


def _without_model(references: Path, stated: Path | None, model: "ModelSpec | None") -> ScoredClasses:
    beside = [folder / LABELS_FILE for folder in (references, references.parent)]
    path = stated or next((path for path in beside if path.is_file()), None)
    if path is not None:
        classes = _of_file(path)
        if model is not None:
            _refuse_other_model(path, classes.label_set, model)
        return classes
    if model is None or (model.own_labels is None and _mean_the_challenges(model.labels)):
        return CHALLENGE
    own = ScoredClasses(label_set=model.label_set, tolerances_mm={}, on_reference_slices=())
    places = (folder / DESCRIPTION_FILE for folder in (references, references.parent))
    description = next((path for path in places if path.is_file()), None)
    return own if description is None else _described(description, own)


def _of_file(path: Path) -> ScoredClasses:
    label_set = label_set_of(path, read_label_file(path))
    stated = tolerances_of(path, label_set)
    is_description = path.suffix.lower() == ".json"
    if label_set.is_challenge or (is_description and _mean_the_challenges(label_set.names)):
        challenge = ScoredClasses(tolerances_mm={**TOLERANCES_MM, **stated})
        return _described(path, challenge) if is_description else challenge
    classes = ScoredClasses(label_set=label_set, tolerances_mm=stated, on_reference_slices=())
    return _described(path, classes) if is_description else classes


def _mean_the_challenges(names: Sequence[str]) -> bool:
    """Whether names, whatever their spelling, mean the challenge's classes by the challenge's codes."""
    return all(code_of_name(name) == code for code, name in enumerate(names))


def _described(path: Path, classes: ScoredClasses) -> ScoredClasses:
    """The same classes, of which references annotate those that a `dataset.json` names, by the same numbers."""
    numbers = numbers_of(path, read_label_file(path))
    ignored = numbers.pop(IGNORE_NAME, None)
    for name, number in numbers.items():
        code = classes.label_set.code_of(name)
        if code is not None and code != number:
            raise UsageError(
                f'{path}: code {number} is "{name}", which has code {code} in the label maps to score; bring both to '
                "the same codes, as `flare-train join` does"
            )
    codes = sorted({code for name in numbers if (code := classes.label_set.code_of(name))})
    described = Annotations(source=path, cases={}, default=tuple(codes))
    return replace(classes, ignored=ignored, described=described)


def _refuse_other_model(path: Path, label_set: LabelSet, model: "ModelSpec") -> None:
    for code, (ours, theirs) in enumerate(zip(label_set.names, model.labels, strict=False)):
        if code and label_set.code_of(theirs) != code:
            raise UsageError(
                f'{path}: code {code} of the references is "{ours}", and "{theirs}" in the model {model.name}; a model '
                "is scored by references of its own label set"
            )
    if len(label_set.names) != len(model.labels):
        raise UsageError(
            f"{path}: the references have {len(label_set.codes)} classes, the model {model.name} "
            f"{len(model.labels) - 1}; a model is scored by references of its own label set"
        )
