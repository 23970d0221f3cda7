"""What another recipe left in a folder is kept: it is refused, with the fields that differ."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flare_infer.errors import UsageError
from train.difference import differing_fields, some_of


def refuse_other_recipe(folder: Path, what: str, known: Iterable[Mapping[str, Any]], recipe: Mapping[str, Any]) -> None:
    """Refuse a folder of which one record differs from a recipe in some field that both have.

    Args:
        folder: named in the error.
        what: lies there, such as cases.
        known: records of what lies there, as JSON.
        recipe: the same of what would be made now.

    Raises:
        UsageError: naming the first fields that differ.
    """
    for record in known:
        same = {name: record.get(name, value) for name, value in recipe.items()}
        if differing := list(differing_fields(same, recipe)):
            raise UsageError(
                f"{folder}: holds {what} of another recipe ({some_of(differing)}), which are kept; choose another "
                "folder, the recipe they were made with, or --replace"
            )
