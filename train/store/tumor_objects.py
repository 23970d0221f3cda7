"""Tumor objects (CTO; docs/paper.md, Tumor objects) on disk: what context-aware CutMix pastes.

::

    FOLDER/CASE/objects.json        which objects, what they annotate, what they were made from
    FOLDER/CASE/000_image.npy       one pair of arrays an object, read when they are asked for
    FOLDER/CASE/000_labels.npy
    FOLDER/CASE/seal.json
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.errors import DatasetError, UsageError
from flare_infer.files.write_whole import remove_parts
from flare_infer.geometry import Shape, triple_of_ints
from flare_infer.labels import TUMOR
from train.store.arrays import MappedArray, map_array
from train.store.sealed import (
    EARLIER,
    UNSAID,
    check_seal,
    is_made_from,
    sealed_description,
    sealed_folder,
    sealed_folders,
    sealed_sha256,
)

_DESCRIPTION: Final = "objects.json"


@dataclass(frozen=True, kw_only=True)
class TumorObject:
    """One connected tumor component with its surroundings, on the model's grid.

    Attributes:
        name: name of the object, CASE_000.
        case: name of the case it was cut out of.
        annotated: codes that the case annotates, that of the lesion among them, in increasing order.
        image_zyx: normalized image, float16; in a folder of objects, boxes are read when they are needed.
        labels_zyx: codes as uint8, KNOWN_BACKGROUND where every class is known to be absent.
        code: class of the lesion that was cut out.
    """

    name: str
    case: str
    annotated: tuple[int, ...]
    image_zyx: npt.NDArray[np.float16] | MappedArray
    labels_zyx: npt.NDArray[np.uint8] | MappedArray
    code: int = TUMOR

    @property
    def shape(self) -> Shape:
        """Number of voxels along (z, y, x)."""
        return triple_of_ints(self.labels_zyx.shape)


def object_name(case: str, index: int) -> str:
    """Name of an object: `index` counts the objects of the case from 0."""
    return f"{case}_{index:03d}"


def write_objects(folder: Path, case: str, objects: Sequence[TumorObject], key: dict[str, Any]) -> None:
    """Write all objects of one case; they appear together, when all are complete. A case may have none.

    Args:
        folder: folder of all objects.
        case: name of the case.
        objects: the objects, named by `object_name`.
        key: what they were made from and how; `has_objects` compares it.
    """
    with sealed_folder(folder / case) as part:
        for index, item in enumerate(objects):
            np.save(part / f"{index:03d}_image.npy", item.image_zyx, allow_pickle=False)
            np.save(part / f"{index:03d}_labels.npy", item.labels_zyx, allow_pickle=False)
        codes = [item.code for item in objects]
        lesions = {} if set(codes) <= {TUMOR} and "label_set" not in key else {"lesions": codes}
        description = {"annotated": [list(item.annotated) for item in objects], **lesions, "key": key}
        (part / _DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def has_objects(folder: Path, case: str, key: dict[str, Any]) -> bool:
    """Whether the objects of this case exist already, made from the same files in the same way."""
    return is_made_from(folder / case, _DESCRIPTION, key)


def recipes_of_objects(folder: Path) -> list[dict[str, Any]]:
    """The recorded settings that the objects of each case were made with."""
    descriptions = [sealed_description(case, _DESCRIPTION) for case in sealed_folders(folder)]
    return [{**EARLIER, **description.get("key", {})} for description in descriptions]


def prune_objects(folder: Path, keep: Collection[str]) -> None:
    """Delete the objects of every case that is not among these names.

    Raises:
        UsageError: if the folder holds anything but objects, in which case nothing is deleted.
    """
    cases = sealed_folders(folder)
    others = [case for case in cases if not (case / _DESCRIPTION).is_file()]
    if others:
        raise UsageError(f"{folder}: holds {others[0].name}, which is no tumor objects; choose a folder of their own")
    remove_parts(folder, "*.part")
    for case in cases:
        if case.name not in keep:
            shutil.rmtree(case)


def read_objects(
    folder: Path, validation: Collection[str] = (), grid: Mapping[str, Any] | None = None
) -> list[TumorObject]:
    """All tumor objects of a folder, by case and index; their arrays are read when they are needed.

    Args:
        folder: the folder that `flare-train objects` wrote.
        validation: names of the validation cases: an object of one of them must not reach training.
        grid: the result of `store.read_grid` for the cases that objects are pasted into; None compares nothing.

    Raises:
        DatasetError: if there is no object, a file is damaged, an object comes from a validation case, or its grid
            or normalization is not that of the cases.
    """
    cases = sealed_folders(folder)
    if grid is not None:
        _check_grid(folder, cases, grid)
    objects = [item for case in cases for item in _read_case(case)]
    if not objects:
        raise DatasetError(f"{folder}: no tumor object here; run `flare-train objects` first")
    leaked = sorted({item.case for item in objects} & set(validation))
    if leaked:
        raise DatasetError(
            f"{folder}: tumor objects of validation cases: {', '.join(leaked)}; run `flare-train objects` again"
        )
    return objects


def object_hashes(folder: Path) -> dict[str, str]:
    """For each case a hash of its tumor objects: of their voxels and their annotated classes.

    Cases without an object are left out.

    Raises:
        DatasetError: if a seal cannot be read.
    """
    hashes = {}
    for case in sealed_folders(folder):
        annotated = sealed_description(case, _DESCRIPTION).get("annotated")
        if annotated:
            content = json.dumps([sealed_sha256(case, without=_DESCRIPTION), annotated])
            hashes[case.name] = hashlib.sha256(content.encode()).hexdigest()
    return hashes


def _check_grid(folder: Path, cases: Sequence[Path], grid: Mapping[str, Any]) -> None:
    for case in cases:
        key = sealed_description(case, _DESCRIPTION).get("key", {})
        differing = [name for name, value in {**UNSAID, **grid}.items() if key.get(name) != value]
        if differing:
            raise DatasetError(
                f"{folder}: objects of {case.name} have another {', '.join(differing)} than the prepared cases; "
                "run `flare-train objects` again with --store and the same recipe"
            )


def _read_case(folder: Path) -> list[TumorObject]:
    check_seal(folder)
    try:
        description = sealed_description(folder, _DESCRIPTION)
        codes = description.get("lesions", [TUMOR] * len(description["annotated"]))
        return [
            TumorObject(
                name=object_name(folder.name, index),
                case=folder.name,
                annotated=tuple(annotated),
                image_zyx=map_array(folder / f"{index:03d}_image.npy"),
                labels_zyx=map_array(folder / f"{index:03d}_labels.npy"),
                code=int(code),
            )
            for index, (annotated, code) in enumerate(zip(description["annotated"], codes, strict=True))
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{folder}: damaged ({error}); delete it and run `flare-train objects` again") from error
