"""The process of a worker, as Ray starts it; nothing heavy is imported before it is there."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flare_infer.cluster.task import Answer, Job, Setting, Task
    from flare_infer.cluster.worker import Worker


class Actor:
    """A worker in a process of its own."""

    def __init__(self) -> None:
        from flare_infer.backends.allocator import keep_freed_blocks

        keep_freed_blocks()
        self._worker: Worker | None = None

    def open(self, job: "Job") -> "Setting":
        """Load the model; see `Worker`.

        Raises:
            FlareError: if it cannot be loaded here.
        """
        from flare_infer.cluster.worker import Worker

        self._worker = Worker(job)
        return self._worker.setting()

    def run(self, task: "Task") -> "Answer":
        """Do a case.

        Raises:
            FlareError: if the model was not loaded.
        """
        from flare_infer.errors import FlareError

        if self._worker is None:
            raise FlareError(f"{task.name}: this worker has no model")
        return self._worker.run(task)

    def stop(self) -> None:
        """Give up what is being segmented; what is being written is finished."""
        if self._worker is not None:
            self._worker.stop()
