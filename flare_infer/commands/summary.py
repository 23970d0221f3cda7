"""What sums up a folder of outputs: a table of all that was measured, and a page with links."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from flare_infer.errors import ReportError
from flare_infer.files.write_whole import write_whole
from flare_infer.page.index import IndexedCase, indexed, write_index
from flare_infer.results.case import CaseStatistics
from flare_infer.results.statistics_files import read_statistics, table_rows, table_text
from flare_infer.runs.further import PAGE, PREVIEW, STATISTICS, Beside

TABLE: Final = "statistics.csv"
INDEX: Final = "index.html"


def write_summary(outputs: Path, beside: Beside, failed: Mapping[str, str], *, with_index: bool) -> None:
    """Write `statistics.csv` of all cases that were measured, and `index.html` if it is wanted.

    Args:
        outputs: the folder.
        beside: names of what lies beside the label map of a case, by case.
        failed: why a case failed, by case.
        with_index: whether the page is written.

    Raises:
        NotWrittenError: if a file cannot be written.
    """
    measured = dict(_measured(outputs, beside))
    rows = (row for statistics in measured.values() for row in table_rows(statistics))
    write_whole(outputs / TABLE, table_text(rows))
    if not with_index:
        return
    cases = {
        name: indexed(statistics, *(_there(name + ending, beside[name]) for ending in (PAGE, PREVIEW)))
        for name, statistics in measured.items()
    }
    cases |= {name: IndexedCase(name=name, failure=reason) for name, reason in failed.items()}
    write_index(outputs / INDEX, [cases[name] for name in sorted(cases)])


def _measured(outputs: Path, beside: Beside) -> Iterator[tuple[str, CaseStatistics]]:
    """What is known of the cases; one whose file was removed or damaged since is left out."""
    for name in sorted(beside):
        file = name + STATISTICS
        if file in beside[name]:
            try:
                yield name, read_statistics(outputs / file)
            except ReportError:
                continue


def _there(file: str, files: Sequence[str]) -> str:
    """The name of a file if it is among those that were written, else an empty one."""
    return file if file in files else ""
