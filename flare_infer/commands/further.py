"""Commands of `flare-infer` that other packages bring along.

This package knows none of them (docs/decisions/0024-commands-by-entry-points.md): a package names, in the group of
entry points `flare_infer.commands`, functions that add its commands to the application.
"""

import sys
from importlib.metadata import entry_points
from typing import Final

import typer

GROUP: Final = "flare_infer.commands"


def add_further_commands(app: typer.Typer) -> None:
    """Add the commands of other packages, unless the user asked for one that is there already.

    Such a package is imported only then, and must itself import little before its command runs.

    Args:
        app: the application; the process's arguments say what the user asked for.
    """
    known = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    if sys.argv[1:] and sys.argv[1].replace("-", "_") in known:
        return
    for point in entry_points(group=GROUP):
        point.load()(app)
