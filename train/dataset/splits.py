"""Which cases validate, all cases of a patient on the same side of the split, and which have pseudo labels only.

::

    patients.json    {"hcc007": ["hcc007_p3", "hcc007post_p3"]}    cases of one patient; others are a patient each
    splits.json      {"validation": ["case_b", ...]}               all other cases train
    splits_final.json   [{"train": [...], "val": ["case_b"]}, ...]   nnU-Net's folds: where splits.json is missing, the
                     first one validates; where it is {"fold": 1}, the second
    unlabeled.json   {"unlabeled": ["case", ...]}                  a model drew their label maps; optional
"""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from flare_infer.errors import DatasetError, UsageError
from flare_infer.files.json_file import read_object
from flare_infer.files.write_whole import write_json
from train.problems import raise_if_any

PATIENTS_FILE: Final = "patients.json"
SPLIT_FILE: Final = "splits.json"
NNUNET_SPLIT_FILE: Final = "splits_final.json"
UNLABELED_FILE: Final = "unlabeled.json"
_VALIDATION, _UNLABELED, _FOLD = "validation", "unlabeled", "fold"


def read_patients(folder: Path, names: Collection[str]) -> dict[str, str]:
    """The patient of every case of a dataset: what `patients.json` says, else the case's own name.

    Cases that the file lists and the dataset does not hold are ignored.

    Raises:
        ProblemsError: if a case belongs to two patients, or the file has another form.
    """
    path = folder / PATIENTS_FILE
    try:
        content = read_object(path, DatasetError)
    except FileNotFoundError:
        content = {}
    problems: list[str] = []
    patients: dict[str, str] = {}
    for patient, cases in content.items():
        for case in _names_in(path, patient, cases, problems):
            if case in patients:
                problems.append(f"{path}: case {case} belongs to {patients[case]} and to {patient}; it has one patient")
            patients[case] = patient
    # An unlisted case is a patient of its own, even if a listed patient has the same name.
    known = {name: patients.get(name, f"case {name}") for name in names}
    raise_if_any(problems)
    return known


def read_validation(folder: Path, patients: Mapping[str, str]) -> frozenset[str]:
    """The validation cases of a dataset: those of its `splits.json`, else of the first fold of nnU-Net's file, if any.

    Args:
        folder: the dataset.
        patients: the patient of every case.

    Raises:
        ProblemsError: if the file names a case that is not there, one twice, all of them, or only part of a patient.
    """
    path = folder / SPLIT_FILE
    problems: list[str] = []
    if (fold := chosen_fold(folder)) is None:
        validation = _listed_names(path, _VALIDATION, patients.keys(), problems)
    else:
        path = folder / NNUNET_SPLIT_FILE
        validation = _fold_names(path, fold, patients.keys(), problems)
    held = {patients[case] for case in validation if case in patients}
    problems += [
        f"{path}: case {case} trains, but its patient {patient} validates; put all cases of a patient on one side"
        for case, patient in sorted(patients.items())
        if patient in held and case not in validation
    ]
    if patients and patients.keys() <= validation:
        problems.append(f"{path}: every case validates; none is left to train on")
    raise_if_any(problems)
    return validation


def read_unlabeled(folder: Path, names: Collection[str], validation: Collection[str]) -> frozenset[str]:
    """The names of the cases that have pseudo labels only; none if the dataset has no `unlabeled.json`.

    Args:
        folder: the dataset.
        names: names of all its cases.
        validation: names of the cases that validate.

    Raises:
        ProblemsError: if the file names a case that does not exist, a case twice, or one that validates.
    """
    path = folder / UNLABELED_FILE
    problems: list[str] = []
    unlabeled = _listed_names(path, _UNLABELED, names, problems)
    problems += [
        f"{path}: case {case} validates, but its labels are pseudo labels; a model is measured by experts' labels only"
        for case in sorted(unlabeled & set(validation))
    ]
    raise_if_any(problems)
    return unlabeled


