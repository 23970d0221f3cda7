"""A dataset in nnU-Net's raw layout, with the annotated classes of each case.

::

    dataset.json      {"labels": {"background": 0, "liver": 1, ...}, "file_ending": ".nii.gz", ...}
    annotated.json    {"case": [1, 14], ...}   or   {"default": [1, 2, 3], ...}
    imagesTr/         case_0000.nii.gz
    labelsTr/         case.nii.gz
"""

import json
from dataclasses import dataclass
from pathlib import Path

from flare_infer.annotated import Annotations, read_annotations
from flare_infer.errors import DatasetError, FlareError
from flare_infer.labels import CODES
from flare_infer.volume_io import find_images


@dataclass(frozen=True, kw_only=True)
class Case:
    """One patient's CT and label map.

    Attributes:
        name: case name, without `_0000`.
        image: file of the CT.
        labels: file of the label map.
        annotated: codes that the label map says something about, in increasing order.
    """

    name: str
    image: Path
    labels: Path
    annotated: tuple[int, ...]


def read_cases(folder: Path) -> list[Case]:
    """All cases of a dataset, in alphabetical order.

    Raises:
        DatasetError: naming everything that is wrong at once: missing files, images without labels or labels without
            images, cases whose annotated classes are not stated.
    """
    problems: list[str] = []
    try:
        _check_description(folder / "dataset.json")
        images = find_images(folder / "imagesTr")
        labels = find_images(folder / "labelsTr")
        annotations = read_annotations(folder / "annotated.json")
    except DatasetError:
        raise
    except FlareError as error:
        raise DatasetError(str(error)) from error

    problems += [f"{name}: an image without a label map in labelsTr" for name in images.keys() - labels.keys()]
    problems += [f"{name}: a label map without an image in imagesTr" for name in labels.keys() - images.keys()]
    cases = []
    for name in sorted(images.keys() & labels.keys()):
        try:
            annotated = _annotated_codes(annotations, name)
        except DatasetError as error:
            problems.append(str(error))
        else:
            cases.append(Case(name=name, image=images[name], labels=labels[name], annotated=annotated))
    if problems:
        raise DatasetError(f"{folder}: " + "; ".join(sorted(problems)))
    return cases


def untrained_codes(annotated_sets: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Classes that no case annotates: a model trained on these cases cannot know them."""
    known = {code for codes in annotated_sets for code in codes}
    return tuple(code for code in CODES if code not in known)


def _annotated_codes(annotations: Annotations, name: str) -> tuple[int, ...]:
    annotated = tuple(sorted(set(annotations.codes_of(name))))
    if not annotated:
        raise DatasetError(f"{name}: annotates no class; leave it out or name its classes in annotated.json")
    return annotated


def _check_description(path: Path) -> None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        codes = sorted(int(code) for code in content["labels"].values())
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: missing; expected nnU-Net's dataset.json") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: expected an object with `labels` of name: code, found {error!r}") from error
    if any(code not in (0, *CODES) for code in codes):
        raise DatasetError(f"{path}: labels {codes} go beyond 0..{CODES[-1]}; map them to the challenge's codes first")
