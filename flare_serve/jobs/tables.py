"""The tables of jobs, and a row as a job."""

import json
from typing import Final

from flare_serve.jobs.database import Row
from flare_serve.jobs.job import Job, State

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
