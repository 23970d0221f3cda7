"""Many small cases in one process, `python -m tests.hostile.load`: files, threads and memory still held at the end."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.hostile.inputs import small_scans, tiny_model
from tests.hostile.trial import Trial
from tests.hostile.warm import ROOT

FIRST = 10
"""Cases until everything is loaded and every buffer has been used."""

MOST_GROWTH = 0.05


def many_cases(folder: Path, count: int) -> Trial:
    """Segment many small scans in one run, and compare memory, file handles and threads."""
    small_scans(folder / "inputs", count)
    tiny_model(folder / "model")
    command = [sys.executable, "-m", "tests.hostile.load", *(str(folder / name) for name in ("inputs", "model", "out"))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return Trial(area="load", tried=f"{count} cases in one run", happened="it failed", wrong=(done.stderr,))
    found = json.loads(done.stdout)
    growth = found["rss_mib"][1] / found["rss_mib"][0] - 1
    wrong = [f"memory grew by {100 * growth:.1f} %"] if growth > MOST_GROWTH else []
    for what in ("handles", "threads"):
        before, after = found[what]
        wrong += [f"{what}: {before} before, {after} after"] if after > before else []
    if found["written"] != count:
        wrong.append(f"{found['written']} of {count} were written")
    return Trial(
        area="load",
        tried=f"{count} small cases in one run",
        happened=f"{found['rss_mib'][0]:.0f} MiB after case {FIRST}, {found['rss_mib'][1]:.0f} MiB at the end "
        f"({100 * growth:+.1f} %), {found['handles'][1]} file handles, {found['threads'][1]} thread(s), "
        f"{count / found['seconds']:.1f} cases/s",
        wrong=tuple(wrong),
    )


def main() -> None:
    """Segment a folder; print what the process holds before, early, and at the end."""
    from flare_infer.backends.allocator import keep_freed_blocks

    keep_freed_blocks()
    from flare_infer.backends.device import choose_compute
    from flare_infer.runs.case_files import find_cases
    from flare_infer.runs.case_result import CaseResult, FolderCallbacks
    from flare_infer.runs.folder import predict_cases
    from flare_infer.segment.segmenter import Segmenter

    inputs, model, outputs = map(Path, sys.argv[1:])
    outputs.mkdir()
    segmenter = Segmenter.load(model, choose_compute("cpu"))
    cases = find_cases(inputs).cases
    ended, rss_mib = [], []

    def finished(result: CaseResult) -> None:
        ended.append(result)
        if len(ended) == FIRST:
            rss_mib.append(_rss_mib())

    handles, threads = [_handles()], [threading.active_count()]
    started = time.perf_counter()
    results = predict_cases(segmenter, cases, outputs, FolderCallbacks(finished=finished))
    seconds = time.perf_counter() - started
    rss_mib.append(_rss_mib())
    handles.append(_handles())
    threads.append(threading.active_count())
    written = sum(result.output is not None for result in results)
    found = {"rss_mib": rss_mib, "handles": handles, "threads": threads, "seconds": seconds, "written": written}
    print(json.dumps(found))


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _handles() -> int:
    return len(os.listdir("/proc/self/fd"))


if __name__ == "__main__":
    main()
