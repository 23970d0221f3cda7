"""From the options of `flare-infer predict` to what is written of each case beside its label map."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self

from flare_infer.dicom.series import Series
from flare_infer.errors import MissingExtraError, UsageError
from flare_infer.runs.further import (
    INDEX,
    PAGE,
    PREVIEW,
    STATISTICS,
    TABLE,
    Beside,
    FurtherOutput,
    Measured,
    OutputForms,
)
from flare_infer.runs.scan import Scan

FORMS: Final = ("nifti", "dicom-seg", "rtstruct", "masks", "color-table")
"""Forms of label maps; the first is always written, since later runs know by it what is done."""

_OF_CLASSES: Final = {"dicom-seg", "rtstruct", "masks"}
_OF_SERIES: Final = {"dicom-seg", "rtstruct"}


@dataclass(frozen=True, kw_only=True)
class FormOptions:
    """What the user asked for; see `options` for what each means.

    Attributes:
        forms: forms of label maps.
        organs: names of classes, divided by commas; empty means all.
        labelmap: whether a DICOM SEG is of the type LABELMAP.
        statistics: whether statistics are written.
        preview: whether pictures are written.
        report: whether pages are written.
    """

    forms: tuple[str, ...] = FORMS[:1]
    organs: str = ""
    labelmap: bool = False
    statistics: bool = False
    preview: bool = False
    report: bool = False

    @classmethod
    def of(cls, to: str, organs: str, **wanted: bool) -> Self:
        """What the user asked for, with the forms as one text, divided by commas.

        Raises:
            UsageError: if a form is unknown.
        """
        asked = tuple(dict.fromkeys(name.strip() for name in to.split(",") if name.strip()))
        if unknown := [name for name in asked if name not in FORMS]:
            raise UsageError(f"--to: unknown form {unknown[0]}; choose of {', '.join(FORMS)}")
        return cls(forms=asked, organs=organs, **wanted)

    @property
    def measures(self) -> bool:
        """Whether anything asks for statistics; a page holds them, too."""
        return self.statistics or self.preview or self.report


def output_forms(asked: FormOptions, ending: str, names: tuple[str, ...], cases: Iterable[Scan]) -> OutputForms:
    """What a run writes.

    Args:
        asked: what the user asked for.
        ending: ending of the names of label maps.
        names: names of the model's classes, background first.
        cases: the scans.

    Raises:
        UsageError: if a form or a class is unknown, or a form needs DICOM series and there is none.
        MissingExtraError: if a library is missing; before anything is segmented.
    """
    if (asked.organs or asked.labelmap) and not _OF_CLASSES & set(asked.forms):
        raise UsageError(f"--organs and --labelmap are about --to {', '.join(sorted(_OF_CLASSES))}; name one of them")
    codes = None
    if asked.organs:
        from flare_infer.exports.color_table import codes_of_names

        codes = codes_of_names(asked.organs, names)
    if (needy := _OF_SERIES & set(asked.forms)) and not any(isinstance(case, Series) for case in cases):
        raise UsageError(f"--to {', '.join(sorted(needy))}: needs DICOM series as inputs, and there is none")
    # Two are made at a time: pictures and pages wait for the statistics, which therefore come first.
    further = [*_measurements(asked), *_exports(asked, codes), *_pictures(asked)]

    def sum_up(outputs: Path, beside: Beside, failed: Mapping[str, str]) -> None:
        if "color-table" in asked.forms:
            from flare_infer.exports.color_table import colors_of, write_color_table

            write_color_table(outputs / "labels.ctbl", names, colors_of(names))
        with_table = asked.statistics or asked.report
        if with_table or any((outputs / name).exists() for name in (TABLE, INDEX)):
            from flare_infer.commands.summary import write_summary

            write_summary(outputs, beside, failed, with_table=with_table, with_index=asked.report)

    return OutputForms(ending=ending, further=tuple(further), folder=sum_up)


def _exports(asked: FormOptions, codes: frozenset[int] | None) -> Iterable[FurtherOutput]:
    """The forms of label maps for which a file or folder is written for each case."""
    if "dicom-seg" in asked.forms:
        from flare_infer.exports.dicom_seg import write_dicom_seg

        def write_seg(path: Path, measured: Measured) -> None:
            write_dicom_seg(path, measured.case, labelmap=asked.labelmap, codes=codes)

        options = f"{_in_words(codes)} {'labelmap' if asked.labelmap else 'binary'}"
        yield FurtherOutput(ending=".seg.dcm", write=write_seg, options=options, of_series=True)
    if "rtstruct" in asked.forms:
        _require("contourpy", "--to rtstruct", "dicom")
        from flare_infer.exports.rtstruct import write_rtstruct

        def write_contours(path: Path, measured: Measured) -> None:
            write_rtstruct(path, measured.case, codes=codes)

        yield FurtherOutput(ending=".rtstruct.dcm", write=write_contours, options=_in_words(codes), of_series=True)
    if "masks" in asked.forms:
        from flare_infer.exports.masks import write_masks

        def write_each(path: Path, measured: Measured) -> None:
            write_masks(path, measured.case, codes=codes)

        yield FurtherOutput(ending=".masks", write=write_each, options=_in_words(codes))


def _in_words(codes: frozenset[int] | None) -> str:
    """The chosen classes, the same words for the same classes."""
    return "all classes" if codes is None else f"classes {', '.join(map(str, sorted(codes)))}"


def _measurements(asked: FormOptions) -> Iterable[FurtherOutput]:
    """Statistics."""
    if asked.statistics or asked.report:
        from flare_infer.results.statistics_files import write_statistics

        yield FurtherOutput(
            ending=STATISTICS,
            write=lambda path, measured: write_statistics(path, measured.statistics, measured.case.made_with),
        )


def _pictures(asked: FormOptions) -> Iterable[FurtherOutput]:
    """Pictures and pages."""
    for option, wanted in (("--preview", asked.preview), ("--report", asked.report)):
        if wanted:
            _require("PIL", option, "picture")
    if asked.preview:
        from flare_infer.page.preview import write_preview

        yield FurtherOutput(
            ending=PREVIEW,
            write=lambda path, measured: write_preview(path, measured.case, measured.statistics, measured.picture),
        )
    if asked.report:
        from flare_infer.page.report import write_report

        yield FurtherOutput(
            ending=PAGE,
            write=lambda path, measured: write_report(path, measured.case, measured.statistics, measured.picture),
        )


def _require(library: str, option: str, extra: str) -> None:
    """Make sure that a library is there before anything is segmented.

    Raises:
        MissingExtraError: if it is not.
    """
    if find_spec(library) is None:
        raise MissingExtraError(f'{option} needs {library}: pip install "flare-infer[{extra}]"')
