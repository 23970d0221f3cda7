"""What is shown while workers do the cases: one bar for the whole, with cases a minute and the time that is left."""

from collections.abc import Iterable

from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from flare_infer.runs.progress import SegmentationProgress


class CasesPerMinute(ProgressColumn):
    """How many cases have ended per minute so far."""

    def render(self, task: Task) -> Text:
        """The rate of the last cases; nothing until there are two."""
        return Text(f"{60 * task.speed:.3g} cases/min" if task.speed else "", style="progress.data.speed")


class WorkersProgress(SegmentationProgress):
    """Follows the cases of all workers.

    Args:
        names: the cases.
        verbose: also print the plan of memory of each case.
        debug: print the traceback of an unexpected error.
    """

    def __init__(self, names: Iterable[str], *, verbose: bool, debug: bool) -> None:
        counts = TextColumn("{task.completed:g}/{task.total:g} cases")
        columns = (BarColumn(), counts, CasesPerMinute(), TimeElapsedColumn(), TimeRemainingColumn())
        super().__init__(names, *columns, verbose=verbose, debug=debug)
