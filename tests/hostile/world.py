"""Failures around a run: of disks, folders and memory, by signals, and by other runs."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from flare_infer.formats.volume_io import write_volume
from flare_infer.runs.report import REPORT_FILE, TABLE_FILE
from flare_infer.volume.volume import Placement, Volume
from tests.hostile.inputs import small_scans
from tests.hostile.kills import Ground, hashes, make_ground
from tests.hostile.trial import Trial
from tests.hostile.warm import Ended
from tests.tiny import LPS

_PATIENCE_S = 60.0
_STEP_S = 0.005
_SMALL_BYTES = 2000
"""Too small for label maps and the report; what three failures say on the terminal, here a file, fits."""

_VAST = {"case0001b": ((100, 1000, 1000), 1.0), "case0002b": ((44, 44, 44), 80.0)}
"""Shape and spacing of scans of 200 MB as they are stored, and of 340 MB on the model's grid."""


def trials(ground: Ground, folder: Path) -> Iterator[Trial]:
    """Every hazard, one after the other; those that need root are skipped for others, and say so."""
    yield full_disk(ground, folder / "full")
    yield small_files(make_ground(folder / "few", ground.warm, 3, larger=2))
    yield read_only(ground, folder / "read-only")
    yield without_niceties(ground)
    yield second_run(ground)
    for number in (signal.SIGTERM, signal.SIGINT):
        yield asked_to_stop(ground, number)
    yield host_memory(ground, folder / "memory")
    yield device_memory(ground)
    yield deadly_case(ground)
    yield edited_output(ground)


def full_disk(ground: Ground, folder: Path) -> Trial:
    """A disk too small for all label maps, and then larger."""
    tried = "disk full while writing; then room is made"
    with _disk(folder, "size=44k") as mounted:
        if not mounted:
            return Trial(area="world", tried=tried, happened="skipped: only root can mount a small disk")
        first = ground.warm.run(*ground.command(folder))
        wrong = _only_whole(ground, folder)
        written = len(hashes(folder))
        wrong += _failures_named(ground, first, len(ground.expected) - written, "No space left on device")
        if not 0 < written < len(ground.expected):
            wrong.append(f"the disk is of the wrong size for this trial: {written} label maps fitted")
        subprocess.run(["mount", "-o", "remount,size=16m", str(folder)], check=True)
        second = ground.warm.run(*ground.command(folder))
        wrong += _all_there(ground, folder, second)
        # Where the last room went to a label map, its record found none: then it is made again, and both are said.
        unrecorded = second.stderr.count("is in no report")
        if unrecorded and "the report cannot be kept" not in first.stderr:
            wrong.append(f"{unrecorded} label maps are in no report, and the first run says nothing: {first.stderr}")
        if second.stdout.count(": done before") + unrecorded != written:
            wrong.append(f"expected {written} to be done before, found: {second.stdout}")
    happened = (
        f"{written} label maps whole, {len(ground.expected) - written} named as failed; the next run did the rest"
    )
    return Trial(area="world", tried=tried, happened=happened, wrong=tuple(wrong))


def small_files(ground: Ground) -> Trial:
    """No file may grow beyond some bytes: neither label maps nor the report can be written."""
    outputs = ground.new_outputs()
    ended = ground.warm.run(*ground.command(outputs), file_size=_SMALL_BYTES)
    wrong = _only_whole(ground, outputs) + _failures_named(ground, ended, len(ground.expected), "File too large")
    if ended.stderr.count("the report cannot be kept") != 1:
        wrong.append(f"expected one line about the report: {ended.stderr}")
    wrong += _all_there(ground, outputs, ground.warm.run(*ground.command(outputs)))
    happened = "every case named, one line about the report; the next run did all"
    return Trial(area="world", tried="nothing can be written but names", happened=happened, wrong=tuple(wrong))


def read_only(ground: Ground, folder: Path) -> Trial:
    """A folder of outputs that cannot be written to."""
    with _disk(folder, "ro") as mounted:
        if not mounted:
            folder.chmod(0o555)
        ended = ground.warm.run(*ground.command(folder))
        wrong = [] if ended.code == 2 and ended.stderr.count("\n") == 1 else [f"{ended.code}: {ended.stderr}"]
        wrong += [f"it says {ended.stderr}"] if "cannot be written to" not in ended.stderr else []
    return Trial(area="world", tried="outputs read-only", happened="exit code 2, one line", wrong=tuple(wrong))


def without_niceties(ground: Ground) -> Trial:
    """A mount that knows no mode bits, no syncing and no second names for files, as some shares do."""
    outputs = ground.new_outputs()
    outputs.mkdir()
    name = sorted(ground.expected)[0]
    (outputs / name).write_bytes(b"nobody's")
    ended = ground.warm.run(*ground.command(outputs), refused=("chmod", "fchmod", "fsync", "link"))
    kept = outputs / f"{name}.old"
    wrong = [] if kept.exists() and kept.read_bytes() == b"nobody's" else ["what was there is not kept"]
    kept.unlink(missing_ok=True)
    wrong += _all_there(ground, outputs, ended)
    if "disk full" in ended.stderr or "cannot be kept" in ended.stderr:
        wrong.append(f"it says {ended.stderr}")
    happened = "every label map and the report are there"
    return Trial(area="world", tried="no mode bits, syncing or links", happened=happened, wrong=tuple(wrong))


