"""What the numbers in a dataset's label maps mean: names decide, not numbers.

::

    dataset.json    {"labels": {"background": 0, "spleen": 1, "veins": 2}, ...}      nnU-Net's (version 2)
    mapping.json    {"veins": "background"}      optional, kept by `flare-train scan --map --write`; see `label_mapping`

Label maps are turned into the challenge's codes as they are read. Everything else, such as `annotated.json`, is in the
challenge's codes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_eval.label_maps.label_map import integer_planes, label_codes
from flare_infer.class_names import code_of_name
from flare_infer.errors import DatasetError, ImageError
from flare_infer.files.json_file import read_object
from flare_infer.labels import BACKGROUND, CODES, NAMES
from train.dataset.label_mapping import MAPPING_FILE, OTHERS, LabelMapping, read_mapping
from train.dataset.layout import NNUNET_IMAGES
from train.problems import ProblemsError, raise_if_any

DESCRIPTION_FILE: Final = "dataset.json"
_LARGEST: Final = 65535
_UNNAMED: Final = 255


@dataclass(frozen=True, kw_only=True)
class LabelCoding:
    """What the numbers in label maps mean.

    Attributes:
        names: pairs of a number and the dataset's name for it, in increasing order of the numbers.
        codes: pairs of a number and the challenge's code for it, in the same order; the code may be background.
    """

    names: tuple[tuple[int, str], ...]
    codes: tuple[tuple[int, int], ...]

    @property
    def translates(self) -> bool:
        """Whether any number differs from its code, so that label maps have to be translated."""
        return any(number != code for number, code in self.codes)

    def in_words(self) -> str:
        """Every number that differs from its code, with its name, for people."""
        names = dict(self.names)
        return ", ".join(
            f"{number} {names.get(number, '')} is {f'{code} ' if code else ''}{NAMES[code]}".replace("  ", " ")
            for number, code in self.codes
            if number != code
        )


CHALLENGE_CODING: Final = LabelCoding(
    names=tuple(enumerate(NAMES)), codes=tuple((code, code) for code in range(len(NAMES)))
)
"""The challenge's own numbers: the coding of a dataset that states no other."""


def read_coding(folder: Path, mapping: LabelMapping | None = None) -> LabelCoding:
    """What the numbers in a dataset's label maps mean, by `dataset.json`, and by a mapping where its names are unknown.

    Args:
        folder: the dataset.
        mapping: the mapping given with `--map`; None takes the one that the dataset keeps in `mapping.json`, if any.

    Raises:
        ProblemsError: naming every class that is none of the challenge's, occurs twice, or has no whole number; if
            `dataset.json` is missing in nnU-Net's layout or not readable; if the mapping does not fit the dataset, or
            differs from the one that the dataset keeps.
    """
    path = folder / DESCRIPTION_FILE
    try:
        named = _labels(path, read_object(path, DatasetError))
    except FileNotFoundError:
        if (folder / NNUNET_IMAGES).is_dir():
            raise ProblemsError([f"{path}: missing; expected nnU-Net's dataset.json"]) from None
        named = None
    kept = read_mapping(folder / MAPPING_FILE) if (folder / MAPPING_FILE).exists() else None
    if mapping is None:
        return _coding(path, named, kept)
    coding = _coding(path, named, mapping)
    if kept is not None and (before := _coding(path, named, kept)).codes != coding.codes:
        raise ProblemsError(
            [
                f"{mapping.source}: not what {kept.source} says, which this dataset was confirmed with "
                f"({_said_difference(before, coding)}); leave --map out, or delete that file and annotated.json, and "
                "scan again"
            ]
        )
    return coding


def to_challenge_codes(array_zyx: npt.NDArray[Any], coding: LabelCoding, name: str) -> npt.NDArray[np.uint8]:
    """Translate a label map into the challenge's codes.

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


def challenge_description(content: Mapping[str, Any]) -> dict[str, Any]:
    """A `dataset.json` for label maps that were turned into the challenge's codes."""
    return {**content, "labels": {name: code for code, name in enumerate(NAMES)}}


def new_description(cases: int) -> dict[str, Any]:
    """A `dataset.json` for so many cases with label maps in the challenge's codes."""
    start = challenge_description({"channel_names": {"0": "CT"}})
    return {**start, "numTraining": cases, "file_ending": ".nii.gz"}


