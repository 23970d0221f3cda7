"""What is written of a case beside its label map: other forms of it, statistics, a picture, a page."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from flare_infer.backends.allocator import return_freed_blocks
from flare_infer.errors import FlareError, one_line
from flare_infer.files.backup import OLD_SUFFIX, keep_old
from flare_infer.files.hashing import sha256_of_file
from flare_infer.results.case import CaseStatistics, SegmentedCase
from flare_infer.runs.claims import Claims

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

STATISTICS: Final = ".statistics.json"
PREVIEW: Final = ".preview.png"
PAGE: Final = ".report.html"
"""Endings of the names of what is written for people."""

TABLE: Final = "statistics.csv"
INDEX: Final = "index.html"
"""What sums up a folder."""

Beside: TypeAlias = Mapping[str, Sequence[str]]
"""Names of what lies beside the label map of a case, by case."""


@dataclass(frozen=True)
class Measured:
    """A case, and what is measured and drawn of it, once, when it is first asked for.

    Attributes:
        case: the case.
    """

    case: SegmentedCase

    @cached_property
    def statistics(self) -> CaseStatistics:
        """What is measured of the case."""
        from flare_infer.results.statistics import statistics_of

        return statistics_of(self.case)

    @cached_property
    def picture(self) -> "Picture":
        """The picture of the case, which its page shows, too."""
        from flare_infer.page.preview import draw_preview

        return draw_preview(self.case, self.statistics)


@dataclass(frozen=True, kw_only=True)
class FurtherOutput:
    """One file or folder that is written for each case.

    Attributes:
        ending: what follows the name of the case, such as ".seg.dcm".
        write: writes it, whole or not at all.
        options: what else changes its content, in words; with other options it is written again.
        of_series: whether it can be made of a DICOM series only.
    """

    ending: str
    write: Callable[[Path, Measured], None]
    options: str = ""
    of_series: bool = False


@dataclass(frozen=True, kw_only=True)
class OutputForms:
    """In which forms the results of a run are written.

    Attributes:
        ending: ending of the names of label maps, which chooses their format.
        further: what is written of each case beside its label map.
        claims: claims of this process, if others write to the same folder; None if it is alone.
        folder: writes what sums up a whole folder; called with it, the names of what lies beside each label map by
            case, and the reasons of its failed cases by name.
    """

    ending: str = ".nii.gz"
    further: tuple[FurtherOutput, ...] = ()
    claims: Claims | None = None
    folder: Callable[[Path, Beside, Mapping[str, str]], None] = lambda outputs, beside, failed: None

    def of_case(self, name: str, *, is_series: bool) -> dict[str, FurtherOutput]:
        """By file name, those that can be made of a scan that is, or is not, a DICOM series."""
        return {f"{name}{output.ending}": output for output in self.further if is_series or not output.of_series}

    def write(
        self, outputs: Path, case: SegmentedCase, before: "Recorded", say: Callable[[str], None]
    ) -> tuple["Recorded", list[str]]:
        """Write all that can be made of a case.

        Args:
            outputs: an existing folder.
            case: the case.
            before: what an earlier run wrote of it; anything else of these names is kept under another one.
            say: callback, called with a line about what is kept so.

        Returns:
            what was written, and a line for each output that could not be.
        """
        measured = Measured(case)

        def write(name: str, output: FurtherOutput) -> tuple[list[str], str]:
            """What was written, or why it was not."""
            path = outputs / name
            try:
                make_room(path, before.get(name, [""])[0], say)
                output.write(path, measured)
            except (FlareError, OSError) as error:
                reason = str(error)
                return [], one_line(reason if str(path) in reason else f"{path}: not written: {reason}")
            return [sha256_of_output(path), output.options], ""

        return_freed_blocks()
        wanted = self.of_case(case.name, is_series=case.source is not None)
        with ThreadPoolExecutor(_AT_ONCE, "outputs") as pool:
            ended = dict(zip(wanted, pool.map(write, wanted, wanted.values()), strict=True))
        written = {name: recorded for name, (recorded, _) in ended.items() if recorded}
        return written, [reason for _, reason in ended.values() if reason]


LABEL_MAPS: Final = OutputForms()

_AT_ONCE: Final = 2
"""Outputs of a case that are made at the same time; each holds a copy of what it draws or compresses."""

Recorded: TypeAlias = dict[str, list[str]]
"""Hash and options of outputs that were written, by file name."""


def sha256_of_output(path: Path) -> str:
    """The hash of a file, or of all files of a folder with their names; empty if it is missing or cannot be read."""
    if not path.is_dir():
        return sha256_of_file(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        found = sha256_of_file(file)
        if not found:
            return ""
        digest.update(f"{file.relative_to(path)}\n{found}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def make_room(path: Path, sha256: str, say: Callable[[str], None]) -> None:
    """Keep what lies in the place of an output under another name, unless it is the one that was recorded.

    Args:
        path: the place.
        sha256: the hash of what an earlier run wrote there; empty if none did.
        say: callback, called with a line if something is kept.

    Raises:
        OSError: if it can be kept under no other name.
    """
    if not path.exists() or sha256_of_output(path) == sha256:
        return
    if not path.is_dir():
        kept = keep_old(path)
    else:
        number = 1
        while (kept := path.with_name(f"{path.name}{OLD_SUFFIX}{f'-{number}' if number > 1 else ''}")).exists():
            number += 1
        path.rename(kept)
    say(f"the {path.name} that was there is kept as {kept.name}")


def missing(outputs: Path, recorded: Recorded, wanted: Mapping[str, FurtherOutput]) -> list[str]:
    """A line for each of the wanted outputs that is not there, was changed since, or is of other options."""
    lines = []
    for name, output in wanted.items():
        sha256, options = recorded.get(name, ["", ""])
        found = sha256_of_output(outputs / name)
        if not found:
            lines.append(f"{name} is not there")
        elif not sha256:
            lines.append(f"{name} is in no report")
        elif found != sha256:
            lines.append(f"{name} was changed since it was written")
        elif options != output.options:
            lines.append(f"{name} is of other options")
    return lines


def remove_outdated(outputs: Path, recorded: Recorded) -> list[str]:
    """Remove outputs of a label map that is no longer there; what was changed since stays.

    Returns:
        names of those that stay.
    """
    stay = []
    for name, (sha256, *_) in recorded.items():
        path = outputs / name
        if not path.exists():
            continue
        if sha256_of_output(path) != sha256:
            stay.append(name)
            continue
        with suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return stay