def second_run(ground: Ground) -> Trial:
    """Another run on the same outputs."""
    outputs = ground.new_outputs()
    first = ground.warm.start(*ground.command(outputs), pause=True)
    _until(lambda: ": written in" in first.stdout)
    second = ground.warm.run(*ground.command(outputs))
    first.signal(signal.SIGUSR1)
    wrong = _all_there(ground, outputs, first.wait())
    if second.code != 2 or second.stderr.count("\n") != 1 or f"process {first.pid} on " not in second.stderr:
        wrong.append(f"the second run: {second.code}, {second.stderr}")
    return Trial(
        area="world",
        tried="a second run on the same outputs",
        happened="exit code 2, one line names the first, which ended undisturbed",
        wrong=tuple(wrong),
    )


def asked_to_stop(ground: Ground, number: signal.Signals) -> Trial:
    """A signal that asks to stop, in the middle of a run."""
    outputs = ground.new_outputs()
    run = ground.warm.start(*ground.command(outputs), pause=True)
    _until(lambda: ": written in" in run.stdout)
    run.signal(number)
    ended = run.wait()
    wrong = _only_whole(ground, outputs) + _nothing_hidden(outputs)
    if ended.code != 128 + number or "Traceback" in ended.stderr or f"stopped by {number.name}" not in ended.stderr:
        wrong.append(f"exit code {ended.code}: {ended.stderr}")
    report = json.loads((outputs / REPORT_FILE).read_text(encoding="utf-8"))
    statuses = [case["status"] for case in report["cases"]]
    done = statuses.count("written")
    if report["run"]["state"] != "interrupted" or "interrupted" not in statuses or done != len(hashes(outputs)):
        wrong.append(f"the report says {report['run']['state']}, {statuses}")
    if set(statuses) > {"written", "interrupted", "waiting"}:
        wrong.append(f"the report says {statuses}")
    again = ground.warm.run(*ground.command(outputs))
    wrong += _all_there(ground, outputs, again)
    if again.stdout.count(": done before") != done or "was started" in again.stderr:
        wrong.append(f"the next run: {again.stdout} {again.stderr}")
    happened = f"exit code {ended.code}, {done} done, the others named; the next run did the rest"
    return Trial(area="world", tried=f"{number.name} in the middle", happened=happened, wrong=tuple(wrong))


def host_memory(ground: Ground, folder: Path) -> Trial:
    """Scans that do not fit into the memory that the process may have, among others that do."""
    names = small_scans(folder / "inputs", 4)
    for name, (shape, spacing_mm) in _VAST.items():
        placement = Placement(spacing_mm=(spacing_mm,) * 3, origin_mm=(0.0, 0.0, 0.0), axes=LPS)
        vast = Volume(array_zyx=np.full(shape, -1000, np.int16), placement=placement)
        write_volume(folder / "inputs" / f"{name}_0000.nii.gz", vast)
    outputs = folder / "outputs"
    arguments = ("predict", folder / "inputs", outputs, "--weights", ground.weights, "--device", "cpu")
    ended = ground.warm.run(*arguments, more_address_space=150 * 2**20)
    wrong = []
    if sorted(hashes(outputs)) != [f"{name}.nii.gz" for name in names]:
        wrong.append(f"there is {sorted(hashes(outputs))}")
    for name in _VAST:
        lines = [line for line in ended.stderr.splitlines() if name in line]
        if len(lines) != 1 or "memory" not in lines[0]:
            wrong.append(f"of {name} it says {lines}")
    if ended.code != 1 or "unexpected" in ended.stderr:
        wrong.append(f"exit code {ended.code}: {ended.stderr}")
    happened = "each failed in one line, the others were written"
    return Trial(area="world", tried="two scans larger than the host's memory", happened=happened, wrong=tuple(wrong))


def device_memory(ground: Ground) -> Trial:
    """The network finds no memory for its first window (a stand-in for a GPU says so)."""
    outputs = ground.new_outputs()
    ended = ground.warm.run(*ground.command(outputs), short=True)
    wrong = _all_there(ground, outputs, ended)
    report = json.loads((outputs / REPORT_FILE).read_text(encoding="utf-8"))
    told = [case["name"] for case in report["cases"] if any("memory ran out" in line for line in case["notices"])]
    if ended.stderr.count("memory ran out") != 1 or told != ["case0000"]:
        wrong.append(f"it says {ended.stderr}, and the report has it of {told}")
    happened = "one line; a smaller plan gave the same label map"
    return Trial(area="world", tried="out of memory on the device", happened=happened, wrong=tuple(wrong))


