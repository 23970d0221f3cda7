"""Results of the changes tried so far, in a file from which a stopped run continues; and the report."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from benchmarks.machine import dated
from tests.mutants.changes import Change
from tests.mutants.trial import Trial


def read_trials(path: Path) -> dict[str, Trial]:
    """The last trial of each change by its name; none if there is no file. A line that was cut short is passed over."""
    trials: dict[str, Trial] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        try:
            trial = Trial(**json.loads(line))
        except (ValueError, TypeError):
            continue
        trials[trial.name] = trial
    return trials


def append_trial(path: Path, trial: Trial) -> None:
    """Add a trial to the file, which is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(asdict(trial))}\n")


def score(changes: Iterable[Change], trials: Mapping[str, Trial]) -> str:
    """How many changes were killed, in a sentence; what was not tried is said."""
    changes = list(changes)
    counts = Counter(trials[change.name].outcome for change in changes if change.name in trials)
    tried = counts.total()
    share = f"{counts['killed'] / tried:.1%}" if tried else "nothing"
    parts = [f"{counts['killed']} of {tried} changes killed ({share})", f"{counts['survived']} survived"]
    parts += [f"{counts['broken']} could not be judged"] if counts["broken"] else []
    parts += [f"{len(changes) - tried} not tried yet"] if tried < len(changes) else []
    return ", ".join(parts)


def report(changes: Iterable[Change], trials: Mapping[str, Trial]) -> str:
    """The score by package, every survivor with its explanation, and every change, as Markdown."""
    changes = list(changes)
    lines = [
        "# Small changes that the tests should notice",
        "",
        dated("mutants").replace("`benchmarks/mutants`", "`python -m tests.mutants --write`"),
        "",
        f"**{score(changes, trials)}.** Each change is a mistake that would hurt somebody, made alone in code that",
        "much depends on; the tests that belong to it are run, and it is killed if one fails (`tests/mutants/tables`).",
        "",
        "| package | changes | killed | survived |",
        "|:---|---:|---:|---:|",
    ]
    for package in dict.fromkeys(change.file.split("/")[0] for change in changes):
        own = [trials[each.name] for each in changes if each.file.startswith(f"{package}/") and each.name in trials]
        counts = Counter(trial.outcome for trial in own)
        lines.append(f"| {package} | {len(own)} | {counts['killed']} | {counts['survived']} |")
    survivors = [each for each in changes if each.name in trials and trials[each.name].outcome != "killed"]
    if survivors:
        lines += ["", "## Not killed", ""]
        lines += [f"- `{each.name}` ({each.file}): {each.survives or 'not explained'}" for each in survivors]
    lines += ["", "## All of them", "", "| change | file | whom it would hurt | killed by |", "|:---|:---|:---|:---|"]
    for each in changes:
        trial = trials.get(each.name)
        by = (
            "not tried"
            if trial is None
            else trial.by.rpartition("/")[2]
            if trial.outcome == "killed"
            else trial.outcome
        )
        lines.append(f"| {each.name} | {each.file} | {_cell(each.why)} | {_cell(by)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
