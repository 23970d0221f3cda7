"""What sums up a folder of outputs: a table of all that was measured, and a page with links."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from flare_infer.errors import ReportError
from flare_infer.files.backup import keep_old
from flare_infer.files.write_whole import write_whole
from flare_infer.page.index import IndexedCase, indexed, write_index
from flare_infer.results.case import CaseStatistics
from flare_infer.results.statistics_files import COLUMNS, read_statistics, table_rows, table_text
from flare_infer.runs.further import INDEX, PAGE, PREVIEW, STATISTICS, TABLE, Beside

MARK: Final = '<meta name="generator" content="flare-infer">'
"""In the page of a folder that this program wrote."""

_BEGINNING: Final = 4096


def write_summary(
    outputs: Path, beside: Beside, failed: Mapping[str, str], *, with_table: bool, with_index: bool
) -> None:
    """Write `statistics.csv` of all cases that were measured, and `index.html`, where they are wanted.

    What an earlier run wrote is written again by every run: it must not show what is there no longer. A file of that
    name that this program did not write is kept under another one.

    Args:
        outputs: the folder.
        beside: names of what lies beside the label map of a case, by case.
        failed: why a case failed, by case.
        with_table: whether the table is wanted.
        with_index: whether the page is wanted.

    Raises:
        NotWrittenError: if a file cannot be written.
        OSError: if a file can be kept under no other name.
    """
    table, index = outputs / TABLE, outputs / INDEX
    with_table |= _is_ours(table, ",".join(COLUMNS))
    with_index |= _is_ours(index, MARK)
    if not (with_table or with_index):
        return
    measured = dict(_measured(outputs, beside))
    if with_table:
        _keep_foreign(table, ",".join(COLUMNS))
        write_whole(table, table_text(row for statistics in measured.values() for row in table_rows(statistics)))
    if not with_index:
        return
    cases = {
        name: indexed(statistics, *(_there(name + ending, beside[name]) for ending in (PAGE, PREVIEW)))
        for name, statistics in measured.items()
    }
    cases |= {name: IndexedCase(name=name, failure=reason) for name, reason in failed.items()}
    _keep_foreign(index, MARK)
    write_index(index, [cases[name] for name in sorted(cases)])


def _is_ours(path: Path, mark: str) -> bool:
    """Whether a file is there that begins as those that this program writes."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return mark in file.read(_BEGINNING)
    except OSError:
        return False


def _keep_foreign(path: Path, mark: str) -> None:
    if path.is_file() and not _is_ours(path, mark):
        keep_old(path)


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
