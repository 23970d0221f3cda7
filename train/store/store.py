"""Prepared cases on disk.

::

    STORE/store.json              which cases, which of them validate or have pseudo labels only, and the grid they
                                  lie on, and what the numbers of label maps meant if not the challenge's codes;
                                  written last
    STORE/CASE/case.json          what the case annotates, its abdominal region, doubts, and what it was made from
    STORE/CASE/image.b2nd         compressed chunks, read patch-wise
    STORE/CASE/labels.b2nd
    STORE/CASE/locations.npy      some voxels of each class, read through a memory map
    STORE/CASE/seal.json          SHA-256 of these files
"""

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from flare_infer.errors import DatasetError, UsageError
from flare_infer.files.json_file import read_object
from flare_infer.files.write_whole import remove_parts, write_json
from flare_infer.geometry import Box, Shape, triple_of_ints
from flare_infer.label_set import FLARE23, LabelSet
from train.dataset.label_coding import CHALLENGE_CODING, LabelCoding
from train.dataset.label_mapping import LabelMapping
from train.dataset.region import abdominal_region
from train.differences import refuse_other_recipe
from train.problems import collected, raise_if_any
from train.store.arrays import StoredArray, open_array, write_array
from train.store.class_locations import ClassLocations
from train.store.sealed import (
    EARLIER,
    UNSAID,
    check_seals,
    is_made_from,
    sealed_description,
    sealed_folder,
    sealed_folders,
)

LOCATIONS_PER_CLASS: Final = 10_000
"""Most voxels kept for each class of a case; patch centers are drawn from them."""

Split: TypeAlias = Literal["training", "validation"]

CASE_FILE: Final = "case.json"
"""Name of the file in a case's folder with its annotated classes, its abdominal region, and what it was made from."""
_STORE: Final = "store.json"


@dataclass(frozen=True, kw_only=True)
class PreparedCase:
    """One case on the model's grid.

    Attributes:
        name: name of the case.
        annotated: codes that the case annotates.
        image_zyx: normalized image, float16; in a store, boxes are read when they are needed.
        labels_zyx: codes as uint8, KNOWN_BACKGROUND where every class is known to be absent.
        locations: for each annotated class that is present, some of its voxels, (n, 3) in order z, y, x.
        region: box of the abdominal region, see `region`; None if there is none, or if an earlier version stored the
            case without it; `region_of` covers both.
        unlabeled: whether a model drew all its labels.
        doubts: what is doubtful about its CT, a line each; in a store, see `read_doubts`.
    """

    name: str
    annotated: tuple[int, ...]
    image_zyx: npt.NDArray[np.float16] | StoredArray
    labels_zyx: npt.NDArray[np.uint8] | StoredArray
    locations: Mapping[int, npt.NDArray[np.int32]]
    region: Box | None = None
    unlabeled: bool = False
    doubts: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        """Number of voxels along (z, y, x)."""
        return triple_of_ints(self.labels_zyx.shape)


def region_of(case: PreparedCase, label_set: LabelSet = FLARE23) -> Box | None:
    """The box of a prepared case's abdominal region; if the store lacks it, it is found in the labels."""
    if case.region is not None or not set(case.locations) & set(label_set.organs):
        return case.region
    return abdominal_region(np.asarray(case.labels_zyx), case.annotated, label_set)


def write_case(store: Path, case: PreparedCase, key: dict[str, Any]) -> None:
    """Write a case; its folder appears only when it is complete.

    Args:
        store: folder of all cases.
        case: the case to write.
        key: what the case was made from and how; `is_prepared` compares it.
    """
    with sealed_folder(store / case.name) as part:
        write_array(part / "image.b2nd", np.asarray(case.image_zyx))
        write_array(part / "labels.b2nd", np.asarray(case.labels_zyx))
        if case.locations:
            np.save(part / "locations.npy", np.concatenate(list(case.locations.values())), allow_pickle=False)
        counts = {str(code): len(where) for code, where in case.locations.items()}
        region = None if case.region is None else [[part.start, part.stop] for part in case.region]
        doubts = {"doubts": list(case.doubts)} if case.doubts else {}
        description = {"annotated": list(case.annotated), "locations": counts, "region": region, **doubts, "key": key}
        (part / CASE_FILE).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def is_prepared(store: Path, name: str, key: dict[str, Any]) -> bool:
    """Whether the store already holds this case undamaged, made from the same files in the same way."""
    return is_made_from(store / name, CASE_FILE, key)


def begin_store(store: Path, grid: Mapping[str, Any] | None = None) -> None:
    """Create the folder; it is no store before `finish_store`, so that half prepared cases are not trained on.

    Args:
        store: folder of all cases.
        grid: the same as for `finish_store`; None allows cases of another recipe to be replaced.

    Raises:
        UsageError: if the folder holds something else than prepared cases, or cases of another recipe, which would be
            overwritten.
    """
    others = [folder for folder in sealed_folders(store) if not (folder / CASE_FILE).is_file()]
    if others:
        raise UsageError(f"{store}: holds {others[0].name}, which is no prepared case; choose a folder of its own")
    if grid is not None:
        refuse_other_recipe(store, "cases", known_recipes(store), {**UNSAID, **grid})
    store.mkdir(parents=True, exist_ok=True)
    remove_parts(store, "*.part")
    (store / _STORE).unlink(missing_ok=True)


