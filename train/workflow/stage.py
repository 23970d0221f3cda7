"""A stage of the pipeline: one command, what decides its result, and what it leaves."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

Leftovers: TypeAlias = Literal["kept", "continued", "removed"]
"""What becomes of files that are there already when a stage starts.

kept: the command itself knows which of them are still right, whatever changed (prepared cases, label maps).
continued: after an interruption it goes on with them; if what went in changed, they are set aside (a training run).
removed: after an interruption it begins anew; if what went in changed, they are set aside (a merged dataset).
"""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One command of the pipeline.

    Attributes:
        name: such as fit-coarse; files of the run are named by it.
        command: program and arguments that decide the result.
        running: further arguments that do not, such as device and workers.
        workers: processes that it works in.
        gpus: GPUs that it computes on; 0 for none.
        settings: plain values that the result depends on, those behind the files that the command names included.
        inputs: files and folders from outside the run, by what they are.
        after: names of the stages whose results it reads.
        output: the folder it writes.
        proof: a file in the output that is there when the stage is done.
        leftovers: what becomes of an output that is there already.
        counted: how far it is: a pattern of files in the output, or the journal of a training run, and how many in all.
        tables: files of the output to collect, by their names in the run's folder of tables.
        pictures: the same for pictures.
    """

    name: str
    command: tuple[str, ...]
    output: Path
    proof: str
    running: tuple[str, ...] = ()
    workers: int = 1
    gpus: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    leftovers: Leftovers = "removed"
    counted: tuple[str, int] | None = None
    tables: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)

    @property
    def whole_command(self) -> tuple[str, ...]:
        """Program and all arguments."""
        return (*self.command, *self.running)

    @property
    def line(self) -> str:
        """The command as one types it."""
        return shlex.join(self.whole_command)

    @property
    def is_there(self) -> bool:
        """Whether its result is, no link in it leading nowhere."""
        if not (self.output / self.proof).exists():
            return False
        return all(path.exists() for path in self.output.glob("*/*") if path.is_symlink())


def only_command(config: Path, name: str) -> str:
    """The command, quoted for a shell, that runs one stage of the pipeline of a configuration."""
    return shlex.join(["flare-train", "pipeline", str(config), "--only", name])
