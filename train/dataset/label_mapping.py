"""The file given with `--map`, JSON or TOML: which classes of a label set a dataset's classes are.

::

    {"veins": "background", "tumour bed": "tumor", "15": 0, "*": "background"}

Keys are a dataset's names or codes; values are names or codes of the label set, background for what is none of its
classes. `*` stands for every name that is not known otherwise. Several names may be mapped to one class.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flare_infer.errors import DatasetError, UsageError
from flare_infer.files.json_file import read_object
from flare_infer.files.label_set_file import (
    DESCRIPTION_FILE,
    LABELS_FILE,
    read_label_set,
    write_label_set,
)
from flare_infer.files.write_whole import write_json
from flare_infer.label_set import FLARE23, IGNORE_NAME, LabelSet
from flare_infer.labels import BACKGROUND, IGNORED
from train.config_file import read_toml
from train.problems import ProblemsError, raise_if_any

MAPPING_FILE: Final = "mapping.json"
"""Name of the file in which a dataset keeps the mapping that it was confirmed with."""

LARGEST_NUMBER: Final = 65535
"""Largest number of a label that is read."""

OTHERS: Final = "*"
"""The key for every name that is not known otherwise."""


@dataclass(frozen=True, kw_only=True)
class LabelMapping:
    """A mapping of a dataset's classes to those of a label set.

    Attributes:
        source: path of its file, for errors.
        codes: the set's code for each name or code of the dataset, written as in the file.
    """

    source: Path
    codes: Mapping[str, int]


def dataset_label_set(folder: Path) -> LabelSet:
    """The label set of a dataset: what its `labels.toml` says, else the challenge's.

    Raises:
        DatasetError: if the file is not readable, or its set is refused.
    """
    path = folder / LABELS_FILE
    return read_label_set(path) if path.exists() else FLARE23


def keep_own_labels(folder: Path) -> Path:
    """Write the classes that a dataset names as its label set, to be completed by hand; the path of the file.

    Raises:
        UsageError: if the dataset has a label set already, or no `dataset.json`.
        DatasetError: if that is not readable, or its classes are refused.
    """
    path = folder / LABELS_FILE
    if os.path.lexists(path):
        raise UsageError(f"{path}: there already, and kept; complete it by hand, or delete it first")
    if not (folder / DESCRIPTION_FILE).is_file():
        raise UsageError(f"{folder}: no {DESCRIPTION_FILE} here to take the names of classes from")
    write_label_set(path, read_label_set(folder / DESCRIPTION_FILE))
    return path


def read_mapping(path: Path, label_set: LabelSet = FLARE23) -> LabelMapping:
    """Read a mapping; a name that ends in .toml is TOML, any other JSON.

    Args:
        path: the file.
        label_set: the classes that it maps to.

    Raises:
        DatasetError, UsageError: if the file cannot be read, or is neither.
        ProblemsError: naming every value that is no class of the set.
    """
    try:
        content = read_toml(path) if path.suffix.lower() == ".toml" else read_object(path, DatasetError)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file; expected a mapping of classes, JSON or TOML") from error
    codes = {key.strip(): _code(value, label_set) for key, value in content.items()}
    whose = "the challenge" if label_set.is_challenge else "its label set"
    raise_if_any(
        f'{path}: "{key}" is mapped to {value!r}, which is no class of {whose}; expected one of '
        f"{', '.join(label_set.names)}, or a code {BACKGROUND}..{label_set.codes[-1]}"
        for key, value in content.items()
        if codes[key.strip()] is None
    )
    return LabelMapping(source=path, codes={key: code for key, code in codes.items() if code is not None})


def described_numbers(path: Path, content: Mapping[str, Any]) -> dict[str, int]:
    """The numbers of a `dataset.json` by name; each is a whole number and belongs to one name.

    Raises:
        ProblemsError: naming every label of which this is not true, regions among them.
    """
    found = content.get("labels")
    if not isinstance(found, dict) or not found:
        raise ProblemsError([f"{path}: expected an object `labels` of name: code, found {found!r}"])
    if all(key.strip().isdigit() and isinstance(value, str) for key, value in found.items()):
        turned = ", ".join(f'"{value}": {int(key)}' for key, value in found.items())
        raise ProblemsError(
            [
                f"{path}: labels are written as nnU-Net's version 1 has them, code: name; write name: code: "
                f'"labels": {{{turned}}}'
            ]
        )
    raise_if_any(
        f'{path}: "{name}" is a region, of the labels {value!r}: regions are not supported; give each label its own '
        "name and code, and leave regions_class_order out"
        for name, value in found.items()
        if isinstance(value, list)
    )
    problems = [
        f"{path}: {name}: expected a whole number from 0 to {LARGEST_NUMBER} as its code, found {value!r}"
        for name, value in found.items()
        if type(value) is not int or not 0 <= value <= LARGEST_NUMBER
    ]
    raise_if_any(problems)
    by_code: dict[int, list[str]] = {}
    for name, code in found.items():
        by_code.setdefault(code, []).append(name)
    raise_if_any(
        f"{path}: code {code} has several names, {_quoted(names)}; one code is one class"
        for code, names in sorted(by_code.items())
        if len(names) > 1
    )
    return dict(found)


def keep_mapping(folder: Path, mapping: LabelMapping, label_set: LabelSet = FLARE23) -> Path:
    """Write a mapping into the dataset that it was confirmed for, so that later commands find it.

    Args:
        folder: the dataset.
        mapping: what to write.
        label_set: the classes that it maps to.

    Returns:
        path of the file.

    Raises:
        UsageError: if the file cannot be written.
    """
    path = folder / MAPPING_FILE
    content = {key: IGNORE_NAME if code == IGNORED else label_set.names[code] for key, code in mapping.codes.items()}
    write_json(path, content)
    return path


def _code(value: object, label_set: LabelSet) -> int | None:
    if type(value) is int:
        return value if value in (BACKGROUND, *label_set.codes) else None
    if not isinstance(value, str):
        return None
    if value.strip().casefold() == IGNORE_NAME:
        return IGNORED
    return _code(int(value), label_set) if value.strip().isdigit() else label_set.code_of(value)


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
