"""Where label maps go: a folder that can be written to, that is none of inputs, and holds no scans."""

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from flare_infer.errors import ImageError, ReportError, UsageError
from flare_infer.formats.volume_io import (
    IMAGE_SUFFIXES,
    case_name,
    image_ending,
    image_files,
    is_image_channel,
    read_volume,
)
from flare_infer.runs.report import read_report
from flare_infer.runs.scan import Scan
from flare_infer.volume.label_values import is_scan

ENDING: Final = ".nii.gz"
"""Of the names of label maps, unless a file of another format is asked for."""

_OTHER_FILES: Final = (".png", ".jpg", ".jpeg", ".dcm", ".zip", ".json", ".csv", ".html")
"""Endings of files that are no label maps: who names one does not mean a folder."""


def destination(outputs: Path, inputs: Path, cases: Mapping[str, Scan]) -> tuple[Path, Mapping[str, Scan], str]:
    """Folder of the label maps, the cases by the names they get there, and the ending of their files.

    Where a single scan is to go to a path that is named like an image, its case is called as that file.

    Raises:
        UsageError: if outputs are named like an image, and inputs are a folder, or hold several scans; if they are
            named like a file of another kind.
    """
    ending = image_ending(outputs)
    if not ending and outputs.suffix.lower() in _OTHER_FILES and not os.path.isdir(outputs):
        raise UsageError(
            f"{outputs}: a label map is no {outputs.suffix} file; name a folder, or a file that ends in "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    if not ending or os.path.isdir(outputs) or outputs.name == ending:
        return outputs, cases, ENDING
    if not os.path.isfile(inputs) or len(cases) != 1:
        raise UsageError(f"{outputs}: is named like a file, and {inputs} is no single scan; name a folder")
    return outputs.parent, {outputs.name.removesuffix(ending): next(iter(cases.values()))}, ending


@contextmanager
def no_empty_folder_left(outputs: Path) -> Iterator[None]:
    """Remove, on leaving, the folders of a path that were made inside and are empty: what was refused leaves nothing.

    Args:
        outputs: a folder, or a file in one; neither need exist.
    """
    absent = [folder for folder in (outputs, *outputs.parents) if not os.path.lexists(folder)]
    try:
        yield
    finally:
        with suppress(OSError):
            for folder in absent:
                if os.path.isdir(folder):
                    folder.rmdir()


def make_output_folder(outputs: Path, inputs: Path) -> None:
    """Make the folder for label maps; it must be neither the folder of the images nor inside it.

    A single image may have its label map in a folder beside it, but not in its own. That it can be written to is tried
    now, so that minutes of work are not lost in the end.

    Raises:
        UsageError: if it cannot be made or written to, or inputs would be written to.
    """
    target = Path(os.path.realpath(outputs))  # unlike Path.resolve it takes a link that leads in a circle
    is_file = os.path.isfile(inputs)
    forbidden = [target] if is_file else [target, *target.parents]
    if Path(os.path.realpath(inputs.parent if is_file else inputs)) in forbidden:
        raise UsageError(
            f"{_shown(outputs)}: lies in the folder of the inputs, where nothing is ever written; choose another"
        )
    try:
        outputs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{outputs}: cannot be made a folder ({error.strerror}); choose another one") from error
    try:
        # Where the system allows it this file never has a name. Asking for permissions would not do: a mount may be
        # read-only, a disk full.
        with tempfile.TemporaryFile(dir=outputs):
            pass
    except OSError as error:
        raise UsageError(
            f"{outputs}: cannot be written to ({error.strerror}); make it writable for this user, or choose another"
        ) from error


def refuse_scans_among(outputs: Path, names: Collection[str], ending: str = ENDING) -> None:
    """Make sure that label maps do not go among scans: `X.nii.gz` beside `X_0000.nii.gz` would be one case with it.

    Nothing has been written yet, so that the command with its folders in the right order finds all as it was.

    Args:
        outputs: an existing folder.
        names: names of the cases whose label maps are to be written there.
        ending: ending of the names of their files.

    Raises:
        UsageError: if it holds a scan by name (`_0000`, or another file of one of the cases), or in the place of a
            label map.
    """
    try:
        there = image_files(outputs)
    except UsageError:
        return
    ours, label_maps = _written_before(outputs), {f"{name}{ending}" for name in names}
    for path in there:
        if path.name.removesuffix(image_ending(path)) in ours:
            continue
        displaced = path.name in label_maps
        if _is_scan(path) if displaced else is_image_channel(path) or case_name(path) in names:
            would = "would be displaced by its label map" if displaced else "would be one case with a label map"
            raise UsageError(
                f"{_shown(outputs)}: holds scans: {path.name} {would}; are inputs and outputs exchanged? name the "
                "folder of CTs first, then another one for label maps"
            )


def _shown(outputs: Path) -> Path:
    """A folder as messages call it: the working folder by its own name."""
    return outputs if outputs.name else Path(os.path.realpath(outputs))


def _written_before(outputs: Path) -> set[str]:
    """Names of the label maps that the report knows; changes made to them since are noticed later."""
    try:
        return {name for name, record in read_report(outputs).items() if record.output_sha256}
    except ReportError:
        return set()


def _is_scan(path: Path) -> bool:
    try:
        return is_scan(read_volume(path).array_zyx)
    except ImageError:
        return False
