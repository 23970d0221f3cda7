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
"""Steps whose samples are drawn while another one is learned from; more only where there are many workers."""

_of_worker: list[tuple[Samples, PatchBuffer]] = []
"""In a worker: what it draws from, and where it leaves what it has drawn."""


def usual_workers(device: torch.device, ranks: int = 1) -> int:
    """How many workers to use where nobody says: a CPU is busy with the network, so none; for a GPU up to 8.

    Args:
        device: where the network computes.
        ranks: processes that train on this machine and share its cores.
    """
    return 0 if device.type == "cpu" else max(1, min(8, cores_of_job() // ranks))


def stream_samples(
    samples: Samples, steps: range, indices: range, workers: int = 0
) -> Generator[list[Sample], None, None]:
    """The samples of each step, in order; the same ones, bit for bit, for any number of workers.

    Close it (`contextlib.closing`) to end the workers before the last step. They also end with this process, however
    that ends. Ctrl-C and SIGTERM reach only this process: workers go on drawing until it ends them.

    Args:
        samples: draws them.
        steps: what to draw.
        indices: samples of each step: all of the batch, or the part of one rank of several.
        workers: processes that draw ahead; 0 draws in this one, when a step is asked for.

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
    """Processes that start inside never get Ctrl-C or SIGTERM, which a terminal or scheduler sends to all of a group.

    They inherit that these signals are held back; for this process they are delivered at the end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
