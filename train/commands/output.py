"""Output of commands: progress over cases, and their problems."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from flare_infer.files.write_whole import write_errors_explained
from flare_infer.shell.command import IMPOSSIBLE, errors_reported, say_error


@contextmanager
def problems_reported() -> Iterator[None]:
    """Report every problem of a list in a line of its own, and any other of our errors, or a full disk, in one line."""
    from train.problems import ProblemsError

    with errors_reported():
        try:
            with write_errors_explained(Path.cwd()):
                yield
        except ProblemsError as error:
            for line in error.problems:
                say_error(line)
            raise typer.Exit(IMPOSSIBLE) from error


@contextmanager
def progress_shown(verb: str, total: int | None) -> Iterator[Callable[..., None]]:
    """Show a bar on a terminal, nothing elsewhere.

    Args:
        verb: text beside the bar.
        total: number of cases; None if it is known only later.

    Yields:
        a callback after each case, which takes the number of all cases if `total` is None.
    """
    from flare_infer.shell.progress import Progress

    with Progress(transient=True) as shown:
        task = shown.bars.add_task(verb, total=total)
        yield lambda known=total: shown.bars.update(task, advance=1, total=known)
