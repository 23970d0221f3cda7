"""How this project's commands end: exit codes, and one line for whatever went wrong."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Final

import typer

from flare_infer.errors import FlareError, one_line
from flare_infer.shell.interrupt import Interrupted
from flare_infer.shell.standard_streams import hold_standard_streams
from flare_infer.version import __version__

SOME_FAILED: Final = 1
"""Exit code: some cases failed, the others were written."""

IMPOSSIBLE: Final = 2
"""Exit code: nothing could be done; also what typer gives for an unknown option."""


def new_app(summary: str) -> typer.Typer:
    """An application with subcommands, even if there is only one of them."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help=summary,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def command(
        version: Annotated[
            bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_say_version)
        ] = False,
    ) -> None:
        pass

    return app


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> None:
    """Run an application as this process's command; its exit code is about the work, never about printing.

    Args:
        app: the application.
        arguments: its arguments; None takes those of the process.
    """
    hold_standard_streams()
    app(arguments)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flare-infer {__version__}")
        raise typer.Exit


def say_error(line: str) -> None:
    """Print one line of error, whatever a library or the name of a file put into it."""
    print("error:", one_line(line), file=sys.stderr)  # noqa: T201 - the command line is where printing belongs


@contextmanager
def errors_reported() -> Iterator[None]:
    """Turn our errors into one line and the exit code IMPOSSIBLE, and a signal into that signal's exit code."""
    try:
        yield
    except Interrupted as stop:
        say_error(str(stop))
        raise typer.Exit(stop.exit_code) from stop
    except FlareError as error:
        say_error(str(error))
        raise typer.Exit(IMPOSSIBLE) from error
