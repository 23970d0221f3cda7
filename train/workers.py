"""The same work on many items, in several processes."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeVar

from flare_infer.backends.cores import use_one_thread
from flare_infer.errors import FlareError, UsageError
from flare_infer.files.write_whole import NotWrittenError
from train.problems import problems_in

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def for_each(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    workers: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> list[_Result]:
    """The results of a function for all items, in the order of the items.

    Args:
        function: the function; with several workers it must be importable by name, or a `functools.partial` of such a
            function.
        items: its arguments; they and the results are pickled.
        workers: number of processes; 1 uses this process.
        progress: callback after each item.

    Raises:
        UsageError: if `workers` is not positive, or the system ended a worker.
    """
    if workers < 1:
        raise UsageError(f"expected at least one worker, found {workers}")
    if workers == 1 or len(items) < 2:
        results = []
        for item in items:
            results.append(function(item))
            progress()
        return results
    # Forking a process in which PyTorch's threads run may hang it; a fresh interpreter does not.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(min(workers, len(items)), context, initializer=begin_worker) as pool:
            futures = [pool.submit(function, item) for item in items]
            for future in as_completed(futures):
                if (error := future.exception()) is not None:
                    # The first error ends all: on a full disk every item would fail.
                    pool.shutdown(cancel_futures=True)
                    raise error
                progress()
            return [future.result() for future in futures]
    except BrokenProcessPool as error:
        raise UsageError(
            "a worker process was ended from outside (out of memory?); the same command goes on from there, "
            "with fewer --workers if need be"
        ) from error


def try_each(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    workers: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> tuple[list[_Result | None], list[str]]:
    """As `for_each`, but one of our errors about an item does not keep the others from being worked on.

    What could not be written ends all, as there: nothing else can be written either.

    Returns:
        the results, None for each item with an error, and the lines of all errors.
    """
    outcomes = for_each(partial(_tried, function), items, workers, progress)
    return [result for result, _ in outcomes], [line for _, lines in outcomes for line in lines]


def _tried(function: Callable[[_Item], _Result], item: _Item) -> tuple[_Result | None, tuple[str, ...]]:
    try:
        return function(item), ()
    except NotWrittenError:
        raise
    except FlareError as error:
        return None, problems_in(error)


def begin_worker() -> None:
    """Set up a worker process: one thread, because the processes share the cores; it ends when its parent ends."""
    use_one_thread()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
