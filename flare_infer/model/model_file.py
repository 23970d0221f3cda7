"""The file model.json: a model's specification, and the hash of the weights that belong to it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flare_infer.errors import SpecError
from flare_infer.files.json_file import read_object
from flare_infer.files.record import fields_to_write
from flare_infer.files.write_whole import write_whole
from flare_infer.model.spec import ModelSpec, spec_from_fields

FORMAT: Final = 1
"""Version of the model.json layout; a reader refuses others."""

SPEC_FILE: Final = "model.json"

HASH_FIELD: Final = "sha256"
"""The field that holds the SHA-256 of model.safetensors, in hexadecimal; models written by version 0.1 lack it."""

_MOST_BYTES: Final = 2**20
_HASH: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """What the model.json of a weights directory says.

    Attributes:
        directory: the weights directory.
        spec: the model.
        sha256: SHA-256 of the bytes of its weights, in hexadecimal; None in a file that does not record it.
    """

    directory: Path
    spec: ModelSpec
    sha256: str | None = None


def write_spec(spec: ModelSpec, directory: Path, sha256: str | None = None) -> None:
    """Write model.json into an existing directory; the name appears only when the file is whole.

    Args:
        spec: the model.
        directory: existing weights directory.
        sha256: SHA-256 of the bytes of its weights, in hexadecimal; without it they load unchecked.
    """
    recorded = {} if sha256 is None else {HASH_FIELD: sha256}
    fields = {"format": FORMAT, **recorded, **fields_to_write(spec)}
    write_whole(directory / SPEC_FILE, json.dumps(fields, indent=1, allow_nan=False) + "\n")


def read_model_file(directory: Path) -> ModelFile:
    """Read and check the model.json of a weights directory.

    Raises:
        SpecError: if the file is missing, is no JSON, has another format, or its fields are unknown or inconsistent.
    """
    path = directory / SPEC_FILE
    try:
        content = read_object(path, SpecError, _MOST_BYTES)
    except FileNotFoundError as error:
        raise SpecError(f"{directory}: no {SPEC_FILE} here; name a folder that `flare-train export` wrote") from error
    if content.pop("format", None) != FORMAT:
        raise SpecError(f"{path}: expected a model of format {FORMAT}; it was written by another version")
    sha256 = content.pop(HASH_FIELD, None)
    if sha256 is not None and not (isinstance(sha256, str) and _HASH.fullmatch(sha256)):
        raise SpecError(f"{path}: {HASH_FIELD} must be 64 hexadecimal digits in lower case, found {str(sha256)[:80]!r}")
    try:
        return ModelFile(directory=directory, spec=spec_from_fields(content), sha256=sha256)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
