"""A stage's own process: one of our commands, which ends when the pipeline that started it is gone.

Usage: python -m train.pipeline.process PROGRAM ARGUMENTS, its input a pipe from the pipeline, never written to.
"""

import os
import sys
import threading
from importlib import import_module
from typing import Final

_MAIN: Final = {
    "flare-train": ("train.cli", "main"),
    "flare-infer": ("flare_infer.cli", "main"),
    "flare-eval": ("flare_eval.cli", "main"),
    "torchrun": ("torch.distributed.run", "main"),
}


def main() -> None:
    """Run the program that the arguments name, in this process."""
    threading.Thread(target=_end_with_pipeline, daemon=True).start()
    program = sys.argv[1]
    sys.argv = sys.argv[1:]
    module, name = _MAIN[program]
    getattr(import_module(module), name)()


def _end_with_pipeline() -> None:
    # Nothing is ever written: reading returns when the other end is closed, because its process has ended, however.
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
