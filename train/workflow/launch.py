"""Starting a stage's command and waiting for its end."""

import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

from flare_infer.errors import UsageError
from flare_infer.shell.interrupt import Interrupted
from train.workflow.stage import Stage

_ROOT: Final = Path(__file__).resolve().parents[2]
LOCK_FILE: Final = ".stage.lock"
_POLL_SECONDS: Final = 0.2
_LONGEST_END_SECONDS: Final = 120.0


def run_stage(stage: Stage, log: Path, waiting: Callable[[], None], locks: tuple[int, ...] | None = None) -> None:
    """Run a stage's command in a process of its own; all it says goes to its log.

    Args:
        stage: what to run.
        log: file to append to.
        waiting: called several times a second while it goes on.
        locks: handles of `one_stage_locked`; None for a stage of a whole pipeline, beside which nothing else runs.

    Raises:
        UsageError: if it fails, with its last line of error.
        Interrupted: if a signal asks to stop; the stage was asked, too, and has ended.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = log.stat().st_size if log.exists() else 0
    with log.open("a", encoding="utf-8") as said:
        said.write(f"$ {stage.line}\n")
        said.flush()
        # Its own group of processes: Ctrl-C on a terminal reaches it once, through us.
        with (
            _stage_lock(log.parent / LOCK_FILE) if locks is None else nullcontext(locks) as handles,
            subprocess.Popen(
                [sys.executable, "-P", "-m", "train.workflow.process", *stage.whole_command],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=_environment(),
                process_group=0,
                pass_fds=handles,
            ) as process,
        ):
            code = _end_of(process, waiting)
    if code:
        raise UsageError(f"{stage.name}: {_reason(code, log, begun)}; all it said is in {log}")


@contextmanager
def one_stage_locked(logs: Path, name: str) -> Iterator[tuple[int, ...]]:
    """Locks for a stage that is run alone: beside other stages, but neither twice nor beside a whole pipeline.

    Args:
        logs: folder of the logs of its run.
        name: of the stage.

    Yields:
        handles of the locks, for `run_stage`.

    Raises:
        UsageError: if the same stage, or what a killed pipeline left, does not end.
    """
    logs.mkdir(parents=True, exist_ok=True)
    with _stage_lock(logs / LOCK_FILE, fcntl.LOCK_SH) as of_all, _stage_lock(logs / f".{name}.lock") as own:
        yield (*of_all, *own)


@contextmanager
def _stage_lock(path: Path, kind: int = fcntl.LOCK_EX) -> Iterator[tuple[int, ...]]:
    """A lock to hand on to the stage: the kernel lets go of it when the pipeline and the stage have both ended.

    So what a killed pipeline started, and is still ending, never works beside what the next one starts. Where the file
    system knows no locks there is none.

    Args:
        path: the file.
        kind: exclusive or shared, as `fcntl` names them.

    Raises:
        UsageError: if the other one does not end.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        deadline = time.monotonic() + _LONGEST_END_SECONDS
        while not _locked(handle, kind):
            if time.monotonic() > deadline:
                raise UsageError(f"{path}: a stage of an earlier start still goes on; end its process first")
            time.sleep(_POLL_SECONDS)
        yield (handle,)
    finally:
        os.close(handle)


def _locked(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _end_of(process: "subprocess.Popen[bytes]", waiting: Callable[[], None]) -> int:
    try:
        while True:
            try:
                return process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                waiting()
    except Interrupted:
        # A training run saves its state now; whatever else has nothing to save ends at once.
        process.terminate()
        process.wait()
        raise


def _environment() -> dict[str, str]:
    """Ours, in which the same code and its commands are found without looking into the present folder.

    That folder may hold a `train.py` of the user's. `torchrun` starts `flare-train`, which lies beside our Python.
    """
    packages = [str(_ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    programs = [str(Path(sys.executable).parent), *os.environ.get("PATH", os.defpath).split(os.pathsep)]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in packages if path),
        "PATH": os.pathsep.join(programs),
        "PYTHONSAFEPATH": "1",
    }


def _reason(code: int, log: Path, begun: int) -> str:
    """Why a command failed: its lines of error since it began, or how it ended."""
    with log.open("rb") as file:
        file.seek(begun)
        lines = file.read().decode("utf-8", "replace").splitlines()[1:]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        return errors[0] + more
    if code < 0:
        return f"ended by signal {-code} from outside (out of memory?); the same command goes on from there"
    return next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
