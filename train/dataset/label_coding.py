"""What the numbers in a dataset's label maps mean: names decide, not numbers.

::

    dataset.json    {"labels": {"background": 0, "spleen": 1, "veins": 2}, ...}      nnU-Net's (version 2)
    mapping.json    {"veins": "background"}      optional, kept by `flare-train scan --map --write`; see `label_mapping`

    labels.toml     the label set, where it is not the challenge's; see `flare_infer.label_set`

Label maps are turned into the codes of the label set as they are read. Everything else, such as `annotated.json`, is in
these codes. A class called `ignore` marks voxels about which nothing is known, as in nnU-Net.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_eval.label_maps.label_map import integer_planes, label_codes
from flare_infer.errors import DatasetError, ImageError
from flare_infer.files.json_file import read_object
from flare_infer.files.label_set_file import DESCRIPTION_FILE
from flare_infer.label_set import FLARE23, IGNORE_NAME, LabelSet
from flare_infer.labels import BACKGROUND, IGNORED
from train.dataset.label_mapping import (
    LARGEST_NUMBER,
    MAPPING_FILE,
    OTHERS,
    LabelMapping,
    dataset_label_set,
    described_numbers,
    read_mapping,
)
from train.dataset.layout import NNUNET_IMAGES
from train.differences import some_of
from train.problems import ProblemsError, raise_if_any

_UNNAMED: Final = 255


@dataclass(frozen=True, kw_only=True)
class LabelCoding:
    """What the numbers in label maps mean.

    Attributes:
        names: pairs of a number and the dataset's name for it, in increasing order of the numbers.
        codes: pairs of a number and the set's code for it, in the same order; the code may be background or IGNORED.
        label_set: the classes.
    """

    names: tuple[tuple[int, str], ...]
    codes: tuple[tuple[int, int], ...]
    label_set: LabelSet = FLARE23

    @property
    def translates(self) -> bool:
        """Whether any number differs from its code, so that label maps have to be translated."""
        return any(number != code for number, code in self.codes)

    def in_words(self) -> str:
        """Every number that differs from its code, with its name, for people."""
        names = dict(self.names)
        return ", ".join(
            f"{number} {names.get(number, '')} is {self._said(code)}".replace("  ", " ")
            for number, code in self.codes
            if number != code
        )

    def _said(self, code: int) -> str:
        name = class_name(code, self.label_set)
        return f"{code} {name}" if BACKGROUND < code < IGNORED else name


def class_name(code: int, label_set: LabelSet) -> str:
    """Name of a code in label maps: that of a class, or of what is to be ignored."""
    return IGNORE_NAME if code == IGNORED else label_set.names[code]


def own_coding(label_set: LabelSet) -> LabelCoding:
    """The coding of label maps that hold the codes of a label set."""
    names = label_set.names
    codes = tuple((code, code) for code in range(len(names)))
    return LabelCoding(names=tuple(enumerate(names)), codes=codes, label_set=label_set)


CHALLENGE_CODING: Final = own_coding(FLARE23)
"""The challenge's own numbers: the coding of a dataset that states no other."""


def read_coding(folder: Path, mapping: LabelMapping | None = None, label_set: LabelSet | None = None) -> LabelCoding:
    """What the numbers in a dataset's label maps mean, by `dataset.json`, and by a mapping where its names are unknown.

    Args:
        folder: the dataset.
        mapping: the mapping given with `--map`; None takes the one that the dataset keeps in `mapping.json`, if any.
        label_set: the classes; None takes those of `dataset_label_set`.

    Raises:
        ProblemsError: naming every class that is none of the set's, occurs twice, or has no whole number; if
            `dataset.json` is missing in nnU-Net's layout or not readable; if the mapping does not fit the dataset, or
            differs from the one that the dataset keeps.
    """
    path = folder / DESCRIPTION_FILE
    try:
        named = described_numbers(path, read_object(path, DatasetError))
    except FileNotFoundError:
        if (folder / NNUNET_IMAGES).is_dir():
            raise ProblemsError([f"{path}: missing; expected nnU-Net's dataset.json"]) from None
        named = None
    label_set = label_set or dataset_label_set(folder)
    kept = read_mapping(folder / MAPPING_FILE, label_set) if (folder / MAPPING_FILE).exists() else None
    if mapping is None:
        return _coding(path, named, kept, label_set)
    coding = _coding(path, named, mapping, label_set)
    if kept is not None and (before := _coding(path, named, kept, label_set)).codes != coding.codes:
        raise ProblemsError(
            [
                f"{mapping.source}: not what {kept.source} says, which this dataset was confirmed with "
                f"({_said_difference(before, coding)}); leave --map out, or delete that file and annotated.json, and "
                "scan again"
            ]
        )
    return coding


