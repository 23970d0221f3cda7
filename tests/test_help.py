"""`--help` shows brackets, which are markup to the library that prints it and would vanish."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from flare_eval.commands.app import app as eval_app
from flare_infer.commands.app import app as infer_app
from train.commands.app import app as train_app

APPS = {"flare-infer": infer_app, "flare-eval": eval_app, "flare-train": train_app}


def texts(app: typer.Typer, name: str) -> Iterator[tuple[str, str]]:
    """Every text of help, with where it stands."""
    group: Any = typer.main.get_command(app)
    for command in [group, *group.commands.values()]:
        place = name if command is group else f"{name} {command.name}"
        yield place, command.help or ""
        yield from (
            (f"{place} {parameter.name}", getattr(parameter, "help", None) or "") for parameter in command.params
        )


@pytest.mark.parametrize("name", APPS)
def test_no_text_of_help_is_eaten_as_markup(name: str) -> None:
    found = dict(texts(APPS[name], name))
    assert len(found) > 10
    eaten = {place: text for place, text in found.items() if Text.from_markup(text).plain != text}
    assert eaten == {}


def test_the_defaults_of_score_are_shown() -> None:
    shown = CliRunner().invoke(eval_app, ["score", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).stdout
    assert "(default: CASE_0000 beside the references)" in shown
    assert "(default: all of the job)" in shown
