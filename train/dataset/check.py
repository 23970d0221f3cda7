"""Checks whether the voxels of a case can be trained on, before anything else is done with them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flare_infer.errors import FlareError
from flare_infer.formats.volume_io import read_volume
from flare_infer.label_set import FLARE23, LabelSet
from flare_infer.labels import BACKGROUND, IGNORED
from flare_infer.volume.hounsfield import intensity_doubts
from flare_infer.volume.padding import without_padding
from flare_infer.volume.volume import Volume, how_grids_differ, same_placement
from train.dataset.cases import Case, cases_and_problems
from train.dataset.label_coding import CHALLENGE_CODING, LabelCoding, read_coding, to_challenge_codes
from train.dataset.label_mapping import LabelMapping
from train.dataset.layout import ImageAndLabels, find_pairs
from train.problems import ProblemsError, collected, raise_if_any
from train.workers import try_each


@dataclass(frozen=True, kw_only=True)
class CaseVoxels:
    """The contents of the two files of a case.

    Attributes:
        image: the CT as stored.
        labels: its label map, uint8, in the codes of its label set, on the same grid; IGNORED where nothing is known.
        present: codes that occur in the label map, without background, in increasing order.
    """

    image: Volume
    labels: Volume
    present: tuple[int, ...]

    @property
    def doubts(self) -> tuple[str, ...]:
        """What is doubtful about the CT, a line each: what `flare-infer predict` says of its file and values."""
        image = self.image
        box = without_padding(image.array_zyx)
        return (*image.doubts, *intensity_doubts(image.array_zyx, box, image.placement.spacing_mm, "prepare"))


def read_pair(name: str, pair: ImageAndLabels, coding: LabelCoding | None = CHALLENGE_CODING) -> CaseVoxels:
    """Read image and label map of a case, and check each by itself and both together.

    A label map of zeros is accepted: which classes were looked for in it is stated in `annotated.json`.

    Args:
        name: name of the case, for errors.
        pair: its two files.
        coding: what the numbers in the label map mean; None where that is unknown, and they are not checked.

    Raises:
        ProblemsError: naming every problem: files that cannot be read, values of the image that are not finite,
            label values outside the classes, two different grids.
    """
    problems: list[str] = []
    image = labels = None
    with collected(problems):
        image = read_volume(pair.image)
    with collected(problems):
        labels = read_volume(pair.labels)
    present: tuple[int, ...] = ()
    if image is not None and (strange := _not_finite(image.array_zyx)):
        problems.append(f"{name}: the image holds {strange} values that are NaN or infinite; fix it: {pair.image}")
    if image is not None and labels is not None:
        problems += _grid_problems(name, image, labels)
    if labels is not None and coding is not None:
        try:
            labels = replace(labels, array_zyx=to_challenge_codes(labels.array_zyx, coding, f"{name}: labels"))
            present = present_codes(labels.array_zyx)
        except FlareError as error:
            problems.append(f"{error}; fix the label map: {pair.labels}")
    if problems or image is None or labels is None:
        raise ProblemsError(problems)
    return CaseVoxels(image=image, labels=labels, present=present)


def read_case(case: Case) -> CaseVoxels:
    """Read image and label map of a case as `read_pair`, and refuse labels of classes that it does not annotate.

    Raises:
        ProblemsError: as `read_pair`, or for such a class.
    """
    voxels = read_pair(case.name, ImageAndLabels(image=case.image, labels=case.labels), case.coding)
    raise_if_any(contradictions(case.name, voxels.present, case.annotated, case.label_set))
    return voxels


def contradictions(
    name: str, present: tuple[int, ...], annotated: tuple[int, ...], label_set: LabelSet = FLARE23
) -> list[str]:
    """Compare the classes in a label map with those that the case is said to annotate.

    Args:
        name: name of the case.
        present: codes that occur in its label map.
        annotated: codes that `annotated.json` states.
        label_set: the classes.

    Returns:
        one line if a class occurs that is not annotated, else none.
    """
    strange = tuple(code for code in present if code not in annotated)
    if not strange:
        return []
    found, said = _listed(strange, label_set), _listed(annotated, label_set)
    return [f"{name}: labels hold {found}, but annotated.json says only {said} are annotated; fix one of the two"]


def sound_cases(
    folder: Path,
    workers: int = 1,
    progress: Callable[[int], None] = lambda total: None,
    mapping: LabelMapping | None = None,
) -> list[Case]:
    """The cases of a dataset; if its description has problems, voxels are read, too, to report all problems at once.

    Args:
        folder: the dataset.
        workers: number of processes that read voxels.
        progress: callback after each case that is read, with the number of all cases.
        mapping: the mapping given with `--map`, see `read_coding`.

    Raises:
        ProblemsError: naming every problem.
    """
    cases, problems = cases_and_problems(folder, mapping)
    if problems:
        known = {case.name: case for case in cases}
        coding = None
        with collected([]):  # an error is among the problems already
            coding = read_coding(folder, mapping)
        items = [(name, pair, coding, known.get(name)) for name, pair in find_pairs(folder)[0].items()]
        _, more = try_each(_read_voxels, items, workers, partial(progress, len(items)))
        raise ProblemsError([*problems, *more])
    return cases


def _read_voxels(item: tuple[str, ImageAndLabels, LabelCoding | None, Case | None]) -> None:
    name, pair, coding, case = item
    if case is None:
        read_pair(name, pair, coding)
    else:
        read_case(case)


def present_codes(labels_zyx: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    """Codes of the classes that occur in a label map, in increasing order."""
    # Plane by plane: a histogram of all at once would turn them to 64-bit numbers, 1.1 GB for 512 x 512 x 554.
    counts = np.zeros(256, dtype=np.int64)
    for plane in labels_zyx:
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    return tuple(code for code in np.flatnonzero(counts).tolist() if code not in {BACKGROUND, IGNORED})


def _not_finite(image_zyx: npt.NDArray[np.generic]) -> int:
    if image_zyx.dtype.kind != "f":
        return 0
    return sum(int(np.count_nonzero(~np.isfinite(plane))) for plane in image_zyx)


def _grid_problems(name: str, image: Volume, labels: Volume) -> list[str]:
    if image.shape == labels.shape and same_placement(image.placement, labels.placement):
        return []
    found = how_grids_differ(image, labels)
    return [f"{name}: image and labels lie on different grids: {found}; resample the labels onto the image"]


def _listed(codes: tuple[int, ...], label_set: LabelSet) -> str:
    return ", ".join(f"{code} {label_set.names[code]}" if code in label_set.codes else str(code) for code in codes)
