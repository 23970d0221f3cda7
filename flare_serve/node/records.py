"""The node's tables in the database of the jobs: series that were received, and results to be sent."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from flare_serve.jobs.database import Database

ORIGIN: Final = "dicom"
"""Origin of the node's jobs."""

_TABLES: Final = (
    """
    CREATE TABLE received_series (
        id TEXT PRIMARY KEY,
        title TEXT NOT NULL,
        series TEXT NOT NULL,
        submissions INTEGER NOT NULL DEFAULT 0,
        job TEXT NOT NULL DEFAULT '',
        until REAL NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE TABLE deliveries (
        job TEXT NOT NULL,
        target TEXT NOT NULL,
        form TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'waiting',
        attempts INTEGER NOT NULL DEFAULT 0,
        began REAL NOT NULL DEFAULT 0,
        due REAL NOT NULL DEFAULT 0,
        PRIMARY KEY (job, target, form)
    ) WITHOUT ROWID;
    """,
)

WAITING: Final = "waiting"
DELIVERED: Final = "delivered"
GIVEN_UP: Final = "given up"


def holder_of(series_id: str, number: int) -> str:
    """Who holds a job in the store: a series, by the number of its submission; so it can be found again."""
    return f"{ORIGIN} {series_id} {number}"


@dataclass(frozen=True, kw_only=True)
class ReceivedSeries:
    """A series of a sender.

    Attributes:
        id: random, and the name of its folder.
        title: AE title of the sender.
        series: SeriesInstanceUID.
        submissions: how many jobs were made of it.
        job: the last one; empty if there is none.
        until: when it is forgotten, in seconds since 1970; 0 if it is not complete.
    """

    id: str
    title: str
    series: str
    submissions: int
    job: str
    until: float


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A result to be sent.

    Attributes:
        job: the job.
        target: where it goes.
        form: which result.
        attempts: how often it was tried.
        began: time of the first attempt, in seconds since 1970; 0 before.
    """

    job: str
    target: str
    form: str
    attempts: int
    began: float


class Records:
    """The node's tables; each change is one transaction.

    Args:
        database: the database of the jobs.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        database.migrate("node", _TABLES)

    def begin(self, series_id: str, title: str, series: str) -> None:
        """A new series comes in."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO received_series (id, title, series) VALUES (?, ?, ?)", (series_id, title, series)
            )

    def submitted(self, series_id: str, submissions: int, job: str, until: float) -> None:
        """A job was made of a series, or none had to be."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE received_series SET submissions = ?, job = ?, until = ? WHERE id = ?",
                (submissions, job, until, series_id),
            )

    def reopen(self, series_id: str) -> None:
        """Something came late."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE received_series SET until = 0 WHERE id = ?", (series_id,))

    def forget(self, series_id: str) -> None:
        """A series is no longer kept."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM received_series WHERE id = ?", (series_id,))

    def all(self) -> list[ReceivedSeries]:
        """All series."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM received_series").fetchall()
        return [ReceivedSeries(**dict(row)) for row in rows]

    def add_deliveries(self, job: str, wanted: Iterable[tuple[str, str]]) -> None:
        """Note what of a job is to be sent; what was noted before stays as it is.

        Args:
            job: the job.
            wanted: targets and forms.
        """
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO deliveries (job, target, form) VALUES (?, ?, ?)",
                [(job, target, form) for target, form in wanted],
            )

    def next_delivery(self, target: str, now: float) -> Delivery | None:
        """What to send next to a target; None if nothing is due.

        Args:
            target: the target.
            now: seconds since 1970.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT job, target, form, attempts, began FROM deliveries "
                "WHERE target = ? AND state = ? AND due <= ? ORDER BY due, job LIMIT 1",
                (target, WAITING, now),
            ).fetchone()
        return None if row is None else Delivery(**dict(row))

    def tried(self, one: Delivery, state: str, *, now: float, due: float = 0.0) -> None:
        """Note what came of an attempt.

        Args:
            one: what was sent.
            state: delivered, given up or waiting.
            now: seconds since 1970.
            due: when to try again.
        """
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET state = ?, attempts = attempts + 1, began = ?, due = ? "
                "WHERE job = ? AND target = ? AND form = ?",
                (state, one.began or now, due, one.job, one.target, one.form),
            )

    def waiting(self) -> list[Delivery]:
        """All that waits to be sent."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT job, target, form, attempts, began FROM deliveries WHERE state = ?", (WAITING,)
            ).fetchall()
        return [Delivery(**dict(row)) for row in rows]

    def jobs(self) -> set[str]:
        """The jobs of which something was noted."""
        with self._database.reading() as connection:
            return {row["job"] for row in connection.execute("SELECT DISTINCT job FROM deliveries")}

    def forget_deliveries(self, job: str) -> None:
        """A job needs no record any more: everything was sent or given up, and nobody holds it."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM deliveries WHERE job = ?", (job,))
