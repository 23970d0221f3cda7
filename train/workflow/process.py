"""A stage's own process: one of our commands, which ends when the pipeline that started it is gone.

Usage: python -P -m train.workflow.process PROGRAM ARGUMENTS, its input a pipe from the pipeline, never written to.
"""

import os
import signal
import sys
import threading
import time
from importlib import import_module
from typing import Final

_MAIN: Final = {
    "flare-train": ("train.commands.app", "main"),
    "flare-infer": ("flare_infer.commands.app", "main"),
    "flare-eval": ("flare_eval.commands.app", "main"),
    "torchrun": ("torch.distributed.run", "main"),
}

_SECONDS_TO_END: Final = {"torchrun": 60.0}
"""A program that has processes of its own is asked to end them; the others are simply ended, which loses nothing."""


def main() -> None:
    """Run the program that the arguments name, in this process."""
    program = sys.argv[1]
    patience = _SECONDS_TO_END.get(program, 0.0)
    threading.Thread(target=_end_with_pipeline, args=(patience,), daemon=True).start()
    sys.argv = sys.argv[1:]
    module, name = _MAIN[program]
    getattr(import_module(module), name)()


def _end_with_pipeline(patience_seconds: float) -> None:
    # Nothing is ever written: reading returns when the other end is closed, because its process has ended, however.
    os.read(sys.stdin.fileno(), 1)
    if patience_seconds:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(patience_seconds)
    os._exit(1)


if __name__ == "__main__":
    main()
