"""One submission as `rank` and `compare` read it: the files that `score` and `efficiency` wrote."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flare_eval.accuracy.scores import CaseScores
from flare_eval.efficiency.case_run import EFFICIENCY_FILE, CaseRun, read_runs
from flare_infer import labels
from flare_infer.errors import DatasetError, UsageError

SCORES_FILE: Final = "scores.csv"


@dataclass(frozen=True, kw_only=True)
class Submission:
    """The results of one submission.

    Attributes:
        name: the name of the submission in tables.
        scores: scores of each case, by name of the case; empty if the submission was not scored.
        efficiency: time and memory of each case, by name of the case; empty if they were not measured.
    """

    name: str
    scores: Mapping[str, CaseScores]
    efficiency: Mapping[str, CaseRun]


def read_submission(argument: str) -> Submission:
    """Read the submission that `NAME=FOLDER` or `FOLDER` stands for; without NAME it is named after the folder.

    The folder holds `scores.csv`, `efficiency.csv` or both; `FOLDER` may also be a `scores.csv` itself.

    Raises:
        UsageError: if the folder holds neither file.
        DatasetError: if a file is not of the form that `flare-eval` writes.
    """
    name, found, place = argument.rpartition("=")
    if found and Path(argument).exists():
        name, place = "", argument
    path = Path(place)
    scores_file = path if path.is_file() else path / SCORES_FILE
    efficiency_file = scores_file.parent / EFFICIENCY_FILE
    if not scores_file.is_file() and not efficiency_file.is_file():
        raise UsageError(f"{path}: no {SCORES_FILE} and no {EFFICIENCY_FILE}; name a folder that `flare-eval` wrote")
    return Submission(
        name=name or scores_file.parent.resolve().name,
        scores=read_scores(scores_file) if scores_file.is_file() else {},
        efficiency=read_runs(efficiency_file) if efficiency_file.is_file() else {},
    )


def read_scores(path: Path) -> dict[str, CaseScores]:
    """Read a `scores.csv`: the scores of each case, by name of the case.

    Raises:
        DatasetError: if the file cannot be read or is not of this form.
    """
    found: dict[str, tuple[dict[int, float], dict[int, float], list[int]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                dsc, nsd, untrained = found.setdefault(row["case"], ({}, {}, []))
                code = int(row["class"])
                if code not in labels.CODES:
                    raise DatasetError(f"{path}: expected classes 1..{labels.CODES[-1]}, found {code}")
                if row.get("name", labels.NAMES[code]) != labels.NAMES[code]:
                    raise DatasetError(
                        f'{path}: class {code} is "{row["name"]}", and {labels.NAMES[code]} in the challenge: '
                        "scores of another label set, which cannot be ranked or compared by the challenge's rules"
                    )
                if row["dsc"]:
                    dsc[code] = float(row["dsc"])
                else:
                    untrained.append(code)
                if row["nsd"]:
                    nsd[code] = float(row["nsd"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DatasetError(f"{path}: not a table of `flare-eval score` ({error!r})") from error
    return {
        case: CaseScores(case=case, dsc=dsc, nsd=nsd, untrained=tuple(untrained))
        for case, (dsc, nsd, untrained) in found.items()
    }
