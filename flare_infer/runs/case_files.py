"""Which files of the inputs are scans to segment, and which are label maps beside them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from flare_infer.errors import ImageError, UsageError
from flare_infer.formats.foreign import foreign_file
from flare_infer.formats.volume_io import (
    case_name,
    image_ending,
    image_files,
    is_image_channel,
    label_map_of,
    read_volume,
)
from flare_infer.runs.case_result import CaseResult
from flare_infer.volume.label_values import is_label_map


class Found(NamedTuple):
    """What the inputs hold.

    Attributes:
        cases: the images to segment by case name.
        failures: results of cases that several files claim to be; none of those is segmented.
        left_out: label maps beside their scans, which are no cases.
    """

    cases: Mapping[str, Path]
    failures: Sequence[CaseResult] = ()
    left_out: Sequence[Path] = ()


def find_cases(inputs: Path) -> Found:
    """The images to segment: those of a folder, or a single file.

    Raises:
        UsageError: if there is no image.
    """
    if os.path.isfile(inputs):
        if not image_ending(inputs) and (what := foreign_file(inputs)) is not None:
            raise UsageError(f"{inputs}: is {what}")
        return Found({case_name(inputs): inputs})
    images = image_files(inputs)
    left_out = _label_maps_beside(images)
    files: dict[str, list[Path]] = {}
    for path in images:
        if path not in left_out:
            files.setdefault(case_name(path), []).append(path)
    failures = [
        CaseResult(
            name=name,
            output=None,
            seconds=0.0,
            reason=f"{inputs}: {' and '.join(path.name for path in paths)} are one case, {name}; keep one of them",
        )
        for name, paths in files.items()
        if len(paths) > 1
    ]
    return Found({name: paths[0] for name, paths in files.items() if len(paths) == 1}, failures, left_out)


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