def known_recipes(store: Path) -> list[dict[str, Any]]:
    """The recorded settings that the cases of a store were made with."""
    try:
        return [{**EARLIER, **read_grid(store)}]
    except DatasetError:  # not finished: each case records its own settings
        return [{**UNSAID, **sealed_description(folder, CASE_FILE).get("key", {})} for folder in sealed_folders(store)]


def finish_store(
    store: Path,
    training: Collection[str],
    validation: Collection[str],
    grid: dict[str, Any],
    unlabeled: Collection[str] = (),
    coding: LabelCoding = CHALLENGE_CODING,
) -> None:
    """Write the description that makes prepared cases a store.

    Args:
        store: folder of all cases.
        training: names of the cases that train.
        validation: names of the cases that validate.
        grid: spacing, orientation, normalization, cleaning and label set of all cases, as JSON.
        unlabeled: names of the cases that train with pseudo labels only.
        coding: what the numbers in the dataset's label maps meant.
    """
    content: dict[str, Any] = {
        "training": sorted(training),
        "validation": sorted(validation),
        "unlabeled": sorted(unlabeled),
        "grid": grid,
    }
    if coding != CHALLENGE_CODING:
        names = dict(coding.names)
        content["labels"] = [{"number": number, "name": names[number], "code": code} for number, code in coding.codes]
    write_json(store / _STORE, content)


def read_store(
    store: Path, split: Split = "training", with_unlabeled: bool = True, remembered: Path | None = None
) -> list[PreparedCase]:
    """The cases of a store that train, or those that validate, in alphabetical order.

    Every file is compared with the bytes that were written; then only headers are kept in memory.

    Args:
        store: folder of all cases.
        split: whether to read the cases that train or those that validate.
        with_unlabeled: whether to include cases that have pseudo labels only.
        remembered: file with notes on files found sound before, which are not compared again, see `check_seals`.

    Raises:
        ProblemsError: naming every damaged file.
        DatasetError: if the folder is no finished store, or has no case to train on.
    """
    unlabeled = set(read_unlabeled_names(store))
    names = [name for name in read_names(store, split) if with_unlabeled or name not in unlabeled]
    if not names and split == "training":
        besides = " with labels of experts" if unlabeled else ""
        raise DatasetError(f"{store}: no prepared case that trains{besides}; see `flare-train prepare`")
    damaged = check_seals([store / name for name in names], remembered)
    cases, problems = [], list(damaged.values())
    for name in (name for name in names if store / name not in damaged):
        with collected(problems):
            cases.append(_read_case(store / name, name in unlabeled))
    raise_if_any(problems)
    return cases


def read_names(store: Path, split: Split) -> list[str]:
    """Names of the cases of a store that train, or of those that validate.

    Raises:
        DatasetError: if the folder is no finished store.
    """
    return [str(name) for name in _content(store)[split]]


def read_unlabeled_names(store: Path) -> list[str]:
    """Names of the cases of a store that train with pseudo labels only; none in one of an earlier version.

    Raises:
        DatasetError: if the folder is no finished store.
    """
    return [str(name) for name in _content(store).get("unlabeled", [])]


def read_doubts(store: Path) -> list[str]:
    """The doubts about the cases of a store, one line each; earlier versions recorded none.

    Raises:
        DatasetError: if the folder is no finished store. Damaged cases are passed over: `read_store` names them.
    """
    lines = []
    for name in sorted([*read_names(store, "training"), *read_names(store, "validation")]):
        with suppress(DatasetError):
            doubts = sealed_description(store / name, CASE_FILE).get("doubts", [])
            lines += [f"{name}: {doubt}" for doubt in doubts]
    return lines


def read_grid(store: Path) -> dict[str, Any]:
    """The `grid` that `finish_store` wrote.

    Raises:
        DatasetError: if the folder is no finished store.
    """
    grid: dict[str, Any] = _content(store)["grid"]
    return grid


def read_store_mapping(store: Path) -> LabelMapping | None:
    """What the numbers of label maps meant when a store was prepared, as a mapping; None if the challenge's codes.

    Raises:
        DatasetError: if the folder is no finished store.
    """
    listed = _content(store).get("labels")
    if listed is None:
        return None
    return LabelMapping(source=store / _STORE, codes={str(item["number"]): int(item["code"]) for item in listed})


def _content(store: Path) -> dict[str, Any]:
    path = store / _STORE
    try:
        content = read_object(path, DatasetError)
    except FileNotFoundError as error:
        if sealed_folders(store):
            raise DatasetError(
                f"{store}: preparation did not finish; run the same `flare-train prepare` again"
            ) from error
        raise DatasetError(f"{store}: no prepared case here; run `flare-train prepare` first") from error
    if not all(isinstance(content.get(split), list) for split in ("training", "validation")) or "grid" not in content:
        raise DatasetError(f"{path}: not the description of a store; run `flare-train prepare` again")
    return content


def _read_case(folder: Path, unlabeled: bool) -> PreparedCase:
    try:
        description = sealed_description(folder, CASE_FILE)
        counts = {int(code): int(count) for code, count in description["locations"].items()}
        return PreparedCase(
            name=folder.name,
            annotated=tuple(description["annotated"]),
            image_zyx=open_array(folder / "image.b2nd"),
            labels_zyx=open_array(folder / "labels.b2nd"),
            locations=ClassLocations(folder / "locations.npy", counts),
            region=_region(description.get("region")),
            unlabeled=unlabeled,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{folder}: damaged ({error}); delete it and run `flare-train prepare` again") from error


def _region(stored: list[list[int]] | None) -> Box | None:
    if stored is None:
        return None
    starts, stops = zip(*stored, strict=True)
    return Box.between(starts, stops)
