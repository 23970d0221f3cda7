"""Eight processes that share a folder and are killed again and again: every case once in the end, and nothing half.

Usage: python -m benchmarks.shared_kills CASES KILLS REPORT

`flare-infer predict --share` on tiny invented scans with a tiny model, eight real processes. One of them, drawn at
random, gets SIGKILL at a random moment after it began to work, and is started again, until all kills are done; then all
run to their end. Each case waits for some seconds before it is segmented, as long as a real one takes, so that there is
work until the last kill. Claims count as left after a few seconds instead of a minute, so that it takes minutes and not
hours. The label maps are compared with those of one process.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.machine import dated
from benchmarks.tiny_cases import UNREADABLE, tiny_cases

PROCESSES = 8
STALE_SECONDS = 15
CASE_SECONDS = 4
_SECONDS = 3600
_MAIN = "sys.argv[0] = 'flare-infer'; from flare_infer.commands.app import main; main()"
_ALONE = f"import sys; {_MAIN}"
_SHARED = f"""
import sys, time
from flare_infer.runs import claims, folder
from flare_infer.runs.case_result import CaseResult

def slowly(segmenter, read, callbacks, segmented=folder.segmented_case):
    if not isinstance(read, CaseResult):  # which is of another process
        time.sleep({CASE_SECONDS})
    return segmented(segmenter, read, callbacks)

folder.segmented_case = slowly
claims.Claims.__init__.__defaults__ = ({STALE_SECONDS}.0,)
{_MAIN}
"""


def main(count: int, kills: int, report: Path) -> None:
    """Run it and write the report; exit code 1 if something is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        inputs, weights = tiny_cases(place, count, unreadable=True)
        alone, shared = place / "alone", place / "shared"
        _started(inputs, alone, weights, place / "alone.log", shared=False).wait(_SECONDS)
        began = time.monotonic()
        codes, killed_at_work, written_after = _with_kills(inputs, shared, weights, place, kills)
        seconds = time.monotonic() - began
        cases = json.loads((shared / "report.json").read_text())["cases"]
        expected, found = _label_maps(alone), _label_maps(shared)
        same = sum(found.get(name) == content for name, content in expected.items())
        wrong = _wrong(codes, cases, expected, found, shared)
        lines = [
            "# Processes that share a folder and are killed",
            "",
            dated("shared_kills.py"),
            "",
            f"{PROCESSES} processes with `--share`, {count} tiny invented scans and one file that is no image, {kills} "
            f"kills at random moments, {killed_at_work} of them of a process that had begun with cases; each was "
            f"started again; {written_after} label maps were written after the last kill. A case takes "
            f"{CASE_SECONDS} s. A claim counted as left after {STALE_SECONDS} s (in use: 60 s).",
            "",
            "| | |",
            "|:---|:---|",
            f"| seconds | {seconds:.0f} |",
            f"| label maps | {len(found)} of {count}, {same} byte for byte those of one process |",
            f"| written more than once | {_twice(place)} (a process was killed between the file and its journal) |",
            f"| not as it should be | {'; '.join(wrong) or 'nothing'} |",
        ]
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(*lines, sep="\n")
    sys.exit(bool(wrong))


def _wrong(
    codes: list[int], cases: list[dict[str, str]], expected: dict[str, bytes], found: dict[str, bytes], shared: Path
) -> list[str]:
    """What is not as it should be, a line each."""
    failed = [case["name"] for case in cases if case["status"] == "failed"]
    parts = [path.name for path in shared.iterdir() if path.name.startswith((".writing", ".flare-infer.journal"))]
    checks = {
        "every label map is there, byte for byte": expected == found and bool(expected),
        "every case is in the report once": set(Counter(case["name"] for case in cases).values()) == {1},
        f"{UNREADABLE} failed, and no other": failed == [UNREADABLE],
        "every process ended with 1": set(codes) == {1},
        "no part of a file and no journal is left": not parts,
    }
    return [check for check, holds in checks.items() if not holds]


def _with_kills(inputs: Path, outputs: Path, weights: Path, place: Path, kills: int) -> tuple[list[int], int, int]:
    """Exit codes at the end, how many were killed after they had begun with cases, label maps after the last kill."""
    draw, at_work = random.Random(0), 0
    logs = [place / f"{number}-0.log" for number in range(PROCESSES)]
    running = [_started(inputs, outputs, weights, log) for log in logs]
    try:
        for kill in range(1, kills + 1):
            index = draw.randrange(PROCESSES)
            # Whoever is killed while Python still starts shows nothing: it is given time to begin.
            deadline = time.monotonic() + 120
            while not logs[index].stat().st_size and running[index].poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(draw.uniform(0, 1.0))
            at_work += bool(logs[index].stat().st_size) and running[index].poll() is None
            running[index].send_signal(signal.SIGKILL)
            running[index].wait()
            logs[index] = place / f"{index}-{kill}.log"
            running[index] = _started(inputs, outputs, weights, logs[index])
        written = len(_label_maps(outputs))
        codes = [process.wait(_SECONDS) for process in running]
        return codes, at_work, len(_label_maps(outputs)) - written
    finally:
        for process in running:
            process.kill()


def _started(
    inputs: Path, outputs: Path, weights: Path, log: Path, *, shared: bool = True
) -> "subprocess.Popen[bytes]":
    start = _SHARED if shared else _ALONE
    command = [sys.executable, "-u", "-c", start, "predict", inputs, outputs, "--weights", weights, "--device", "cpu"]
    with log.open("wb") as file:
        return subprocess.Popen(
            [*map(str, command), *(["--share"] if shared else [])],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def _label_maps(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}


def _twice(place: Path) -> int:
    """How many label maps more than one process says to have written."""
    said = Counter(
        line.partition(":")[0]
        for log in place.glob("*-*.log")
        for line in log.read_text(errors="replace").splitlines()
        if ": written in" in line
    )
    return sum(count > 1 for count in said.values())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
