"""One HTML file of a folder of cases: a table with links to their pages, volumes, flags, and what failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote

from flare_infer import labels
from flare_infer.page.assets import asset, policy, write_page
from flare_infer.page.preview import NO_DEVICE
from flare_infer.results.case import CaseStatistics, Flag
from flare_infer.results.organ_volumes import volume_text

_MAIN: Final = tuple(
    labels.NAMES[code]
    for code in (labels.LIVER, labels.SPLEEN, labels.RIGHT_KIDNEY, labels.LEFT_KIDNEY, labels.PANCREAS, labels.TUMOR)
)
_MOST_COLUMNS: Final = 6


@dataclass(frozen=True, kw_only=True)
class IndexedCase:
    """A row of the table.

    Attributes:
        name: name of the case.
        page: its page, relative to the folder of the index; empty if there is none.
        preview: its picture, likewise.
        volumes_ml: name of a class to its volume in milliliters, 0 if it was not found.
        cut: names of the classes that the scan cuts.
        flags: reasons to look with care.
        failure: why it failed, one line; empty if it did not.
    """

    name: str
    page: str = ""
    preview: str = ""
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    cut: frozenset[str] = frozenset()
    flags: Sequence[Flag] = ()
    failure: str = ""


def indexed(statistics: CaseStatistics, page: str = "", preview: str = "") -> IndexedCase:
    """The row of a case that was measured.

    Args:
        statistics: what was measured.
        page: its page, relative to the folder of the index; empty if there is none.
        preview: its picture, likewise.
    """
    return IndexedCase(
        name=statistics.name,
        page=page,
        preview=preview,
        volumes_ml={one.name: one.volume_ml for one in statistics.classes},
        cut=frozenset(one.name for one in statistics.classes if one.cut),
        flags=statistics.flags,
    )


def write_index(path: Path, cases: Sequence[IndexedCase]) -> None:
    """Write the page of a folder.

    Args:
        path: the file, in the folder that pages and previews are relative to.
        cases: the cases, in the order of the table before somebody sorts it.

    Raises:
        NotWrittenError: if the file cannot be written.
    """
    script, style = asset("index.js"), asset("page.css")
    columns = _columns(cases)
    write_page(
        path,
        "index.html",
        # Pictures lie beside the page, whether it is opened as a file or from a server.
        policy=policy([script], [style], "'self' file: data:"),
        disclaimer=NO_DEVICE,
        columns=columns,
        cases=[_row(case, columns) for case in cases],
        failed=sum(1 for case in cases if case.failure),
        with_previews=any(case.preview for case in cases),
        script=script,
        style=style,
    )


def _columns(cases: Sequence[IndexedCase]) -> list[str]:
    """The classes whose volumes are shown: the main organs, or the first ones that a model has."""
    names = list(dict.fromkeys(name for case in cases for name in case.volumes_ml))
    return [name for name in _MAIN if name in names] or names[:_MOST_COLUMNS]


def _row(case: IndexedCase, columns: Sequence[str]) -> dict[str, object]:
    volumes = [(case.volumes_ml.get(name), name in case.cut) for name in columns]
    return {
        "name": case.name,
        "page": _link(case.page),
        "preview": _link(case.preview),
        "failure": case.failure,
        "flags": case.flags,
        "volumes": [
            ("" if volume is None else volume_text(volume, cut=cut), -1.0 if volume is None else volume)
            for volume, cut in volumes
        ],
    }


def _link(relative: str) -> str:
    """A path as a relative link; "./" keeps a colon in a name from being read as a scheme."""
    return f"./{quote(PurePosixPath(relative).as_posix())}" if relative else ""
