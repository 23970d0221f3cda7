"""A label set as a file: `labels.toml`, or the labels of a `dataset.json` of nnU-Net; `label_set` has the fields.

Both may hold a table `tolerances_mm`, the distance up to which two surfaces of a class agree, for `flare-eval score`.
"""

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from flare_infer.errors import DatasetError, SpecError
from flare_infer.files.json_file import MOST_BYTES, read_object
from flare_infer.files.record import record_from_fields
from flare_infer.files.write_whole import write_whole
from flare_infer.label_set import IGNORE_NAME, LabelSet
from flare_infer.labels import NAMES

LABELS_FILE: Final = "labels.toml"
"""Name of the file in which a dataset keeps its label set."""

DESCRIPTION_FILE: Final = "dataset.json"
"""Name of nnU-Net's file, which lies beside the folders of images and label maps."""

_LARGEST: Final = 65535
_FACTS: Final = ("lesions", "pairs", "region", "islands", "hollow", "lung_is_background")
_TOLERANCES: Final = "tolerances_mm"


def read_label_file(path: Path) -> dict[str, Any]:
    """The tables of a file of labels: TOML if its name ends so, else JSON.

    Raises:
        FileNotFoundError: if there is no file.
        DatasetError: if it is not readable as such.
    """
    if path.suffix.lower() != ".toml":
        return read_object(path, DatasetError)
    try:
        content = path.read_bytes()
        if len(content) > MOST_BYTES:
            raise DatasetError(f"{path}: larger than {MOST_BYTES} bytes; expected a file that people can read")
        return tomllib.loads(content.decode("utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not readable as TOML ({error})") from error


def read_label_set(path: Path) -> LabelSet:
    """The label set of a file.

    Raises:
        DatasetError: if there is no file, it is not readable, or its set is refused; the text says why.
    """
    try:
        content = read_label_file(path)
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path}: no such file; expected a label set, {LABELS_FILE} or {DESCRIPTION_FILE}"
        ) from error
    label_set = label_set_of(path, content)
    tolerances_of(path, label_set)  # whoever copies the file into a dataset must not copy a mistake
    return label_set


def label_set_of(path: Path, content: Mapping[str, Any]) -> LabelSet:
    """The label set that the content of a file describes.

    The codes of a `labels.toml` are 1, 2, 3 and so on. A `dataset.json` may have other numbers, of which the least is
    code 1; what else stands in it is passed over.

    Raises:
        DatasetError: if the set is refused; the text says why.
    """
    numbers = numbers_of(path, content)
    named = sorted((number, name) for name, number in numbers.items() if name != IGNORE_NAME and number != 0)
    is_description = path.suffix.lower() == ".json"
    if not is_description:
        expected = range(1, len(named) + 1)
        if wrong := [
            (name, number, code) for (number, name), code in zip(named, expected, strict=True) if number != code
        ]:
            name, number, code = wrong[0]
            raise DatasetError(
                f'{path}: labels: codes are 1 to {len(named)} without gaps; "{name}" has {number}, expected {code}'
            )
        if unknown := content.keys() - {"labels", _TOLERANCES, *_FACTS}:
            known = ", ".join(("labels", *_FACTS, _TOLERANCES))
            raise DatasetError(f"{path}: {min(unknown)}: no such field; known are {known}")
    background = next((name for name, number in numbers.items() if number == 0), NAMES[0])
    facts = {name: content[name] for name in _FACTS if name in content}
    try:
        return record_from_fields(LabelSet, {"names": [background, *(name for _, name in named)], **facts})
    except SpecError as error:
        raise DatasetError(f"{path}: {error}") from error


def numbers_of(path: Path, content: Mapping[str, Any]) -> dict[str, int]:
    """The number of each label of a file by name, `ignore` among them; each number belongs to one name.

    Raises:
        DatasetError: if a label is a region (a list of numbers), or no whole number, or a number has two names.
    """
    found = content.get("labels")
    if not isinstance(found, Mapping) or not found:
        what = f"found {found!r:.100}" if found else "found nothing"
        raise DatasetError(f"{path}: expected a table `labels` of name and code, {what}")
    for name, value in found.items():
        if isinstance(value, list):
            raise DatasetError(
                f'{path}: "{name}" is a region ({value!r:.60}), a class of several labels; regions are not supported: '
                "give each label its own name and code"
                f"{', and leave regions_class_order out' if path.suffix.lower() == '.json' else ''}"
            )
        if type(value) is not int or not 0 <= value <= _LARGEST:
            raise DatasetError(f'{path}: "{name}": expected a whole number from 0 to {_LARGEST}, found {value!r:.60}')
    names: dict[int, str] = {}
    for name, value in found.items():
        if value in names:
            raise DatasetError(
                f'{path}: code {value} has two names, "{names[value]}" and "{name}"; one code is one class'
            )
        names[value] = name
    return dict(found)


def tolerances_of(path: Path, label_set: LabelSet) -> dict[int, float]:
    """The tolerances in mm that a file states, by code; it may state none.

    Raises:
        DatasetError: if one is no positive number, or of none of the classes.
    """
    stated = read_label_file(path).get(_TOLERANCES, {})
    if not isinstance(stated, Mapping):
        raise DatasetError(f"{path}: {_TOLERANCES}: expected a table of name and millimeters, found {stated!r:.100}")
    tolerances = {}
    for name, value in stated.items():
        code = label_set.code_of(name)
        if not code:
            raise DatasetError(f'{path}: {_TOLERANCES}: "{name}" is none of {", ".join(label_set.names[1:])}')
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise DatasetError(f"{path}: {_TOLERANCES}: {name}: expected millimeters above 0, found {value!r:.60}")
        tolerances[code] = float(value)
    return tolerances


def write_label_set(path: Path, label_set: LabelSet) -> None:
    """Write a label set as TOML, whole or not at all.

    Raises:
        NotWrittenError: if it cannot be written.
    """
    lines = ["# A label set; docs/own-labels.md says what each field means.", "[labels]"]
    lines += [f"{_text(name)} = {code}" for code, name in enumerate(label_set.names)]
    head = [f"{name} = {_text(value)}" for name in _FACTS[1:] if (value := getattr(label_set, name))]
    if label_set.lesions:
        lines += ["", "[lesions]", *(f"{_text(name)} = {_text(of)}" for name, of in label_set.lesions.items())]
    write_whole(path, "\n".join([lines[0], *head, *lines[1:]]) + "\n")


def _text(value: object) -> str:
    """A text, a list of texts or a truth value as TOML writes it, which is as JSON does."""
    return json.dumps(value, ensure_ascii=False)
