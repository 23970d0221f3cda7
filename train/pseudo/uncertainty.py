"""Disagreement of models about a case (docs/paper.md, Selection of unlabeled cases)."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flare_eval.label_maps.label_map import read_label_map
from flare_infer.errors import UsageError
from flare_infer.formats.volume_io import find_images
from flare_infer.label_set import FLARE23, LabelSet
from flare_infer.volume.volume import Volume, how_grids_differ, same_placement
from train.problems import collected, raise_if_any
from train.pseudo.fill import only
from train.workers import try_each


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """Disagreement between the predictions of one case.

    Attributes:
        name: name of the case.
        organs: disagreement over the 13 organs; None if it is undefined, see `disagreement`.
        tumor: disagreement over tumor alone; None if it is undefined.
    """

    name: str
    organs: float | None
    tumor: float | None


def disagreement(predictions: Sequence[npt.NDArray[np.uint8]], codes: Collection[int]) -> float | None:
    """Mean over consecutive pairs (A, B) of the voxels where A differs from B, divided by the voxels that B labels.

    Args:
        predictions: label maps (z, y, x) of one case on one grid, at least two, in the order in which they are
            compared.
        codes: codes to compare; all others count as background.

    Returns:
        the disagreement, 0 if all agree, without an upper limit; None if it is undefined because some B has none of
        the codes.

    Raises:
        UsageError: if there are fewer than two maps, or their shapes differ.
    """
    shapes = {prediction.shape for prediction in predictions}
    if len(predictions) < 2 or len(shapes) != 1:
        raise UsageError(
            f"a disagreement is between two predictions or more of one shape, found {len(predictions)} of {shapes}"
        )
    pairs = len(predictions) - 1
    differing, labeled = np.zeros(pairs, dtype=np.int64), np.zeros(pairs, dtype=np.int64)
    # Plane by plane, so that a scan of 512 x 512 x 554 voxels needs no second copy of its maps.
    for planes in zip(*predictions, strict=True):
        for index, (one, other) in enumerate(pairwise(only(plane, codes) for plane in planes)):
            differing[index] += np.count_nonzero(one != other)
            labeled[index] += np.count_nonzero(other)
    if not labeled.all():
        return None
    return float(np.mean(differing / labeled))


def measure_uncertainties(
    organs: Sequence[Path],
    tumor: Sequence[Path],
    names: Collection[str] | None = None,
    workers: int = 1,
    progress: Callable[[int], None] = lambda total: None,
    label_set: LabelSet = FLARE23,
) -> list[Uncertainty]:
    """The uncertainty of every case, in alphabetical order.

    Args:
        organs: folders of predicted label maps, CASE.nii.gz or another image format, in the order in which they are
            compared for organs; at least two. They may be of other teams.
        tumor: the same for tumors; a folder may be in both lists.
        names: names of the cases to measure; None takes those of the folders, which must then hold the same cases.
        workers: number of processes.
        progress: callback after each case, with the number of all cases.
        label_set: the classes of the label maps.

    Raises:
        UsageError: if a list has fewer than two folders or one of them twice, or a folder does not exist.
        ProblemsError: naming every label map that is missing, cannot be read or lies on another grid than that of the
            first folder.
    """
    for what, folders in (("organs", organs), ("tumors", tumor)):
        if len(folders) < 2:
            raise UsageError(
                f"the uncertainty of {what} compares two folders of predictions or more, found {len(folders)}"
            )
        places = [folder.resolve() for folder in folders]
        for folder, place in zip(folders, places, strict=True):
            if places.count(place) > 1:
                raise UsageError(f"the uncertainty of {what} compares different folders, and {folder} is named twice")
    maps = {folder: find_images(folder) for folder in dict.fromkeys([*organs, *tumor])}
    wanted = sorted(set(names) if names is not None else {name for found in maps.values() for name in found})
    missing = {name: [folder for folder, found in maps.items() if name not in found] for name in wanted}
    problems = [f"{name}: no label map in {folder}" for name, folders in missing.items() for folder in folders]
    present = [name for name in wanted if not missing[name]]
    items = [(name, tuple(found[name] for found in maps.values())) for name in present]
    order = list(maps)
    work = partial(
        _measured,
        organs=tuple(order.index(folder) for folder in organs),
        tumor=tuple(order.index(folder) for folder in tumor),
        label_set=label_set,
    )
    results, more = try_each(work, items, workers, partial(progress, len(items)))
    raise_if_any([*problems, *more])
    return [found for found in results if found is not None]


def _measured(
    item: tuple[str, tuple[Path, ...]], organs: tuple[int, ...], tumor: tuple[int, ...], label_set: LabelSet
) -> Uncertainty:
    """The uncertainty of one case."""
    name, paths = item
    problems: list[str] = []
    volumes: list[Volume] = []
    for path in paths:
        with collected(problems):
            volumes.append(read_label_map(path, label_set))
    problems += [
        f"{name}: {path} lies on another grid than {paths[0]}: {how_grids_differ(volume, volumes[0])}"
        for path, volume in zip(paths, volumes, strict=False)
        if not problems and not _same_grid(volume, volumes[0])
    ]
    raise_if_any(problems)
    maps = [volume.array_zyx for volume in volumes]
    return Uncertainty(
        name=name,
        organs=disagreement([maps[index] for index in organs], label_set.organs),
        tumor=disagreement([maps[index] for index in tumor], label_set.lesion_codes),
    )


def _same_grid(one: Volume, other: Volume) -> bool:
    return one.shape == other.shape and same_placement(one.placement, other.placement)
