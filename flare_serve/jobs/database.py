"""One SQLite database, in WAL mode, that several threads of one process use for short transactions."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from flare_serve.errors import SpoolFullError

Row: TypeAlias = sqlite3.Row

_NO_ROOM: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_PRIMARY: Final = 0xFF
"""An extended code of SQLite holds its primary code in the lowest byte."""

_BUSY_SECONDS: Final = 10.0

_MIGRATIONS: Final = """
CREATE TABLE IF NOT EXISTS migrations (part TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID
"""


class Database:
    """The database of a service.

    Every part of the program has its own tables, and says by `migrate` how they are made. Transactions are short: one
    connection does, and a lock keeps threads apart. A commit waits for the disk, so that what was accepted survives a
    loss of power.

    Args:
        path: the file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._guard = threading.RLock()
        self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(_MIGRATIONS)

    def migrate(self, part: str, steps: Sequence[str]) -> None:
        """Bring the tables of one part of the program up to date.

        Args:
            part: its name.
            steps: SQL scripts in the order in which versions of the program added them; those that this database has
                not seen are run. A step that was released is never changed.

        Raises:
            SpoolFullError: if the disk is full.
        """
        with self.transaction() as connection:
            row = connection.execute("SELECT version FROM migrations WHERE part = ?", (part,)).fetchone()
            version = row["version"] if row else 0
            for step in steps[version:]:
                for statement in filter(str.strip, step.split(";")):
                    connection.execute(statement)
            connection.execute("INSERT OR REPLACE INTO migrations VALUES (?, ?)", (part, max(version, len(steps))))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Inside, the connection; on leaving all is written, or nothing if an error leaves the block.

        Raises:
            SpoolFullError: if the disk is full.
        """
        with self._guard, _no_room_explained():
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:
                yield self._connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Inside, the connection for statements that only read; no other thread writes meanwhile."""
        with self._guard, _no_room_explained():
            yield self._connection

    def close(self) -> None:
        """Close the file; what was written stays."""
        with self._guard:
            self._connection.close()


@contextmanager
def _no_room_explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & _PRIMARY not in _NO_ROOM:
            raise
        raise SpoolFullError("the disk of the service is full; come again when jobs were removed") from error
