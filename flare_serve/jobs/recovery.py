"""What is put right when a service starts, and what is removed when a job has ended."""

import time

from flare_serve.jobs.database import Database
from flare_serve.jobs.job import ENDED, State
from flare_serve.jobs.settings import Limits
from flare_serve.jobs.spool import Spool, remove


def recover(database: Database, spool: Spool, limits: Limits) -> None:
    """Put right what a process left that was killed.

    Jobs that were running wait again, uploads that were not whole and files of no job are removed. A job that began too
    often fails: it may be what ends the program.

    Args:
        database: with the table of jobs.
        spool: its folders, which no other process uses.
        limits: how often a job may begin.
    """
    reason = f"began {limits.most_starts} times, and the program ended each time (out of memory?)"
    with database.transaction() as connection:
        connection.execute(
            "UPDATE jobs SET state = ?, reason = ?, ended = ? WHERE state = ? AND starts >= ?",
            (State.FAILED, reason, time.time(), State.RUNNING, limits.most_starts),
        )
        connection.execute("UPDATE jobs SET state = ? WHERE state = ?", (State.QUEUED, State.RUNNING))
        states = dict(connection.execute("SELECT id, state FROM jobs").fetchall())
    spool.clear_incoming()
    spool.keep_only(states)
    for job_id, state in states.items():
        if state in ENDED:
            tidy(spool, job_id, failed=state == State.FAILED)
        else:
            remove(spool.work(job_id))
            remove(spool.results(job_id))


def tidy(spool: Spool, job_id: str, *, failed: bool) -> None:
    """Remove what a job that has ended needs no more: its scan, and what was made of it if it failed."""
    for path in (spool.upload(job_id), spool.work(job_id)):
        remove(path)
    if failed:
        remove(spool.results(job_id))
