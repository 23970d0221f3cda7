"""Which files of the inputs are scans to segment, and which are label maps beside them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from flare_infer.dicom.find import EVERY, Choice, chosen, dicom_files, find_series
from flare_infer.dicom.series import named_by_patient
from flare_infer.errors import ImageError, MissingExtraError, UsageError
from flare_infer.formats.foreign import foreign_file, is_dicom
from flare_infer.formats.volume_io import (
    case_name,
    image_ending,
    image_files,
    is_image_channel,
    label_map_of,
    read_volume,
)
from flare_infer.runs.case_result import CaseResult
from flare_infer.runs.scan import Scan
from flare_infer.volume.label_values import is_label_map


class Found(NamedTuple):
    """What the inputs hold.

    Attributes:
        cases: the scans to segment by case name.
        failures: results of cases that several files claim to be, and of DICOM series that are refused; none of those
            is segmented.
        left_out: label maps beside their scans, which are no cases.
        notes: lines for the user on files that are no cases.
    """

    cases: Mapping[str, Scan]
    failures: Sequence[CaseResult] = ()
    left_out: Sequence[Path] = ()
    notes: Sequence[str] = ()


def find_cases(inputs: Path, scratch: Path | None = None, choice: Choice = EVERY) -> Found:
    """The scans to segment: those of a folder, a single file, or the DICOM series of either or of a zip archive.

    Args:
        inputs: a folder or a file.
        scratch: an existing folder for what is unpacked, if inputs are an archive; else None (`scratch_for`).
        choice: which DICOM series become cases.

    Raises:
        UsageError: if there is no scan, or no series of the name that was chosen.
        MissingExtraError: if there is nothing but DICOM, and pydicom is not installed.
    """
    if os.path.isfile(inputs):
        return _one_file(inputs, scratch, choice)
    files = dicom_files(inputs, None) if os.path.isdir(inputs) else []
    try:
        images = image_files(inputs)
    except UsageError:
        if not files:
            raise
        return _with_series(Found({}), inputs, files, choice)
    left_out = _label_maps_beside(images)
    by_name: dict[str, list[Path]] = {}
    for path in images:
        if path not in left_out:
            by_name.setdefault(case_name(path), []).append(path)
    failures = [
        _failure(name, f"{inputs}: {' and '.join(path.name for path in paths)} are one case, {name}; keep one of them")
        for name, paths in by_name.items()
        if len(paths) > 1
    ]
    cases = {name: paths[0] for name, paths in by_name.items() if len(paths) == 1}
    found = Found(cases, failures, left_out, _images_inside(inputs))
    return _with_series(found, inputs, files, choice) if files else found


def _images_inside(inputs: Path) -> tuple[str, ...]:
    """A line for the user if folders of the inputs hold image files: only DICOM is looked for at any depth."""
    count = 0
    for place, inside, names in os.walk(inputs):
        inside[:] = [name for name in inside if name[0] != "."]
        if Path(place) != inputs:
            count += sum(name[0] != "." and bool(image_ending(Path(name))) for name in names)
    what = "image file(s) in folders inside it are not read; name the folder that holds them"
    return (f"{inputs}: {count} {what}",) if count else ()


def _one_file(inputs: Path, scratch: Path | None, choice: Choice) -> Found:
    if image_ending(inputs):
        return Found({case_name(inputs): inputs})
    zipped = scratch is not None
    if files := dicom_files(inputs, scratch) if zipped or is_dicom(inputs) else []:
        return _with_series(Found({}), inputs, files, choice)
    if zipped:
        raise UsageError(f"{inputs}: holds no DICOM file; unpack it first")
    if (what := foreign_file(inputs)) is not None:
        raise UsageError(f"{inputs}: is {what}")
    return Found({case_name(inputs): inputs})


def _with_series(found: Found, inputs: Path, files: Sequence[Path], choice: Choice) -> Found:
    """What was found, and the chosen series of some DICOM files."""
    try:
        every, note = find_series(inputs, files, fill_gaps=choice.fill_gaps)
    except MissingExtraError as error:
        if not found.cases:
            raise
        return found._replace(notes=[*found.notes, f"{inputs}: left out {len(files)} DICOM file(s): {error}"])
    if choice.keep_identity:
        every = [named_by_patient(one) for one in every]
    series = chosen(every, choice.series)
    notes = [*found.notes, *([f"{inputs}: {note}"] if note else [])]
    if passed_over := [one for one in every if one.slices and one.problem and not one.refused]:
        reasons = "; ".join(f"{one}: {one.problem}" for one in passed_over)
        notes.append(f"{inputs}: left out {len(passed_over)} CT series: {reasons}")
    cases = {**found.cases, **{one.name: one for one in series if not one.problem}}
    failures = [*found.failures, *(_failure(one.name, f"{one}: {one.problem}") for one in series if one.problem)]
    if not cases and not failures:
        raise UsageError(
            "; ".join([*notes, "and there is no other scan"]) if notes else f"{inputs}: no CT series found"
        )
    return found._replace(cases=cases, failures=failures, notes=notes)


def _failure(name: str, reason: str) -> CaseResult:
    return CaseResult(name=name, output=None, seconds=0.0, reason=reason)


def _label_maps_beside(images: Sequence[Path]) -> list[Path]:
    """Those files of a folder that are label maps beside scans, as in a folder for training.

    `X_labels`, `X_seg` and the like are known by their names, where there is a scan X or scans are called `X_0000`. So
    is a file X that has the same name as a scan `X_0000`, if it holds nothing but codes.
    """
    cases = {case_name(path) for path in images}
    channels = {case_name(path) for path in images if is_image_channel(path)}
    label_maps = []
    for path in images:
        if is_image_channel(path):
            continue
        scan = label_map_of(path)
        by_name = scan is not None and (scan in cases or bool(channels))
        if by_name or (case_name(path) in channels and _is_label_map(path)):
            label_maps.append(path)
    return label_maps


def _is_label_map(path: Path) -> bool:
    try:
        return is_label_map(read_volume(path).array_zyx)
    except ImageError:
        return False
