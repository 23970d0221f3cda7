"""A worker in this process: for folders in a store of objects, when no cluster is wanted."""

import queue
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from flare_infer.cluster.task import Answer, Answered, Lost, Setting, Task
from flare_infer.cluster.worker import DEPTH, Worker


class OneHere:
    """A crew of one worker, in this process.

    Args:
        worker: the worker.
        depth: how many cases it takes at once.
    """

    def __init__(self, worker: Worker, depth: int = DEPTH) -> None:
        self.depth = depth
        self._worker = worker
        self._threads = ThreadPoolExecutor(depth, "cases")
        self._answers: queue.SimpleQueue[tuple[str, Future[Answer]]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown()

    def setting(self) -> Setting:
        """With what the worker works."""
        return self._worker.setting()

    def members(self) -> Sequence[int]:
        """The number of the one that there is."""
        return [0]

    def give(self, member: int, task: Task) -> None:
        """Give it a case."""
        running = self._threads.submit(self._worker.run, task)
        running.add_done_callback(lambda done: self._answers.put((task.name, done)))

    def events(self, seconds: float) -> Sequence[Answered | Lost]:
        """Its next answer, if it comes soon."""
        try:
            name, done = self._answers.get(timeout=seconds)
        except queue.Empty:
            return []
        return [Answered(member=0, name=name, answer=done.result())]

    def stop(self) -> None:
        """Ask it to give up what it segments."""
        self._worker.stop()
