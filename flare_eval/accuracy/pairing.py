"""Which prediction belongs to which reference, and which classes the reference annotates."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flare_eval.accuracy.classes import CHALLENGE, ScoredClasses
from flare_eval.label_maps.annotations import FILE_NAME, Annotations, read_annotations
from flare_infer.errors import UsageError
from flare_infer.formats.volume_io import find_images, is_image_channel

_SUFFIX: Final = "_labels"
_NAMES_SHOWN: Final = 3


@dataclass(frozen=True, kw_only=True)
class PredictionPair:
    """One reference with its prediction.

    Attributes:
        case: name of the case.
        reference: file of the reference.
        prediction: file of the prediction; None if it is missing.
        annotated: codes of the classes that the reference annotates.
        classes: how classes are scored.
    """

    case: str
    reference: Path
    prediction: Path | None
    annotated: tuple[int, ...]
    classes: ScoredClasses = CHALLENGE


@dataclass(frozen=True, kw_only=True)
class PairedFolders:
    """The pairs of a folder of predictions and a folder of references.

    Attributes:
        pairs: one for each reference, sorted by case name.
        annotated_from: file in which the annotated classes were read; None if all classes count in every case.
        unmatched: case names of the predictions without a reference.
    """

    pairs: tuple[PredictionPair, ...]
    annotated_from: Path | None
    unmatched: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the cases without a prediction."""
        return tuple(pair.case for pair in self.pairs if pair.prediction is None)


def pair_folders(
    predictions: Path, references: Path, annotations: Annotations | None, classes: ScoredClasses = CHALLENGE
) -> PairedFolders:
    """Match two folders by case name.

    Args:
        predictions: folder of predicted label maps.
        references: folder of references, `CASE.nii.gz` or `CASE_labels.nii.gz`.
        annotations: the annotated classes of each case; None if all classes count in every case.
        classes: the classes.

    Raises:
        UsageError: if a folder is missing, has no image or two files of one case, or if no case is in both.
        DatasetError: if the annotations do not cover a reference.
    """
    predicted = find_images(predictions)
    found = find_references(references)
    if not predicted.keys() & found.keys():
        raise UsageError(
            f"{predictions} ({_named(list(predicted))}) and {references} ({_named(list(found))}) have no case name in "
            "common; predictions are matched to references by name"
        )
    return PairedFolders(
        pairs=tuple(
            PredictionPair(
                case=case,
                reference=path,
                prediction=predicted.get(case),
                annotated=classes.label_set.codes if annotations is None else annotations.codes_of(case),
                classes=classes,
            )
            for case, path in found.items()
        ),
        annotated_from=None if annotations is None else annotations.source,
        unmatched=tuple(sorted(predicted.keys() - found.keys())),
    )


def find_annotations(
    references: Path, annotated: Path | None, classes: ScoredClasses = CHALLENGE
) -> Annotations | None:
    """Read the annotated classes.

    Args:
        references: folder of references, which may hold `annotated.json`.
        annotated: file to read instead; None for that of the references.
        classes: the classes.

    Returns:
        the annotations; None if no file is given and the references hold none, nor a description of them all.

    Raises:
        DatasetError: if the file cannot be read or is not of its form.
    """
    if annotated is not None:
        return read_annotations(annotated, classes.label_set)
    beside = references / FILE_NAME
    return read_annotations(beside, classes.label_set) if beside.exists() else classes.described


def find_references(folder: Path) -> dict[str, Path]:
    """The reference files by case name: `CASE_labels` is the reference of CASE, and `CASE_0000` beside it is its image.

    Raises:
        UsageError: if the folder is missing, has no image, or two references of one case.
    """
    files = find_images(folder)
    found = {name.removesuffix(_SUFFIX): path for name, path in files.items() if name.endswith(_SUFFIX)}
    for case, path in files.items():
        if case.endswith(_SUFFIX):
            continue
        if case in found and not is_image_channel(path):
            raise UsageError(f"{folder}: {found[case].name} and {path.name} are one case, {case}; keep one of them")
        found.setdefault(case, path)
    return dict(sorted(found.items()))


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"{shown}, ..." if len(names) > _NAMES_SHOWN else shown
