"""The file given with `--map`, JSON or TOML: which classes of the challenge a dataset's classes are.

::

    {"veins": "background", "tumour bed": "tumor", "15": 0, "*": "background"}

Keys are a dataset's names or codes; values are names or codes of the challenge, background for what is none of its
classes. `*` stands for every name that is not known otherwise. Several names may be mapped to one class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flare_infer.class_names import code_of_name
from flare_infer.errors import DatasetError
from flare_infer.files.json_file import read_object
from flare_infer.files.write_whole import write_json
from flare_infer.labels import BACKGROUND, CODES, NAMES
from train.config_file import read_toml
from train.problems import raise_if_any

MAPPING_FILE: Final = "mapping.json"
"""Name of the file in which a dataset keeps the mapping that it was confirmed with."""

OTHERS: Final = "*"
"""The key for every name that is not known otherwise."""


@dataclass(frozen=True, kw_only=True)
class LabelMapping:
    """A mapping of a dataset's classes to the challenge's.

    Attributes:
        source: path of its file, for errors.
        codes: the challenge's code for each name or code of the dataset, written as in the file.
    """

    source: Path
    codes: Mapping[str, int]


def read_mapping(path: Path) -> LabelMapping:
    """Read a mapping; a name that ends in .toml is TOML, any other JSON.

    Raises:
        DatasetError, UsageError: if the file cannot be read, or is neither.
        ProblemsError: naming every value that is no class of the challenge.
    """
    try:
        content = read_toml(path) if path.suffix.lower() == ".toml" else read_object(path, DatasetError)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file; expected a mapping of classes, JSON or TOML") from error
    codes = {key.strip(): _code(value) for key, value in content.items()}
    raise_if_any(
        f'{path}: "{key}" is mapped to {value!r}, which is no class of the challenge; expected one of '
        f"{', '.join(NAMES)}, or a code {BACKGROUND}..{CODES[-1]}"
        for key, value in content.items()
        if codes[key.strip()] is None
    )
    return LabelMapping(source=path, codes={key: code for key, code in codes.items() if code is not None})


def keep_mapping(folder: Path, mapping: LabelMapping) -> Path:
    """Write a mapping into the dataset that it was confirmed for, so that later commands find it.

    Args:
        folder: the dataset.
        mapping: what to write.

    Returns:
        path of the file.

    Raises:
        UsageError: if the file cannot be written.
    """
    path = folder / MAPPING_FILE
    content = {key: NAMES[code] for key, code in mapping.codes.items()}
    write_json(path, content)
    return path


def _code(value: object) -> int | None:
    if type(value) is int:
        return value if value in (BACKGROUND, *CODES) else None
    if not isinstance(value, str):
        return None
    return _code(int(value)) if value.strip().isdigit() else code_of_name(value)
