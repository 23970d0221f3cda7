"""What a long run will cost, from three of its cases."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from flare_infer.runs.case_result import CaseResult
from flare_infer.runs.report import CaseRecord, read_report
from flare_infer.runs.scan import Scan, stamp_of

_MIB: Final = 1024**2
_DONE: Final = ("written", "done before")


def sample_of(cases: Mapping[str, Scan], outputs: Path) -> dict[str, Scan]:
    """The smallest, the median and the largest of the cases that have no label map yet, by the size of their files.

    Raises:
        ReportError: if the report of earlier runs cannot be read.
    """
    left = _left(cases, read_report(outputs))
    chosen = {left[index] for index in (0, len(left) // 2, len(left) - 1)} if left else set()
    return {name: scan for name, scan in cases.items() if name in chosen}


def estimated(cases: Mapping[str, Scan], sample: Sequence[CaseResult], outputs: Path, workers: int) -> str:
    """One line on the cases that are left.

    Seconds grow with the size of a scan's file about linearly, from a fixed cost on; so does what is written. The
    largest case was among those measured, so that none needs more memory.

    Args:
        cases: all cases.
        sample: results of those that were just segmented.
        outputs: the folder, whose report has what they cost.
        workers: number of processes that will share the rest.

    Raises:
        ReportError: if the report cannot be read.
    """
    records = read_report(outputs)
    measured = [records[result.name] for result in sample if result.output is not None and result.seconds > 0]
    if not measured:
        return "estimate: no case was segmented, so nothing was measured"
    left = _left(cases, records)
    sizes = [_size(cases[record.name]) for record in measured]
    fixed, rate = _line(sizes, [record.seconds for record in measured])
    seconds = sum(fixed + rate * _size(cases[name]) for name in left)
    files = [result.output for result in sample if result.output is not None]
    files += [outputs / name for record in measured for name in record.further]
    written = sum(map(_bytes_of, files)) / max(1, sum(sizes)) * sum(_size(cases[name]) for name in left)
    memory = max(record.peak_memory_mib for record in measured)
    return (
        f"estimate: {len(left)} case(s) left; {_duration(seconds / workers)} with {workers} such process(es), "
        f"each with up to {memory / 1024:.1f} GiB of memory; {written / _MIB:,.0f} MiB of outputs"
    )


def _left(cases: Mapping[str, Scan], records: Mapping[str, CaseRecord]) -> list[str]:
    """The cases without a label map, the smallest first."""
    undone = [name for name in cases if name not in records or records[name].status not in _DONE]
    return sorted(undone, key=lambda name: (_size(cases[name]), name))


def _size(scan: Scan) -> int:
    return (stamp_of(scan) or (0,))[0]


def _line(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Fixed seconds, and seconds for each byte; neither is negative."""
    if len(set(sizes)) < 2:
        return float(np.mean(seconds)), 0.0
    rate, fixed = np.polyfit(sizes, seconds, 1)
    if rate < 0 or fixed < 0:
        return 0.0, sum(seconds) / sum(sizes)
    return float(fixed), float(rate)


def _bytes_of(path: Path) -> int:
    if path.is_dir():
        return sum(_bytes_of(inside) for inside in path.iterdir())
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
