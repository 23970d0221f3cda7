"""Preparation of cases for training, with the preprocessing of flare_infer."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from flare_infer.files.record import plain_fields
from flare_infer.geometry import resampled_shape
from flare_infer.labels import BACKGROUND, KNOWN_BACKGROUND
from flare_infer.model.spec import ModelSpec
from flare_infer.segment.preprocess import on_model_grid, preprocess
from flare_infer.segment.resample import resample_labels
from flare_infer.volume.orient import turn
from flare_infer.volume.volume import Volume
from train.dataset.cases import Case
from train.dataset.clean import CleaningRules
from train.dataset.label_coding import CHALLENGE_CODING
from train.dataset.region import abdominal_region
from train.dataset.training_voxels import training_voxels
from train.problems import raise_if_any
from train.store.air import known_air
from train.store.store import (
    LOCATIONS_PER_CLASS,
    PreparedCase,
    begin_store,
    finish_store,
    is_prepared,
    write_case,
)
from train.workers import try_each

_CPU = torch.device("cpu")


def prepare_cases(
    cases: Sequence[Case],
    spec: ModelSpec,
    store: Path,
    progress: Callable[[], None] = lambda: None,
    workers: int = 1,
    cleaning: CleaningRules | None = None,
    *,
    replacing: bool = False,
) -> None:
    """Bring every case to the model's grid and write it to the store; cases already there are kept.

    If a process is killed, only the cases it was working on are lost; the same call continues.

    Args:
        cases: the cases to prepare; the store lists those that validate separately.
        spec: specification of the model to be trained.
        store: folder of all prepared cases.
        progress: callback after each case.
        workers: number of processes; each needs up to 3 GB for a scan of 512 x 512 x 554 voxels.
        cleaning: rules by which the labels of cases that train are cleaned, on their own grids; None for none.
        replacing: whether cases that were prepared by another recipe are prepared anew.

    Raises:
        UsageError: if such cases exist and `replacing` is false.
        NotWrittenError: if something cannot be written; cases prepared before are kept.
        ProblemsError: after all cases were tried, naming every problem; the store then holds the other cases.
    """
    grid = grid_key(spec, cleaning)
    begin_store(store, None if replacing else grid)
    work = partial(_prepare_into, spec=spec, store=store, cleaning=cleaning)
    prepared, problems = try_each(work, cases, workers, progress)
    good = [case for case, done in zip(cases, prepared, strict=True) if done]
    finish_store(
        store,
        training=[case.name for case in good if not case.validation],
        validation=[case.name for case in good if case.validation],
        grid=grid,
        unlabeled=[case.name for case in good if case.unlabeled],
        coding=cases[0].coding if cases else CHALLENGE_CODING,
    )
    raise_if_any(problems)


def prepare_case(case: Case, spec: ModelSpec, cleaning: CleaningRules | None = None) -> PreparedCase:
    """Prepare one case: on the model's grid, labels cleaned if it trains, known air marked in them.

    Raises:
        ProblemsError: naming every problem with its voxels, see `check`.
    """
    voxels = training_voxels(case, cleaning)
    image, labels = (turn(volume, spec.orientation, spec.transpose)[0] for volume in (voxels.image, voxels.labels))
    image_zyx = preprocess(image, spec, _CPU).numpy().astype(np.float16)
    labels_zyx = labels_on_model_grid(labels, spec)
    mark_air(labels_zyx, air_on_model_grid(image, spec, case.annotated))
    return PreparedCase(
        name=case.name,
        annotated=case.annotated,
        image_zyx=image_zyx,
        labels_zyx=labels_zyx,
        locations=_locations(labels_zyx, case.annotated),
        region=abdominal_region(labels_zyx, case.annotated, spec.label_set),
        unlabeled=case.unlabeled,
        doubts=voxels.doubts,
    )


def labels_on_model_grid(turned: Volume, spec: ModelSpec) -> npt.NDArray[np.uint8]:
    """A uint8 label map, turned to the model's axes, resampled to its spacing, as a new array (z, y, x)."""
    shape = resampled_shape(turned.shape, turned.placement.spacing_mm, spec.spacing_mm)
    resampled: npt.NDArray[np.uint8] = resample_labels(torch.from_numpy(turned.array_zyx.copy()), shape).numpy()
    return resampled


def air_on_model_grid(turned: Volume, spec: ModelSpec, annotated: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Mask (z, y, x) of the known air of a whole turned scan on the model's grid.

    It is computed from Hounsfield units, because normalization clips the difference between lung and gas.
    """
    image_zyx = on_model_grid(turned, spec, _CPU, lambda planes: planes.float())
    return known_air(image_zyx.numpy(), spec.spacing_mm, annotated, spec.label_set)


def mark_air(labels_zyx: npt.NDArray[np.uint8], air_zyx: npt.NDArray[np.bool_]) -> None:
    """Write KNOWN_BACKGROUND into the labels where there is known air and no label."""
    labels_zyx[air_zyx & (labels_zyx == BACKGROUND)] = KNOWN_BACKGROUND


def grid_key(spec: ModelSpec, cleaning: CleaningRules | None = None) -> dict[str, Any]:
    """Everything that determines the voxels of the cases that train, as JSON would read it back.

    Keys written by earlier versions lack `cleaning`, which means the same as None: nothing was cleaned. `label_set` is
    there only if it is not the challenge's.
    """
    return {**_voxel_key(spec), "cleaning": None if cleaning is None else plain_fields(cleaning)}


def _voxel_key(spec: ModelSpec) -> dict[str, Any]:
    fields = plain_fields(spec)
    fields["interpolation"] = fields["image_interpolation"]
    names = ("spacing_mm", "orientation", "transpose", "interpolation", "normalization")
    label_set = {} if spec.own_labels is None else {"label_set": plain_fields(spec.own_labels)}
    return {**{name: fields[name] for name in names}, **label_set}


def case_key(case: Case, spec: ModelSpec, cleaning: CleaningRules | None = None) -> dict[str, Any]:
    """Everything that determines a prepared case, as JSON reads it back; cleaning and coding only if they apply."""
    cleaned = {} if cleaning is None or case.validation else {"cleaning": plain_fields(cleaning)}
    coded = {"coding": [list(pair) for pair in case.coding.codes]} if case.coding.translates else {}
    files = [case.image, case.labels]
    return {
        "files": [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files],
        "annotated": list(case.annotated),
        **_voxel_key(spec),
        **cleaned,
        **coded,
    }


def _prepare_into(case: Case, spec: ModelSpec, store: Path, cleaning: CleaningRules | None) -> bool:
    """Prepare one case unless it exists already."""
    key = case_key(case, spec, cleaning)
    if not is_prepared(store, case.name, key):
        write_case(store, prepare_case(case, spec, cleaning), key)
    return True


def _locations(labels_zyx: npt.NDArray[np.uint8], annotated: tuple[int, ...]) -> dict[int, npt.NDArray[np.int32]]:
    """Voxels of each class, thinned evenly to at most LOCATIONS_PER_CLASS."""
    locations = {}
    for code in annotated:
        where = np.argwhere(labels_zyx == code).astype(np.int32)
        if len(where):
            every = -(-len(where) // LOCATIONS_PER_CLASS)
            locations[code] = where[::every]
    return locations
