"""A folder of predictions against a folder of references: which cases and classes count, and how each scored."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from flare_eval.label_map import read_label_map
from flare_eval.overlap import dice_per_class
from flare_infer import labels
from flare_infer.annotated import FILE_NAME, Annotations, read_annotations
from flare_infer.errors import ImageError, UsageError
from flare_infer.volume import Volume, same_placement
from flare_infer.volume_io import find_images, is_image_channel

_REFERENCE_SUFFIX: Final = "_labels"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One reference with its prediction.

    Attributes:
        case: name of the case.
        reference: file of the reference.
        prediction: file of the prediction; None where it is missing.
        annotated: codes that the reference annotates.
    """

    case: str
    reference: Path
    prediction: Path | None
    annotated: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class CaseScores:
    """The scores of one case.

    Attributes:
        case: name of the case.
        dsc: DSC, 0..1, by the code of each class that counts: annotated and trained.
        untrained: codes that are annotated, but left out because the model never learned them.
        missing: whether there is no prediction, so that every class scores 0.
    """

    case: str
    dsc: Mapping[int, float]
    untrained: tuple[int, ...] = ()
    missing: bool = False


@dataclass(frozen=True, kw_only=True)
class FolderScores:
    """The scores of a folder.

    Attributes:
        predictions: folder of the predictions.
        references: folder of the references.
        annotated_from: the file that told the annotated classes; None where all classes counted in every case.
        untrained: codes that the model never learned.
        cases: the cases that were scored, a missing prediction among them.
        failed: by case that could not be scored, and is in no mean, one line that says why.
        unmatched: predictions without a reference.
    """

    predictions: Path
    references: Path
    annotated_from: Path | None
    untrained: tuple[int, ...]
    cases: tuple[CaseScores, ...]
    failed: Mapping[str, str]
    unmatched: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The cases without a prediction."""
        return tuple(scores.case for scores in self.cases if scores.missing)

    @property
    def complete(self) -> bool:
        """Whether every reference had a prediction that could be scored."""
        return not self.failed and not self.missing


Watch: TypeAlias = Callable[[Sequence[Pair]], Iterable[Pair]]
"""Hands on the pairs one by one, and may show how far it is."""


def score_folder(
    predictions: Path,
    references: Path,
    *,
    annotated: Path | None = None,
    untrained: tuple[int, ...] = (),
    watch: Watch = iter,
) -> FolderScores:
    """Score every reference that can be compared; a case that cannot is recorded and the others go on.

    Args:
        predictions: folder of predicted label maps, matched by case name.
        references: folder of reference label maps, `CASE.nii.gz` or `CASE_labels.nii.gz`.
        annotated: file of the annotated classes; None takes `annotated.json` among the references, and without that
            file every class counts in every case.
        untrained: codes to leave out, because the model never learned them.
        watch: wraps the loop over the cases, for a progress bar.

    Raises:
        UsageError: if a folder is missing, has no image, or two files of one case, or if `untrained` names a class that
            is not in `labels.CODES`.
        DatasetError: if the file of annotated classes is broken or does not cover a reference.
    """
    if not set(untrained) <= set(labels.CODES):
        raise UsageError(f"expected untrained classes within {labels.CODES[0]}..{labels.CODES[-1]}, found {untrained}")
    annotations = _annotations(references, annotated)
    predicted = find_images(predictions)
    pairs = [
        Pair(
            case=case,
            reference=path,
            prediction=predicted.get(case),
            annotated=labels.CODES if annotations is None else annotations.codes_of(case),
        )
        for case, path in _find_references(references).items()
    ]
    cases: list[CaseScores] = []
    failed: dict[str, str] = {}
    for pair in watch(pairs):
        try:
            cases.append(score_case(pair, untrained))
        except ImageError as error:
            failed[pair.case] = str(error)
    return FolderScores(
        predictions=predictions,
        references=references,
        annotated_from=None if annotations is None else annotations.source,
        untrained=untrained,
        cases=tuple(cases),
        failed=failed,
        unmatched=tuple(sorted(predicted.keys() - {pair.case for pair in pairs})),
    )


def score_case(pair: Pair, untrained: tuple[int, ...] = ()) -> CaseScores:
    """Score the annotated classes of one case, without the `untrained`; a missing prediction scores 0 in each.

    Raises:
        ImageError: if a label map is unusable or the two do not lie on the same grid.
    """
    scored = tuple(code for code in pair.annotated if code not in untrained)
    left_out = tuple(code for code in pair.annotated if code in untrained)
    if pair.prediction is None:
        return CaseScores(case=pair.case, dsc=dict.fromkeys(scored, 0.0), untrained=left_out, missing=True)
    reference = read_label_map(pair.reference)
    prediction = read_label_map(pair.prediction)
    if prediction.shape != reference.shape or not same_placement(prediction.placement, reference.placement):
        raise ImageError(
            f"{pair.prediction} ({_grid(prediction)}) does not lie on the grid of {pair.reference} ({_grid(reference)})"
        )
    dsc = dice_per_class(prediction.array_zyx, reference.array_zyx, scored)
    return CaseScores(case=pair.case, dsc=dsc, untrained=left_out)


def _annotations(references: Path, annotated: Path | None) -> Annotations | None:
    if annotated is not None:
        return read_annotations(annotated)
    beside = references / FILE_NAME
    return read_annotations(beside) if beside.exists() else None


def _find_references(folder: Path) -> dict[str, Path]:
    """The reference files by case name; `CASE_labels` is CASE, and beside it `CASE_0000` is its image."""
    files = find_images(folder)
    found = {name.removesuffix(_REFERENCE_SUFFIX): path for name, path in files.items() if _is_marked(name)}
    for case, path in files.items():
        if _is_marked(case):
            continue
        if case in found and not is_image_channel(path):
            raise UsageError(f"{folder}: {found[case].name} and {path.name} are one case, {case}; keep one of them")
        found.setdefault(case, path)
    return dict(sorted(found.items()))


def _is_marked(name: str) -> bool:
    return name.endswith(_REFERENCE_SUFFIX)


def _grid(volume: Volume) -> str:
    """A grid in words, precise enough to see two that were refused differ."""
    place = volume.placement
    spacing = ", ".join(f"{value:.6g}" for value in place.spacing_mm)
    origin = ", ".join(f"{value:.6g}" for value in place.origin_mm)
    axes = "; ".join(" ".join(f"{value:.6g}" for value in axis) for axis in place.axes)
    return f"shape {volume.shape}, spacing ({spacing}) mm, origin ({origin}) mm, axes [{axes}]"
