"""Everything that is measured of a case: of each class, of each lesion, and reasons to look with care.

docs/statistics.md defines every number and flag.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce

from flare_infer.class_names import code_of_name, lesion_codes
from flare_infer.geometry import Box
from flare_infer.results.calibration import calibration_of
from flare_infer.results.case import CaseStatistics, ClassStatistics, SegmentedCase
from flare_infer.results.flags import flags_of
from flare_infer.results.lesions import lesions_of
from flare_infer.results.phase import guessed_phase
from flare_infer.results.regions import Faces, Region, connected_parts, measure


def statistics_of(case: SegmentedCase) -> CaseStatistics:
    """Measure a case.

    Works with the classes of any model: what a class is, is known by its name. A scan whose intensities look like no
    Hounsfield units has no intensities in its statistics, and no phase.

    Args:
        case: a scan and its label map. Codes that have no name are passed over.
    """
    faces = Faces(case.scan)
    classes = tuple(_class_statistics(case, faces))
    organs = organs_by_code(classes)
    by_name = lesion_codes(case.names, case.spec.tumor_organs if case.spec is not None else ())
    tumors = case.own_lesions if case.spec is not None and case.spec.own_labels is not None else by_name
    statistics = CaseStatistics(
        name=case.name,
        classes=classes,
        lesions=lesions_of(case, tumors, faces),
        phase=guessed_phase(organs) if case.in_hounsfield else "",
    )
    return replace(statistics, flags=flags_of(case, statistics, faces.inside))


def organs_by_code(classes: tuple[ClassStatistics, ...]) -> dict[int, ClassStatistics]:
    """What was measured by the challenge's code of each class whose name means one; the larger of two that mean one."""
    known: dict[int, ClassStatistics] = {}
    for found in classes:
        code = code_of_name(found.name)
        if code is not None and (code not in known or found.volume_ml > known[code].volume_ml):
            known[code] = found
    return known


def _class_statistics(case: SegmentedCase, faces: Faces) -> Iterator[ClassStatistics]:
    calibration = calibration_of(str(case.made_with.get("weights_sha256", "")))
    for code, name in list(enumerate(case.names))[1:]:
        if code not in case.boxes:
            yield ClassStatistics(code=code, name=name, volume_ml=0.0)
            continue
        regions = [Region(mask_zyx=case.labels.array_zyx[box] == code, box=box) for box in case.boxes[code]]
        measured = measure(regions, case.labels.placement, case.scan.array_zyx if case.in_hounsfield else None)
        touched = faces.touched_by(reduce(Box.joined, case.boxes[code]))
        raw = case.confidence.get(code)
        yield ClassStatistics(
            code=code,
            name=name,
            volume_ml=measured.volume_ml,
            cut=bool(touched),
            cut_at=touched,
            parts=sum(connected_parts(region)[1] for region in regions),
            intensities=measured.intensities,
            center_mm=measured.center_mm,
            extent_mm=measured.extent_mm,
            confidence=raw if calibration is None or raw is None else calibration.one(raw),
        )
