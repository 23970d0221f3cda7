"""All problems of a dataset, reported together, and places where nothing is written."""

from collections.abc import Iterable
from pathlib import Path

from flare_infer.errors import DatasetError, FlareError, UsageError


class ProblemsError(DatasetError):
    """One or more problems of a dataset, each a line of its own.

    Attributes:
        problems: the lines, each naming its file or case.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))

    def __reduce__(self) -> tuple[type["ProblemsError"], tuple[tuple[str, ...]]]:
        """How a worker process hands it over."""
        return ProblemsError, (self.problems,)


def raise_if_any(problems: Iterable[str]) -> None:
    """Raise a `ProblemsError` of these lines, if there are any."""
    if lines := tuple(problems):
        raise ProblemsError(lines)


def problems_in(error: Exception) -> tuple[str, ...]:
    """The lines of a `ProblemsError`, or the one line that another error is."""
    return error.problems if isinstance(error, ProblemsError) else (str(error),)


def refuse_inside(target: Path, *inputs: Path | None) -> None:
    """Make sure that nothing is written into what is read.

    Args:
        target: file or folder to write.
        inputs: folders that are read; None for one that is not given.

    Raises:
        UsageError: if the target is one of them, or lies inside one.
    """
    for folder in inputs:
        if folder is not None and target.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{target}: lies in {folder}, which is read; choose a place outside of it")


class collected:  # noqa: N801 - it is used like `contextlib.suppress`
    """Inside, one of our errors ends the block and adds its lines to `problems` instead of being raised."""

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems

    def __enter__(self) -> None:
        """Nothing to begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, FlareError):
            self._problems += problems_in(error)
        return isinstance(error, FlareError)


def refuse_filled(target: Path) -> None:
    """Make sure that nothing is overwritten.

    Args:
        target: folder to make.

    Raises:
        UsageError: unless it is empty or not there yet.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target}: expected a folder that is empty or not there yet; nothing is overwritten")
