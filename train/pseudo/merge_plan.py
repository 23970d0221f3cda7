"""The plan of a merged dataset: the labels of every case and every problem, before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from flare_infer.errors import SpecError, UsageError
from flare_infer.formats.volume_io import find_images
from flare_infer.label_set import FLARE23, LabelSet
from flare_infer.model.model_file import read_model_file
from train.dataset.cases import Case, cases_and_problems
from train.dataset.label_coding import CHALLENGE_CODING, LabelCoding, own_coding
from train.dataset.splits import read_patients, read_validation
from train.differences import some_of
from train.problems import collected, raise_if_any
from train.pseudo.fill import fillable_organs
from train.pseudo.select import Selection

Fill: TypeAlias = Literal["tumor_only", "partial", "none"]
"""Which expert cases get a model's organs: those that annotate tumor and no organ (the paper), all that lack organs
which the model was trained for, or none."""

MergeKind: TypeAlias = Literal["expert", "filled", "keep_tumor", "host"]
"""The labels of a merged case: an expert's labels unchanged, an expert's labels with a model's organs, a model's labels
with tumors, or a model's labels without tumors."""


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """Sources of pseudo labels; those that are None are not used.

    Attributes:
        organs: folder of the fine model's label maps of the expert cases that are filled, CASE.nii.gz; it may hold more
            cases.
        fill: which expert cases are filled.
        images: folder of the unlabeled CTs, CASE_0000.nii.gz.
        labels: folder of the fine model's label maps of them, CASE.nii.gz.
        selection: which of the unlabeled cases are used.
        known: codes that the fine model was trained for; other codes of it are ignored and do not count as annotated.
        label_set: the classes of the dataset and of the model.
    """

    organs: Path | None = None
    fill: Fill = "tumor_only"
    images: Path | None = None
    labels: Path | None = None
    selection: Selection | None = None
    known: tuple[int, ...] = FLARE23.codes
    label_set: LabelSet = FLARE23

    def __post_init__(self) -> None:
        if self.fill != "none" and self.organs is None:
            raise SpecError(f"to fill {self.fill} cases, name the folder of the fine model's organs, or fill none")
        if self.selection is not None and (self.images is None or self.labels is None):
            raise SpecError("a selection of unlabeled cases needs the folder of their images and that of their labels")
        if (
            self.selection is not None
            and self.selection.keep_tumor
            and not _some(self.label_set.lesion_codes, self.known)
        ):
            raise SpecError("the model was not trained for tumors: select no case that keeps them")


@dataclass(frozen=True, kw_only=True)
class MergedCase:
    """One case of a merged dataset.

    Attributes:
        name: name of the case.
        kind: which labels it has.
        image: path of the CT.
        expert: path of the expert's label map; None for an unlabeled case.
        predicted: path of the model's label map; None if it is not used.
        annotated: codes that the merged label map annotates.
        expert_annotated: codes that the expert annotated.
        known: codes that the model was trained for.
        coding: what the numbers in the expert's label map mean; the merged one is in the codes of its label set.
    """

    name: str
    kind: MergeKind
    image: Path
    expert: Path | None
    predicted: Path | None
    annotated: tuple[int, ...]
    expert_annotated: tuple[int, ...] = ()
    known: tuple[int, ...] = FLARE23.codes
    coding: LabelCoding = CHALLENGE_CODING


def _some(codes: Sequence[int], among: Sequence[int]) -> bool:
    return bool(set(codes) & set(among))


def known_codes(weights: Path | None, label_set: LabelSet = FLARE23) -> tuple[int, ...]:
    """Codes that a model was trained for; all of them without a weights directory.

    Args:
        weights: the weights directory; None for none.
        label_set: the classes of the dataset.

    Raises:
        SpecError: if the directory holds no model.json.
        UsageError: if the model has other classes than the dataset.
    """
    if weights is None:
        return label_set.codes
    spec = read_model_file(weights).spec
    if spec.labels != label_set.names:
        there, here = (set(names) for names in (spec.labels, label_set.names))
        differing = some_of(sorted(there ^ here), between=", ") or "they have another order"
        raise UsageError(
            f"{weights}: a model of other classes than the dataset's ({differing}); its labels fill in nothing"
        )
    return tuple(code for code in label_set.codes if code not in spec.untrained)


