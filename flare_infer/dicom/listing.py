"""What DICOM series are there, as a table without dates and without a patient's data."""

from collections.abc import Sequence

from flare_infer.dicom.series import Series
from flare_infer.errors import one_line

_COLUMNS = ("case", "modality", "description", "slices", "spacing (mm)", "phase", "usable")


def series_table(series: Sequence[Series]) -> list[str]:
    """One line for each series below a line of headings.

    Args:
        series: all series that were found; spacings are in the order z, y, x.
    """
    rows = [_COLUMNS, *(_row(one) for one in series)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(one: Series) -> tuple[str, ...]:
    spacing = ""
    if one.slices:
        steps = ([one.spacing_mm] if one.spacing_mm else []) + list(one.slices[0].spacing_mm)
        spacing = " x ".join(f"{step:.4g}" for step in steps)
    usable = f"no: {one.problem}" if one.problem else "; ".join(("yes", *one.doubts))
    texts = (one.name, one.modality, one.description, str(len(one.slices)), spacing, one.phase, usable)
    return tuple(one_line(text) for text in texts)
