"""Cases to prepared cases, with flare_infer's own preprocessing."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from flare_infer.errors import DatasetError, FlareError
from flare_infer.labels import BACKGROUND, KNOWN_BACKGROUND, NAMES
from flare_infer.orient import turn
from flare_infer.preprocess import model_shape, on_model_grid, preprocess
from flare_infer.resample import resample_labels
from flare_infer.spec import ModelSpec
from flare_infer.volume import Volume, same_placement
from flare_infer.volume_io import read_volume
from train.data.air import known_air
from train.data.cases import Case
from train.data.store import LOCATIONS_PER_CLASS, PreparedCase, is_prepared, write_case

_CPU = torch.device("cpu")


def prepare_cases(
    cases: list[Case], spec: ModelSpec, store: Path, progress: Callable[[Case], None] = lambda case: None
) -> None:
    """Bring every case to the model's grid and write it to the store; cases already there are kept.

    Args:
        cases: what to prepare.
        spec: spacing and normalization of the model to be trained.
        store: folder to write to.
        progress: called after each case.

    Raises:
        DatasetError: after all cases were tried, naming each that cannot be used.
    """
    problems = []
    for case in cases:
        key = _key(case, spec)
        try:
            if not is_prepared(store, case.name, key):
                write_case(store, prepare_case(case, spec), key)
        except FlareError as error:
            problems.append(str(error))
        progress(case)
    if problems:
        raise DatasetError("; ".join(problems))


def prepare_case(case: Case, spec: ModelSpec) -> PreparedCase:
    """One case on the model's grid, known air marked in its labels.

    Raises:
        ImageError: if a file cannot be read.
        DatasetError: if image and labels do not lie on the same grid, or the labels hold a class that is not annotated.
    """
    image = read_volume(case.image)
    labels = read_volume(case.labels)
    _check(case, image, labels)
    image_zyx, _ = preprocess(image, spec, _CPU)
    turned, _ = turn(labels, spec.orientation, spec.transpose)
    codes = torch.from_numpy(np.ascontiguousarray(turned.array_zyx.astype(np.uint8)))
    labels_zyx = resample_labels(codes, model_shape(turned, spec.spacing_mm)).numpy()
    air = known_air(_hounsfield(image, spec), spec.spacing_mm, case.annotated)
    labels_zyx[air & (labels_zyx == BACKGROUND)] = KNOWN_BACKGROUND
    return PreparedCase(
        name=case.name,
        annotated=case.annotated,
        image_zyx=image_zyx.numpy().astype(np.float16),
        labels_zyx=labels_zyx,
        locations=_locations(labels_zyx, case.annotated),
    )


def _hounsfield(image: Volume, spec: ModelSpec) -> npt.NDArray[np.float32]:
    """The CT in Hounsfield units on the model's grid: normalization clips what tells lung from gas."""
    image_zyx, _ = on_model_grid(image, spec, _CPU, lambda planes: planes.float())
    array: npt.NDArray[np.float32] = image_zyx.numpy()
    return array


def _check(case: Case, image: Volume, labels: Volume) -> None:
    if image.shape != labels.shape or not same_placement(image.placement, labels.placement):
        raise DatasetError(
            f"{case.name}: image and labels lie on different grids: {image.shape} at {image.placement.spacing_mm} mm "
            f"against {labels.shape} at {labels.placement.spacing_mm} mm; resample the labels onto the image"
        )
    values = np.unique(labels.array_zyx)
    allowed = (BACKGROUND, *case.annotated)
    strange = [float(value) for value in values if value not in allowed]
    if strange:
        raise DatasetError(
            f"{case.name}: labels hold {strange[:5]}, but annotated.json says only "
            f"{', '.join(f'{code} {NAMES[code]}' for code in case.annotated)} are annotated; mend one of the two"
        )


def _locations(labels_zyx: npt.NDArray[np.uint8], annotated: tuple[int, ...]) -> dict[int, npt.NDArray[np.int32]]:
    """Voxels of each class, thinned evenly to at most LOCATIONS_PER_CLASS."""
    locations = {}
    for code in annotated:
        where = np.argwhere(labels_zyx == code).astype(np.int32)
        if len(where):
            every = -(-len(where) // LOCATIONS_PER_CLASS)
            locations[code] = where[::every]
    return locations


def _key(case: Case, spec: ModelSpec) -> dict[str, Any]:
    """What a prepared case depends on, as JSON would read it back."""
    files = [case.image, case.labels]
    return {
        "files": [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files],
        "annotated": list(case.annotated),
        "spacing_mm": list(spec.spacing_mm),
        "normalization": dataclasses.asdict(spec.normalization),
    }
