"""The table of changes: small mistakes in code that much depends on, each with the tests that should notice it.

A table is a TOML file: modules, each with the tests that belong to it and its changes.

::

    [[module]]
    file = "flare_infer/segment/windows.py"
    tests = ["tests/flare_infer/segment/test_windows.py"]

    [[module.change]]
    name = "air_is_never_found"
    old = '''what stands there'''
    new = '''what stands there instead'''
    why = "whom it would hurt, and how"
    tests = ["other tests than the module's"]                     # optional
    survives = "why no test can or need notice it"                # optional
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TABLES: Final = Path(__file__).parent / "tables"

_FIELDS: Final = {"name", "old", "new", "why", "tests", "survives"}


class TableError(Exception):
    """A table, or one of its changes, that cannot be used; the text says which."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One small mistake.

    Attributes:
        name: short, and of no other change.
        file: path within the checkout.
        old: text that occurs exactly once in the file.
        new: what stands there instead.
        tests: what pytest is given.
        why: whom it would hurt, and how.
        survives: why no test notices it; empty if one should.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    why: str
    survives: str = ""

    def applied(self, source: str) -> str:
        """The file's text with the mistake in it.

        Raises:
            TableError: if the old text does not occur exactly once, or the new one is the same.
        """
        found = source.count(self.old)
        if found != 1:
            raise TableError(
                f"{self.name}: the old text occurs {found} times in {self.file}, expected once: {self.old}"
            )
        if self.old == self.new:
            raise TableError(f"{self.name}: the new text is the old one")
        return source.replace(self.old, self.new)


def read_changes(tables: Path = TABLES) -> list[Change]:
    """Every change of every table in a folder, in order.

    Raises:
        TableError: if a field is missing or unknown, or a name occurs twice.
    """
    changes: dict[str, Change] = {}
    for path in sorted(tables.glob("*.toml")):
        for module in tomllib.loads(path.read_text(encoding="utf-8"))["module"]:
            for entry in module["change"]:
                change = _change(path, module, entry)
                if change.name in changes:
                    raise TableError(f"{path.name}: two changes are called {change.name}")
                changes[change.name] = change
    return list(changes.values())


def _change(path: Path, module: Mapping[str, Any], entry: Mapping[str, Any]) -> Change:
    missing = {"name", "old", "new", "why"} - entry.keys()
    if missing or not entry.keys() <= _FIELDS:
        raise TableError(f"{path.name}: {module['file']}: a change with the fields {sorted(entry)}")
    tests = tuple(entry.get("tests", module["tests"]))
    return Change(
        name=entry["name"],
        file=module["file"],
        old=entry["old"],
        new=entry["new"],
        tests=tests,
        why=entry["why"],
        survives=entry.get("survives", ""),
    )