def chosen_fold(folder: Path) -> int | None:
    """The number of nnU-Net's fold whose validation cases validate; None if `splits.json` names cases, or none do.

    Raises:
        DatasetError: if `splits.json` is not readable, or its `fold` is no whole number from 0 on.
    """
    try:
        content = read_object(folder / SPLIT_FILE, DatasetError)
    except FileNotFoundError:
        return 0 if (folder / NNUNET_SPLIT_FILE).exists() else None
    fold = content.get(_FOLD)
    if fold is not None and (type(fold) is not int or fold < 0):
        raise DatasetError(f"{folder / SPLIT_FILE}: {_FOLD}: expected a whole number from 0 on, found {fold!r}")
    return fold


def said_fold(folder: Path) -> list[str]:
    """One line that says which of nnU-Net's folds validates, if one does; else none."""
    fold = chosen_fold(folder)
    if fold is None:
        return []
    path = folder / NNUNET_SPLIT_FILE
    return [f'{path}: the cases of "val" in fold {fold} validate; {{"{_FOLD}": 1}} in {SPLIT_FILE} takes another fold']


def _fold_names(path: Path, fold: int, known: Collection[str], problems: list[str]) -> frozenset[str]:
    """The validation cases of one of nnU-Net's folds."""
    try:
        folds = json.loads(path.read_text(encoding="utf-8"))
        names = folds[fold]["val"]
    except FileNotFoundError:
        problems.append(f"{path}: missing; {SPLIT_FILE} asks for its fold {fold}")
        return frozenset()
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        problems.append(f'{path}: expected a list of folds with "val" each, {fold} among them ({error!r:.100})')
        return frozenset()
    listed = _names_in(path, f"fold {fold}", names, problems)
    problems += [f"{path}: case {case} is not in the dataset" for case in sorted(set(listed) - set(known))]
    return frozenset(listed)


def draw_validation(patients: Mapping[str, str], fraction: float, seed: int) -> frozenset[str]:
    """Draw whole patients for validation until they hold at least a fraction of the cases; one patient always trains.

    Args:
        patients: the patient of every case, by name of the case.
        fraction: least fraction of the cases that validate, between 0 and 1.
        seed: equal seeds draw equal patients.

    Raises:
        UsageError: if the fraction is out of range or there are fewer than two patients.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the fraction of validation cases must lie between 0 and 1, found {fraction}")
    order = sorted(set(patients.values()))
    if len(order) < 2:
        raise UsageError(f"a split needs at least two patients, found {len(order)}")
    np.random.default_rng(seed).shuffle(order)
    drawn: list[str] = []
    for patient in order[:-1]:
        drawn += [case for case, owner in patients.items() if owner == patient]
        if len(drawn) >= fraction * len(patients):
            break
    return frozenset(drawn)


def write_validation(folder: Path, validation: Collection[str]) -> Path:
    """Write `splits.json`; an existing one is kept, because models may have been chosen by it.

    Raises:
        UsageError: if there is one.
    """
    path = folder / SPLIT_FILE
    if os.path.lexists(path):
        raise UsageError(f"{path}: there already; delete it first if the split shall change")
    write_json(path, {_VALIDATION: sorted(validation)}, explained=False)
    return path


def _listed_names(path: Path, key: str, known: Collection[str], problems: list[str]) -> frozenset[str]:
    """The names in a file's only list, each of them once and known; none if there is no file."""
    try:
        content = read_object(path, DatasetError)
    except FileNotFoundError:
        return frozenset()
    listed = _names_in(path, key, content.get(key), problems)
    problems += [f"{path}: case {case} is listed twice" for case in sorted(set(listed)) if listed.count(case) > 1]
    problems += [f"{path}: case {case} is not in the dataset" for case in sorted(set(listed) - set(known))]
    return frozenset(listed)


def _names_in(path: Path, key: str, value: object, problems: list[str]) -> list[str]:
    """The case names that a file has under a key; none, and a line in `problems`, if they are no list of names."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    problems.append(f"{path}: {key}: expected a list of case names, found {value!r}")
    return []
