"""The tables of jobs, and a row as a job."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Final

from flare_serve.errors import QueueFullError
from flare_serve.jobs.database import Database, Row
from flare_serve.jobs.job import Job, State
from flare_serve.jobs.settings import Limits

_SECONDS_EACH: Final = 60.0
"""What a job is taken to last before one has ended."""

TABLES: Final = (
    """
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        origin TEXT NOT NULL,
        series TEXT NOT NULL,
        state TEXT NOT NULL,
        created REAL NOT NULL,
        began REAL NOT NULL DEFAULT 0,
        ended REAL NOT NULL DEFAULT 0,
        starts INTEGER NOT NULL DEFAULT 0,
        reason TEXT NOT NULL DEFAULT '',
        notices TEXT NOT NULL DEFAULT '[]',
        flags TEXT NOT NULL DEFAULT '[]',
        windows_ran INTEGER NOT NULL DEFAULT 0,
        windows INTEGER NOT NULL DEFAULT 0,
        seconds REAL NOT NULL DEFAULT 0,
        size INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX jobs_by_state ON jobs (state, starts, number);
    CREATE TABLE holds (
        id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        holder TEXT NOT NULL,
        PRIMARY KEY (id, holder)
    ) WITHOUT ROWID;
    """,
)
"""Scripts for `Database.migrate`."""


def job_of(row: Row, place: int) -> Job:
    """The job of a row of the table `jobs`.

    Args:
        row: all columns.
        place: how many jobs go before it.
    """
    fields = {name: row[name] for name in row.keys() if name not in {"number", "state", "notices", "flags"}}  # noqa: SIM118
    notices, flags = (tuple(json.loads(row[name])) for name in ("notices", "flags"))
    return Job(**fields, state=State(row["state"]), notices=notices, flags=flags, place=place)


def holders(database: Database, origin: str, states: Sequence[State] = tuple(State)) -> dict[str, str]:
    """Who holds the jobs of an origin: their ids by holder.

    Args:
        database: the database of the jobs.
        origin: the origin.
        states: only those in these states.
    """
    query = (
        "SELECT holder, holds.id FROM holds JOIN jobs ON holds.id = jobs.id "
        f"WHERE origin = ? AND state IN ({', '.join('?' * len(states))})"
    )
    with database.reading() as connection:
        return {row["holder"]: row["id"] for row in connection.execute(query, (origin, *states))}


def add_notice(database: Database, job_id: str, line: str) -> None:
    """Add a line that the user should see to a job, if it is still there.

    Args:
        database: the database of the jobs.
        job_id: the job.
        line: the line.
    """
    with database.transaction() as connection:
        row = connection.execute("SELECT notices FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is not None:
            notices = json.dumps([*json.loads(row["notices"]), line])
            connection.execute("UPDATE jobs SET notices = ? WHERE id = ?", (notices, job_id))


def refuse_if_queue_is_full(connection: sqlite3.Connection, limits: Limits) -> None:
    """Make sure that one more job may wait.

    Raises:
        QueueFullError: if as many wait as may; with how long the next end of one should take.
    """
    (waiting,) = connection.execute("SELECT count(*) FROM jobs WHERE state = ?", (State.QUEUED,)).fetchone()
    if waiting < limits.most_waiting:
        return
    (mean,) = connection.execute(
        "SELECT avg(seconds) FROM (SELECT seconds FROM jobs WHERE state = ? ORDER BY ended DESC LIMIT 20)",
        (State.DONE,),
    ).fetchone()
    seconds = max(1, round(mean or _SECONDS_EACH))
    what = "1 job waits" if waiting == 1 else f"{waiting} jobs wait"
    raise QueueFullError(f"{what} already; come again in {seconds} s", seconds)
