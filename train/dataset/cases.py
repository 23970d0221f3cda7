"""The cases of a dataset: files, annotated classes, patients, which validate, and which have pseudo labels only.

::

    dataset.json      {"labels": {"background": 0, "liver": 1, ...}, ...}      nnU-Net's, see `label_coding`
    mapping.json      {"veins": "background", ...}             optional, see `label_mapping`
    annotated.json    {"case": [1, 14], ...}   or   {"default": [1, 2, 3], ...}
    patients.json     {"patient": ["case", "other case"]}      optional
    splits.json       {"validation": ["case"]}                 optional
    unlabeled.json    {"unlabeled": ["case"]}                  optional
    imagesTr/         case_0000.nii.gz                         or as `layout` says
    labelsTr/         case.nii.gz
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flare_eval.label_maps.annotations import FILE_NAME, Annotations, read_annotations
from flare_infer.errors import DatasetError
from flare_infer.files.label_set_file import DESCRIPTION_FILE, LABELS_FILE
from flare_infer.label_set import FLARE23, LabelSet
from flare_infer.labels import BACKGROUND, IGNORED
from train.dataset.label_coding import CHALLENGE_CODING, LabelCoding, read_coding
from train.dataset.label_mapping import LabelMapping
from train.dataset.layout import find_pairs
from train.dataset.splits import read_patients, read_unlabeled, read_validation
from train.problems import collected, raise_if_any


@dataclass(frozen=True, kw_only=True)
class Case:
    """One CT and its label map.

    Attributes:
        name: case name, without `_0000`.
        image: path of the CT.
        labels: path of the label map.
        annotated: codes of the classes that were looked for when the label map was drawn, in increasing order.
        validation: whether the case validates, and is kept out of all training.
        unlabeled: whether a model drew the whole label map; never true of a case that validates.
        coding: what the numbers in the label map mean; `annotated` is in the codes of its label set.
    """

    name: str
    image: Path
    labels: Path
    annotated: tuple[int, ...]
    validation: bool = False
    unlabeled: bool = False
    coding: LabelCoding = CHALLENGE_CODING

    @property
    def label_set(self) -> LabelSet:
        """The classes of its dataset."""
        return self.coding.label_set


def read_cases(folder: Path, mapping: LabelMapping | None = None) -> list[Case]:
    """All cases of a dataset, in alphabetical order; their voxels are not read.

    Args:
        folder: the dataset.
        mapping: the mapping given with `--map`; None takes the one that the dataset keeps, if it does.

    Raises:
        ProblemsError: naming all that `cases_and_problems` finds wrong.
    """
    cases, problems = cases_and_problems(folder, mapping)
    raise_if_any(problems)
    return cases


def cases_and_problems(folder: Path, mapping: LabelMapping | None = None) -> tuple[list[Case], list[str]]:
    """The cases of a dataset that can be used as described, and what is wrong with the others.

    Wrong are missing files, images without labels or labels without images, a case that occurs twice, cases whose
    annotated classes are not stated, patients on both sides of the split, validation cases with pseudo labels, and what
    `read_coding` finds.

    Args:
        folder: the dataset.
        mapping: the mapping given with `--map`; None takes the one that the dataset keeps, if it does.

    Returns:
        the cases in alphabetical order, and one line for each problem.
    """
    pairs, problems = find_pairs(folder)
    if not folder.is_dir():
        return [], problems
    coding = annotations = None
    validation = unlabeled = frozenset[str]()
    with collected(problems):
        coding = read_coding(folder, mapping)
    with collected(problems):
        validation = read_validation(folder, read_patients(folder, pairs.keys()))
    with collected(problems):
        unlabeled = read_unlabeled(folder, pairs.keys(), validation)
    if coding is not None or not (folder / LABELS_FILE).exists():
        with collected(problems):
            annotations = read_dataset_annotations(folder, coding or CHALLENGE_CODING)
    cases: list[Case] = []
    if coding is None or annotations is None:
        return cases, problems
    for name, pair in pairs.items():
        with collected(problems):
            case = Case(
                name=name,
                image=pair.image,
                labels=pair.labels,
                annotated=annotated_codes(annotations, name),
                validation=name in validation,
                unlabeled=name in unlabeled,
                coding=coding,
            )
            cases.append(case)
    return cases, problems


def training_cases(cases: list[Case]) -> list[Case]:
    """The cases that do not validate."""
    return [case for case in cases if not case.validation]


def expert_cases(cases: list[Case]) -> list[Case]:
    """The cases that train with labels of experts."""
    return [case for case in training_cases(cases) if not case.unlabeled]


def label_set_of_cases(cases: Sequence[Case]) -> LabelSet:
    """The classes of the cases of one dataset."""
    return cases[0].label_set if cases else FLARE23


def untrained_codes(annotated_sets: list[tuple[int, ...]], label_set: LabelSet = FLARE23) -> tuple[int, ...]:
    """Codes of the classes that no case annotates, which a model trained on these cases cannot learn."""
    known = {code for codes in annotated_sets for code in codes}
    return tuple(code for code in label_set.codes if code not in known)


def read_dataset_annotations(folder: Path, coding: LabelCoding) -> Annotations:
    """What the cases of a dataset annotate, by its `annotated.json`.

    Without that file every case of a dataset with another label set than the challenge's annotates the classes that its
    `dataset.json` names, as in nnU-Net.

    Raises:
        DatasetError: if the file cannot be read, or is missing in a dataset of the challenge's classes.
    """
    if coding.label_set.is_challenge or (folder / FILE_NAME).exists() or not (folder / DESCRIPTION_FILE).exists():
        return read_annotations(folder / FILE_NAME, coding.label_set)
    return Annotations(source=folder / DESCRIPTION_FILE, cases={}, default=described_codes(coding))


def described_codes(coding: LabelCoding) -> tuple[int, ...]:
    """Codes of the classes that the numbers of a coding mean, in increasing order."""
    return tuple(sorted({code for _, code in coding.codes} - {BACKGROUND, IGNORED}))


def annotated_codes(annotations: Annotations, name: str) -> tuple[int, ...]:
    """Codes that a case annotates, in increasing order.

    Raises:
        DatasetError: if the case is not listed, or annotates no class.
    """
    annotated = tuple(sorted(set(annotations.codes_of(name))))
    if not annotated:
        raise DatasetError(f"{name}: annotates no class; leave it out or name its classes in annotated.json")
    return annotated
