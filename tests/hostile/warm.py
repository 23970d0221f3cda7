"""Runs of `flare-infer` that start in milliseconds: forked from a process that has imported everything and run nothing.

What runs is the command itself, from its arguments to its exit code, with its threads and files. The parent has a
single thread, as forking asks for; it does nothing but fork and wait.
"""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]

LIMIT_S = 300.0
"""After which a run counts as hanging."""

_STEP_S = 0.002

FILE_OPERATIONS = {"open", "os.rename", "os.link", "os.remove", "os.chmod", "os.truncate", "fcntl.flock"}
"""What Python announces before it does it; `os.replace` is announced as a renaming."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended.

    Attributes:
        code: its exit code; the negative number of a signal that ended it.
        stdout: what it said.
        stderr: what it complained of.
    """

    code: int
    stdout: str
    stderr: str


class Warm:
    """The process that forks.

    Args:
        folder: for what the runs say.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.hostile.warm"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.wait()

    def start(self, *arguments: object, **hazards: object) -> "Run":
        """Start `flare-infer ARGUMENTS`; hazards are those of `_face`."""
        self._runs += 1
        said = self._folder / f"run-{self._runs}"
        pid = self._ask({"arguments": [str(value) for value in arguments], "said": str(said), "hazards": hazards})
        return Run(warm=self, pid=pid, said=said)

    def run(self, *arguments: object, **hazards: object) -> Ended:
        """The same, waited for."""
        return self.start(*arguments, **hazards).wait()

    def wait(self, pid: int) -> int:
        """The exit code of a run."""
        return self._ask({"wait": pid})

    def _ask(self, request: Mapping[str, Any]) -> int:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process that forks has no pipes")
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has been started.

    Attributes:
        warm: who started it.
        pid: its process.
        said: its output goes to files whose names begin so.
    """

    warm: Warm
    pid: int
    said: Path

    def wait(self) -> Ended:
        """How it ended."""
        code = self.warm.wait(self.pid)
        return Ended(code=code, stdout=self.stdout, stderr=self._read(".err"))

    @property
    def stdout(self) -> str:
        """What it has said so far."""
        return self._read(".out")

    def signal(self, number: int) -> None:
        """Send it a signal; it is not yet waited for, so its number cannot be another's by now."""
        os.kill(self.pid, number)

    def _read(self, ending: str) -> str:
        path = self.said.with_suffix(ending)
        return path.read_text(encoding="utf-8") if path.exists() else ""


def serve() -> None:
    """Fork and wait as standard input says, until it ends."""
    import torch

    from flare_infer.commands import app as cli  # noqa: F401 - imported to be warm
    from flare_infer.model import weights  # noqa: F401 - imported to be warm
    from flare_infer.runs import (
        folder,  # noqa: F401 - imported to be warm
        outputs_lock,  # noqa: F401 - imported to be warm
    )
    from flare_infer.runs import progress as terminal  # noqa: F401 - imported to be warm
    from flare_infer.segment import segmenter  # noqa: F401 - imported to be warm

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored by what it starts in background
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = _waited_for(request["wait"])
        else:
            answer = os.fork()
            if answer == 0:
                _run(request)
        print(answer, flush=True)


def _waited_for(pid: int) -> int:
    """The exit code of a child; one that hangs is ended by SIGABRT, which nobody else sends."""
    for _ in range(round(LIMIT_S / _STEP_S)):  # counted, since a machine that sleeps has not waited
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(_STEP_S)
    os.kill(pid, signal.SIGABRT)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _run(request: dict[str, Any]) -> None:
    """The child: it never returns."""
    from flare_infer.commands.app import app

    code = 70
    try:
        for number, ending in ((1, ".out"), (2, ".err")):
            handle = os.open(request["said"] + ending, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(handle, number)
            os.close(handle)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        _face(**request["hazards"])
        code = app(request["arguments"], standalone_mode=False) or 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 - as the interpreter does; the parent's loop must not go on in the child
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _face(
    kill_at: int | None = None,
    more_address_space: int | None = None,
    file_size: int | None = None,
    deadly: str | None = None,
    pause: bool = False,
    short: bool = False,
    refused: tuple[str, ...] = (),
) -> None:
    """Hazards of a run.

    Args:
        kill_at: the number of the file operation at which it is killed, from 1, that of reading modules not counted.
        more_address_space: the most bytes it may have beyond what it has at the start.
        file_size: the most bytes a file may have.
        deadly: name of the case that kills the program when it is read.
        short: whether the device runs out of memory with the first plan of the first case.
        refused: functions of `os` that the mount does not know.
        pause: whether the third case waits for SIGUSR1, so that something can happen in the middle.
    """
    if more_address_space is not None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + more_address_space
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    if kill_at is not None:
        _die_at(kill_at)
    if deadly is not None:
        _before_reading(deadly, lambda: os.kill(os.getpid(), signal.SIGKILL))
    for name in refused:
        setattr(os, name, _not_permitted)
    if short:
        _run_short_of_memory()
    if pause:
        go = threading.Event()
        signal.signal(signal.SIGUSR1, lambda number, frame: go.set())
        _before_segmenting_the_third(go)


def _not_permitted(*arguments: object, **options: object) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def _run_short_of_memory() -> None:
    import torch

    from flare_infer.segment import segmenter

    make_runner = segmenter.make_runner
    failures = iter([torch.OutOfMemoryError("CUDA out of memory. Tried to allocate everything.")])

    def make(*arguments: Any) -> Any:
        run = make_runner(*arguments)

        def fail_or_run(batch_nczyx: torch.Tensor) -> torch.Tensor:
            for failure in failures:
                raise failure
            return run(batch_nczyx)

        return fail_or_run

    segmenter.make_runner = make


def _before_reading(case: str, act: Callable[[], object]) -> None:
    from flare_infer.runs import scan

    read = scan.read_volume

    def act_and_read(path: Path) -> Any:
        if path.name.startswith(case):
            act()
        return read(path)

    scan.read_volume = act_and_read


def _before_segmenting_the_third(go: threading.Event) -> None:
    from flare_infer.segment.segmenter import Segmenter

    segment = Segmenter.segment_prepared
    calls = 0

    def wait_and_segment(self: Segmenter, scan: Any, callbacks: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            go.wait()
        return segment(self, scan, callbacks)

    Segmenter.segment_prepared = wait_and_segment  # type: ignore[method-assign, assignment]


def _die_at(number: int) -> None:
    left = number

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in FILE_OPERATIONS and not str(arguments[0]).endswith((".py", ".pyc")):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    serve()
