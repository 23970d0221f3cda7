"""Which jobs are removed because they are old, or take too much room."""

from contextlib import suppress

from flare_serve.errors import UnknownJobError
from flare_serve.jobs.job import ENDED
from flare_serve.jobs.store import JobStore


def remove_old_jobs(store: JobStore, now: float) -> int:
    """Remove jobs that have ended and are older, larger together, or more than the limits allow; the oldest first.

    Jobs that somebody holds stay.

    Args:
        store: the jobs.
        now: the time, in seconds since 1970.

    Returns:
        how many were removed.
    """
    limits = store.limits
    query = f"SELECT id, ended, size FROM jobs WHERE state IN ({', '.join('?' * len(ENDED))}) ORDER BY ended DESC"
    with store.database.reading() as connection:
        rows = connection.execute(query, ENDED).fetchall()
        held = {row["id"] for row in connection.execute("SELECT id FROM holds")}
    removed, kept_bytes = 0, 0
    for number, row in enumerate(rows):
        kept_bytes += row["size"]
        too_old = row["ended"] < now - limits.keep_seconds
        if row["id"] in held or not (too_old or kept_bytes > limits.keep_bytes or number >= limits.keep_jobs):
            continue
        kept_bytes -= row["size"]
        with suppress(UnknownJobError):  # a client was quicker
            store.remove(row["id"])
            removed += 1
    return removed
