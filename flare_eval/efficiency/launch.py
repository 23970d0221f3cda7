"""Start the command that segments a case: in a container as the challenge does, or as a plain shell line."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, TypeAlias

from flare_eval.efficiency.memory import CgroupMemory, cgroup_of, tree_memory_mb
from flare_infer.errors import UsageError

_RUNTIMES: Final = ("docker", "podman")
_ANSWER_S: Final = 30
_WORKSPACE: Final = "/workspace"


@dataclass
class StartedCommand:
    """A shell line that runs, the leader of a session of its own."""

    process: "subprocess.Popen[bytes]"

    def memory_mb(self) -> float | None:
        """Memory of its processes, in MB of 2**20 bytes; None once it has ended."""
        return tree_memory_mb(self.process.pid)

    def kill(self) -> None:
        """End the command and every process of its group."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it has ended by itself


@dataclass(frozen=True, kw_only=True)
class PlainCommand:
    """A line for the shell; it reads the folders from the variables FLARE_INPUTS and FLARE_OUTPUTS."""

    line: str

    def start(self, inputs: Path, outputs: Path, log: IO[bytes]) -> StartedCommand:
        """Start the command in the current folder and return at once; what it prints goes into `log`."""
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
    """A container that runs, and the client that waits for it."""

    process: "subprocess.Popen[bytes]"
    runtime: str
    name: str
    find_cgroup: Callable[[int], CgroupMemory | None] = cgroup_of
    _memory: CgroupMemory | None = field(default=None, init=False)

    def memory_mb(self) -> float | None:
        """Memory of its control group, in MB of 2**20 bytes; None until it runs, or if the group cannot be seen."""
        if self._memory is None:
            pid = _output([self.runtime, "inspect", "--format", "{{.State.Pid}}", self.name])
            if pid is None or not pid.isdigit() or pid == "0":
                return None
            self._memory = self.find_cgroup(int(pid))
        return None if self._memory is None else self._memory.read_mb()

    def kill(self) -> None:
        """End the container, and thereby its client."""
        subprocess.run([self.runtime, "kill", self.name], capture_output=True, check=False)


@dataclass(frozen=True, kw_only=True)
class Container:
    """An image, run as the organizers run it.

    Attributes:
        runtime: program that runs containers, docker or podman.
        image: name of the image.
        ram_gb: limit of main memory, and size of shared memory, in GB.
        gpu: index of the GPU that the container sees; None for none.
    """

    runtime: str
    image: str
    ram_gb: float
    gpu: int | None

    def start(self, inputs: Path, outputs: Path, log: IO[bytes]) -> StartedContainer:
        """Start the container and return at once; what it prints goes into `log`."""
        name = f"flare-eval-{os.getpid()}-{inputs.parent.name}"
        command = self.command(name, inputs, outputs)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        return StartedContainer(process, self.runtime, name)

    def command(self, name: str, inputs: Path, outputs: Path) -> list[str]:
        """The command line of the protocol for a container of this name."""
        gigabytes = f"{self.ram_gb:g}"
        return [
            *(self.runtime, "container", "run", f"--shm-size={gigabytes}gb", "-m", f"{gigabytes}G"),
            *self._gpu_options(),
            *("--name", name, "--rm"),
            *("-v", f"{inputs}:{_WORKSPACE}/inputs/", "-v", f"{outputs}:{_WORKSPACE}/outputs/"),
            *(self.image, "/bin/bash", "-c", "sh predict.sh"),
        ]

    def _gpu_options(self) -> list[str]:
        if self.gpu is None:
            return []
        if self.runtime == "podman":
            return ["--device", f"nvidia.com/gpu={self.gpu}"]
        return ["--gpus", f"device={self.gpu}"]


Started: TypeAlias = StartedCommand | StartedContainer
Launcher: TypeAlias = PlainCommand | Container


def launcher_for(image: str | None, command: str | None, ram_gb: float, gpu: int | None) -> Launcher:
    """The launcher of a container image or of a shell line.

    Args:
        image: name of the container image; None for a shell line.
        command: the shell line; None for an image.
        ram_gb: limit of a container's main memory, in GB.
        gpu: index of the GPU that a container sees; None for none.

    Raises:
        UsageError: unless exactly one of image and command is given, or if no container runtime answers.
    """
    if image is not None and command is None:
        return Container(runtime=_find_runtime(), image=image, ram_gb=ram_gb, gpu=gpu)
    if command is not None and image is None:
        return PlainCommand(line=command)
    raise UsageError("expected exactly one of --image and --command")


def _find_runtime() -> str:
    """The program that runs containers on this machine.

    Raises:
        UsageError: if there is none whose service answers.
    """
    present = [runtime for runtime in _RUNTIMES if shutil.which(runtime)]
    for runtime in present:
        if _output([runtime, "ps"]) is not None:
            return runtime
    found = f"{' and '.join(present)} without a service that answers" if present else "neither"
    raise UsageError(f"--image needs {' or '.join(_RUNTIMES)}, found {found}; measure a plain command with --command")


def _output(command: list[str]) -> str | None:
    """What a command prints; None if it fails or does not end in time."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=_ANSWER_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()
