"""What DICOM series are there, as a table without dates and without a patient's data."""

from collections.abc import Sequence
from pathlib import Path

from flare_infer.dicom.series import Series
from flare_infer.errors import one_line

_COLUMNS = ("case", "modality", "description", "slices", "spacing (mm)", "phase", "usable", "SeriesInstanceUID")
_FOLDER = "folder"


def series_table(series: Sequence[Series], inputs: Path | None = None) -> list[str]:
    """One line for each series below a line of headings.

    Args:
        series: all series that were found; spacings are in the order z, y, x.
        inputs: folder that is searched, if a last column shall say in which folders of it the files of a series lie:
            folders may be called by the patient. Else None.
    """
    head = _COLUMNS if inputs is None else (*_COLUMNS, _FOLDER)
    rows = [head, *(_row(one, inputs) for one in series)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(one: Series, inputs: Path | None) -> tuple[str, ...]:
    spacing = ""
    if one.slices:
        steps = ([one.spacing_mm] if one.spacing_mm else []) + list(one.slices[0].spacing_mm)
        spacing = " x ".join(f"{step:.4g}" for step in steps)
    usable = f"no: {one.problem}" if one.problem else "; ".join(("yes", *one.doubts))
    texts = [one.name, one.modality, one.description, str(len(one.slices)), spacing, one.phase, usable, one.uid]
    if inputs is not None:
        texts.append(", ".join(sorted({str(path.parent.relative_to(inputs)) for path in one.files})))
    return tuple(one_line(text) for text in texts)