def deadly_case(ground: Ground) -> Trial:
    """A case that has the program killed whenever it is read, as the kernel does when memory runs out."""
    outputs = ground.new_outputs()
    victim = "case0001"
    killed = [ground.warm.run(*ground.command(outputs), deadly=victim) for _ in range(4)]
    wrong = [f"exit code {ended.code}" for ended in killed if ended.code != -signal.SIGKILL] + _only_whole(
        ground, outputs
    )
    if set(ground.expected) - set(hashes(outputs)) != {f"{victim}.nii.gz"}:
        wrong.append(f"there is {sorted(hashes(outputs))}")
    if f"{victim}: was started by an earlier run and never ended" not in killed[1].stderr:
        wrong.append(f"the second run says {killed[1].stderr}")
    if f"{victim}: was started 3 times and never ended" not in killed[3].stderr:
        wrong.append(f"the fourth run says {killed[3].stderr}")
    wrong += _all_there(ground, outputs, ground.warm.run(*ground.command(outputs)))
    return Trial(
        area="world",
        tried="a case that kills the program each time",
        happened="named from the second run on, and all others written before it",
        wrong=tuple(wrong),
    )


def edited_output(ground: Ground) -> Trial:
    """Label maps that were damaged, edited or brought by somebody else between two runs."""
    outputs = ground.new_outputs()
    ground.warm.run(*ground.command(outputs))
    names = sorted(ground.expected)
    whole = (outputs / names[0]).read_bytes()
    (outputs / names[0]).write_bytes(whole[: len(whole) // 2])
    (outputs / names[1]).write_bytes(whole)
    (outputs / names[2]).unlink()
    (outputs / REPORT_FILE).write_text(
        (outputs / REPORT_FILE).read_text(encoding="utf-8").replace('"name": "case0003"', '"name": "other"'),
        encoding="utf-8",
    )
    ended = ground.warm.run(*ground.command(outputs))
    wrong = [f"exit code {ended.code}"] if ended.code else []
    wrong += [] if hashes(outputs) == ground.expected else ["not all label maps are right again"]
    for name in (names[0], names[1]):
        if (
            f"{name} is in no report, or was changed since" not in ended.stderr
            or not (outputs / f"{name}.old").exists()
        ):
            wrong.append(f"nothing is said of {name}, or it was not kept: {ended.stderr}")
    if (outputs / f"{names[0]}.old").read_bytes() != whole[: len(whole) // 2]:
        wrong.append("what is kept is not what was there")
    if ended.stdout.count(": done before") != len(names) - 4:
        wrong.append(f"expected {len(names) - 4} to be done before: {ended.stdout}")
    happened = "done again, with a line each; what was not ours is kept beside"
    return Trial(area="world", tried="outputs cut, edited, removed, unknown", happened=happened, wrong=tuple(wrong))


def _only_whole(ground: Ground, outputs: Path) -> list[str]:
    """What is wrong with the label maps that are there."""
    return [
        f"{name} is not what an undisturbed run writes"
        for name, sha256 in hashes(outputs).items()
        if ground.expected.get(name) != sha256
    ]


def _nothing_hidden(outputs: Path) -> list[str]:
    return [f"{path.name} is left over" for path in outputs.iterdir() if path.name.startswith(".")]


def _all_there(ground: Ground, outputs: Path, ended: Ended) -> list[str]:
    """What is wrong at the end of a run that should have brought everything to its end."""
    wrong = [f"exit code {ended.code}: {ended.stderr}"] if ended.code else []
    if hashes(outputs) != ground.expected:
        wrong.append("not all label maps are there and right")
    names = {path.name for path in outputs.iterdir()} - set(ground.expected)
    if names != {REPORT_FILE, TABLE_FILE}:
        wrong.append(f"there is also {sorted(names)}")
    return wrong


def _failures_named(ground: Ground, ended: Ended, count: int, words: str) -> list[str]:
    """What is wrong with a run in which so many cases had to fail for that reason."""
    lines = [
        line for line in ended.stderr.splitlines() if "could not be written" in line or "cannot write here" in line
    ]
    wrong = [f"exit code {ended.code}"] if ended.code != 1 else []
    if len(lines) != count or not all(words in line for line in lines):
        wrong.append(f"expected {count} lines with {words!r}: {ended.stderr}")
    if f"{count} of {len(ground.expected)} cases failed" not in ended.stderr:
        wrong.append(f"the failures are not counted: {ended.stderr}")
    return wrong


@contextlib.contextmanager
def _disk(folder: Path, options: str) -> Iterator[bool]:
    """A small disk at a new folder; False where it cannot be mounted."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def _until(true: Callable[[], bool]) -> None:
    for _ in range(round(_PATIENCE_S / _STEP_S)):
        if true():
            return
        time.sleep(_STEP_S)
    raise TimeoutError("the run did not get so far")
