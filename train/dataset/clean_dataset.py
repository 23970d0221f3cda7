"""Cleaning a whole dataset: a cleaned copy of its label maps, a table and a contact sheet of the findings."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from flare_eval.label_maps.annotations import FILE_NAME
from flare_eval.label_maps.csv_text import csv_text
from flare_infer.errors import DatasetError
from flare_infer.files.json_file import read_object
from flare_infer.files.label_set_file import DESCRIPTION_FILE, LABELS_FILE
from flare_infer.files.write_whole import link_or_copy, write_json, write_whole
from flare_infer.formats.volume_io import write_volume
from flare_infer.geometry import voxel_volume_ml
from flare_infer.results.picture import soft_tissue
from flare_infer.volume.orient import turn
from flare_infer.volume.volume import Placement, Volume
from train.dataset.cases import Case
from train.dataset.check import CaseVoxels, read_case
from train.dataset.clean import CleanedLabels, CleaningRules, Finding, clean_labels
from train.dataset.contact_sheet import Tile, colored, draw_sheet
from train.dataset.label_coding import challenge_description
from train.dataset.layout import labels_folder
from train.dataset.splits import PATIENTS_FILE, SPLIT_FILE, UNLABELED_FILE
from train.problems import raise_if_any, refuse_filled, refuse_inside
from train.workers import try_each

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FINDINGS_FILE: Final = "findings.csv"
NOT_CHECKED_FILE: Final = "not_checked.csv"
SHEET_FILE: Final = "sheet.png"

_COLUMNS: Final = (
    *("case", "rule", "class", "code", "voxels", "volume_ml", "distance_mm"),
    *("left_mm", "posterior_mm", "superior_mm"),
)
_VIEW_MM: Final = 160.0


@dataclass(frozen=True, kw_only=True)
class CleaningReport:
    """What cleaning found in one case.

    Attributes:
        case: the case.
        rows: for each finding a row of the table, in the order of its columns.
        organs_unknown: codes of needed organs that the case does not annotate; the second and third rule were skipped
            if there are any.
    """

    case: Case
    rows: tuple[tuple[object, ...], ...] = ()
    organs_unknown: tuple[int, ...] = ()


def clean_dataset(
    cases: Sequence[Case],
    target: Path,
    cleaning: CleaningRules,
    progress: Callable[[], None] = lambda: None,
    workers: int = 1,
) -> list[CleaningReport]:
    """Write a dataset with cleaned label maps; images, and label maps without a finding, are links to the originals.

    Label maps with numbers of their own are always written anew, in the codes of the label set.

    Args:
        cases: all cases of the dataset; its description files lie above the images of the first case.
        target: folder to write to; it must be empty or not exist yet.
        cleaning: limits of the rules.
        progress: callback after each case.
        workers: number of processes.

    Raises:
        UsageError: if the target holds something, or lies inside the dataset.
        ProblemsError: if a case cannot be read; then the target lacks annotated.json and is no dataset.
    """
    source = cases[0].image.parent.parent
    refuse_inside(target, source)
    refuse_filled(target)
    found, problems = try_each(partial(_clean_into, target=target, cleaning=cleaning), cases, workers, progress)
    raise_if_any(problems)
    reports = [report for report in found if report is not None]
    rows = [row for report in reports for row in report.rows]
    write_whole(target / FINDINGS_FILE, csv_text(_COLUMNS, rows))
    skipped = [
        (report.case.name, ", ".join(report.case.label_set.names[code] for code in report.organs_unknown))
        for report in reports
        if report.organs_unknown
    ]
    write_whole(target / NOT_CHECKED_FILE, csv_text(("case", "organs_unknown"), skipped))
    if (source / DESCRIPTION_FILE).is_file():
        description = challenge_description(read_object(source / DESCRIPTION_FILE, DatasetError), cases[0].coding)
        write_json(target / DESCRIPTION_FILE, description)
    for name in (PATIENTS_FILE, SPLIT_FILE, UNLABELED_FILE, LABELS_FILE, FILE_NAME):
        if (source / name).is_file():
            write_whole(target / name, (source / name).read_bytes())
    return reports


def draw_findings(reports: Sequence[CleaningReport], cleaning: CleaningRules, most: int = 24) -> "Picture | None":
    """Draw findings before and after cleaning on a sheet, the largest ones of each case.

    Args:
        reports: what was found in each case.
        cleaning: limits of the rules, by which the cases are cleaned again for the pictures.
        most: largest number of findings to draw.

    Returns:
        the sheet; None if there is no finding.

    Raises:
        FlareError: if Pillow is not installed.
    """
    with_findings = [report for report in reports if report.rows]
    if not with_findings:
        return None
    each = math.ceil(most / len(with_findings))
    tiles: list[Tile] = []
    for report in with_findings[:most]:
        tiles += _tiles(report.case, cleaning, each)
    return draw_sheet(tiles[:most], columns=3)


def _clean_into(case: Case, target: Path, cleaning: CleaningRules) -> CleaningReport:
    voxels, cleaned = _read_and_clean(case, cleaning)
    labels, way_back = turn(voxels.labels, "LPS")
    rows = tuple(_row(case, found, labels.placement) for found in cleaned.findings)
    # A label map may lie in the folder of other images, which may have none here: it goes to that of its own image.
    images, maps = target / case.image.parent.name, target / labels_folder(case.image.parent.name)
    for folder in (images, maps):
        folder.mkdir(parents=True, exist_ok=True)
    link_or_copy(case.image, images / case.image.name)
    new = maps / case.labels.name
    if rows or case.coding.translates:
        write_volume(new, replace(voxels.labels, array_zyx=way_back.undo(cleaned.labels_zyx)))
    else:
        link_or_copy(case.labels, new)
    return CleaningReport(case=case, rows=rows, organs_unknown=cleaned.organs_unknown)


def _read_and_clean(case: Case, cleaning: CleaningRules) -> tuple[CaseVoxels, CleanedLabels]:
    """The voxels of a case, and its labels cleaned, with axes toward superior, posterior and left."""
    voxels = read_case(case)
    labels, _ = turn(voxels.labels, "LPS")
    return voxels, clean_labels(labels.array_zyx, labels.placement.spacing_mm, case.annotated, cleaning, case.label_set)


def _row(case: Case, found: Finding, placement: Placement) -> tuple[object, ...]:
    component = found.component
    center_mm = np.asarray(placement.origin_mm)
    for index, spacing, axis in zip(component.center, placement.spacing_mm, placement.axes, strict=True):
        center_mm = center_mm + index * spacing * np.asarray(axis)
    volume_ml = component.voxels * voxel_volume_ml(placement.spacing_mm)
    distance = "" if found.distance_mm is None else f"{found.distance_mm:.1f}"
    return (
        *(
            case.name,
            found.rule,
            case.label_set.names[component.code],
            component.code,
            component.voxels,
            f"{volume_ml:.3f}",
            distance,
        ),
        *(f"{value:.1f}" for value in center_mm),
    )


def _tiles(case: Case, cleaning: CleaningRules, most: int) -> list[Tile]:
    voxels, cleaned = _read_and_clean(case, cleaning)
    image, _ = turn(voxels.image, "LPS")
    before, _ = turn(voxels.labels, "LPS")
    findings = sorted(cleaned.findings, key=lambda found: -found.component.voxels)
    return [_tile(case, found, image, before, cleaned) for found in findings[:most]]


def _tile(case: Case, found: Finding, image: Volume, before: Volume, cleaned: CleanedLabels) -> Tile:
    component = found.component
    z = component.box.z.start + int(np.argmax(component.mask_zyx.sum(axis=(1, 2))))
    spacing_mm = image.placement.spacing_mm
    window = []
    for axis in (1, 2):
        half = round(_VIEW_MM / 2 / spacing_mm[axis])
        start = max(0, min(component.center[axis] - half, image.shape[axis] - 2 * half))
        window.append(slice(start, start + 2 * half))
    plane = (z, window[0], window[1])
    removed = np.zeros(image.shape[1:], dtype=np.bool_)
    removed[component.box[1:]] = component.mask_zyx[z - component.box.z.start]
    gray = soft_tissue(image.array_zyx[plane])
    panels = [
        colored(gray, codes[plane], spacing_mm[1:], removed[plane[1:]], case.label_set)
        for codes in (before.array_zyx, cleaned.labels_zyx)
    ]
    caption = f"{case.name}: {found.rule}, {case.label_set.names[component.code]}\n{component.voxels} voxels"
    return Tile(panels=tuple(panels), caption=caption)
