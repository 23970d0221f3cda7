"""A change tried: made in a copy of the checkout, the tests that belong to it run there, and undone."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from tests.mutants.changes import Change, TableError

ROOT: Final = Path(__file__).resolve().parents[2]

Outcome: TypeAlias = Literal["killed", "survived", "broken"]
"""A test failed; all passed; or the tests could not be run, which says nothing about them."""

HEAVY: Final = (
    *("numpy", "torch", "torch.nn", "SimpleITK", "scipy.ndimage", "scipy.stats", "scipy.spatial", "cc3d", "blosc2"),
    *("safetensors.torch", "typer", "rich.progress", "hypothesis", "pytest", "_pytest.assertion.rewrite", "PIL.Image"),
)
"""What takes long to import, and is not ours: the copies of the process that runs tests begin with it."""

_SERVER: Final = Path("tests", "mutants", "server.py")
_ALL_PASSED, _SOME_FAILED = 0, 1
_LONGEST_SECONDS: Final = 240.0
"""After this a change counts as killed: a test that never ends is noticed."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of a change.

    Attributes:
        name: of the change.
        key: what it depends on, see `key_of`.
        outcome: whether a test noticed it.
        by: the test that did, or why the tests could not be run; empty if it survived.
    """

    name: str
    key: str
    outcome: Outcome
    by: str


class Copy:
    """A copy of the checkout, of what git tracks or would track, in which files are changed and tests run.

    Args:
        root: the checkout.
        folder: where to; made.
        heavy: modules that the process which runs the tests imports beforehand.
    """

    def __init__(self, root: Path, folder: Path, heavy: Sequence[str] = HEAVY) -> None:
        self._folder = folder
        self._heavy = heavy
        self._server: subprocess.Popen[str] | None = None
        for name in _files_of(root):
            if (root / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, folder / name)

    def close(self) -> None:
        """End the process that runs the tests."""
        if self._server is not None:
            self._server.communicate()

    def problem_unchanged(self, tests: Iterable[str]) -> str:
        """Why tests that should pass without any change do not; empty if they do."""
        code, output = self._run(sorted(set(tests)))
        return "" if code == _ALL_PASSED else "\n".join([f"pytest ended with {code}", *output.splitlines()[-30:]])

    def try_change(self, change: Change) -> Trial:
        """Make a change, run its tests, undo it.

        Raises:
            TableError: if it does not apply.
        """
        path = self._folder / change.file
        source = path.read_text(encoding="utf-8")
        key = key_of(change, self._folder)
        path.write_text(change.applied(source), encoding="utf-8")
        try:
            code, output = self._run(change.tests)
        finally:
            path.write_text(source, encoding="utf-8")
        if code == _ALL_PASSED:
            return Trial(name=change.name, key=key, outcome="survived", by="")
        failed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
        by = failed[0].split(" - ")[0].partition(" ")[2] if failed else "\n".join(output.splitlines()[-1:])
        return Trial(name=change.name, key=key, outcome="killed" if code == _SOME_FAILED else "broken", by=by)

    def _run(self, tests: Sequence[str]) -> tuple[int, str]:
        """The exit code of pytest and what it said; a test that never ends counts as failed."""
        if self._server is None or self._server.poll() is not None:
            self._server = self._start()
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(list(tests)), file=self._server.stdin, flush=True)
        answer = self._server.stdout.readline()
        if not answer:
            raise TableError(f"the process that runs {' '.join(tests)} was ended")
        found = json.loads(answer)
        return found["code"], found["output"]

    def _start(self) -> "subprocess.Popen[str]":
        # No bytecode: a change of the same length within a second would not be seen.
        environment = os.environ | {
            "PYTHONPATH": str(self._folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # hypothesis's takes two seconds of every run
        }
        return subprocess.Popen(
            [sys.executable, str(self._folder / _SERVER), str(_LONGEST_SECONDS), *self._heavy],
            cwd=self._folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def key_of(change: Change, root: Path) -> str:
    """A hash of the change, of the file it is made in and of the test files that are run: what a result is good for."""
    digest = hashlib.sha256(repr(sorted(asdict(change).items())).encode())
    for name in (change.file, *sorted({test.partition("::")[0] for test in change.tests})):
        path = root / name
        if not path.is_file():
            raise TableError(f"{change.name}: {name} is not there")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _files_of(root: Path) -> list[str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")[:-1]
