"""What the reader makes of one kind of input, and what SimpleITK's own makes of it."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from flare_infer.dicom.find import Choice
from flare_infer.dicom.unzip import scratch_for
from flare_infer.errors import FlareError
from flare_infer.formats.nifti_placement import quiet_itk
from flare_infer.runs.case_files import find_cases
from flare_infer.runs.scan import read_scan
from flare_infer.volume.volume import Placement, Volume, same_placement
from tests.dicom.kinds import Kind
from tests.dicom.series import PATIENT, Made


@dataclass(frozen=True)
class Outcome:
    """The volumes of the cases, and all lines that a user would see."""

    volumes: Sequence[Volume]
    lines: Sequence[str]


def outcome(kind: Kind, folder: Path) -> Outcome:
    """Write a kind of input and read it as the command does."""
    volumes, lines = [], []
    inputs = kind.write(folder)
    with scratch_for(inputs) as scratch:
        try:
            found = find_cases(inputs, scratch, Choice(fill_gaps=kind.fill_gaps))
        except FlareError as error:
            return Outcome((), (str(error),))
        lines += [*found.notes, *(failure.reason for failure in found.failures)]
        for scan in found.cases.values():
            try:
                volumes.append(read_scan(scan))
                lines += volumes[-1].doubts
            except FlareError as error:
                lines.append(str(error))
    return Outcome(volumes, lines)


def findings(kind: Kind, found: Outcome) -> list[str]:
    """What is wrong with an outcome, a line each."""
    wrong = [f"{len(found.volumes)} cases, {len(kind.truths)} expected: {found.lines}"] * (
        len(found.volumes) != len(kind.truths)
    )
    for volume, truth in zip(found.volumes, kind.truths, strict=False):
        wrong += differences(volume, truth)
    if kind.words not in "; ".join(found.lines):
        wrong.append(f"expected {kind.words!r} in {found.lines}")
    if not kind.words and found.lines:
        wrong.append(f"unexpected: {found.lines}")
    return wrong + [f"{word} is shown" for word in PATIENT if word.lower() in "; ".join(found.lines).lower()]


def differences(volume: Volume, truth: Made) -> list[str]:
    wrong = []
    if volume.shape != truth.array_zyx.shape:
        wrong.append(f"shape {volume.shape}, {truth.array_zyx.shape} expected")
    elif not np.array_equal(volume.array_zyx, truth.array_zyx):
        wrong.append("other values")
    axes = (tuple(truth.normal.tolist()), truth.axes[3:], truth.axes[:3])
    expected = Placement(spacing_mm=truth.spacing, origin_mm=truth.origin, axes=axes)  # type: ignore[arg-type]
    if not same_placement(volume.placement, expected):
        wrong.append(f"another place: {volume.placement}, {expected} expected")
    return wrong


@dataclass(frozen=True)
class Trial:
    """What is wrong with what the reader does, its outcome without names of folders, and SimpleITK's, in words."""

    wrong: tuple[str, ...]
    found: Outcome
    by_itk: str


@cache
def tried(kind: Kind) -> Trial:
    """Write a kind of input into a folder, and try both readers on it; nothing else may appear beside the folder."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "in", "put")
        folder.mkdir(parents=True)
        found = outcome(kind, folder)
        wrong = [*findings(kind, found), *_strays(Path(place), folder)]
        lines = [line.replace(f"{folder}/", "").replace(f"{folder}: ", "") for line in found.lines]
        return Trial(tuple(wrong), replace(found, lines=lines), by_itk(kind, folder))


def _strays(place: Path, folder: Path) -> list[str]:
    return [
        f"{path} was written"
        for path in place.rglob("*")
        if path not in folder.parents and folder not in (path, *path.parents)
    ]


def by_itk(kind: Kind, folder: Path) -> str:
    """What SimpleITK's reader of series makes of files, each series that it finds in each folder."""
    told = []
    places = [place for place in sorted([folder, *folder.rglob("*")]) if place.is_dir()]
    with quiet_itk():
        for place in places:
            for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(place)):
                told.append(_one_series(kind, place, uid))
    return "; ".join(dict.fromkeys(told)) or "finds nothing"


def _one_series(kind: Kind, place: Path, uid: str) -> str:
    reader = sitk.ImageSeriesReader()
    try:
        reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(place), uid))
        image = reader.Execute()
    except RuntimeError:
        return "an exception"
    if image.GetDimension() != 3:
        return f"{image.GetDimension()}D"
    z, y, x = np.asarray(image.GetDirection()).reshape(3, 3).T[::-1].tolist()
    spacing = image.GetSpacing()[::-1]
    volume = Volume(
        array_zyx=sitk.GetArrayFromImage(image),
        placement=Placement(spacing_mm=spacing, origin_mm=image.GetOrigin(), axes=(tuple(z), tuple(y), tuple(x))),
    )
    wrong = [differences(volume, truth) for truth in kind.truths]
    if [] in wrong:
        return "equal"
    values = " of other values" if any("other values" in lines for lines in wrong) else ""
    return f"{volume.shape[0]} slices{values}, {spacing[0]:.4g} mm apart"
