"""All problems of a dataset, reported together."""

from collections.abc import Iterable

from flare_infer.errors import DatasetError


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