def _labels(path: Path, content: Mapping[str, Any]) -> dict[str, int]:
    """The numbers of a dataset by name; each is a whole number and belongs to one name."""
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
    problems = [
        f"{path}: {name}: expected a whole number from 0 to {_LARGEST} as its code, found {value!r}"
        for name, value in found.items()
        if type(value) is not int or not 0 <= value <= _LARGEST
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


def _coding(path: Path, named: Mapping[str, int] | None, mapping: LabelMapping | None) -> LabelCoding:
    if named is not None:
        return _by_names(path, named, mapping)
    return CHALLENGE_CODING if mapping is None else _by_numbers(mapping)


def _by_names(path: Path, named: Mapping[str, int], mapping: LabelMapping | None) -> LabelCoding:
    """The coding of named classes; what the mapping says of a name or a number takes precedence."""
    chosen = {} if mapping is None else _chosen(named, mapping)
    others = None if mapping is None else mapping.codes.get(OTHERS)

    # Each name gets the code that the mapping gives it, else the one that it means by itself, else that of all others.
    codes: dict[str, int] = {}
    problems: list[str] = []
    for name, number in sorted(named.items(), key=lambda item: item[1]):
        by_name = code_of_name(name)
        code = chosen.get(name, others if by_name is None else by_name)
        if code is None:
            problems.append(_unknown(path, name, number))
        else:
            codes[name] = code

    # Two names of one class are a mistake, unless the mapping says of both that they are.
    for code in CODES:
        twins = [name for name, found in codes.items() if found == code]
        if len(twins) > 1 and not all(name in chosen for name in twins):
            listed = " and ".join(f'{named[name]} "{name}"' for name in twins)
            problems.append(f"{path}: {listed} are both {NAMES[code]}; say of each what it is with --map FILE")
    raise_if_any(problems)

    # Background is 0 where no name says otherwise. What amounts to the challenge's own coding is that coding, so that
    # stores of data sets with and without names are compared as equal.
    pairs = {named[name]: code for name, code in codes.items()} | ({} if 0 in named.values() else {0: BACKGROUND})
    names = {number: name for name, number in named.items()} | ({} if 0 in named.values() else {0: NAMES[BACKGROUND]})
    by_itself = all(code_of_name(name) == code for name, code in codes.items())
    if by_itself and pairs == dict(CHALLENGE_CODING.codes):
        return CHALLENGE_CODING
    return LabelCoding(names=tuple(sorted(names.items())), codes=tuple(sorted(pairs.items())))


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


def _by_numbers(mapping: LabelMapping) -> LabelCoding:
    """The coding of a dataset without names: numbers that the mapping does not mention are the challenge's codes."""
    raise_if_any(
        f'{mapping.source}: "{key}" is no code, and without {DESCRIPTION_FILE} there are no names; map codes'
        for key in mapping.codes
        if not key.isdigit() or int(key) > _LARGEST
    )
    codes = dict(CHALLENGE_CODING.codes) | {int(key): code for key, code in mapping.codes.items()}
    names = {number: NAMES[number] if number < len(NAMES) else "" for number in codes}
    if codes == dict(CHALLENGE_CODING.codes):
        return CHALLENGE_CODING
    return LabelCoding(names=tuple(sorted(names.items())), codes=tuple(sorted(codes.items())))


def _unknown(path: Path, name: str, number: int) -> str:
    ours = f"{number} is {NAMES[number]} in the challenge" if number < len(NAMES) else f"the challenge has no {number}"
    return (
        f'{path}: code {number} is "{name}", {ours}: no class of that name is known; say what it is with --map FILE '
        f'(`flare-train scan --write` keeps it), for example {{"{name}": "background"}}'
    )


def _said_difference(before: LabelCoding, now: LabelCoding) -> str:
    old, new = dict(before.codes), dict(now.codes)
    differing = [number for number in sorted(old.keys() | new.keys()) if old.get(number) != new.get(number)]
    return ", ".join(
        f"{number} is {_name(old.get(number))} there and {_name(new.get(number))} here" for number in differing
    )


def _name(code: int | None) -> str:
    return "nothing" if code is None else NAMES[code]


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
