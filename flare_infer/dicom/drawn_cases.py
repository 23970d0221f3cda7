"""CT series with what was drawn on them: which segmentation and structure set belongs to which series."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flare_infer.dicom.find import dicom_files, find_series
from flare_infer.dicom.series import Series
from flare_infer.dicom.structures import Belonging, DrawnObject, belonging, drawn_objects
from flare_infer.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class DrawnCase:
    """A CT series, and what was drawn on it.

    Attributes:
        series: the series, which can be used.
        objects: the objects, one or more.
        patient: what cases of one patient share: names the patient, so it is never written or shown.
    """

    series: Series
    objects: tuple[DrawnObject, ...]
    patient: str


@dataclass(frozen=True, kw_only=True)
class FoundCases:
    """What was found in a folder.

    Attributes:
        cases: the cases.
        notices: what was left out since it makes no case, a line each.
        problems: what should make a case and does not, a line each.
    """

    cases: tuple[DrawnCase, ...]
    notices: tuple[str, ...]
    problems: tuple[str, ...]


def find_drawn_cases(inputs: Path, scratch: Path | None, *, fill_gaps: bool = False) -> FoundCases:
    """The CT series of some inputs on which something was drawn.

    Args:
        inputs: a folder of any depth, or a zip archive.
        scratch: an existing folder for what is unpacked, if inputs are an archive; else None.
        fill_gaps: whether one missing slice is interpolated.

    Raises:
        UsageError: if there is no DICOM file.
        MissingExtraError: if pydicom is not installed.
    """
    if not inputs.exists() or not (files := dicom_files(inputs, scratch)):
        raise UsageError(
            f"{inputs}: no DICOM file found; name a folder that holds CT series and what was drawn on them"
        )
    found, _ = find_series(inputs, files, fill_gaps=fill_gaps)
    slices = {path for one in found for path in one.files}
    objects, damaged = drawn_objects(path for path in files if path not in slices)
    usable = [one for one in found if not one.problem]
    refused = {one.uid: f"{one}: {one.problem}" for one in found if one.refused}
    cases, lonely = _paired(usable, objects)
    named = {one.series_uid for one in objects}
    alone = len(usable) - len(cases)
    notices = [f"left out {alone} CT series on which nothing is drawn"] if alone else []
    if damaged:
        notices.append(f"left out {damaged} damaged DICOM file(s)")
    problems = [line for uid, line in refused.items() if uid in named]
    problems += [f"{one}: {reason}" for one, reason in lonely if one.series_uid not in refused]
    return FoundCases(cases=tuple(cases), notices=tuple(notices), problems=tuple(problems))


def _paired(
    series: Sequence[Series], objects: Sequence[DrawnObject]
) -> tuple[list[DrawnCase], list[tuple[DrawnObject, str]]]:
    """Series with their objects, and the objects that belong to none, with the reason."""
    owners = {one.name: belonging(one.files[0]) for one in series}
    drawn: dict[str, list[DrawnObject]] = {}
    lonely = []
    for one in objects:
        fitting = _fitting(one, series, owners)
        if len(fitting) == 1:
            drawn.setdefault(fitting[0].name, []).append(one)
        elif fitting:
            lonely.append((one, "does not say on which volume of its series it was drawn"))
        else:
            lonely.append((one, "the CT series that it was drawn on is not among the inputs"))
    cases = [
        DrawnCase(series=one, objects=tuple(drawn[one.name]), patient=owners[one.name].patient)
        for one in series
        if one.name in drawn
    ]
    return cases, lonely


def _fitting(drawn: DrawnObject, series: Sequence[Series], owners: dict[str, Belonging]) -> list[Series]:
    """The volumes that an object may have been drawn on: by series, or by frame of reference if it names none."""
    if drawn.series_uid:
        fitting = [one for one in series if one.uid == drawn.series_uid]
    else:
        fitting = [one for one in series if drawn.frame_uid and owners[one.name].frame_uid == drawn.frame_uid]
    if len(fitting) < 2:
        return fitting
    shared = {one.name: sum(belonging(path).instance in drawn.instances for path in one.files) for one in fitting}
    # A volume of another phase may share none of the images, or a few at the ends of what was drawn on.
    most = max(shared.values())
    return [one for one in fitting if shared[one.name] == most]
