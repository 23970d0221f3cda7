"""Runs pytest again and again in copies of one process that has imported what takes long: one line in, one line out.

A script of its own, started in the checkout whose tests are run: of our own code it has imported nothing, so that each
copy reads it as it lies there. Arguments: after how many seconds a test counts as failed, then the modules to import
beforehand; one that is not installed is passed over. In: a JSON list of what pytest is given, or an empty line to end.
Out: a JSON object with the exit code and the output.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from typing import Final

_OPTIONS: Final = (
    *("-x", "-q", "--no-header", "-p", "no:cacheprovider"),
    *("-W", "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning"),
)
_SOME_FAILED: Final = 1
_POLL_SECONDS: Final = 0.02


def main() -> None:
    """Answer until the input ends."""
    longest = float(sys.argv[1])
    sys.path[0] = os.getcwd()  # not the folder of this script
    for name in sys.argv[2:]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        if not line.strip():
            return
        code, output = _run(json.loads(line), longest)
        print(json.dumps({"code": code, "output": output}), flush=True)


def _run(tests: list[str], longest: float) -> tuple[int, str]:
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        child = os.fork()
        if child == 0:
            _become_pytest(tests, said.fileno())
        ends = time.monotonic() + longest
        while True:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                break
            if time.monotonic() > ends:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return _SOME_FAILED, f"no end after {longest:g} s"
            time.sleep(_POLL_SECONDS)
        said.seek(0)
        # A change that kills the interpreter is noticed, too.
        return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else _SOME_FAILED, said.read()


def _become_pytest(tests: list[str], said: int) -> None:
    code = _SOME_FAILED
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        import pytest

        code = int(pytest.main([*_OPTIONS, *tests]))
    except BaseException:  # noqa: BLE001 - a copy must never go on as if it were the process it is a copy of
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
