"""How a case is started: a container as the challenge starts it, or a plain command."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Protocol

from flare_eval.efficiency.memory import CgroupMemory, cgroup_of, tree_memory_mb
from flare_infer.errors import UsageError

RUNTIMES: Final = ("docker", "podman")
_ANSWERS_WITHIN_S: Final = 30
_INSIDE: Final = "/workspace"


class Started(Protocol):
    """One command that runs."""

    process: "subprocess.Popen[bytes]"

    def memory_mb(self) -> float | None:
        """Its memory now, in MB of 2**20 bytes; None if it cannot be read."""

    def kill(self) -> None:
        """End it, with all it started."""


class Launcher(Protocol):
    """Starts one case: reads `inputs`, writes `outputs`, says what it has to say into `log`."""

    def start(self, inputs: Path, outputs: Path, log: IO[bytes]) -> Started:
        """Start the command and return at once."""


@dataclass
class StartedCommand:
    """A plain command; it leads a session of its own."""

    process: "subprocess.Popen[bytes]"

    def memory_mb(self) -> float | None:
        """Memory of its process tree."""
        return tree_memory_mb(self.process.pid)

    def kill(self) -> None:
        """End its whole process group."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it has ended by itself


@dataclass(frozen=True, kw_only=True)
class PlainCommand:
    """A line for the shell, which finds the folders in FLARE_INPUTS and FLARE_OUTPUTS."""

    line: str

    def start(self, inputs: Path, outputs: Path, log: IO[bytes]) -> StartedCommand:
        """Start the command in the current folder."""
        folders = {"FLARE_INPUTS": str(inputs), "FLARE_OUTPUTS": str(outputs)}
        process = subprocess.Popen(
            ["/bin/sh", "-c", self.line],
            env={**os.environ, **folders},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return StartedCommand(process)


@dataclass
class StartedContainer:
    """A container, and the client that waits for it."""

    process: "subprocess.Popen[bytes]"
    runtime: str
    name: str
    find_cgroup: Callable[[int], CgroupMemory | None] = cgroup_of
    _memory: CgroupMemory | None = field(default=None, init=False)

    def memory_mb(self) -> float | None:
        """Memory of its control group; None until it runs, or where the group cannot be seen."""
        if self._memory is None:
            pid = _output([self.runtime, "inspect", "--format", "{{.State.Pid}}", self.name])
            if not pid.isdigit() or pid == "0":
                return None
            self._memory = self.find_cgroup(int(pid))
        return None if self._memory is None else self._memory.read_mb()

    def kill(self) -> None:
        """End the container; the client follows."""
        subprocess.run([self.runtime, "kill", self.name], capture_output=True, check=False)


@dataclass(frozen=True, kw_only=True)
class Container:
    """An image, run as the organizers run it.

    Attributes:
        runtime: docker or podman.
        image: name of the image.
        ram_gb: limit of main memory, and size of shared memory.
        gpu: index of the GPU to hand in; None for none.
    """

    runtime: str
    image: str
    ram_gb: float
    gpu: int | None

    def start(self, inputs: Path, outputs: Path, log: IO[bytes]) -> StartedContainer:
        """Start the container."""
        name = f"flare-eval-{os.getpid()}-{inputs.parent.name}"
        command = self.command(name, inputs, outputs)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        return StartedContainer(process, self.runtime, name)

    def command(self, name: str, inputs: Path, outputs: Path) -> list[str]:
        """The protocol's command line."""
        gigabytes = f"{self.ram_gb:g}"
        return [
            *(self.runtime, "container", "run", f"--shm-size={gigabytes}gb", "-m", f"{gigabytes}G"),
            *self._gpu_options(),
            *("--name", name, "--rm"),
            *("-v", f"{inputs}:{_INSIDE}/inputs/", "-v", f"{outputs}:{_INSIDE}/outputs/"),
            *(self.image, "/bin/bash", "-c", "sh predict.sh"),
        ]

    def _gpu_options(self) -> list[str]:
        if self.gpu is None:
            return []
        if self.runtime == "podman":
            return ["--device", f"nvidia.com/gpu={self.gpu}"]
        return ["--gpus", f"device={self.gpu}"]


def find_runtime() -> str:
    """The container runtime of this machine.

    Raises:
        UsageError: if there is none, or none that answers.
    """
    present = [runtime for runtime in RUNTIMES if shutil.which(runtime)]
    for runtime in present:
        if _answers(runtime):
            return runtime
    found = f"{' and '.join(present)} without a service that answers" if present else "neither"
    raise UsageError(f"--image needs {' or '.join(RUNTIMES)}, found {found}; measure a plain command with --command")


def _answers(runtime: str) -> bool:
    try:
        done = subprocess.run([runtime, "ps"], capture_output=True, timeout=_ANSWERS_WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _output(command: list[str]) -> str:
    """What a command prints; empty if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=_ANSWERS_WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""


def launcher_for(image: str | None, command: str | None, ram_gb: float, gpu: int | None) -> Launcher:
    """What starts the cases: a container image or a shell line.

    Raises:
        UsageError: unless exactly one of them is given, or if no container runtime answers.
    """
    if image is not None and command is None:
        return Container(runtime=find_runtime(), image=image, ram_gb=ram_gb, gpu=gpu)
    if command is not None and image is None:
        return PlainCommand(line=command)
    raise UsageError("expected exactly one of --image and --command")
