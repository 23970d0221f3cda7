"""Every case of a folder: one bad case never stops the others."""

import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flare_infer.errors import FlareError, UsageError
from flare_infer.segmenter import Segmenter
from flare_infer.volume import Volume
from flare_infer.volume_io import case_name, find_images, read_volume, write_volume


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """What became of one case.

    Attributes:
        name: case name.
        output: the label map written; None if the case failed.
        seconds: reading, segmenting and writing.
        reason: one line that says why it failed; empty if it did not.
        details: the traceback of an unexpected error, for whoever mends it; empty otherwise.
    """

    name: str
    output: Path | None
    seconds: float
    reason: str = ""
    details: str = ""


def find_cases(inputs: Path) -> dict[str, Path]:
    """The images to segment by case name: those of a folder, or a single file.

    Raises:
        UsageError: if there is none.
    """
    return {case_name(inputs): inputs} if inputs.is_file() else find_images(inputs)


def make_output_folder(outputs: Path, inputs: Path) -> None:
    """Make the folder for label maps; it must be neither the folder of the images nor inside it.

    A single image may have its label map in a folder beside it, but not in its own. That it can be written to is tried
    now, so that nobody learns after minutes of work that nothing could be kept.

    Raises:
        UsageError: if it cannot be made or written to, or inputs would be written to.
    """
    target = outputs.resolve()
    forbidden = [target] if inputs.is_file() else [target, *target.parents]
    if (inputs.parent if inputs.is_file() else inputs).resolve() in forbidden:
        raise UsageError(f"{outputs}: lies in the folder of the inputs, where nothing is ever written; choose another")
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


def predict_cases(
    segmenter: Segmenter,
    cases: Mapping[str, Path],
    outputs: Path,
    windows: Callable[[str, int, int], None] = lambda name, done, total: None,
    finished: Callable[[CaseResult], None] = lambda result: None,
) -> list[CaseResult]:
    """Segment cases one after the other, each into `outputs/NAME.nii.gz`.

    Args:
        segmenter: the model.
        cases: image files by case name.
        outputs: an existing folder.
        windows: called with (case, windows done, windows in all).
        finished: called after each case.

    Returns:
        one result for each case, in order.
    """
    results = []
    for name, image in cases.items():
        result = _predict_case(segmenter, name, image, outputs / f"{name}.nii.gz", windows)
        results.append(result)
        finished(result)
    return results


def _predict_case(
    segmenter: Segmenter, name: str, image: Path, output: Path, windows: Callable[[str, int, int], None]
) -> CaseResult:
    started = time.perf_counter()
    try:
        volume = read_volume(image)
        labels_zyx = segmenter.segment(volume, lambda done, total: windows(name, done, total))
        write_volume(output, Volume(array_zyx=labels_zyx, placement=volume.placement))
    except FlareError as error:
        return CaseResult(name=name, output=None, seconds=time.perf_counter() - started, reason=str(error))
    except Exception as error:  # noqa: BLE001 - the case boundary, the only one
        # The case boundary: whatever one scan provokes, the others are still segmented.
        return CaseResult(
            name=name,
            output=None,
            seconds=time.perf_counter() - started,
            reason=f"{image}: unexpected {type(error).__name__}: {error}",
            details=traceback.format_exc(),
        )
    return CaseResult(name=name, output=output, seconds=time.perf_counter() - started)
