"""`report.json` and `report.csv` of an outputs folder: what became of every case, written whole or not at all."""

import csv
import json
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

from flare_infer.errors import ReportError
from flare_infer.files.write_whole import whole_file

REPORT_FILE: Final = "report.json"
TABLE_FILE: Final = "report.csv"

_FORMAT: Final = "flare-infer report 1"

Status: TypeAlias = Literal["waiting", "started", "written", "done before", "failed", "interrupted"]
"""Of a case; one that is `started` in a run that is over had the program killed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelMap:
    """A label map and what it was made of, by hashes; all empty if there is none.

    Attributes:
        output_sha256: SHA-256 of its file.
        input_sha256: SHA-256 of the scan's file.
        weights_sha256: SHA-256 of the file of weights.
        options_sha256: SHA-256 of all else that changes labels.
    """

    output_sha256: str = ""
    input_sha256: str = ""
    weights_sha256: str = ""
    options_sha256: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseRecord:
    """What became of a case.

    Attributes:
        name: name of the case.
        status: state of the case.
        reason: why it failed or did not end, in one line.
        image: name of the scan's file.
        run: when the run began that this was found in, in UTC.
        starts: number of starts since it last came to an end.
        seconds: reading, segmenting and writing, without waiting for other cases.
        read_seconds: seconds of these for reading and preparing.
        segment_seconds: windows and decoding.
        write_seconds: writing.
        windows_ran: windows that the network ran.
        windows: windows of the whole grid.
        peak_memory_mib: the most that the process had held when the case ended.
        peak_gpu_memory_mib: the most that torch had held on the GPU by then.
        plan: device, precision and sizes.
        output_sha256: SHA-256 of its last label map that was whole; so are the next three.
        input_sha256: see `LabelMap`.
        weights_sha256: see `LabelMap`.
        options_sha256: see `LabelMap`.
        notices: lines that the user was shown about it.
        further: SHA-256 of what was written beside its label map, by name, with its options (`further`).
    """

    name: str
    status: Status = "waiting"
    reason: str = ""
    image: str = ""
    run: str = ""
    starts: int = 0
    seconds: float = 0.0
    read_seconds: float = 0.0
    segment_seconds: float = 0.0
    write_seconds: float = 0.0
    windows_ran: int = 0
    windows: int = 0
    peak_memory_mib: float = 0.0
    peak_gpu_memory_mib: float = 0.0
    plan: str = ""
    output_sha256: str = ""
    input_sha256: str = ""
    weights_sha256: str = ""
    options_sha256: str = ""
    notices: tuple[str, ...] = ()
    further: dict[str, list[str]] = field(default_factory=dict)

    @property
    def label_map(self) -> LabelMap:
        """Its last label map that was whole."""
        return LabelMap(**{field.name: getattr(self, field.name) for field in fields(LabelMap)})


class Records(Protocol):
    """What the books of a run note cases in: the ledger of a folder, or what a worker takes along of it."""

    never_ended: dict[str, int]
    """Cases that an earlier run started and did not end, and how often."""

    def record(self, name: str) -> CaseRecord:
        """How a case stands."""

    def known(self, name: str, output: Path) -> LabelMap | None:
        """The label map that lies at `output`, if it is one that we wrote and that was not changed since."""

    def done_before(self, name: str, label_map: LabelMap) -> None:
        """There is nothing to do for a case."""

    def started(self, name: str) -> None:
        """A case begins."""

    def written(self, name: str, label_map: LabelMap) -> None:
        """A label map is whole and about to get its final name."""

    def ended(self, record: CaseRecord) -> None:
        """A case has come to an end, good or bad."""

    def refresh(self) -> bool:
        """Take in what other processes have noted; whether there was something."""


_FIELDS: Final = tuple(field.name for field in fields(CaseRecord))
_COLUMNS: Final = tuple(name for name in _FIELDS if name != "further")


def record_from(value: object) -> CaseRecord:
    """A record as JSON gives it; what this version does not know is passed over.

    Raises:
        ReportError: if it is none.
    """
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ReportError(f"expected a case with a name, found {value!r:.100}")
    known: dict[str, Any] = {name: value[name] for name in _FIELDS if name in value}
    example = CaseRecord(name="")
    for name, found in known.items():
        default = getattr(example, name)
        expected = (int, float) if isinstance(default, float) else list if name == "notices" else type(default)
        if not isinstance(found, expected):
            raise ReportError(f"case {value['name']}: expected another type of {name}, found {found!r:.100}")
    if known.get("status", "waiting") not in get_args(Status):
        raise ReportError(f"case {value['name']}: unknown status {known['status']!r:.100}")
    return CaseRecord(**known | {"notices": tuple(map(str, known.get("notices", ())))})


def with_shared_texts(record: CaseRecord, before: CaseRecord | None) -> CaseRecord:
    """The same record, whose texts are in memory only once, however many records have them.

    Args:
        record: a record of a case, as it comes from a file or another process.
        before: the record of the same case that it follows.
    """
    same = before if before is not None and before.image == record.image else record
    return replace(
        record,
        name=same.name,
        image=same.image,
        run=sys.intern(record.run),
        plan=sys.intern(record.plan),
        weights_sha256=sys.intern(record.weights_sha256),
        options_sha256=sys.intern(record.options_sha256),
    )


def read_report(outputs: Path) -> dict[str, CaseRecord]:
    """The records of the report in a folder, by case; none if there is no report.

    Raises:
        ReportError: if there is one that cannot be read.
    """
    path = outputs / REPORT_FILE
    try:
        content = json.loads(path.read_bytes())
        if content.get("format") != _FORMAT:
            raise ReportError(f"{path}: expected a {_FORMAT}, found format {content.get('format')!r:.100}")
        records = [record_from(value) for value in content["cases"]]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise ReportError(f"{path}: not readable as a {_FORMAT} ({error})") from error
    return {record.name: record for record in records}


def write_run_report(outputs: Path, run: Mapping[str, Any], records: Collection[CaseRecord], *, safely: bool) -> None:
    """Write both files, each under a temporary name first.

    Args:
        outputs: an existing folder.
        run: facts about the run as a whole, of types that JSON has.
        records: one of each case; they are gone through twice.
        safely: whether to wait until report.json is on the disk itself, and would survive the loss of power.

    Raises:
        OSError: if they cannot be written.
    """
    with whole_file(outputs / REPORT_FILE, explained=False, synced=safely) as part, part.open("w") as file:
        file.writelines(_as_json(run, records))
    with (
        whole_file(outputs / TABLE_FILE, explained=False, synced=False) as part,
        # A file's name need not be Unicode: what cannot be written is written as its code.
        part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for record in records:
            writer.writerow(asdict(record) | {"notices": "; ".join(record.notices)})


def _as_json(run: Mapping[str, Any], records: Iterable[CaseRecord]) -> Iterator[str]:
    """The pieces of report.json, one case after the other: a text of all of them may be as large as all records."""
    start, end = json.dumps({"format": _FORMAT, "run": dict(run), "cases": []}, indent=1).rsplit("]", 1)
    yield start
    between = "\n"
    for record in records:
        yield between + textwrap.indent(json.dumps(asdict(record), indent=1), "  ")
        between = ",\n"
    yield ("]" if between == "\n" else "\n ]") + end + "\n"