def to_challenge_codes(array_zyx: npt.NDArray[Any], coding: LabelCoding, name: str) -> npt.NDArray[np.uint8]:
    """Translate a label map into the codes of its label set.

    Args:
        array_zyx: whole numbers of any type (z, y, x).
        coding: what they mean.
        name: what the label map is called in errors.

    Returns:
        codes (z, y, x), uint8.

    Raises:
        ImageError: if a value is no whole number, or one that the dataset does not name.
    """
    if coding == CHALLENGE_CODING:
        return label_codes(array_zyx, name)
    numbers = np.array([number for number, _ in coding.codes])
    table = np.full(int(numbers.max()) + 2, _UNNAMED, dtype=np.uint8)
    table[numbers] = [code for _, code in coding.codes]
    codes = np.empty(array_zyx.shape, dtype=np.uint8)
    unnamed: set[int] = set()
    for plane, out in zip(integer_planes(array_zyx, name), codes, strict=True):
        # Numbers beyond the table are read from its last entry, which belongs to no number.
        inside = (plane >= 0) & (plane < len(table))
        out[...] = table[np.where(inside, plane, len(table) - 1).astype(np.intp)]
        if (out == _UNNAMED).any():
            unnamed |= {int(value) for value in np.unique(plane[out == _UNNAMED])}
    if unnamed:
        known = ", ".join(f"{number} {label}".strip() for number, label in coding.names)
        raise ImageError(
            f"{name}: holds {', '.join(map(str, sorted(unnamed)))}, which {DESCRIPTION_FILE} does not name; it names "
            f"{known}"
        )
    return codes


def challenge_description(content: Mapping[str, Any], coding: LabelCoding = CHALLENGE_CODING) -> dict[str, Any]:
    """A `dataset.json` for label maps that were turned into the codes of a label set, by default the challenge's."""
    named = {name: code for code, name in enumerate(coding.label_set.names)}
    ignored = {IGNORE_NAME: IGNORED} if any(code == IGNORED for _, code in coding.codes) else {}
    return {**content, "labels": {**named, **ignored}}


def new_description(cases: int, coding: LabelCoding = CHALLENGE_CODING) -> dict[str, Any]:
    """A `dataset.json` for so many cases with label maps in the codes of a label set, by default the challenge's."""
    start = challenge_description({"channel_names": {"0": "CT"}}, coding)
    return {**start, "numTraining": cases, "file_ending": ".nii.gz"}


def _coding(
    path: Path, named: Mapping[str, int] | None, mapping: LabelMapping | None, label_set: LabelSet
) -> LabelCoding:
    if named is not None:
        return _by_names(path, named, mapping, label_set)
    return own_coding(label_set) if mapping is None else _by_numbers(mapping, label_set)


