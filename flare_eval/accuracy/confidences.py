"""The confidence of predicted lesions, from the statistics that `flare-infer predict` writes beside a label map."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeGuard

import numpy as np

from flare_eval.accuracy.lesions import CaseLesions, ScoredLesion
from flare_infer.errors import DatasetError
from flare_infer.files.json_file import read_object
from flare_infer.formats.volume_io import case_name

ENDING: Final = ".statistics.json"
"""`NAME.statistics.json` lies beside `NAME.nii.gz`."""

SAME_CENTER_MM: Final = 1.0
"""Distance up to which a lesion of the statistics is one of the label map: centers in the file may be rounded."""


def with_confidences(lesions: CaseLesions, prediction: Path) -> CaseLesions:
    """The lesions of a case, each predicted one with its confidence if all have one; otherwise with the reason.

    Args:
        lesions: lesions of the case.
        prediction: file of the prediction.
    """
    if not lesions.predicted:
        return lesions
    path = prediction.parent / (case_name(prediction) + ENDING)
    try:
        records = _records(path)
        predicted = tuple(replace(one, confidence=_confidence(path, one, records)) for one in lesions.predicted)
    except FileNotFoundError:
        return replace(lesions, unsure=f"no {path.name} beside the prediction")
    except DatasetError as error:
        return replace(lesions, unsure=str(error))
    return replace(lesions, predicted=predicted)


def _records(path: Path) -> Sequence[Mapping[str, Any]]:
    found = read_object(path, DatasetError).get("lesions")
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise DatasetError(f"{path}: expected a list of lesions under the key lesions; write the statistics again")
    return found


def _confidence(path: Path, lesion: ScoredLesion, records: Sequence[Mapping[str, Any]]) -> float:
    """The confidence of a lesion: that of the record with its center, and of several such with the nearest volume."""
    near = [record for record in records if _distance_mm(path, record, lesion) <= SAME_CENTER_MM]
    if not near:
        center = ", ".join(f"{value:.1f}" for value in lesion.center_mm)
        raise DatasetError(f"{path}: no lesion at ({center}) mm; it belongs to another label map")
    record = min(near, key=lambda one: abs(_number(path, one, "volume_ml") - lesion.volume_ml))
    confidence = record.get("confidence")
    if confidence is None:
        raise DatasetError(f"{path}: lesion {lesion.number} has no confidence")
    value = _number(path, record, "confidence")
    if not 0 <= value <= 1:
        raise DatasetError(f"{path}: expected a confidence from 0 to 1, found {value:g}")
    return value


def _distance_mm(path: Path, record: Mapping[str, Any], lesion: ScoredLesion) -> float:
    center = record.get("center_mm")
    if not isinstance(center, list) or len(center) != 3 or not all(map(_is_number, center)):
        raise DatasetError(f"{path}: expected three numbers as center_mm of a lesion, found {center!r}")
    return float(np.linalg.norm(np.subtract(center, lesion.center_mm)))


def _number(path: Path, record: Mapping[str, Any], key: str) -> float:
    value = record.get(key)
    if _is_number(value):
        return float(value)
    raise DatasetError(f"{path}: expected a number as {key} of a lesion, found {value!r}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
