"""What goes to a worker and comes back: names, paths and records, a few kilobytes, never a volume."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from flare_infer.runs.case_result import CaseResult
from flare_infer.runs.further import OutputForms
from flare_infer.runs.identity import SegmentationRecipe
from flare_infer.runs.ready import ModelChoice
from flare_infer.runs.report import CaseRecord, LabelMap
from flare_infer.runs.scan import Scan, file_name


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A scan in a store of objects.

    Attributes:
        url: the file's URL.
        size: its length in bytes.
    """

    url: str
    size: int = 0

    def __str__(self) -> str:
        return self.url


Source: TypeAlias = Scan | RemoteFile
"""What a case is read from, wherever it lies."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all workers of a run do alike.

    Attributes:
        choice: which model, and how it runs.
        forms: in which forms results are written.
        outputs: folder or URL of the label maps.
        again: whether everything is done again.
    """

    choice: ModelChoice
    forms: OutputForms
    outputs: str
    again: bool = False


@dataclass(frozen=True, kw_only=True)
class Task:
    """A case, as it is given to a worker.

    Attributes:
        name: name of the case.
        source: what it is read from.
        record: how it stands.
        label_maps: its label maps that are known, by which the worker sees whether something is left to do.
    """

    name: str
    source: Source
    record: CaseRecord
    label_maps: frozenset[LabelMap] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a worker says of a case.

    Attributes:
        result: what became of the case; `elsewhere` if another worker was faster.
        record: how it stands now.
        notices: lines about it, each with whether it is routine.
    """

    result: CaseResult
    record: CaseRecord
    notices: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A worker has an answer.

    Attributes:
        member: number of the worker.
        name: name of the case.
        answer: the answer.
    """

    member: int
    name: str
    answer: Answer


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A worker is gone, with all that was given to it.

    Attributes:
        member: number of the worker.
        reason: what is known of why, in a few words.
    """

    member: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Setting:
    """With what a worker works.

    Attributes:
        recipe: weights and options, which must be those of all workers.
        facts: what a report says about a run.
    """

    recipe: SegmentationRecipe
    facts: dict[str, object] = field(default_factory=dict)


class Crew(Protocol):
    """Workers, in this process or on other machines, who may come and go.

    Attributes:
        depth: how many cases a worker takes at once: while it segments one, it reads the next and writes the last.
    """

    depth: int

    def members(self) -> Sequence[int]:
        """The numbers of those that are ready now; a number is never given twice."""

    def give(self, member: int, task: Task) -> None:
        """Give a case to one of them."""

    def events(self, seconds: float) -> Sequence[Answered | Lost]:
        """What has happened; waits up to so many seconds for something to happen.

        Raises:
            UsageError: if no worker is left, and none can be had.
        """

    def stop(self) -> None:
        """Ask all of them to give up what they segment, and to finish what they write."""


def image_of(source: Source) -> Scan:
    """The scan as far as it is known here: of a remote file the name alone."""
    return Path(source_name(source)) if isinstance(source, RemoteFile) else source


def source_name(source: Source) -> str:
    """The name of the file, as a report says it; see `file_name`."""
    return source.url.rpartition("/")[2] if isinstance(source, RemoteFile) else file_name(source)