def _by_names(path: Path, named: Mapping[str, int], mapping: LabelMapping | None, label_set: LabelSet) -> LabelCoding:
    """The coding of named classes; what the mapping says of a name or a number takes precedence."""
    chosen = {} if mapping is None else _chosen(named, mapping)
    others = None if mapping is None else mapping.codes.get(OTHERS)

    # Each name gets the code that the mapping gives it, else the one that it means by itself, else that of all others.
    codes: dict[str, int] = {}
    problems: list[str] = []
    for name, number in sorted(named.items(), key=lambda item: item[1]):
        by_name = IGNORED if name.casefold() == IGNORE_NAME else label_set.code_of(name)
        code = chosen.get(name, others if by_name is None else by_name)
        if code is None:
            problems.append(_unknown(path, name, number, label_set))
        else:
            codes[name] = code

    # Two names of one class are a mistake, unless the mapping says of both that they are.
    for code in label_set.codes:
        twins = [name for name, found in codes.items() if found == code]
        if len(twins) > 1 and not all(name in chosen for name in twins):
            listed = " and ".join(f'{named[name]} "{name}"' for name in twins)
            problems.append(
                f"{path}: {listed} are both {label_set.names[code]}; say of each what it is with --map FILE"
            )
    raise_if_any(problems)

    # Background is 0 where no name says otherwise. What amounts to the challenge's own coding is that coding, so that
    # stores of data sets with and without names are compared as equal.
    pairs = {named[name]: code for name, code in codes.items()} | ({} if 0 in named.values() else {0: BACKGROUND})
    names = {number: name for name, number in named.items()} | (
        {} if 0 in named.values() else {0: label_set.names[BACKGROUND]}
    )
    own = own_coding(label_set)
    by_itself = all(label_set.code_of(name) == code for name, code in codes.items())
    if by_itself and pairs == dict(own.codes):
        return own
    return LabelCoding(names=tuple(sorted(names.items())), codes=tuple(sorted(pairs.items())), label_set=label_set)


def _chosen(named: Mapping[str, int], mapping: LabelMapping) -> dict[str, int]:
    """What a mapping says of a dataset's names, by name or by number."""
    problems: list[str] = []
    chosen: dict[str, int] = {}
    for key, code in mapping.codes.items():
        if key == OTHERS:
            continue
        meant = [name for name, number in named.items() if name == key] or [
            name for name, number in named.items() if key.isdigit() and number == int(key)
        ]
        if not meant:
            known = ", ".join(f'{number} "{name}"' for name, number in sorted(named.items(), key=lambda item: item[1]))
            problems.append(f'{mapping.source}: "{key}" is neither a name nor a code of {DESCRIPTION_FILE}: {known}')
        for name in meant:
            if name in chosen:
                problems.append(f'{mapping.source}: "{name}" is mapped by its name and by its code; once is enough')
            chosen[name] = code
    raise_if_any(problems)
    return chosen


def _by_numbers(mapping: LabelMapping, label_set: LabelSet) -> LabelCoding:
    """The coding of a dataset without names: numbers that the mapping does not mention are the set's codes."""
    raise_if_any(
        f'{mapping.source}: "{key}" is no code, and without {DESCRIPTION_FILE} there are no names; map codes'
        for key in mapping.codes
        if not key.isdigit() or int(key) > LARGEST_NUMBER
    )
    own = own_coding(label_set)
    codes = dict(own.codes) | {int(key): code for key, code in mapping.codes.items()}
    names = {number: dict(own.names).get(number, "") for number in codes}
    if codes == dict(own.codes):
        return own
    return LabelCoding(names=tuple(sorted(names.items())), codes=tuple(sorted(codes.items())), label_set=label_set)


def _unknown(path: Path, name: str, number: int, label_set: LabelSet) -> str:
    if not label_set.is_challenge:
        known = some_of(label_set.names[1:], 10, ", ")
        return (
            f'{path}: code {number} is "{name}", which is none of the label set ({known}); add it there, or '
            f'say what it is with --map FILE, for example {{"{name}": "background"}}'
        )
    names = label_set.names
    ours = f"{number} is {names[number]} in the challenge" if number < len(names) else f"the challenge has no {number}"
    return (
        f'{path}: code {number} is "{name}", {ours}: no class of that name is known; say what it is with --map FILE '
        f'(`flare-train scan --write` keeps it), for example {{"{name}": "background"}}; to train a model of these '
        "classes instead, let `flare-train scan --own-labels` write them as a label set"
    )


def _said_difference(before: LabelCoding, now: LabelCoding) -> str:
    old, new = dict(before.codes), dict(now.codes)
    differing = [number for number in sorted(old.keys() | new.keys()) if old.get(number) != new.get(number)]
    return ", ".join(
        f"{number} is {_name(old.get(number), now.label_set)} there and {_name(new.get(number), now.label_set)} here"
        for number in differing
    )


def _name(code: int | None, label_set: LabelSet) -> str:
    return "nothing" if code is None else class_name(code, label_set)
