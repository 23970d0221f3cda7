"""`python -m tests.mutants`: small mistakes in load-bearing code, one at a time; do the tests notice each?

Nothing is changed in the checkout itself: each mistake is made in a copy. A run that was stopped goes on where it was:
a change is tried again only if it, its file or its test files changed. A few seconds a change on one core.
"""

import argparse
import queue
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

from tests.mutants.changes import Change, TableError, read_changes
from tests.mutants.results import append_trial, read_trials, report, score
from tests.mutants.trial import ROOT, Copy, Trial, key_of

RESULTS = ROOT / "build" / "mutants.jsonl"
REPORT = ROOT / "benchmarks" / "results" / "mutants.md"


def main(words: list[str] | None = None) -> int:
    """Try the changes; 0 if every one that should be is killed, 1 if not, 2 if they cannot be tried."""
    parser = _options()
    options = parser.parse_args(words)
    if options.only and options.write:
        parser.error("the report is one of all changes: leave out --only or --write")
    try:
        wanted = options.only or [""]
        changes = [each for each in read_changes() if any(word in f"{each.file} {each.name}" for word in wanted)]
        for change in changes:
            change.applied((ROOT / change.file).read_text(encoding="utf-8"))
        known = {} if options.again else _still_good(changes, read_trials(options.results))
        left = [change for change in changes if change.name not in known]
        problem = _try_all(left, known, options)
    except (TableError, OSError) as error:
        problem = str(error)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    unexplained = [each for each in changes if each.name in known and known[each.name].outcome != "killed"]
    for change in unexplained:
        print(f"{known[change.name].outcome:9}{change.name}: {change.survives or change.why}")
    print(score(changes, known))
    if options.write:
        REPORT.write_text(report(changes, known), encoding="utf-8")
    as_explained = all(known[each.name].outcome == "survived" and each.survives for each in unexplained)
    return 0 if as_explained and len(known) == len(changes) else 1


def _still_good(changes: Sequence[Change], trials: dict[str, Trial]) -> dict[str, Trial]:
    """The trials of an earlier run that would come to the same."""
    return {
        each.name: trials[each.name]
        for each in changes
        if each.name in trials and trials[each.name].key == key_of(each, ROOT) and trials[each.name].outcome != "broken"
    }


def _try_all(left: Sequence[Change], known: dict[str, Trial], options: argparse.Namespace) -> str:
    """Try changes, keep and print what becomes of each; why they cannot be tried, if so."""
    if not left:
        return ""
    ends = time.monotonic() + 60 * options.minutes
    with (
        tempfile.TemporaryDirectory(prefix="flare-mutants-", ignore_cleanup_errors=True) as folder,
        ExitStack() as stack,
    ):
        copies: queue.Queue[Copy] = queue.Queue()
        for job in range(options.jobs):
            copies.put(stack.enter_context(closing(Copy(ROOT, Path(folder) / str(job) / "checkout"))))
        first = copies.get()
        wrong = first.problem_unchanged(test for change in left for test in change.tests)
        copies.put(first)
        if wrong:
            return f"{wrong}\nThe tests must pass as long as nothing is changed."

        def attempt(change: Change) -> None:
            if time.monotonic() > ends:
                return
            copy = copies.get()
            try:
                trial = copy.try_change(change)
            finally:
                copies.put(copy)
            known[change.name] = trial
            append_trial(options.results, trial)
            print(f"{trial.outcome:9}{change.name}: {trial.by or change.why}", flush=True)

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(attempt, left))
    return ""


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        default=None,
        metavar="TEXT",
        help="changes with this in file or name; may be repeated",
    )
    parser.add_argument("--jobs", type=int, default=1, help="changes at a time (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no further change after so long")
    parser.add_argument("--again", action="store_true", help="try all again, whatever is known")
    parser.add_argument("--results", type=Path, default=RESULTS, help="what is known (default: build/mutants.jsonl)")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/mutants.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
