"""What a command shows while it works on cases, and when something is wrong with them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from flare_infer.shell.command import IMPOSSIBLE, errors_reported, say_error
from train.whole_file import writing_told


@contextmanager
def problems_reported() -> Iterator[None]:
    """Turn a list of problems into a line each, another of our errors, or a full disk, into one line."""
    from train.problems import ProblemsError

    with errors_reported():
        try:
            with writing_told(Path.cwd()):
                yield
        except ProblemsError as error:
            for line in error.problems:
                say_error(line)
            raise typer.Exit(IMPOSSIBLE) from error


@contextmanager
def progress_shown(verb: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A bar on a terminal, nothing elsewhere; inside, a function to call after each case, perhaps with the total."""
    from flare_infer.shell.progress import Progress

    with Progress(transient=True) as shown:
        task = shown.bars.add_task(verb, total=total)
        yield lambda known=total: shown.bars.update(task, advance=1, total=known)
