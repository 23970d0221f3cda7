"""Output of commands: progress over cases, and their problems."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import typer

from flare_infer.files.write_whole import write_errors_explained
from flare_infer.shell.command import IMPOSSIBLE, errors_reported, say_error

NAMES_SHOWN: Final = 20
"""Number of cases that are named by default where there may be many."""


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


def say_notices(lines: Sequence[str], most: int) -> None:
    """Print notices, a line each, the first `most` of them."""
    for line in lines[:most]:
        typer.echo(f"notice: {line}")
    if lines[most:]:
        typer.echo(f"notice: and {len(lines) - most} more")


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
