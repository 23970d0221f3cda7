"""A fixed share of the cases for each of several jobs, for schedulers that number their jobs."""

import os
from collections.abc import Mapping
from typing import Final

from flare_infer.errors import UsageError
from flare_infer.runs.scan import Scan, stamp_of

AUTO: Final = "auto"

_SCHEDULERS: Final = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT"),
    ("JOB_COMPLETION_INDEX", "", ""),
)
"""Of each scheduler the variables that hold the number of a job, that of the first one, and how many there are."""


def part_of(cases: Mapping[str, Scan], part: str, environment: Mapping[str, str] = os.environ) -> dict[str, Scan]:
    """The cases of one of several jobs: every N-th, the largest first, so that all have about the same to do.

    Args:
        cases: all cases by name; every job must find the same.
        part: "I/N", job I of N, counted from 1; "auto" takes both from Slurm's job array; "auto/N" takes I from it or
            from an indexed job of Kubernetes.
        environment: the environment's variables.

    Raises:
        UsageError: if it is none of these, or the variables are missing.
    """
    number, count = number_and_count(part, environment)
    ordered = sorted(cases, key=lambda name: (-(stamp_of(cases[name]) or (0,))[0], name))
    return {name: cases[name] for name in ordered[number - 1 :: count]}


def number_and_count(part: str, environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Number of this job, from 1, and how many there are.

    Args:
        part: as for `part_of`.
        environment: the environment's variables.

    Raises:
        UsageError: if it is none of these, or the variables are missing.
    """
    number, _, count = part.partition("/")
    if number == AUTO:
        number, count = _of_scheduler(count, environment)
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--part {part}: expected I/N with I from 1 to N, such as 3/8, or auto, or auto/N")
    return int(number), int(count)


def _of_scheduler(count: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """The same, as a scheduler says it."""
    for index, first, total in _SCHEDULERS:
        if environment.get(index, "").isdecimal():
            start = environment.get(first, "0")
            number = int(environment[index]) - (int(start) if start.isdecimal() else 0) + 1
            return str(number), count or environment.get(total, "")
    names = " or ".join(index for index, _, _ in _SCHEDULERS)
    raise UsageError(f"--part {AUTO}: {names} is not set; start it as a job of an array, or name I/N")
