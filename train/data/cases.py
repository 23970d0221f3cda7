"""The cases of a dataset: files, annotated classes, patients, which of them validate, and which nobody labeled.

::

    dataset.json      {"labels": {"background": 0, "liver": 1, ...}, "file_ending": ".nii.gz", ...}   (nnU-Net's)
    annotated.json    {"case": [1, 14], ...}   or   {"default": [1, 2, 3], ...}
    patients.json     {"patient": ["case", "other case"]}      optional
    splits.json       {"validation": ["case"]}                 optional
    unlabeled.json    {"unlabeled": ["case"]}                  optional
    imagesTr/         case_0000.nii.gz                         or as `layout` says
    labelsTr/         case.nii.gz
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flare_infer.annotated import FILE_NAME, Annotations, read_annotations
from flare_infer.errors import DatasetError
from flare_infer.labels import CODES
from train.data.layout import NNUNET_IMAGES, find_pairs
from train.data.problems import problems_in, raise_if_any
from train.data.splits import read_patients, read_validation
from train.data.unlabeled import read_unlabeled

DESCRIPTION_FILE: Final = "dataset.json"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One CT and its label map.

    Attributes:
        name: case name, without `_0000`.
        image: file of the CT.
        labels: file of the label map.
        annotated: codes that the label map says something about, in increasing order.
        validation: whether it is kept out of everything that trains.
        unlabeled: whether its label map is wholly a model's; never of a case that validates.
    """

    name: str
    image: Path
    labels: Path
    annotated: tuple[int, ...]
    validation: bool = False
    unlabeled: bool = False


def read_cases(folder: Path) -> list[Case]:
    """All cases of a dataset, in alphabetical order; their voxels are not read.

    Raises:
        ProblemsError: naming all that `find_cases` finds wrong.
    """
    cases, problems = find_cases(folder)
    raise_if_any(problems)
    return cases


def find_cases(folder: Path) -> tuple[list[Case], list[str]]:
    """The cases of a dataset that are described well, in alphabetical order, and a line for everything that is not.

    Wrong are missing files, images without labels or labels without images, a case twice, cases whose annotated classes
    are not stated, patients on both sides of the split, validation cases with pseudo labels.
    """
    pairs, problems = find_pairs(folder)
    if not folder.is_dir():
        return [], problems
    problems += description_problems(folder)
    try:
        validation = read_validation(folder, read_patients(folder, pairs.keys()))
    except DatasetError as error:
        validation = frozenset()
        problems += problems_in(error)
    try:
        unlabeled = read_unlabeled(folder, pairs.keys(), validation)
    except DatasetError as error:
        unlabeled = frozenset()
        problems += problems_in(error)
    try:
        annotations = read_annotations(folder / FILE_NAME)
    except DatasetError as error:
        return [], [*problems, str(error)]
    cases = []
    for name, pair in pairs.items():
        try:
            annotated = annotated_codes(annotations, name)
        except DatasetError as error:
            problems.append(str(error))
        else:
            cases.append(
                Case(
                    name=name,
                    image=pair.image,
                    labels=pair.labels,
                    annotated=annotated,
                    validation=name in validation,
                    unlabeled=name in unlabeled,
                )
            )
    return cases, problems


def training_cases(cases: list[Case]) -> list[Case]:
    """The cases that do not validate."""
    return [case for case in cases if not case.validation]


def expert_cases(cases: list[Case]) -> list[Case]:
    """The cases that train with labels of experts."""
    return [case for case in training_cases(cases) if not case.unlabeled]


def untrained_codes(annotated_sets: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Classes that no case annotates: a model trained on these cases cannot know them."""
    known = {code for codes in annotated_sets for code in codes}
    return tuple(code for code in CODES if code not in known)


def description_problems(folder: Path) -> list[str]:
    """What is wrong with `dataset.json`; it must be there in nnU-Net's layout, and may be in the challenge's."""
    path = folder / DESCRIPTION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        codes = sorted(int(code) for code in content["labels"].values())
    except FileNotFoundError:
        needed = (folder / NNUNET_IMAGES).is_dir()
        return [f"{path}: missing; expected nnU-Net's dataset.json"] if needed else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{path}: expected an object with `labels` of name: code, found {error!r}"]
    if any(code not in (0, *CODES) for code in codes):
        return [f"{path}: labels {codes} go beyond 0..{CODES[-1]}; map them to the challenge's codes first"]
    return []


def annotated_codes(annotations: Annotations, name: str) -> tuple[int, ...]:
    """Codes that a case annotates, in increasing order.

    Raises:
        DatasetError: if the case is not listed, or annotates nothing.
    """
    annotated = tuple(sorted(set(annotations.codes_of(name))))
    if not annotated:
        raise DatasetError(f"{name}: annotates no class; leave it out or name its classes in annotated.json")
    return annotated
