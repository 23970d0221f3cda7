"""`sh scripts/hostile`: corpus, failing world, kills and load, as one table of what was tried and what happened."""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.machine import dated
from tests.hostile import kills, load, world
from tests.hostile.corpus import GROUPS, KINDS
from tests.hostile.run import GOOD, findings, run_corpus
from tests.hostile.trial import Trial
from tests.hostile.warm import Warm


def main(words: list[str] | None = None) -> int:
    """Try everything; 0 if nothing went wrong, 1 otherwise."""
    options = _options().parse_args(words)
    started = time.perf_counter()
    trials = []
    with tempfile.TemporaryDirectory(prefix="flare-hostile-", ignore_cleanup_errors=True) as folder:
        for trial in every_trial(Path(folder), quick=options.quick, seed=options.seed, least_kills=options.kills):
            trials.append(trial)
            print(f"{_row(trial)} {time.perf_counter() - started:.0f} s", flush=True)
            for line in trial.wrong:
                print(f"  WRONG: {line}", flush=True)
    wrong = sum(len(trial.wrong) for trial in trials)
    summary = f"{len(trials)} trials in {time.perf_counter() - started:.0f} s, {wrong} things went wrong"
    print(f"\n{summary}")
    if options.out is not None:
        options.out.write_text(report(trials, summary), encoding="utf-8")
    return 1 if wrong else 0


def every_trial(folder: Path, *, quick: bool, seed: int, least_kills: int) -> Iterator[Trial]:
    """Try everything in a folder."""
    yield from corpus(_new(folder / "corpus"))
    with Warm(_new(folder / "said")) as warm:
        ground = kills.make_ground(_new(folder / "ground"), warm, cases=12)
        yield from world.trials(ground, folder / "world")
        yield kills.at_random(ground, 5 if quick else least_kills, seed)
        few = kills.make_ground(_new(folder / "few"), warm, cases=3)
        yield kills.at_every_file_operation(few, step=15 if quick else 1)
    yield load.many_cases(_new(folder / "load"), 60 if quick else 500)


def corpus(folder: Path) -> Iterator[Trial]:
    """The corpus of hostile files, a trial for each of its groups."""
    run = run_corpus(folder, KINDS)
    for title, kinds in {**GROUPS, "A good scan beside them": (GOOD,)}.items():
        outcomes = [kind.outcome for kind in kinds]
        counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes))
        wrong = [f"{kind.file!r}: {line}" for kind in kinds for line in findings(run, kind)]
        yield Trial(area="inputs", tried=f"{title.lower()}: {len(kinds)} kinds", happened=counts, wrong=tuple(wrong))


def report(trials: list[Trial], summary: str) -> str:
    """The table as Markdown."""
    lines = [
        "# Everything that can go wrong, tried",
        "",
        dated("hostile").replace("`benchmarks/hostile`", "`sh scripts/hostile --out FILE`"),
        "",
        f"**{summary}.** Wrong would be: a label map that is not byte for byte that of an undisturbed run, a file",
        "that is half written or left over, a case that no line and no report names, an undocumented exit code.",
        "",
        "| what | tried | happened | wrong |",
        "|:---|:---|:---|---:|",
        *(_row(trial) for trial in trials),
    ]
    details = [f"- {trial.tried}: {line}" for trial in trials for line in trial.wrong]
    return "\n".join([*lines, *(["", *details] if details else [])]) + "\n"


def _row(trial: Trial) -> str:
    return f"| {trial.area} | {trial.tried} | {trial.happened} | {len(trial.wrong)} |"


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/hostile", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer kills and cases: under a minute")
    parser.add_argument(
        "--kills", type=int, default=200, help="kills at random moments, at least (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random moments (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="also write the table into this file, as Markdown")
    return parser


if __name__ == "__main__":
    sys.exit(main())
