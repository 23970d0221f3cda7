"""The confidence of predicted lesions, from the statistics that `flare-infer predict` writes beside a label map."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from flare_eval.accuracy.lesions import CaseLesions, ScoredLesion
from flare_infer.errors import ReportError
from flare_infer.formats.volume_io import case_name
from flare_infer.results.case import Lesion
from flare_infer.results.statistics_files import read_statistics

ENDING: Final = ".statistics.json"
"""`NAME.statistics.json` lies beside `NAME.nii.gz`."""

SAME_CENTER_MM: Final = 1.0
"""Distance up to which a lesion of the statistics is one of the label map: centers in the file are rounded."""


def with_confidences(lesions: CaseLesions, prediction: Path) -> CaseLesions:
    """The lesions of a case, each predicted one with its confidence if all have one; otherwise with the reason.

    Args:
        lesions: lesions of the case.
        prediction: file of the prediction.
    """
    if not lesions.predicted:
        return lesions
    path = prediction.parent / (case_name(prediction) + ENDING)
    if not path.exists():
        return replace(lesions, unsure=f"no {path.name} beside the prediction")
    try:
        records = read_statistics(path).lesions
        predicted = tuple(replace(one, confidence=_confidence(path, one, records)) for one in lesions.predicted)
    except ReportError as error:
        return replace(lesions, unsure=str(error))
    return replace(lesions, predicted=predicted)


def _confidence(path: Path, lesion: ScoredLesion, records: Sequence[Lesion]) -> float:
    """The confidence of a lesion: that of the record with its center, and of several such with the nearest volume."""
    near = [record for record in records if _apart_mm(record, lesion) <= SAME_CENTER_MM]
    if not near:
        center = ", ".join(f"{value:.1f}" for value in lesion.center_mm)
        raise ReportError(f"{path}: no lesion at ({center}) mm; it belongs to another label map")
    record = min(near, key=lambda one: abs(one.volume_ml - lesion.volume_ml))
    if record.confidence is None:
        raise ReportError(f"{path}: lesion {record.number} has no confidence")
    if not 0 <= record.confidence <= 1:
        raise ReportError(f"{path}: expected a confidence from 0 to 1, found {record.confidence:g}")
    return record.confidence


def _apart_mm(record: Lesion, lesion: ScoredLesion) -> float:
    return float(np.linalg.norm(np.subtract(record.center_mm, lesion.center_mm)))
