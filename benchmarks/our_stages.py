"""`flare-infer` as it is, with a clock at each stage: prints what they took as JSON on its last line.

Usage (by `versus_nnunet.py`): python -m benchmarks.our_stages predict ...

For one case: stages of several cases would run beside each other.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from flare_infer.commands.app import app
from flare_infer.runs import folder
from flare_infer.segment import segmenter, sliding

SECONDS = {
    "read": 0.0,
    "image to the model's grid": 0.0,
    "network": 0.0,
    "blend": 0.0,
    "skip": 0.0,
    "decode": 0.0,
    "write": 0.0,
}
WINDOWS = [0]


def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with its seconds added to a stage."""

    def run(*positional: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*positional, **named)
        finally:
            SECONDS[stage] += time.perf_counter() - started

    return run


def counted(make_runner: Callable[..., Any]) -> Callable[..., Any]:
    """A maker of runners whose windows are counted and timed."""

    def make(*positional: Any, **named: Any) -> Any:
        run = timed("network", make_runner(*positional, **named))

        def counting(batch_nczyx: Any) -> Any:
            WINDOWS[0] += len(batch_nczyx)
            return run(batch_nczyx)

        return counting

    return make


def main() -> None:
    """Wrap the stages, run the command, print the clock."""
    folder.read_volume = timed("read", folder.read_volume)
    folder.write_volume = timed("write", folder.write_volume)
    segmenter.preprocess = timed("image to the model's grid", segmenter.preprocess)
    segmenter.make_runner = counted(segmenter.make_runner)
    segmenter.Decoder.take = timed("decode", segmenter.Decoder.take)
    ring = sliding._Ring
    ring.blend, ring.drop = timed("blend", ring.blend), timed("blend", ring.drop)
    sliding.holds_only_air = timed("skip", sliding.holds_only_air)
    sliding.foreground_voxels = timed("skip", sliding.foreground_voxels)
    try:
        app()
    except SystemExit as ended:
        if ended.code:
            raise
    print(json.dumps({"stages": SECONDS, "windows": WINDOWS[0]}))


if __name__ == "__main__":
    sys.exit(main())
