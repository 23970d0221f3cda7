"""The samples of a run in order, drawn ahead of time by worker processes."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle, islice
from typing import Final

import torch

from flare_infer.backends.allocator import keep_freed_blocks
from flare_infer.backends.cores import cores_of_job, one_thread
from flare_infer.errors import UsageError
from train.batches.buffer import PatchBuffer
from train.batches.samples import Sample, Samples
from train.workers import begin_worker

STEPS_AHEAD: Final = 2
"""Number of steps whose samples are drawn ahead, unless many workers need more to be busy."""

_of_worker: list[tuple[Samples, PatchBuffer]] = []
"""In a worker process: the source of samples, and the buffer for their voxels."""


def usual_workers(device: torch.device, ranks: int = 1) -> int:
    """Default number of workers: none for a CPU, which is busy with the network, and up to 8 for a GPU.

    Args:
        device: where the network runs.
        ranks: number of training processes on this machine, which share its cores.
    """
    return 0 if device.type == "cpu" else max(1, min(8, cores_of_job() // ranks))


def stream_samples(
    samples: Samples, steps: range, indices: range, workers: int = 0
) -> Generator[list[Sample], None, None]:
    """Yield the samples of each step in order; they are bit for bit the same for any number of workers.

    Close the generator (`contextlib.closing`) to end the workers before the last step. They also end with this process,
    however it ends. Ctrl-C and SIGTERM reach this process only: workers continue until it ends them.

    Args:
        samples: source of the samples.
        steps: numbers of the steps to draw.
        indices: indices of the samples of each step: the whole batch, or the share of one rank.
        workers: number of processes that draw ahead; with 0, samples are drawn in this process when they are needed.

    Raises:
        DatasetError: if a file of the store or of the objects cannot be read, from a worker as from this process.
        UsageError: if the number of workers is negative, or the system ended one.
    """
    if workers < 0:
        raise UsageError(f"expected no worker or more, found {workers}")
    if workers == 0:
        return _drawn_here(samples, steps, indices)
    return _drawn_ahead(samples, steps, indices, workers)


def _drawn_here(samples: Samples, steps: range, indices: range) -> Generator[list[Sample], None, None]:
    for step in steps:
        with one_thread():  # as in a worker, so that sums have the same last bits
            drawn = [samples.draw(step, index) for index in indices]
        yield drawn


def _drawn_ahead(samples: Samples, steps: range, indices: range, workers: int) -> Generator[list[Sample], None, None]:
    ahead = max(STEPS_AHEAD * len(indices), 2 * workers)
    # Forking a process in which PyTorch's threads run may hang it; a fresh interpreter does not.
    context = multiprocessing.get_context("spawn")
    buffer = PatchBuffer(ahead, samples.patch_size, context)
    order = zip(cycle(range(ahead)), ((step, index) for step in steps for index in indices), strict=False)
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(samples, buffer))
    drawing: deque[tuple[int, Future[Sample]]] = deque()
    try:
        with _signals_held():
            drawing.extend((slot, pool.submit(_draw, slot, *which)) for slot, which in islice(order, ahead))
        for _ in steps:
            drawn = []
            for _ in indices:
                free, future = drawing.popleft()
                sample = future.result()
                drawn.append(replace(sample, patch=buffer.take(free, sample.patch)))
                drawing.extend((slot, pool.submit(_draw, slot, *which)) for slot, which in islice(order, 1))
            yield drawn
    except BrokenProcessPool as error:
        raise UsageError(
            "a worker process was ended from outside (out of memory?); the same command goes on from the last "
            "checkpoint, with fewer --workers if need be"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(samples: Samples, buffer: PatchBuffer) -> None:
    begin_worker()
    keep_freed_blocks()
    _of_worker.append((samples, buffer))


def _draw(slot: int, step: int, index: int) -> Sample:
    samples, buffer = _of_worker[0]
    sample = samples.draw(step, index)
    return replace(sample, patch=buffer.put(slot, sample.patch))


@contextmanager
def _signals_held() -> Iterator[None]:
    """Block Ctrl-C and SIGTERM, so that processes started inside never get them.

    A terminal or scheduler sends these signals to a whole group of processes. Processes inherit the block; to this
    process the signals are delivered at the end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