def plan_merge(dataset: Path, pseudo: PseudoLabels) -> tuple[list[MergedCase], list[str]]:
    """The cases of the merged dataset, in alphabetical order, and the names of those with pseudo labels only.

    Validation cases stay unchanged.

    Raises:
        ProblemsError: naming every problem of the dataset, every missing label map, image or folder, every selected
            case that the dataset holds already, and every selected case whose patient validates.
    """
    cases, problems = cases_and_problems(dataset)
    needed = pseudo.organs if any(is_filled(case, pseudo.fill, pseudo.known) for case in cases) else None
    predicted = {} if needed is None else _found(needed, problems)
    merged = [_of_expert(case, pseudo, predicted, problems) for case in cases]
    selected = _selected(pseudo, {case.name for case in cases}, problems)
    names = [case.name for case in (*merged, *selected)]
    with collected(problems):
        read_validation(dataset, read_patients(dataset, names))
    raise_if_any(dict.fromkeys(problems))
    unlabeled = [case.name for case in cases if case.unlabeled] + [case.name for case in selected]
    return sorted((*merged, *selected), key=lambda case: case.name), sorted(unlabeled)


def _of_expert(case: Case, pseudo: PseudoLabels, predicted: Mapping[str, Path], problems: list[str]) -> MergedCase:
    filled = is_filled(case, pseudo.fill, pseudo.known)
    if filled and case.name not in predicted:
        problems.append(f"{case.name}: no label map in {pseudo.organs}; predict it with the fine model first")
    organs = fillable_organs(case.annotated, pseudo.known, case.label_set) if filled else ()
    return MergedCase(
        name=case.name,
        kind="filled" if filled else "expert",
        image=case.image,
        expert=case.labels,
        predicted=predicted.get(case.name) if filled else None,
        annotated=tuple(sorted((*case.annotated, *organs))),
        expert_annotated=case.annotated,
        known=pseudo.known,
        coding=case.coding,
    )


def is_filled(case: Case, fill: Fill, known: Sequence[int] | None = None) -> bool:
    """Whether an expert case gets organs of a model that was trained for the `known` codes; None means for all."""
    if case.validation or case.unlabeled or fill == "none":
        return False
    labels = case.label_set
    tumor_only = _some(labels.lesion_codes, case.annotated) and not _some(labels.organs, case.annotated)
    known = labels.codes if known is None else known
    return bool(fillable_organs(case.annotated, known, labels)) and (tumor_only or fill == "partial")


def _selected(pseudo: PseudoLabels, taken: set[str], problems: list[str]) -> list[MergedCase]:
    selection = pseudo.selection
    if selection is None or pseudo.images is None or pseudo.labels is None:
        return []
    images, labels = _found(pseudo.images, problems), _found(pseudo.labels, problems)
    cases = []
    for name in selection.names:
        if name in taken:
            problems.append(f"{name}: selected as unlabeled, but the dataset holds a case of that name")
        lacking = [
            f"{name}: no {what} in {folder}"
            for what, folder, found in (("image", pseudo.images, images), ("label map", pseudo.labels, labels))
            if name not in found
        ]
        problems += lacking
        if not lacking:
            kind: MergeKind = "keep_tumor" if name in selection.keep_tumor else "host"
            cases.append(_of_model(name, kind, images[name], labels[name], pseudo))
    return cases


def _of_model(name: str, kind: MergeKind, image: Path, labels: Path, pseudo: PseudoLabels) -> MergedCase:
    # In a host the model's tumors are turned into background, so tumor counts as annotated.
    label_set = pseudo.label_set
    organs = [code for code in label_set.organs if code in pseudo.known]
    return MergedCase(
        name=name,
        kind=kind,
        image=image,
        expert=None,
        predicted=labels,
        annotated=tuple(sorted((*organs, *label_set.lesion_codes))),
        known=pseudo.known,
        coding=own_coding(label_set),
    )


def _found(folder: Path, problems: list[str]) -> dict[str, Path]:
    images: dict[str, Path] = {}
    with collected(problems):
        images = find_images(folder)
    return images
