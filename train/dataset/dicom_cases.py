"""A dataset made of DICOM: CT series with the segmentations and structure sets that were drawn on them.

::

    imagesTr/ct_0a1b2c3d4e5f_0000.nii.gz      the CT
    labelsTr/ct_0a1b2c3d4e5f.nii.gz           its label map
    imported/ct_0a1b2c3d4e5f.json             of what both were made; written last
    dataset.json, annotated.json, patients.json

Names are hashes of UIDs. A case annotates the classes of which something is drawn, and no other.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from flare_eval.label_maps.annotations import FILE_NAME
from flare_infer.dicom.contours import contour_voxels
from flare_infer.dicom.drawn_cases import DrawnCase
from flare_infer.dicom.segments import segment_voxels
from flare_infer.dicom.structures import RTSTRUCT, DrawnObject, Structure
from flare_infer.dicom.volume import read_series
from flare_infer.errors import DatasetError, FlareError, ImageError, MissingExtraError, UsageError
from flare_infer.files.json_file import read_object
from flare_infer.files.label_set_file import DESCRIPTION_FILE
from flare_infer.files.write_whole import NotWrittenError, remove_parts, write_json
from flare_infer.formats.volume_io import case_name, write_volume
from flare_infer.labels import BACKGROUND, NAMES, TUMOR
from flare_infer.volume.volume import Volume
from train.dataset.label_mapping import LabelMapping
from train.dataset.layout import NNUNET_IMAGES, labels_folder
from train.dataset.splits import PATIENTS_FILE
from train.dataset.structure_table import class_of
from train.workers import for_each

IMPORTED: Final = "imported"
_ENDING: Final = ".nii.gz"
_VERSION: Final = 1
"""Raised when other voxels are made of the same files, so that cases are written anew."""


@dataclass(frozen=True, kw_only=True)
class ImportedCase:
    """What became of a case.

    Attributes:
        name: its name.
        annotated: codes that it annotates; empty if it was not imported.
        kept: whether it was there already.
        unknown: names of structures that are no known class.
        notices: what else is to be said of it, a line each.
        problem: why it could not be imported; empty if it could.
    """

    name: str
    annotated: tuple[int, ...] = ()
    kept: bool = False
    unknown: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    problem: str = ""


def import_cases(
    cases: Sequence[DrawnCase],
    target: Path,
    table: LabelMapping | None = None,
    workers: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> list[ImportedCase]:
    """Write cases into a dataset; those that are there already, of the same files, are kept.

    Args:
        cases: the cases.
        target: folder of the dataset, new or of an earlier import.
        table: which classes structures are, beyond what codes and names say.
        workers: number of processes.
        progress: callback after each case.

    Raises:
        UsageError: if the target holds anything but an earlier import of these cases.
    """
    _refuse_others(target, {case.series.name for case in cases})
    for folder in (NNUNET_IMAGES, labels_folder(NNUNET_IMAGES), IMPORTED):
        (target / folder).mkdir(parents=True, exist_ok=True)
        remove_parts(target / folder)
    found = for_each(partial(_import_case, target=target, table=table), cases, workers, progress)
    made = {one.name: one for one in found if one.annotated}
    if made:
        _describe(target, made, {case.series.name: case.patient for case in cases})
    return found


def _refuse_others(target: Path, names: set[str]) -> None:
    """Make sure that a folder is new, or an earlier import of the same files.

    Raises:
        UsageError: if it is not.
    """
    if not target.exists():
        return
    if not target.is_dir() or (any(target.iterdir()) and not (target / IMPORTED).is_dir()):
        raise UsageError(f"{target}: expected a new folder, or the dataset of an earlier import; choose another")
    images = sorted((target / NNUNET_IMAGES).glob(f"*{_ENDING}"))
    others = [name for path in images if (name := case_name(path)) not in names]
    if others:
        raise UsageError(f"{target}: holds {others[0]}, which is not in these inputs; import these into a new folder")


def _import_case(case: DrawnCase, target: Path, table: LabelMapping | None) -> ImportedCase:
    name = case.series.name
    record = target / IMPORTED / f"{name}.json"
    places = (
        target / NNUNET_IMAGES / f"{name}_0000{_ENDING}",
        target / labels_folder(NNUNET_IMAGES) / f"{name}{_ENDING}",
    )
    try:
        wanted = _classes(case.objects, table)
        stamp = _stamp(case, wanted)
        unknown = _unknown(case.objects, table)
        if stamp == _stamp_of(record) and all(path.is_file() for path in places):
            return ImportedCase(name=name, annotated=_annotated(wanted), kept=True, unknown=unknown)
        if not wanted:
            for path in (record, *places):  # of an earlier run, on which more was drawn
                path.unlink(missing_ok=True)
            return ImportedCase(name=name, unknown=unknown, notices=(f"{name}: left out: no class is drawn on it",))
        image = read_series(case.series)
        codes_zyx, overlap = _painted(case.objects, wanted, image)
        write_volume(places[0], image)
        write_volume(places[1], replace(image, array_zyx=codes_zyx))
        write_json(record, {"stamp": stamp})
    except (NotWrittenError, MissingExtraError):
        raise
    except FlareError as error:
        text = str(error)
        return ImportedCase(name=name, problem=text if text.startswith(name) else f"{name}: {text}")
    notices = [f"{name}: {doubt}" for doubt in image.doubts]
    if overlap:
        notices.append(f"{name}: {overlap} voxels lie in several organs; the smallest of these has them")
    return ImportedCase(name=name, annotated=_annotated(wanted), unknown=unknown, notices=tuple(notices))


_Wanted = Mapping[str, Mapping[int, int]]
"""For each object, by its name, the code of each structure that is imported, by its number."""


def _classes(objects: Sequence[DrawnObject], table: LabelMapping | None) -> _Wanted:
    """What is imported of each object.

    Raises:
        ImageError: if several objects hold the same organ: which of them is right cannot be known.
    """
    wanted: dict[str, dict[int, int]] = {}
    for one in objects:
        codes = {item.number: class_of(item, table) for item in one.structures if item.drawn}
        if chosen := {number: code for number, code in codes.items() if code not in (None, BACKGROUND)}:
            wanted[one.name] = {number: code for number, code in chosen.items() if code is not None}
    holders = Counter(code for codes in wanted.values() for code in set(codes.values()) - {TUMOR})
    for code, count in holders.items():
        if count > 1:
            names = " and ".join(name for name, codes in wanted.items() if code in codes.values())
            raise ImageError(f"{NAMES[code]} is drawn in {names}; keep one of them among the inputs")
    return wanted


def _annotated(wanted: _Wanted) -> tuple[int, ...]:
    return tuple(sorted({code for codes in wanted.values() for code in codes.values()}))


def _unknown(objects: Sequence[DrawnObject], table: LabelMapping | None) -> tuple[str, ...]:
    return tuple(
        _in_words(item) for one in objects for item in one.structures if item.drawn and class_of(item, table) is None
    )


def _in_words(structure: Structure) -> str:
    code = "" if structure.kind is None else f" ({structure.kind.value})"
    return f"{structure.name or 'without a name'}{code}"


def _painted(objects: Sequence[DrawnObject], wanted: _Wanted, image: Volume) -> tuple[npt.NDArray[np.uint8], int]:
    """The label map of a case, and the number of voxels that lie in several organs.

    Of organs that overlap the smaller one wins, and a tumor wins over any: it is often drawn inside of its organ.
    """
    parts: dict[int, list[npt.NDArray[np.int64]]] = {}
    for one in objects:
        codes = wanted.get(one.name, {})
        read = contour_voxels if one.modality == RTSTRUCT else segment_voxels
        try:
            voxels = read(one, sorted(codes), image.placement, image.shape)
        except ImageError as error:
            raise ImageError(f"{one} {error}") from error
        for number, indices in voxels.items():
            parts.setdefault(codes[number], []).append(indices)
    whole = {code: np.unique(np.concatenate(pieces)) for code, pieces in parts.items()}
    codes_zyx = np.zeros(image.shape, np.uint8)
    flat = codes_zyx.reshape(-1)
    overlap = 0
    for code in sorted(whole, key=lambda code: (code == TUMOR, -whole[code].size, code)):
        overlap += int(np.count_nonzero(flat[whole[code]])) if code != TUMOR else 0
        flat[whole[code]] = code
    return codes_zyx, overlap


def _stamp(case: DrawnCase, wanted: _Wanted) -> str:
    """What changes when a case has to be made anew."""
    files = [case.series.stamp(), case.series.phase, case.series.gap]
    objects = [[one.name, *_times(one.path), sorted(wanted.get(one.name, {}).items())] for one in case.objects]
    return hashlib.sha256(repr((_VERSION, files, objects)).encode()).hexdigest()


def _times(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise ImageError("an object that is drawn on it is no longer there") from error
    return found.st_size, found.st_mtime_ns


def _stamp_of(record: Path) -> str:
    try:
        return str(read_object(record, DatasetError).get("stamp"))
    except (FileNotFoundError, DatasetError):
        return ""


def _describe(target: Path, made: Mapping[str, ImportedCase], patients: Mapping[str, str]) -> None:
    """Write the files that describe the dataset; what somebody changed in annotated.json of a kept case stays.

    A patient is named after one of its cases: a hash of a number as short as a PatientID could be turned back.
    """
    labels = {name: code for code, name in enumerate(NAMES)}
    write_json(target / DESCRIPTION_FILE, {"labels": labels, "numTraining": len(made), "file_ending": _ENDING})
    try:
        before = read_object(target / FILE_NAME, DatasetError)
    except FileNotFoundError:
        before = {}
    listed = {name: list(one.annotated) for name, one in sorted(made.items())}
    stays = {name: codes for name, codes in before.items() if name not in made or made[name].kept}
    by_patient: dict[str, list[str]] = {}
    for name in sorted(patients.keys() & listed.keys()):
        by_patient.setdefault(patients[name], []).append(name)
    groups = {f"patient of {cases[0]}": cases for cases in by_patient.values()}
    write_json(target / PATIENTS_FILE, groups)
    write_json(
        target / FILE_NAME, listed | {name: stays[name] for name in stays if name in listed or name == "default"}
    )
