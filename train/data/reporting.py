"""How the commands of `flare-train` end when something is wrong: a line for each problem."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from flare_infer.command_line import IMPOSSIBLE, errors_reported, say_error


@contextmanager
def problems_reported() -> Iterator[None]:
    """Turn a list of problems into a line each, another of our errors into one line."""
    from train.data.problems import ProblemsError

    with errors_reported():
        try:
            yield
        except ProblemsError as error:
            for line in error.problems:
                say_error(line)
            raise typer.Exit(IMPOSSIBLE) from error
